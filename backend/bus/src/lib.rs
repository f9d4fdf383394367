//! Live events: what was committed reaches every listener, in order, without a gap.
//!
//! The database is the truth; the hub only carries hints. Losing a hint costs latency, never an event.

mod hub;

pub use hub::Hub;
