//! The git server over real HTTP, with real git.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod changing;
mod fixture;
mod hostile;
mod looking;
mod process;
mod pull_requests;
