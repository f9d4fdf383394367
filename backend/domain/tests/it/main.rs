//! Tests of the machines and the maths, over samples that the diagrams are drawn from too.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod audit_chain;
mod budgets;
mod diagrams;
mod events;
mod forecasts;
mod golden;
mod histories;
mod leases;
mod loops;
mod money;
mod policy_matrix;
mod properties;
#[path = "../samples/mod.rs"]
mod samples;
mod sentences;
mod tables;
mod world;
