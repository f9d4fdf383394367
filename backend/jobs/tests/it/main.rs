//! The job queue against a real PostgreSQL: every test has a database of its own, dropped at its end.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails loudly")]

mod bystanders;
mod clock;
mod dead_letters;
mod exhaustive;
mod harness;
mod history;
mod intake;
mod late;
mod late_writes;
mod leader;
mod leases;
mod model;
mod outages;
mod queue;
mod rates;
mod recurring;
mod shares;
mod timers;
mod views;
mod workers;
