//! SIGKILL in the one window that matters for what is outside: the call is made, its end is not written.

use super::{
    Cell,
    site::{Place, STAGES, Site},
};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use std::time::{Duration, Instant};

/// The call that is held comes within this.
const CALL_LIMIT: Duration = Duration::from_secs(30);

pub(super) const CELL: Cell = Cell {
    name: "killed-between-started-and-done",
    sentence: "a call whose end nobody wrote is resolved after a kill: a model call is asked again, tests run again",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    // Now and then the tool call, which takes a second; else the model call of some stage, which hangs for a minute.
    let stage = rng.random_range(0..=STAGES.len());
    let (place, title, kind) = match STAGES.get(stage) {
        Some(stage) => (Place::Plain, format!("Hold the {stage} of {}", site.label), "model"),
        None => (Place::Slow, format!("Slow tests of {}", site.label), "run_tests"),
    };
    let story = site.begin(place, &title).await?;
    let role = STAGES.get(stage).copied().unwrap_or("testing");
    let (step, worker) = held(site, &story, role, kind).await?;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..200))).await;
    let index = site.servers.iter().position(|server| server.name() == worker);
    let index = index.ok_or("the call is made by nobody we know")?;
    site.servers[index].kill()?;
    let mut conn = site.connect().await?;
    let status = "select status from step where id = $1";
    let status: String = sqlx::query_scalar(status).bind(step).fetch_one(&mut conn).await?;
    if status != "started" {
        return Err(format!("the kill missed the window: the step is {status}").into());
    }
    site.replace(index).await?;
    site.finish().await?;
    let after = "select status || ', attempt ' || attempt from step where id = $1";
    let after: String = sqlx::query_scalar(after).bind(step).fetch_one(&mut conn).await?;
    Ok(format!("killed while {kind} of the {role} was under way; that step is {after} now"))
}

/// The step that is under way, and who makes its call.
async fn held(
    site: &Site,
    story: &str,
    stage: &str,
    kind: &str,
) -> Result<(sqlx::types::Uuid, String), Failure> {
    let mut conn = site.connect().await?;
    let under_way = "select s.id, w.name from step s join run r on r.id = s.run_id
                       join job j on j.concurrency_key = 'run:' || r.id join worker w on w.incarnation = j.owner
                      where r.state ->> 'story' = $1 and r.state ->> 'stage' = $2 and s.status = 'started'
                        and (s.kind = $3 or s.name = $3)
                        and s.started_at < clock_timestamp() - interval '150 milliseconds'";
    let begun = Instant::now();
    loop {
        let found = sqlx::query_as(under_way).bind(story).bind(stage).bind(kind);
        if let Some(held) = found.fetch_optional(&mut conn).await? {
            return Ok(held);
        }
        if begun.elapsed() > CALL_LIMIT {
            return Err(format!("no {kind} call of the {stage} is held").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
