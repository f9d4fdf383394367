//! Asking a tool whether a step took effect, instead of having it take effect twice.

use serde::Serialize;

/// The key of a tool's `_meta` that says how an interrupted call is resolved: `trace` for the tools that can be asked.
/// Of the others their hints say it: what is read-only or idempotent is repeated, about the rest a human is asked.
pub const RECOVERY_META_KEY: &str = "syndarix/recovery";
/// The key of a call's `_meta` that makes it a question: `true` looks whether the step took effect and changes nothing.
pub const TRACE_META_KEY: &str = "syndarix/trace";

/// Whether a step's call took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "trace", content = "with", rename_all = "snake_case")]
pub enum Trace<O> {
    /// It did; this is what the call would have answered.
    Found(O),
    /// It did not, and it is safe to call again.
    NotFound,
    /// What is there fits both, or neither. In a sentence for people.
    Unclear(String),
}
