//! Syndarix: software built by agents, under human control.
//!
//! Features first, over a thin shared floor: `db` is the event store and the unit of work, `http` the errors,
//! extractors and the router, `features` everything that users come for.

pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod demo;
pub mod features;
pub mod http;
pub mod lifecycle;
pub mod state;
pub mod telemetry;
pub mod vault;
