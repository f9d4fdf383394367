//! Hitting a process while it has jobs in hand, and seeing those jobs start elsewhere.

use super::{server::Server, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use sqlx::PgConnection;
use std::time::{Duration, Instant};

/// Blows until one hits a process with jobs in hand.
const BLOWS: u32 = 10;
/// Work for a blow comes within this.
const WORK_LIMIT: Duration = Duration::from_secs(20);

/// A job and the fence under which it was in hand.
pub(crate) type InHand = Vec<(i64, i64)>;

/// What the process of this name works on for stories.
pub(crate) async fn in_hand(conn: &mut PgConnection, worker: &str) -> Result<InHand, Failure> {
    let jobs = "select j.id, j.fence from job j join worker w on w.incarnation = j.owner
                 where w.name = $1 and j.project_id is not null";
    Ok(sqlx::query_as(jobs).bind(worker).fetch_all(conn).await?)
}

/// Waits until one of the processes has jobs in hand; new stories are written meanwhile, lest the work ends.
pub(crate) async fn at_work(site: &mut Site, conn: &mut PgConnection) -> Result<usize, Failure> {
    let begun = Instant::now();
    let mut looks = 0_u32;
    loop {
        for index in 0..site.servers.len() {
            if !site.servers[index].frozen && !in_hand(conn, &site.servers[index].name()).await?.is_empty() {
                return Ok(index);
            }
        }
        if begun.elapsed() > WORK_LIMIT {
            return Err("nobody works on the stories".into());
        }
        looks += 1;
        if looks.is_multiple_of(200) {
            site.begin_many(1).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was hit, what it had in hand, and when.
pub(crate) struct Hit {
    pub(crate) index: usize,
    pub(crate) jobs: InHand,
    pub(crate) at: Instant,
}

/// Strikes a process at a random moment of its work, again and again until it had jobs in hand; a missed one is mended.
pub(crate) async fn strike(
    site: &mut Site,
    rng: &mut StdRng,
    blow: fn(&mut Server) -> Result<(), Failure>,
) -> Result<Hit, Failure> {
    let mut conn = site.connect().await?;
    for _ in 0..BLOWS {
        let index = at_work(site, &mut conn).await?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
        blow(&mut site.servers[index])?;
        let at = Instant::now();
        // What the process had sent before is finished by the server: what is in hand then stays in hand.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let jobs = in_hand(&mut conn, &site.servers[index].name()).await?;
        if !jobs.is_empty() {
            return Ok(Hit { index, jobs, at });
        }
        if site.servers[index].frozen {
            site.servers[index].thaw()?;
        } else {
            site.replace(index).await?;
        }
        site.begin_many(1).await?;
    }
    Err(format!("{BLOWS} blows hit nobody at work").into())
}

/// Waits until every job was started under a later fence, or is gone; gives how long that took since the hit.
pub(crate) async fn started_elsewhere(
    conn: &mut PgConnection,
    hit: &Hit,
    limit: Duration,
) -> Result<Duration, Failure> {
    let waiting = "select count(*) from unnest($1::bigint[], $2::bigint[]) as lost (id, fence)
                    where exists (select from job j where j.id = lost.id)
                      and not exists (select from chaos_witness w where w.id = lost.id and w.fence > lost.fence and w.owner is not null)";
    let (ids, fences): (Vec<i64>, Vec<i64>) = hit.jobs.iter().copied().unzip();
    loop {
        let left: i64 = sqlx::query_scalar(waiting).bind(&ids).bind(&fences).fetch_one(&mut *conn).await?;
        let waited = hit.at.elapsed();
        if left == 0 {
            return Ok(waited);
        }
        if waited > limit + Duration::from_secs(5) {
            return Err(format!("{left} jobs were not started elsewhere after {waited:.1?}: {ids:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// From the take-over on, nothing is written under the old fence.
pub(crate) async fn refused(site: &Site, hit: &Hit) -> Result<(), Failure> {
    let late = "with lost as (select * from unnest($1::bigint[], $2::bigint[]) as lost (id, fence)),
                     moved as (select w.id, min(w.n) as n from chaos_witness w join lost using (id) where w.fence > lost.fence group by 1)
                select count(*) from chaos_witness w join lost using (id) join moved using (id)
                 where w.n > moved.n and w.fence <= lost.fence";
    let (ids, fences): (Vec<i64>, Vec<i64>) = hit.jobs.iter().copied().unzip();
    let late: i64 =
        sqlx::query_scalar(late).bind(&ids).bind(&fences).fetch_one(&mut site.connect().await?).await?;
    if late == 0 { Ok(()) } else { Err(format!("{late} late writes under an old fence").into()) }
}
