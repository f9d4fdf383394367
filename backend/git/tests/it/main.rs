//! The hardened runner and what is read through it, with real git.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod locking;
mod names;
mod running;
mod worktrees;
