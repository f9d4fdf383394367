//! The verdict over the last half of a soak: its second part is held against its first.
//!
//! What is worked on (jobs, timers, leases, heads, counters) must not grow at all, whatever was done; what is remembered
//! (events, audit entries, finished jobs) grows with its rows, and not beyond what these explain; dead rows are swept
//! everywhere; and neither the processes nor their database take more and more memory.

use super::sample::{Sample, Table};
use crate::Failure;

/// Samples that a verdict needs: two for each quarter.
pub(super) const FEWEST: u32 = 8;

/// Tables whose rows come and go, or stay and change.
const STANDING: [&str; 11] = [
    "job",
    "timer",
    "worker",
    "leader_lease",
    "project_log",
    "counter",
    "budget",
    "agent",
    "audit_cursor",
    "audit_head",
    "knowledge_statistics",
];
/// Seconds that a job which could run may wait under this load.
const OLDEST_READY: f64 = 30.0;
/// Growth of a standing table between the two parts that is chance, and the bytes below which nobody cares.
const STANDING_GROWTH: (f64, f64) = (1.25, 256.0 * 1024.0);
/// Bytes of a remembering table beyond what its rows took before. A small one is mostly empty pages.
const ROW_GROWTH: f64 = 1.5;
const SMALL: i64 = 4 * 1024 * 1024;
/// Dead rows: a vacuum comes at a share of the table, and the count is an estimate.
const DEAD_GROWTH: (f64, f64) = (1.5, 2_000.0);
/// Resident memory: MiB that a heap may wander.
const RSS_GROWTH: (f64, f64) = (1.15, 24.0);
/// The database's own memory, its buffers left out: sessions remember plans and tables as they meet them.
const DATABASE_GROWTH: (f64, f64) = (1.25, 48.0);
/// Jobs that are there.
const DEPTH_GROWTH: (f64, f64) = (1.5, 20.0);

/// Refuses with everything that is wrong.
pub(super) fn judge(samples: &[Sample]) -> Result<(), Failure> {
    let wrong = faults(samples)?;
    if wrong.is_empty() { Ok(()) } else { Err(format!("soak: {}", wrong.join("; ")).into()) }
}

/// A verdict that cannot be bad proves nothing: each kind of growth is invented, and must be seen.
pub(super) fn can_refuse(samples: &[Sample]) -> Result<(), Failure> {
    let grown: [(&str, Spoil); 9] = [
        ("job grew", |sample| each(sample, "job", bloat)),
        ("timer grew", |sample| each(sample, "timer", bloat)),
        ("leader_lease grew", |sample| each(sample, "leader_lease", bloat)),
        ("event has more bytes than rows", |sample| each(sample, "event", bloat)),
        ("audit_block has more bytes than rows", |sample| each(sample, "audit_block", bloat)),
        ("dead rows of run", |sample| each(sample, "run", |run| run.dead = run.dead * 3 + 10_000)),
        ("resident memory", |sample| sample.rss_mib *= 3.0),
        ("memory of the database", |sample| sample.postgres_mib = sample.postgres_mib * 3.0 + 100.0),
        ("jobs waiting", |sample| sample.ready += 1_000),
    ];
    for (what, spoil) in grown {
        let mut spoilt = samples.to_vec();
        let from = spoilt.len() - spoilt.len() / 4;
        spoilt[from..].iter_mut().for_each(spoil);
        if !faults(&spoilt)?.iter().any(|fault| fault.contains(what)) {
            return Err(format!("nobody notices when this grows: {what}").into());
        }
    }
    Ok(())
}

type Spoil = fn(&mut Sample);

fn bloat(table: &mut Table) {
    table.bytes = table.bytes * 10 + 10_000_000;
}

fn each(sample: &mut Sample, table: &str, spoil: fn(&mut Table)) {
    if let Some(table) = sample.tables.get_mut(table) {
        spoil(table);
    }
}

fn faults(samples: &[Sample]) -> Result<Vec<String>, Failure> {
    if samples.len() < usize::try_from(FEWEST)? {
        return Err(format!("{} samples are too few for a verdict", samples.len()).into());
    }
    let quarter = samples.len() / 4;
    let (before, after) = samples[samples.len() - 2 * quarter..].split_at(quarter);
    let mut wrong = Vec::new();
    let mut hold = |what: String, of: &dyn Fn(&Sample) -> f64, (factor, slack): (f64, f64)| {
        let (was, is) = (most(before, of), most(after, of));
        if is > was.mul_add(factor, slack) {
            wrong.push(format!("{what} grew from {was:.0} to {is:.0}"));
        }
    };
    hold("resident memory (MiB)".into(), &|sample| sample.rss_mib, RSS_GROWTH);
    hold("memory of the database (MiB)".into(), &|sample| sample.postgres_mib, DATABASE_GROWTH);
    hold(
        "jobs waiting or running".into(),
        &|sample| float(sample.ready + sample.running + sample.delayed),
        DEPTH_GROWTH,
    );
    // The last sample knows the tables that were made on the way, such as a new day of the history.
    let tables = || samples.iter().rev().take(1).flat_map(|last| last.tables.keys());
    for name in tables() {
        let table = |sample: &Sample| sample.tables.get(name).copied().unwrap_or_default();
        hold(format!("dead rows of {name}"), &|sample| float(table(sample).dead), DEAD_GROWTH);
        if STANDING.contains(&name.as_str()) {
            hold(name.clone(), &|sample| float(table(sample).bytes), STANDING_GROWTH);
        }
    }
    let remembering = tables().filter(|name| !STANDING.contains(&name.as_str()));
    wrong.extend(remembering.filter_map(|name| beyond_its_rows(name, before, after)));
    wrong.extend(samples.iter().filter(|sample| sample.oldest_ready_seconds > OLDEST_READY).map(|sample| {
        format!("at {} s a job had waited for {:.0} s", sample.second, sample.oldest_ready_seconds)
    }));
    Ok(wrong)
}

/// A remembering table that takes more than its rows took before, each of them, and half as much again.
fn beyond_its_rows(name: &str, before: &[Sample], after: &[Sample]) -> Option<String> {
    let tables = |samples: &[Sample]| -> Vec<Table> {
        samples.iter().filter_map(|sample| sample.tables.get(name).copied()).collect()
    };
    let each = |table: &Table| float(table.bytes) / float(table.live.max(1));
    let (before, after) = (tables(before), tables(after));
    let usual = before.iter().filter(|table| table.live > 0).map(each).fold(f64::NAN, f64::max);
    let found = after.iter().find(|table| {
        table.bytes > SMALL && float(table.bytes) > usual * ROW_GROWTH * float(table.live.max(1))
    })?;
    Some(format!(
        "{name} has more bytes than rows: {} for {}, and {usual:.0} for each were usual",
        found.bytes, found.live
    ))
}

pub(super) fn most(samples: &[Sample], of: &dyn Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn float(count: i64) -> f64 {
    count as f64
}
