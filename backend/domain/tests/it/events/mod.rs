//! Events of every machine, each variant in every shape that its data can have.

mod approval;
mod pull_request;
mod run;
mod sprint;
mod story;

use crate::samples::Sampled;

/// A machine with sample events.
pub(crate) trait Recorded: Sampled {
    /// The source of its data: the names that tests must cover are read from it.
    const SOURCE: &'static str;

    /// At least one event of each variant, with this text and these ids in it.
    fn events(text: &str, n: u128) -> Vec<Self::Event>;
}
