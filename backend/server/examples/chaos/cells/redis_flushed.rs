//! Redis forgets everything and drops everybody, while a client follows what the other process commits.

use super::{
    Cell, redis,
    site::{Place, Site},
};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use sqlx::types::Uuid;
use std::time::{Duration, Instant};

/// Whatever a hint was lost for is read from the database within this.
const CATCH_UP: Duration = Duration::from_secs(10);

pub(super) const CELL: Cell = Cell {
    name: "redis-flushed",
    sentence: "Redis is flushed and drops its clients, and who follows the events misses none and sees none twice",
    redis: true,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    let url = site.launch.redis.clone().ok_or("the cell has no Redis")?;
    let project: Uuid = site.scene(Place::Plain).project.parse()?;
    let follower = site.api_at(&site.servers[0], Place::Plain).follow().await?;
    site.begin_many(2).await?;
    let times = rng.random_range(3..8);
    let pauses: Vec<u64> = (0..times).map(|_| rng.random_range(20..500)).collect();
    let disturb = async {
        for pause in pauses {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            redis::tell(&url, "FLUSHALL")?;
            // Whoever listens is thrown out, too, and has to come back.
            redis::tell(&url, "CLIENT KILL TYPE pubsub")?;
            redis::tell(&url, "CLIENT KILL TYPE normal SKIPME yes")?;
        }
        site.finish().await?;
        let head: i64 = sqlx::query_scalar("select head from project_log where project_id = $1")
            .bind(project)
            .fetch_one(&mut site.connect().await?)
            .await?;
        Ok::<_, Failure>(head)
    };
    let mut seen = Seen { response: follower, text: String::new(), numbers: Vec::new() };
    let head = tokio::select! {
        head = disturb => head?,
        ended = seen.read_on(i64::MAX) => return Err(format!("the stream ended: {ended:?}").into()),
    };
    let begun = Instant::now();
    let caught_up = tokio::time::timeout(CATCH_UP, seen.read_on(head)).await;
    let waited = begun.elapsed();
    if !matches!(caught_up, Ok(Ok(()))) {
        return Err(format!("the follower is at {:?} of {head}: {caught_up:?}", seen.numbers.last()).into());
    }
    let gap = seen.numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    if let Some(gap) = gap {
        return Err(format!("the follower saw {gap:?} in a row").into());
    }
    Ok(format!(
        "flushed {times} times, {} events seen in a row, the last {:.1} s after the stories were done",
        seen.numbers.len().saturating_sub(1),
        waited.as_secs_f64()
    ))
}

/// What came over the stream.
struct Seen {
    response: reqwest::Response,
    text: String,
    /// The numbers, beginning with the one after which the stream begins.
    numbers: Vec<i64>,
}

impl Seen {
    /// Reads until this number was seen.
    async fn read_on(&mut self, until: i64) -> Result<(), Failure> {
        while self.numbers.last().is_none_or(|last| *last < until) {
            let piece = self.response.chunk().await?.ok_or("the stream is over")?;
            self.text.push_str(&String::from_utf8_lossy(&piece));
            while let Some((line, rest)) = self.text.split_once('\n') {
                if let Some(number) = line.strip_prefix("id: ").and_then(|id| id.rsplit(':').next()) {
                    self.numbers.push(number.trim().parse()?);
                }
                self.text = rest.into();
            }
        }
        Ok(())
    }
}
