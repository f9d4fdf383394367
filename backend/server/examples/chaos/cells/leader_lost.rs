//! SIGKILL or SIGSTOP to the process that seals the audit chain and prunes the history.

use super::{Cell, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use sqlx::PgConnection;
use std::time::{Duration, Instant};

/// A term lasts two seconds after its last renewal, and candidates ask twice a second.
const LIMIT: Duration = Duration::from_secs(3);
/// Somebody leads within this, when nobody is struck.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const CELL: Cell = Cell {
    name: "leader-lost",
    sentence: "whatever a killed or frozen process led is led by another within 3 s, and the audit chain has neither gap nor fork",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

/// A duty, and the epoch under which it is held.
type Held = (String, i64);

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let mut conn = site.connect().await?;
    let index = leading(site, &mut conn).await?;
    let (freezes, pause) = (rng.random_bool(0.5), rng.random_range(0..600));
    tokio::time::sleep(Duration::from_millis(pause)).await;
    let server = &mut site.servers[index];
    if freezes {
        server.freeze()?;
    } else {
        server.kill()?;
        // It is out of the way of the calls below.
        server.frozen = true;
    }
    let at = Instant::now();
    let held = held_by(&mut conn, &site.servers[index].name()).await?;
    if held.is_empty() {
        return Err("the process had lost its duties before it was struck".into());
    }
    let waited = led_by_others(&mut conn, &held, at).await?;
    if freezes {
        site.servers[index].thaw()?;
    } else {
        site.replace(index).await?;
    }
    if waited > LIMIT {
        return Err(format!("{held:?} were led by others after {waited:.1?} only").into());
    }
    site.finish().await?;
    let how = if freezes { "frozen" } else { "killed" };
    site.waits.push(waited);
    let (duties, seconds) = (held.len(), waited.as_secs_f64());
    Ok(format!("{how}: {duties} duties were led by another after {seconds:.1} s"))
}

/// The process that has a duty.
async fn leading(site: &Site, conn: &mut PgConnection) -> Result<usize, Failure> {
    let begun = Instant::now();
    loop {
        for (index, server) in site.servers.iter().enumerate() {
            if !held_by(conn, &server.name()).await?.is_empty() {
                return Ok(index);
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err("nobody leads".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn held_by(conn: &mut PgConnection, name: &str) -> Result<Vec<Held>, Failure> {
    let held = "select l.duty, l.epoch from leader_lease l join worker w on w.incarnation = l.holder
                 where w.name = $1 and l.expires_at > clock_timestamp()";
    Ok(sqlx::query_as(held).bind(name).fetch_all(conn).await?)
}

/// Waits until each duty is held under a later epoch; gives how long that took.
async fn led_by_others(conn: &mut PgConnection, held: &[Held], at: Instant) -> Result<Duration, Failure> {
    let (duties, epochs): (Vec<&str>, Vec<i64>) =
        held.iter().map(|(duty, epoch)| (duty.as_str(), *epoch)).unzip();
    let waiting = "select count(*) from unnest($1::text[], $2::bigint[]) as lost (duty, epoch) join leader_lease l using (duty)
                    where l.epoch = lost.epoch or l.expires_at < clock_timestamp()";
    loop {
        let left: i64 = sqlx::query_scalar(waiting).bind(&duties).bind(&epochs).fetch_one(&mut *conn).await?;
        let waited = at.elapsed();
        if left == 0 {
            return Ok(waited);
        }
        if waited > LIMIT + PATIENCE {
            return Err(format!("nobody leads {held:?} after {waited:.1?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
