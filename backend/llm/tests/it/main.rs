//! The gateway and the scripted endpoint over real HTTP on the loopback interface.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

mod drill;
mod failover;
mod faults;
mod harness;
mod hedging;
mod hooks;
mod messages;
mod openai_responses;
mod providers;
mod responses;
mod routing;
#[path = "../samples/mod.rs"]
mod samples;
mod scripted;
mod stream_errors;
mod streams;
mod thoughts;
mod translation;
mod wires;
