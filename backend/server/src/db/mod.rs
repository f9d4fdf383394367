//! The floor that every feature stands on: the pool, the event store, one unit of work, audit.
//!
//! Invariant: one transaction moves the world forward: events, state rows, jobs, timers and audit entries
//! commit together or not at all, and nothing outside the database happens between begin and commit.

mod along;
pub mod audit;
mod claim;
pub(crate) mod combine;
mod error;
mod events;
mod heads;
mod locked;
mod migrations;
mod pool;
mod rebuild;
mod refusals;
mod retry;
mod revision;
mod statement;
mod store;
mod text;
mod unit;
mod writes;

pub(crate) use along::Along;
pub use claim::{Claim, KEPT as CLAIMS_KEPT};
pub use error::Error;
pub use events::{Recorded, stored_event, upcast};
pub use migrations::{migrate, migrate_within, pending_migrations};
pub(crate) use pool::apart;
pub use pool::connect;
pub use rebuild::Rebuild;
pub use retry::{AsConflict, retry_conflicts};
pub use revision::{RevisionError, check, check_states, upgrade, upgrade_states};
pub use store::{Loaded, Store};
pub use text::{storable, storable_json};
pub use unit::{Author, Effects, Uow};
