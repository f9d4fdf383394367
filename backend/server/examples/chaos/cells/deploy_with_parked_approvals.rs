//! Everything is stopped while questions are open, and another start answers them: of the same binary, or of this build
//! where the cell has begun with that of the release before. That deploy is the first seed's; there is no way back from it.

use super::{
    Cell,
    site::{Place, Site},
};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use std::time::{Duration, Instant};

const STORIES: i64 = 3;
const ASKED_LIMIT: Duration = Duration::from_secs(60);

pub(super) const CELL: Cell = Cell {
    name: "deploy-with-parked-approvals",
    sentence: "all processes stop while questions are open, others start, and every answer wakes its run",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    for n in 1..=STORIES {
        let title = format!("Question {n} of {}", site.label);
        site.begin(Place::Asking, &title).await?;
    }
    all_parked(site).await?;
    let next = site.next.take();
    let deployed = next.is_some();
    // The rules know no earlier schema than this build's.
    if !deployed {
        site.check_always().await?;
    }
    for server in &mut site.servers {
        server.stop()?;
    }
    if !deployed {
        site.check_always().await?;
    }
    let away = Duration::from_millis(rng.random_range(0..500));
    tokio::time::sleep(away).await;
    if let Some(next) = next {
        site.launch.binary = next;
    }
    for index in 0..site.servers.len() {
        site.replace(index).await?;
    }
    site.finish().await?;
    Ok(format!(
        "{STORIES} questions outlived a stop; {} answered them, {STORIES} stories done",
        if deployed { "the next release" } else { "the same binary" }
    ))
}

/// Every story has asked, and no job is left that could do anything.
async fn all_parked(site: &Site) -> Result<(), Failure> {
    let mut conn = site.connect().await?;
    let parked = "select (select count(*) from approval where phase = 'pending'),
                         (select count(*) from job where project_id is not null and concurrency_key is not null)";
    let begun = Instant::now();
    loop {
        let (asked, jobs): (i64, i64) = sqlx::query_as(parked).fetch_one(&mut conn).await?;
        if asked == STORIES && jobs == 0 {
            return Ok(());
        }
        if begun.elapsed() > ASKED_LIMIT {
            return Err(format!("{asked} of {STORIES} stories ask, {jobs} jobs are left").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
