//! The verdict over the last half of a soak: its second part is held against its first.
//!
//! What is worked on (jobs, timers, heads, counters) must not grow at all, whatever was done; what is remembered (events,
//! audit entries, finished jobs) grows with the work, but not in bytes for each row; dead rows are swept everywhere.

use super::sample::{Sample, Table};
use crate::Failure;

/// Samples that a verdict needs: two for each quarter.
pub(super) const FEWEST: u32 = 8;

/// Tables whose rows come and go, or stay and change.
const STANDING: [&str; 10] = [
    "job",
    "timer",
    "worker",
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
/// Growth of a remembering table's bytes for each row. A small one is mostly empty pages.
const ROW_GROWTH: f64 = 1.5;
const SMALL: i64 = 4 * 1024 * 1024;
/// Dead rows: a vacuum comes at a share of the table, and the count is an estimate.
const DEAD_GROWTH: (f64, f64) = (1.5, 2_000.0);
/// Resident memory: MiB that a heap may wander.
const RSS_GROWTH: (f64, f64) = (1.15, 24.0);
/// Jobs that are there.
const DEPTH_GROWTH: (f64, f64) = (1.5, 20.0);

/// Refuses with everything that is wrong.
pub(super) fn judge(samples: &[Sample]) -> Result<(), Failure> {
    let wrong = faults(samples)?;
    if wrong.is_empty() { Ok(()) } else { Err(format!("soak: {}", wrong.join("; ")).into()) }
}

/// A verdict that cannot be bad proves nothing: each kind of growth is invented, and must be seen.
pub(super) fn can_refuse(samples: &[Sample]) -> Result<(), Failure> {
    let grown: [(&str, Spoil); 4] = [
        ("job grew", |sample| each(sample, "job", |job| job.bytes = job.bytes * 3 + 1_000_000)),
        ("dead rows of run", |sample| each(sample, "run", |run| run.dead = run.dead * 3 + 10_000)),
        ("resident memory", |sample| sample.rss_mib *= 3.0),
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
    hold(
        "jobs waiting or running".into(),
        &|sample| float(sample.ready + sample.running + sample.delayed),
        DEPTH_GROWTH,
    );
    for name in samples[0].tables.keys() {
        let table = |sample: &Sample| sample.tables.get(name).copied();
        let dead = |sample: &Sample| table(sample).map_or(0.0, |table| float(table.dead));
        hold(format!("dead rows of {name}"), &dead, DEAD_GROWTH);
        if STANDING.contains(&name.as_str()) {
            let bytes = |sample: &Sample| table(sample).map_or(0.0, |table| float(table.bytes));
            hold(name.clone(), &bytes, STANDING_GROWTH);
        } else {
            let large = |table: &Table| table.bytes > SMALL && table.live > 0;
            let per_row = |sample: &Sample| {
                table(sample).filter(large).map_or(0.0, |table| float(table.bytes) / float(table.live))
            };
            // A table that was small before has nothing to be held against.
            let slack = if most(before, &per_row) > 0.0 { 0.0 } else { f64::MAX };
            hold(format!("{name}, bytes for each row,"), &per_row, (ROW_GROWTH, slack));
        }
    }
    wrong.extend(samples.iter().filter(|sample| sample.oldest_ready_seconds > OLDEST_READY).map(|sample| {
        format!("at {} s a job had waited for {:.0} s", sample.second, sample.oldest_ready_seconds)
    }));
    Ok(wrong)
}

fn most(samples: &[Sample], of: &dyn Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: i64) -> f64 {
    count as f64
}
