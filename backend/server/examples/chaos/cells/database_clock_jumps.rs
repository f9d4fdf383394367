//! The clock of the database is set back and ahead by up to an hour. Leases, waits, due times and the terms of leaders are
//! that clock's: who dies just before it is set back leaves leases that end far ahead, and when it is set ahead, all of them
//! are over at once.
//!
//! The library that moves it is loaded into PostgreSQL's main process, of which all sessions are forks.

use super::{
    Cell,
    clock::Clock,
    server::Server,
    site::{Place, Site},
    work::{Hit, refused, started_elsewhere, strike},
};
use crate::Failure;
use chrono::{DateTime, Utc};
use rand::{Rng, rngs::StdRng};
use sqlx::PgConnection;
use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How far it is set, in seconds: beyond a lease, and beyond all that waits for its next attempt.
const FAR: [i64; 2] = [90, 3_600];
/// PostgreSQL follows the library this exactly, in seconds, on a busy machine.
const EXACT: i64 = 30;
/// What somebody had in hand is begun elsewhere within this after a jump: a lease, and what `worker_frozen` adds to it.
const TAKEN_OVER: Duration = Duration::from_secs(15);
/// After a jump, everything goes on within this: a term of a leader, a poll, and what a busy machine adds to them.
const GOES_ON: Duration = Duration::from_secs(10);
const ASKED_LIMIT: Duration = Duration::from_secs(60);
/// What comes back after at most so many seconds is waited for; what takes longer has to be on its way.
const OFTEN: f64 = 20.0;
/// Timers that a seed sets.
const TIMERS: i64 = 4;
/// What they ask for: it wakes the runs of nobody, so that it heals nothing here. Nobody else puts it in their queue.
const RING: &str = "costs.wake";

pub(super) const CELL: Cell = Cell {
    name: "database-clock-jumps",
    sentence: "the database's clock is set back and ahead by up to an hour, and jobs, timers and leaders go on in time",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    let clock = Clock::build(&site.launch.dir)?;
    let programs = clock.programs(site.postgres.programs()?)?;
    restart(site, Some(programs)).await?;
    let told = jumps(site, rng, &clock).await?;
    restart(site, None).await?;
    Ok(told)
}

async fn jumps(site: &mut Site, rng: &mut StdRng, clock: &Clock) -> Result<String, Failure> {
    let (back, ahead) = (FAR[rng.random_range(0..FAR.len())], FAR[rng.random_range(0..FAR.len())]);
    let mut conn = site.connect().await?;
    let rung_before = rung(&mut conn).await?;
    let title = format!("Question of {}", site.label);
    site.begin(Place::Asking, &title).await?;
    asked(&mut conn).await?;
    site.begin_many(2).await?;

    let killed = strike(site, rng, Server::kill).await?;
    // The dead one is out of the way of the calls below.
    site.servers[killed.index].frozen = true;
    set_timer(site, &mut conn, "before", 5.0).await?;
    jump(clock, &mut conn, -back).await?;
    let first = taken_over(&mut conn, &killed).await?;
    site.waits.push(first);
    site.replace(killed.index).await?;
    goes_on(site, &mut conn, "set back").await?;
    if !is_set(site, &mut conn, "before").await? {
        return Err("a timer that was set before the jump back is gone before its time".into());
    }

    let frozen = strike(site, rng, Server::freeze).await?;
    jump(clock, &mut conn, ahead).await?;
    let second = taken_over(&mut conn, &frozen).await?;
    site.servers[frozen.index].thaw()?;
    goes_on(site, &mut conn, "set ahead").await?;

    // Nobody is hurt this time: what lives must heal by itself.
    jump(clock, &mut conn, 0).await?;
    let since = "select clock_timestamp()";
    let since: DateTime<Utc> = sqlx::query_scalar(since).fetch_one(&mut conn).await?;
    goes_on(site, &mut conn, "set right").await?;
    site.finish().await?;
    refused(site, &frozen).await?;
    all_rang(&mut conn, rung_before).await?;
    let recurring = comes_back(&mut conn, since).await?;
    Ok(format!(
        "set back by {back} s, {} jobs of a killed process started elsewhere after {:.1} s; ahead by {} s, {} of a frozen one \
         after {:.1} s; set right; {recurring} recurring jobs came back, {TIMERS} timers rang once, {} stories done",
        killed.jobs.len(),
        first.as_secs_f64(),
        back + ahead,
        frozen.jobs.len(),
        second.as_secs_f64(),
        site.begun.len()
    ))
}

/// PostgreSQL stops, and comes back with these programs or its own.
async fn restart(site: &mut Site, programs: Option<PathBuf>) -> Result<(), Failure> {
    site.postgres.stop().await?;
    site.postgres.run_from(programs);
    site.postgres.start_again().await?;
    for server in &site.servers {
        server.ready().await?;
    }
    Ok(())
}

/// Sets the clock, and sees that PostgreSQL follows: one that does not load the library would prove nothing.
async fn jump(clock: &Clock, conn: &mut PgConnection, seconds: i64) -> Result<(), Failure> {
    clock.set(seconds)?;
    let told = "select extract(epoch from clock_timestamp())::bigint";
    let told: i64 = sqlx::query_scalar(told).fetch_one(conn).await?;
    let here = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let off = told - here;
    if (off - seconds).abs() > EXACT {
        return Err(format!("PostgreSQL's clock was set to be off by {seconds} s, and is by {off} s").into());
    }
    Ok(())
}

async fn taken_over(conn: &mut PgConnection, hit: &Hit) -> Result<Duration, Failure> {
    let waited = started_elsewhere(conn, hit, TAKEN_OVER).await?;
    if waited > TAKEN_OVER {
        return Err(format!("{} jobs were taken over after {waited:.1?} only", hit.jobs.len()).into());
    }
    Ok(waited)
}

/// Whether nothing that came in was begun yet, timers that should have rung, duties without a leader that lives, whose lease
/// ends when one of now would, and recurring jobs that are further away than they ever are.
const STILL: &str = "
select not exists (select from chaos_witness came join chaos_witness taken using (id)
                    where came.op = 'INSERT' and came.n > $1 and taken.owner is not null),
       (select count(*) from timer where stream = md5($2)::uuid and fire_at < clock_timestamp() + interval '2 seconds'),
       (select count(*) from leader_lease l
         where l.expires_at not between clock_timestamp() and clock_timestamp() + interval '3 seconds'
            or not exists (select from worker w where w.incarnation = l.holder and w.name = any($3))),
       (select count(*) from timer where fire_at > clock_timestamp() + make_interval(secs => every_seconds + 1))";

/// What comes in from now on is begun, timers ring, every duty is led, and recurring jobs are on their way, all of it in time;
/// and the rules hold.
async fn goes_on(site: &mut Site, conn: &mut PgConnection, since: &str) -> Result<(), Failure> {
    let seen = "select coalesce(max(n), 0) from chaos_witness";
    let seen: i64 = sqlx::query_scalar(seen).fetch_one(&mut *conn).await?;
    set_timer(site, conn, since, 1.0).await?;
    let begun = Instant::now();
    let title = format!("Number {since} of {}", site.label);
    site.begin(Place::Plain, &title).await?;
    let living: Vec<String> = site.servers.iter().filter(|server| !server.frozen).map(Server::name).collect();
    loop {
        let (idle, silent, vacant, resting): (bool, i64, i64, i64) =
            sqlx::query_as(STILL).bind(seen).bind(&site.label).bind(&living).fetch_one(&mut *conn).await?;
        if !idle && silent == 0 && vacant == 0 && resting == 0 {
            return site.check_always().await;
        }
        if begun.elapsed() > GOES_ON {
            let waited = begun.elapsed();
            return Err(format!(
                "{since}, {waited:.1?} ago: nothing new is begun ({idle}), {silent} timers do not ring, {vacant} duties are not \
                 led, {resting} recurring jobs rest"
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sets a timer of the seed's own, for so many seconds from now on, by the database's clock.
async fn set_timer(site: &Site, conn: &mut PgConnection, name: &str, seconds: f64) -> Result<(), Failure> {
    let set = "insert into timer (stream, name, fire_at, queue, kind, payload, max_attempts)
               values (md5($1)::uuid, $2, clock_timestamp() + make_interval(secs => $3), 'sync', $4, '{}', 3)";
    sqlx::query(set).bind(&site.label).bind(name).bind(seconds).bind(RING).execute(conn).await?;
    Ok(())
}

async fn is_set(site: &Site, conn: &mut PgConnection, name: &str) -> Result<bool, Failure> {
    let set = "select exists (select from timer where stream = md5($1)::uuid and name = $2)";
    Ok(sqlx::query_scalar(set).bind(&site.label).bind(name).fetch_one(conn).await?)
}

/// How many timers have rung, and their jobs are done.
async fn rung(conn: &mut PgConnection) -> Result<i64, Failure> {
    let done = "select count(*) from job_done where queue = 'sync' and kind = $1";
    Ok(sqlx::query_scalar(done).bind(RING).fetch_one(conn).await?)
}

/// Waits until every timer of this seed has rung; none has twice.
async fn all_rang(conn: &mut PgConnection, before: i64) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let count = rung(conn).await? - before;
        if count == TIMERS {
            return Ok(());
        }
        if count > TIMERS || begun.elapsed() > GOES_ON {
            return Err(format!("{TIMERS} timers were set, and {count} have rung").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until what comes back often has done so since a jump back; gives how much that is. A tick from before the jump is
/// still to come.
async fn comes_back(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<i64, Failure> {
    let begun = Instant::now();
    let came = "select count(*), count(*) filter (where last_tick between $2 + make_interval(secs => every_seconds / 2) and clock_timestamp())
                  from timer where every_seconds <= $1";
    loop {
        let (all, back): (i64, i64) =
            sqlx::query_as(came).bind(OFTEN).bind(since).fetch_one(&mut *conn).await?;
        if all > 0 && all == back {
            return Ok(all);
        }
        if begun.elapsed() > GOES_ON + Duration::from_secs_f64(OFTEN) {
            return Err(format!(
                "{back} of {all} recurring jobs have come back since the clock was set right"
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a question is open.
async fn asked(conn: &mut PgConnection) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let open = "select count(*) from approval where phase = 'pending'";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&mut *conn).await?;
        if open > 0 {
            return Ok(());
        }
        if begun.elapsed() > ASKED_LIMIT {
            return Err("no question is asked".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
