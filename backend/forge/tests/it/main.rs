//! The local forge with real git.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

mod fixture;
mod hardening;
mod killing;
mod merging;
mod repositories;
mod worktrees;
