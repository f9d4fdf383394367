//! What is to be done when the database's clock is set while work goes on.
//!
//! Back: leases and waits are written down as times. What was written by a clock that was an hour ahead ends an hour late:
//! for so long nobody would take over from a worker that has died, and nothing would be tried again. But no lease ends later
//! than a new one would, no wait has yet to begin, no heartbeat is still to come, and nothing that comes back every so often
//! is further away than that: whatever does so is counted from this moment on, and lasts for at most twice as long as it was
//! to. A time that somebody named is left as it is, those of a cron expression among them: each of them fires once.
//!
//! What is ready has nothing to wait for, but its turn; it keeps that before all that comes in later.
//!
//! Ahead: all leases are over at once, although nobody has died. Whoever notices the jump judges no lease until every living
//! worker had time to beat. So does a process that has just started: it cannot know of one. A machine that was suspended
//! together with the database looks the same from here.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::claim::AGEING_STEP;

/// A clock that is off by less was not set: as much may lie between the start of a statement and what it sees.
pub(crate) const NOTICED: Duration = Duration::from_secs(1);

/// Jobs set right by one statement: bounds its locks; the next tick goes on.
const PER_STATEMENT: i64 = 500;

/// The same for ready ones: each statement walks all of them.
const READY_PER_STATEMENT: i64 = 2_000;

/// What is counted from this moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetRight {
    /// Leases of running jobs.
    pub leases: u64,
    /// Waits before the next attempt.
    pub waits: u64,
    /// Heartbeats of workers.
    pub beats: u64,
    /// Jobs that come back every so often.
    pub recurring: u64,
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

// A new beat begins: ticks of the old one have fired that are yet to come, and none may fire again.
const RECURRING: &str = "
update timer set fire_at = now() + make_interval(secs => every_seconds), last_tick = least(last_tick, now())
 where stream = $2 and every_seconds is not null
   and (fire_at > now() + make_interval(secs => every_seconds + $1) or last_tick > now() + make_interval(secs => $1))";

// By the two indexes of what is ready, and in their order: what was first stays first.
const READY: &str = "
with first as materialized (
    select id from job where owner is null and due and fence = 0 and run_at > now() + make_interval(secs => $1)
     order by queue, tenant, priority, run_at, id limit $2 for update skip locked
), again as materialized (
    select id from job where owner is null and due and fence > 0 and run_at > now() + make_interval(secs => $1)
     order by queue, tenant, priority, run_at, id limit $2 for update skip locked
)
update job set run_at = now() where id = any (array (select id from first union all select id from again))";

// The same for the lines of rates. A place there is a time to come: later for a lower priority.
const IN_LINE: &str = "
with late as materialized (
    select id from job
     where in_line_at is not null and owner is null and not due
       and in_line_at > now() + priority * make_interval(secs => $3) + make_interval(secs => $1)
     order by (rate).key, tenant, in_line_at, id limit $2 for update skip locked
)
update job set in_line_at = now() + priority * make_interval(secs => $3), run_at = least(run_at, now())
 where id = any (array (select id from late))";

/// Sets right what was written before the clock was set back. Any worker may do it at any time, outside any transaction.
/// `lease` is how long a lease lasts, which all workers of a database agree on.
pub async fn set_right(conn: &mut PgConnection, lease: Duration) -> Result<SetRight, sqlx::Error> {
    let noticed = NOTICED.as_secs_f64();
    let leases = sqlx::query(LEASES).bind(lease.as_secs_f64()).bind(noticed).bind(PER_STATEMENT);
    let leases = leases.execute(&mut *conn).await?.rows_affected();
    let waits = sqlx::query(WAITS).bind(noticed).bind(PER_STATEMENT);
    let waits = waits.execute(&mut *conn).await?.rows_affected();
    let beats = sqlx::query(BEATS).bind(noticed).execute(&mut *conn).await?.rows_affected();
    let recurring =
        sqlx::query(RECURRING).bind(noticed).bind(Uuid::nil()).execute(conn).await?.rows_affected();
    let right = SetRight { leases, waits, beats, recurring };
    if right != SetRight::default() {
        tracing::warn!(
            leases,
            waits,
            beats,
            recurring,
            "the database's clock was set back: these count from now on"
        );
    }
    Ok(right)
}

/// What is ready since a time to come, is so from now on: it would stand behind all that comes in until then. Says how much
/// there was; a hand full goes at once. It walks all that is ready: for whoever noticed that the clock was set back, until
/// nothing is left.
pub async fn set_ready_right(conn: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let noticed = NOTICED.as_secs_f64();
    let ready = sqlx::query(READY).bind(noticed).bind(READY_PER_STATEMENT).execute(&mut *conn).await?;
    let in_line =
        sqlx::query(IN_LINE).bind(noticed).bind(READY_PER_STATEMENT).bind(AGEING_STEP.as_secs_f64());
    let (ready, in_line) = (ready.rows_affected(), in_line.execute(conn).await?.rows_affected());
    if ready + in_line > 0 {
        tracing::warn!(ready, in_line, "the database's clock was set back: these jobs are ready from now on");
    }
    Ok(ready + in_line)
}

/// Notices that the database's clock was set: that it moved on by more than the time that has passed here, or by less.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Option<Look>,
    /// `None` before the first look.
    trusted_from: Option<Instant>,
    set_back: bool,
}

/// What the clock said, and between which moments.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: DateTime<Utc>,
    asked: Instant,
    answered: Instant,
}

impl Watch {
    /// The database said `at` when it was asked. After a jump no lease is to be judged for a time of `grace`.
    pub(crate) fn saw(&mut self, at: DateTime<Utc>, (asked, answered): (Instant, Instant), grace: Duration) {
        let Some(before) = self.seen.replace(Look { at, asked, answered }) else {
            // It may have been set a moment ago: who has just started cannot know.
            self.trusted_from = Some(answered + grace);
            return;
        };
        let earliest = before.at + asked.saturating_duration_since(before.answered);
        let latest = before.at + answered.saturating_duration_since(before.asked);
        if at > latest + NOTICED {
            tracing::warn!("the database's clock was set ahead: leases are not judged until all have beaten");
            self.trusted_from = Some(answered + grace);
        } else if at + NOTICED < earliest {
            self.set_back = true;
        }
    }

    /// Whether a lease that is over, or a heartbeat that is old, says that its worker is gone.
    pub(crate) fn is_trusted(&self, now: Instant) -> bool {
        self.trusted_from.is_some_and(|from| now >= from)
    }

    /// The clock was set back, and what was ready then may still be so since a time to come: see [`set_ready_right`].
    pub(crate) fn is_set_back(&self) -> bool {
        self.set_back
    }

    /// All that is ready is so since a time that has passed.
    pub(crate) fn put_right(&mut self) {
        self.set_back = false;
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
    fn at_first_and_after_a_jump_ahead_leases_are_not_judged_for_a_while() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        watch.saw(at(0, 0), (after(0), after(0)), GRACE);
        assert!(!watch.is_trusted(after(3)), "who has just started knows of no jump");
        assert!(watch.is_trusted(after(4)));
        watch.saw(at(5, 90), (after(5), after(5)), GRACE);
        assert!(!watch.is_trusted(after(8)));
        watch.saw(at(8, 90), (after(8), after(8)), GRACE);
        assert!(watch.is_trusted(after(9)), "the jump is noticed once");
        assert!(!watch.is_set_back());
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

    #[test]
    fn a_jump_back_is_noticed_also_after_a_pause_and_remembered_until_what_is_ready_is_right() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        watch.saw(at(0, 0), (after(0), after(0)), GRACE);
        watch.saw(at(1, 0), (after(1), after(9)), GRACE);
        watch.saw(at(10, 0), (after(2), after(10)), GRACE);
        assert!(!watch.is_set_back(), "these answers were slow");
        watch.saw(at(600, -90), (after(600), after(600)), GRACE);
        watch.saw(at(601, -90), (after(601), after(601)), GRACE);
        assert!(watch.is_set_back());
        watch.put_right();
        watch.saw(at(602, -90), (after(602), after(602)), GRACE);
        assert!(!watch.is_set_back(), "the jump is noticed once");
    }
}
