//! What follows from the decisions of stories, sprints and pull requests.

mod pull_request;
mod sprint;
mod story;

/// The queues that this feature's jobs go to.
pub(super) mod queue {
    /// Work of agents.
    pub(in super::super) const AGENT: &str = "agent";
    /// Work on repositories.
    pub(in super::super) const GIT: &str = "git";
    /// Everything short.
    pub(in super::super) const DEFAULT: &str = "default";
}
