//! Live events: what was committed reaches every listener, in order, without a gap and without a repeat.
//!
//! The database is the truth; the hub only carries hints. Invariants this crate keeps, and its tests hold it to:
//!
//! - a [`Subscription`] gives the events of its project with `seq` 1, 2, 3 ... from its cursor on: none is missing,
//!   none comes twice, whatever became of hints, of Redis, or of the pace of the listener;
//! - [`Hub::committed`] and [`Hub::ephemeral`] never wait, and what they keep is bounded;
//! - other instances are told by [`Hub::run`], never by whoever commits; between instances only numbers travel,
//!   not events, so that nobody can slip one in and nothing outlives its erasure;
//! - a client that cannot go on from its cursor is told so once, with [`Item::Reset`].

mod buckets;
mod channel;
mod cursor;
mod hub;
mod log;
mod marks;
mod outbox;
mod relay;
mod socket;
mod subscription;
mod watch;

pub use buckets::{Buckets, Correction, Take, Taken};
pub use channel::{Committed, Ephemeral};
pub use cursor::{BadCursor, Cursor};
pub use hub::{Health, Hub};
pub use log::{Log, LogError, Upcast};
pub use marks::{Carrier, Mark, Marks, marks};
pub use relay::Relay;
pub use socket::{STALL, Unstalled};
pub use subscription::{Item, Listener, Subscription};
