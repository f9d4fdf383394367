//! One look at tables, memory and queue.

use crate::{Failure, cells::site::Site};
use serde::Serialize;
use sqlx::PgConnection;
use std::{collections::BTreeMap, fs, time::Duration};

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
    /// Of all processes of the database, without the buffers that they share.
    pub(super) postgres_mib: f64,
    pub(super) tables: BTreeMap<String, Table>,
}

#[derive(Clone, Copy, Default, Serialize)]
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
            postgres_mib: own_mib(site.postgres.pid()?),
            tables,
        })
    }

    /// Dead rows of all tables.
    pub(super) fn dead(&self) -> i64 {
        self.tables.values().map(|table| table.dead).sum()
    }

    /// All tables, with their indexes and all.
    pub(super) fn bytes(&self) -> i64 {
        self.tables.values().map(|table| table.bytes).sum()
    }

    pub(super) fn sentence(&self) -> String {
        let (dead, bytes) = (self.dead(), self.bytes());
        let job = self.tables.get("job").map_or(0, |table| table.bytes);
        format!(
            "  {:>5} s: {} stories done, {} jobs ready, {} running, {} later; {dead} dead tuples, {} KiB in all, job {} KiB; {:.0} MiB resident, {:.0} MiB of the database's own",
            self.second,
            self.stories_done,
            self.ready,
            self.running,
            self.delayed,
            bytes / 1024,
            job / 1024,
            self.rss_mib,
            self.postgres_mib
        )
    }
}

/// Resident memory of a process.
fn resident_mib(pid: u32) -> Result<f64, Failure> {
    Ok(status(pid, "VmRSS:").ok_or("no VmRSS")? / 1024.0)
}

/// Memory that the postmaster and its children have for themselves; one that ends meanwhile has none.
fn own_mib(postmaster: u32) -> f64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = |pid: &u32| *pid == postmaster || status(*pid, "PPid:") == Some(f64::from(postmaster));
    pids.filter(ours).filter_map(|pid| status(pid, "RssAnon:")).sum::<f64>() / 1024.0
}

/// A number of /proc/PID/status; memory is in KiB.
fn status(pid: u32, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}
