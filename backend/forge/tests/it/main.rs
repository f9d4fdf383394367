//! The local forge with real git.

mod fixture;
mod hardening;
mod merging;
mod repositories;
mod worktrees;
