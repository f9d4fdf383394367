//! The git server over real HTTP, with real git.

mod changing;
mod fixture;
mod hostile;
mod looking;
mod pull_requests;
