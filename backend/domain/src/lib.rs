//! The rules of Syndarix, and nothing else: no clock, no random numbers, no I/O.
//!
//! Everything that must survive a reboot is a [`machine::Machine`]: a pure `decide` answers a command with
//! events and effects or with a [`machine::Rejection`], and a total `evolve` folds events into state. Time and
//! ids come in as arguments, so that replaying a history gives the same state on any machine at any time.

pub mod actor;
pub mod approval;
pub mod audit;
pub mod budget;
pub mod envelope;
pub mod forecast;
pub mod ids;
pub mod lease;
pub mod machine;
pub mod money;
pub mod network;
pub mod policy;
pub mod pull_request;
pub mod revision;
pub mod run;
pub mod sprint;
pub mod stage;
pub mod story;

/// A moment in UTC. The caller reads the clock; the domain never does.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
