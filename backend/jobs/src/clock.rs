//! What is to be done when the database's clock is set while work goes on.
//!
//! Back: leases and waits are written down as times. What was written by a clock that was an hour ahead ends an hour late:
//! for so long nobody would take over from a worker that has died, and nothing would be tried again. But no lease ends later
//! than a new one would, no wait has yet to begin, and no heartbeat is still to come: whatever does so is counted from this
//! moment on, and lasts for at most twice as long as it was to. A time that somebody named is left as it is.
//!
//! Ahead: all leases are over at once, although nobody has died. Whoever notices the jump judges no lease until every living
//! worker had time to beat. A machine that was suspended together with the database looks the same from here.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A clock that is off by less was not set: as much may lie between the start of a statement and what it sees.
pub(crate) const NOTICED: Duration = Duration::from_secs(1);

/// Jobs set right by one statement: bounds its locks; the next tick goes on.
const PER_STATEMENT: i64 = 500;

/// What is counted from this moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetRight {
    /// Leases of running jobs.
    pub leases: u64,
    /// Waits before the next attempt.
    pub waits: u64,
    /// Heartbeats of workers.
    pub beats: u64,
}

const LEASES: &str = "
with long as materialized (
    select id from job where lease_until > now() + make_interval(secs => $1) + make_interval(secs => $2)
     order by lease_until limit $3 for update skip locked
)
update job set lease_until = now() + make_interval(secs => $1) where id = any (array (select id from long))";

const WAITS: &str = "
with early as materialized (
    select id from job where owner is null and not due and waits_since > now() + make_interval(secs => $1)
     order by waits_since limit $2 for update skip locked
)
update job set run_at = now() + (run_at - waits_since), waits_since = now() where id = any (array (select id from early))";

const BEATS: &str = "update worker set last_seen = now() where last_seen > now() + make_interval(secs => $1)";

/// Sets right what was written before the clock was set back. Any worker may do it at any time, outside any transaction.
/// `lease` is how long a lease lasts, which all workers of a database agree on.
pub async fn set_right(conn: &mut PgConnection, lease: Duration) -> Result<SetRight, sqlx::Error> {
    let noticed = NOTICED.as_secs_f64();
    let leases = sqlx::query(LEASES).bind(lease.as_secs_f64()).bind(noticed).bind(PER_STATEMENT);
    let leases = leases.execute(&mut *conn).await?.rows_affected();
    let waits = sqlx::query(WAITS).bind(noticed).bind(PER_STATEMENT);
    let waits = waits.execute(&mut *conn).await?.rows_affected();
    let beats = sqlx::query(BEATS).bind(noticed).execute(conn).await?.rows_affected();
    let right = SetRight { leases, waits, beats };
    if right != SetRight::default() {
        tracing::warn!(leases, waits, beats, "the database's clock was set back: these count from now on");
    }
    Ok(right)
}

/// Notices that the database's clock was set ahead: that it moved on by more than the time that has passed here.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// What it said last, and when it was asked for that.
    seen: Option<(DateTime<Utc>, Instant)>,
    mistrusted_until: Option<Instant>,
}

impl Watch {
    /// The database said `at` when it was asked. After a jump no lease is to be judged for a time of `grace`.
    pub(crate) fn saw(&mut self, at: DateTime<Utc>, (asked, answered): (Instant, Instant), grace: Duration) {
        let jumped = self.seen.is_some_and(|(before, asked_before)| {
            let passed = answered.saturating_duration_since(asked_before);
            (at - before).to_std().is_ok_and(|moved| moved > passed + NOTICED)
        });
        if jumped {
            tracing::warn!("the database's clock was set ahead: leases are not judged until all have beaten");
            self.mistrusted_until = Some(answered + grace);
        }
        self.seen = Some((at, asked));
    }

    /// Whether a lease that is over says that its worker is gone.
    pub(crate) fn is_trusted(&self, now: Instant) -> bool {
        self.mistrusted_until.is_none_or(|until| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(4);

    /// The database's clock after so many seconds, where it is off by `off`.
    fn at(seconds: u64, off: i64) -> DateTime<Utc> {
        let time = i64::try_from(seconds).unwrap() + off;
        DateTime::from_timestamp(1_800_000_000 + time, 0).unwrap()
    }

    #[test]
    fn after_a_jump_ahead_leases_are_not_judged_for_a_while() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        watch.saw(at(0, 0), (after(0), after(0)), GRACE);
        assert!(watch.is_trusted(after(0)));
        watch.saw(at(1, 90), (after(1), after(1)), GRACE);
        assert!(!watch.is_trusted(after(4)));
        watch.saw(at(4, 90), (after(4), after(4)), GRACE);
        assert!(watch.is_trusted(after(5)), "the jump is noticed once");
    }

    #[test]
    fn neither_a_slow_answer_nor_a_long_pause_nor_a_jump_back_is_a_jump_ahead() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        watch.saw(at(0, 0), (after(0), after(0)), GRACE);
        watch.saw(at(5, 0), (after(1), after(5)), GRACE);
        watch.saw(at(600, 0), (after(600), after(600)), GRACE);
        watch.saw(at(601, -3_600), (after(601), after(601)), GRACE);
        assert!(watch.is_trusted(after(601)));
    }
}
