//! Durable jobs and timers on PostgreSQL.
//!
//! A job is enqueued in the caller's own transaction, claimed in batches, run under a lease with a fencing token,
//! and finished only while that lease is held. Invariants this crate keeps, and its tests hold it to:
//!
//! - a job that was committed is run until it is done, cancelled or in the dead letters: none is lost;
//! - a result is written only under the current fence: whoever lost the lease writes nothing;
//! - effects written in one transaction with [`Lease::complete`] happen exactly once;
//! - two jobs of one concurrency key never run at the same time, two jobs of one unique key are never live together;
//! - of a rate's key no more jobs start in any window than its limit says, whatever crashes;
//! - a project with a long backlog does not keep another project waiting;
//! - a timer fires once, late rather than never; a tick of a schedule once, or as its policy for missed ones says;
//! - a duty has one leader, and who lost it writes nothing as the leader;
//! - [`WorkerHandle::shutdown`] comes back within its deadline plus [`DRAIN_GRACE`].
//!
//! All times are the database's clock; what becomes of them when it is set, is in `clock.rs`. Nothing here sends NOTIFY: it
//! serialises commits. The caller pokes [`Wake`] after its commit, and a jittered poll finds what nobody poked for.

mod beat;
mod claim;
mod clock;
mod config;
mod cursor;
mod dead;
mod duty;
mod enqueue;
mod fetch;
mod handler;
mod held_up;
mod intake;
mod leader;
mod lease;
mod maintain;
mod outage;
mod rate;
mod recurring;
mod rescue;
mod retention;
mod schedule;
mod settle;
mod share;
mod survey;
mod telemetry;
mod timers;
mod views;
mod wake;
mod worker;

pub use claim::{Claim, Claimed, claim, promote};
pub use clock::{SetRight, set_ready_right, set_right};
pub use config::{Backoff, QueueConfig, WorkerConfig};
pub use cursor::Cursor;
pub use dead::{DeathCause, Redriven, purge, redrive};
pub use duty::Duty;
pub use enqueue::{
    Cancelled, EnqueueError, Enqueued, NewJob, Priority, cancel, cancel_key, enqueue, enqueue_many,
};
pub use handler::{Handler, Job, Outcome, Registry};
pub use intake::{Intake, IntakeError};
pub use leader::{Leadership, NotLeader, lead};
pub use lease::{Finished, Lease, LeaseLost};
pub use rate::{LastLine, RateLimit, let_out};
pub use recurring::{Recurring, ensure_recurring};
pub use rescue::{Holder, Rescue, Rescued, rescue};
pub use retention::keep_history;
pub use schedule::{Missed, Schedule, ScheduleError};
pub use share::set_share;
pub use telemetry::measure;
pub use timers::{Fired, NewTimer, TimerChange, cancel_timers, change_timers, fire_due, schedule_timer};
pub use views::{
    Attempt, DeadJob, Filter, JobRow, JobState, QueueStats, WorkerRow, list, list_dead, queue_stats, workers,
};
pub use wake::Wake;
pub use worker::{DRAIN_GRACE, Drained, Worker, WorkerHandle};
