//! Commands without a key that only move streams: they are committed in groups. Somebody holds the project's log until both
//! processes have all the groups open that they make at once; then one of them is killed, before it is let go or shortly
//! after.

use super::{Asked, CLIENTS, FEWEST, Load, doors};
use crate::{
    Failure,
    cells::site::{Place, Site},
};
use rand::{Rng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;
use sqlx::{PgConnection, types::Uuid};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Kills of all seeds together, at the least.
const KILLS: u32 = 30;
/// Groups that are written at once: two of each process, and one of them alone cannot have more.
const OPEN: i64 = 4;
/// They are open within this, or it is let go without them.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// Longest from letting go to the kill, in milliseconds.
const SHORTLY: u64 = 20;
/// A client rests so long after each answer: groups form while the log is held, and all that is written has to be checked.
const REST: Duration = Duration::from_millis(25);

/// What one client moves, and nobody else.
struct Mine {
    door: usize,
    story: Uuid,
    sprint: Uuid,
}

/// What a client was told: its story is in this sprint, as of this version.
struct Told {
    story: Uuid,
    version: i64,
    sprint: Option<Uuid>,
}

pub(super) async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.sign_in().await?;
    let mine = streams(site).await?;
    let stories: Vec<Uuid> = mine.iter().map(|mine| mine.story).collect();
    let sprints: Vec<Uuid> = mine.iter().map(|mine| mine.sprint).collect();
    let load = Load::on(site);
    let mut clients = JoinSet::new();
    for mine in mine {
        clients.spawn(to_and_fro(Arc::clone(&load), mine));
    }
    let kills = KILLS.div_ceil(site.seeds).max(FEWEST);
    let (mut open, mut kill) = (0, 0);
    // A busy machine may need more of them until one was hit for sure.
    while kill < kills || open == 0 && kill < 3 * kills {
        let index = usize::try_from(kill)? % site.servers.len();
        kill += 1;
        // Until one was hit for sure.
        let before = open == 0 || rng.random_bool(0.5);
        let after = (!before).then(|| Duration::from_millis(rng.random_range(0..=SHORTLY)));
        open += u32::from(strike(site, index, after).await?);
        site.replace(index).await?;
        load.open(doors(site));
    }
    load.over.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    while let Some(client) = clients.join_next().await {
        told.extend(client??);
    }
    if open == 0 {
        return Err(format!("none of {kill} kills hit a process with its groups open").into());
    }
    let mut conn = site.connect().await?;
    what_was_told_is_there(&mut conn, &told).await?;
    let moves = as_a_whole(&mut conn, &stories, &sprints).await?;
    let (groups, largest) = in_groups(&mut conn, &stories).await?;
    Ok(format!(
        "{kill} kills behind the held log, {open} of them in open groups; {} of {moves} moves were answered and are there, \
         {groups} transactions were groups, of up to {largest}",
        told.len()
    ))
}

/// A story and a sprint for each client.
async fn streams(site: &Site) -> Result<Vec<Mine>, Failure> {
    let api = site.api(Place::Plain)?;
    let mut all = Vec::with_capacity(CLIENTS);
    for door in 0..CLIENTS {
        let body = json!({ "name": format!("Sprint {door} of {}", site.label) });
        let sprint = api.call(Method::POST, &api.path("/sprints"), Some(body)).await?;
        let sprint: Uuid = sprint["id"].as_str().ok_or("a sprint without an id")?.parse()?;
        let title = format!("To and fro {door} of {}", site.label);
        let story: Uuid = api.write_titled(&title, "Is moved and never started.").await?.id.parse()?;
        all.push(Mine { door, story, sprint });
    }
    Ok(all)
}

/// Moves the story into the sprint and out again, one move at a time: what is asked again after a kill is the same, and
/// may be so already.
async fn to_and_fro(load: Arc<Load>, mine: Mine) -> Result<Vec<Told>, Failure> {
    let path = format!("/stories/{}/move", mine.story);
    let (mut told, mut sprint) = (Vec::new(), None);
    while !load.over.load(Ordering::Relaxed) {
        sprint = if sprint.is_none() { Some(mine.sprint) } else { None };
        let body = json!({ "sprint_id": sprint });
        let asked = Asked { path: &path, body: &body, key: None, first: mine.door };
        let story = load.until_answered(&asked).await?;
        let version = story["version"].as_i64().ok_or("a story without a version")?;
        told.push(Told { story: mine.story, version, sprint });
        tokio::time::sleep(REST).await;
    }
    Ok(told)
}

/// Kills a process behind the held log: so long after that is let go, or before. Says whether its groups were open for sure.
async fn strike(site: &mut Site, index: usize, after: Option<Duration>) -> Result<bool, Failure> {
    let project = site.scene(Place::Plain).project.to_owned();
    let (mut holder, mut looker) = (site.connect().await?, site.connect().await?);
    // The embedded server ends such sessions after ten seconds; a busy machine may need longer.
    sqlx::query("set idle_in_transaction_session_timeout = 0").execute(&mut holder).await?;
    sqlx::query("begin").execute(&mut holder).await?;
    let lock = "select from project_log where project_id = $1::uuid for update";
    sqlx::query(lock).bind(&project).execute(&mut holder).await?;
    let open = until_open(&mut looker).await?;
    if let Some(after) = after {
        sqlx::query("rollback").execute(&mut holder).await?;
        tokio::time::sleep(after).await;
        site.servers[index].kill()?;
        return Ok(false);
    }
    site.servers[index].kill()?;
    sqlx::query("rollback").execute(&mut holder).await?;
    Ok(open)
}

/// Waits until both processes have all their groups open. They have sessions of their own, so that whoever waits by itself, as
/// all do after a second, is not taken for one.
async fn until_open(conn: &mut PgConnection) -> Result<bool, Failure> {
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'syndarix groups'
                      and wait_event_type = 'Lock' and query like 'with want_%'";
    let begun = Instant::now();
    while begun.elapsed() < OPEN_LIMIT {
        let open: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *conn).await?;
        if open >= OPEN {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(false)
}

/// Of every answered command the event is there, and says what was asked.
async fn what_was_told_is_there(conn: &mut PgConnection, told: &[Told]) -> Result<(), Failure> {
    let missing =
        "select count(*) from unnest($1::uuid[], $2::bigint[], $3::uuid[]) as told (story, version, sprint)
                    where not exists (select from event e
                           where e.stream_id = told.story and e.version = told.version and e.version > 0
                             and e.type = 'story.planned.v1'
                             and (e.data ->> 'sprint')::uuid is not distinct from told.sprint)";
    let missing: i64 = sqlx::query_scalar(missing)
        .bind(told.iter().map(|told| told.story).collect::<Vec<_>>())
        .bind(told.iter().map(|told| told.version).collect::<Vec<_>>())
        .bind(told.iter().map(|told| told.sprint).collect::<Vec<_>>())
        .fetch_one(conn)
        .await?;
    if missing == 0 {
        return Ok(());
    }
    Err(format!("{missing} of {} answered moves are not there", told.len()).into())
}

/// Each move is in its story and in its sprint, side by side and by one transaction. How many there are.
async fn as_a_whole(conn: &mut PgConnection, stories: &[Uuid], sprints: &[Uuid]) -> Result<i64, Failure> {
    let found = "select (select count(*) from event
                          where stream_id = any ($1) and version > 0 and type = 'story.planned.v1'),
                        (select count(*) from event s
                           join event p on p.project_id = s.project_id and p.seq = s.seq + 1 and p.xmin = s.xmin
                          where s.stream_id = any ($1) and s.version > 0 and s.type = 'story.planned.v1'
                            and p.stream_id = any ($2) and p.data ->> 'story' = s.stream_id::text),
                        (select count(*) from event where stream_id = any ($2) and version > 1)";
    let found: (i64, i64, i64) = sqlx::query_as(found).bind(stories).bind(sprints).fetch_one(conn).await?;
    let (moves, pairs, of_sprints) = found;
    if moves > 0 && moves == pairs && moves == of_sprints {
        return Ok(moves);
    }
    Err(format!("{moves} moves of stories, {of_sprints} of sprints, and {pairs} of both").into())
}

/// How many transactions moved more than one story, and how many stories the largest moved.
async fn in_groups(conn: &mut PgConnection, stories: &[Uuid]) -> Result<(i64, i64), Failure> {
    let found = "select count(*), coalesce(max(moved), 0)
                   from (select count(distinct stream_id) as moved from event
                          where stream_id = any ($1) and version > 0 and type = 'story.planned.v1'
                          group by xmin::text) as one
                  where moved > 1";
    let found: (i64, i64) = sqlx::query_as(found).bind(stories).fetch_one(conn).await?;
    if found.0 == 0 { Err("no transaction was a group".into()) } else { Ok(found) }
}
