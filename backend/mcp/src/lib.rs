//! The MCP client manager: the one way from Syndarix to tools.
//!
//! One shared client per server, connected when first needed and again when it has failed; the caller's
//! own service token with every call; time-outs, concurrency limits and cancellation that reach the
//! server; the catalogue of tools with routing by name; and hashes by which a changed tool is noticed.
//!
//! Invariants: a token goes with the one request it was given for and is never stored, serialised or
//! logged; no answer, also no tool list, is shared between tokens; a call ends: by an answer, by the time
//! limit, by cancellation, or because its future was dropped, and then the server's work is cancelled too;
//! nothing is ever sent twice by itself, because only the caller knows what may be repeated.

mod catalogue;
mod connection;
mod error;
mod manager;
mod outcome;
mod post;
mod transport;

pub use crate::{
    catalogue::{Catalogue, PinChange, Pins, RECOVERY_META, Recovery, RouteError, ToolInfo},
    error::CallError,
    manager::{Health, Limits, Manager, ServerEndpoint, SetupError, ToolCall},
    outcome::ToolOutcome,
};
