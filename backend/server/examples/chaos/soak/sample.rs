//! One look at tables, memory and queue.

use crate::{Failure, cells::site::Site};
use serde::Serialize;
use sqlx::PgConnection;
use std::{collections::BTreeMap, time::Duration};

/// What is not the product's.
const WITNESS: &str = "chaos_witness";

#[derive(Clone, Serialize)]
pub(super) struct Sample {
    name: &'static str,
    pub(super) second: u64,
    pub(super) stories_done: i64,
    /// Jobs that could run, run, or wait for their time.
    pub(super) ready: i64,
    pub(super) running: i64,
    pub(super) delayed: i64,
    /// Age of the oldest job that could run.
    pub(super) oldest_ready_seconds: f64,
    /// Of both processes together.
    pub(super) rss_mib: f64,
    pub(super) postgres_rss_mib: f64,
    pub(super) tables: BTreeMap<String, Table>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Table {
    pub(super) live: i64,
    pub(super) dead: i64,
    /// Heap, indexes and all.
    pub(super) bytes: i64,
}

impl Sample {
    pub(super) async fn take(site: &Site, conn: &mut PgConnection, at: Duration) -> Result<Self, Failure> {
        let (ready, running, delayed, oldest): (i64, i64, i64, f64) = sqlx::query_as(
            "select count(*) filter (where owner is null and run_at <= now()), count(*) filter (where owner is not null),
                    count(*) filter (where owner is null and run_at > now()),
                    coalesce(extract(epoch from now() - min(run_at) filter (where owner is null)), 0)::float8
               from job",
        )
        .fetch_one(&mut *conn)
        .await?;
        let done = "select count(*) from story where phase = 'done'";
        let stories_done = sqlx::query_scalar(done).fetch_one(&mut *conn).await?;
        let stats = "select relname::text, n_live_tup, n_dead_tup, pg_total_relation_size(relid) from pg_stat_user_tables";
        let stats: Vec<(String, i64, i64, i64)> = sqlx::query_as(stats).fetch_all(&mut *conn).await?;
        let tables = stats
            .into_iter()
            .filter(|(name, ..)| name != WITNESS)
            .map(|(name, live, dead, bytes)| (name, Table { live, dead, bytes }))
            .collect();
        let rss_mib = site.servers.iter().map(|server| resident_mib(server.pid())).sum::<Result<f64, _>>()?;
        Ok(Self {
            name: "soak",
            second: at.as_secs(),
            stories_done,
            ready,
            running,
            delayed,
            oldest_ready_seconds: oldest.max(0.0),
            rss_mib,
            postgres_rss_mib: resident_mib(site.postgres.pid()?)?,
            tables,
        })
    }

    pub(super) fn sentence(&self) -> String {
        let dead: i64 = self.tables.values().map(|table| table.dead).sum();
        let bytes: i64 = self.tables.values().map(|table| table.bytes).sum();
        let job = self.tables.get("job").map_or(0, |table| table.bytes);
        format!(
            "  {:>5} s: {} stories done, {} jobs ready, {} running, {} later; {dead} dead tuples, {} KiB in all, job {} KiB; {:.0} MiB resident",
            self.second,
            self.stories_done,
            self.ready,
            self.running,
            self.delayed,
            bytes / 1024,
            job / 1024,
            self.rss_mib
        )
    }
}

/// Resident memory of a process.
fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}
