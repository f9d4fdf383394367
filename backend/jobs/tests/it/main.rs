//! The job queue against a real PostgreSQL: every test has a database of its own, dropped at its end.

mod harness;
mod leader;
mod leases;
mod model;
mod queue;
mod timers;
mod views;
mod workers;
