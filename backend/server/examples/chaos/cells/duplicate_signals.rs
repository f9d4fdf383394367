//! The same answer and the same command from many clients at once, at both processes.

use super::{
    Cell,
    site::{Place, Site},
};
use crate::{Failure, client::Api};
use rand::{Rng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const ASKED_LIMIT: Duration = Duration::from_secs(60);

pub(super) const CELL: Cell = Cell {
    name: "duplicate-signals",
    sentence: "an answer and a command that come many times at once take effect once, and everybody is told the same",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    let clients = rng.random_range(8..24);
    let title = format!("Answers of {}", site.label);
    let story = site.begin(Place::Asking, &title).await?;
    let answered = same_answer(site, &story, clients).await?;
    same_command(site, clients).await?;
    site.finish().await?;
    Ok(format!(
        "{clients} clients answered one question ({answered} were told that they did, the others who was quicker) and wrote one story"
    ))
}

/// Half of them repeat one client's command under its key, half of them come by themselves: one decides.
async fn same_answer(site: &Site, story: &str, clients: usize) -> Result<usize, Failure> {
    let api = site.api(Place::Asking)?;
    let approval = asked(&api, story).await?;
    let path = api.path(&format!("/approvals/{approval}"));
    let shown = api.call(Method::GET, &path, None).await?;
    let body = json!({ "outcome": "approved", "digest": shown["digest"], "note": "looks right" });
    let key = |n: usize| if n.is_multiple_of(2) { "the same".to_owned() } else { format!("my own {n}") };
    let answers = at_once(site, &format!("{path}/decision"), &body, clients, key).await?;
    let told = |(status, answer): &&(u16, Value)| *status == 200 && answer["phase"] != "pending";
    let answered = answers.iter().filter(told).count();
    let others = answers
        .iter()
        .filter(|(status, answer)| *status == 409 && answer["code"] == "approval_already_decided");
    let decisions: i64 = sqlx::query_scalar(
        "select count(*) from event where stream_id = $1::uuid and type = 'approval.decided.v1'",
    )
    .bind(&approval)
    .fetch_one(&mut site.connect().await?)
    .await?;
    // One who came alone was the quickest, or all who repeat one command were.
    let as_one = answered == 1 || answered == clients.div_ceil(2);
    if !as_one || answered + others.count() != clients || decisions != 1 {
        return Err(format!("{decisions} decisions, and these answers: {answers:?}").into());
    }
    Ok(answered)
}

/// One key, one story, one answer.
async fn same_command(site: &Site, clients: usize) -> Result<(), Failure> {
    let path = site.api(Place::Plain)?.path("/stories");
    let body = json!({ "title": format!("Written at once by {}", site.label) });
    let answers = at_once(site, &path, &body, clients, |_| site.label.clone()).await?;
    let first = answers.first().map(|(_, answer)| answer["id"].clone()).unwrap_or_default();
    if first.is_null() || answers.iter().any(|(status, answer)| *status != 201 || answer["id"] != first) {
        return Err(format!("one command, and these answers: {answers:?}").into());
    }
    let written: i64 = sqlx::query_scalar("select count(*) from story where state ->> 'title' = $1")
        .bind(body["title"].as_str())
        .fetch_one(&mut site.connect().await?)
        .await?;
    if written == 1 { Ok(()) } else { Err(format!("one command wrote {written} stories").into()) }
}

/// All clients call at the same moment, at one process and the other.
async fn at_once(
    site: &Site,
    path: &str,
    body: &Value,
    clients: usize,
    key: impl Fn(usize) -> String,
) -> Result<Vec<(u16, Value)>, Failure> {
    let mut calls = JoinSet::new();
    for n in 0..clients {
        let api = site.api_at(&site.servers[n / 2 % site.servers.len()], Place::Plain);
        let (path, body, key) = (path.to_owned(), body.clone(), key(n));
        calls.spawn(async move { api.keyed(&path, &body, &key).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

async fn asked(api: &Api, story: &str) -> Result<String, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(approval) = api.story(story).await?.approval_id {
            return Ok(approval);
        }
        if begun.elapsed() > ASKED_LIMIT {
            return Err("the story asks nothing".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
