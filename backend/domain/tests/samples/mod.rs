//! Representative states and commands of every machine, for the tests and for the diagrams.
//!
//! Invariants: every state is reached by commands that the machine accepts; every command fits the state that it is
//! asked for where one can. Nothing here panics: an example uses it too.

pub(crate) mod approval;
pub(crate) mod diagrams;
pub(crate) mod pull_request;
pub(crate) mod run;
pub(crate) mod sprint;
pub(crate) mod story;

use syndarix_domain::{
    Timestamp,
    machine::{Machine, Rejection},
    story::{Feedback, LineComment, Side},
};
use uuid::Uuid;

/// A named thing: the name is a line of the tables.
pub(crate) type Named<T> = (&'static str, T);

/// A machine with samples.
pub(crate) trait Sampled: Machine {
    /// States worth asking every command of, each phase at least once.
    fn states() -> Result<Vec<Named<Option<Self>>>, Rejection>;

    /// Commands worth asking of this state: the fitting ones and the near misses.
    fn commands(state: Option<&Self>) -> Vec<Named<Self::Command>>;
}

/// The n-th id.
pub(crate) fn id<I: From<Uuid>>(n: u128) -> I {
    Uuid::from_u128(n).into()
}

/// The n-th minute of the samples' day.
pub(crate) fn minute(n: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + chrono::Duration::days(20_000) + chrono::Duration::minutes(n)
}

/// Asks these commands in a row, a minute apart.
pub(crate) fn play<M: Machine>(
    commands: impl IntoIterator<Item = M::Command>,
) -> Result<Option<M>, Rejection> {
    let mut state = None;
    for (n, command) in (0..).zip(commands) {
        let decision = M::decide(state.as_ref(), &command, minute(n))?;
        state = decision.events.iter().fold(state, M::evolve);
    }
    Ok(state)
}

/// Something that was sent back.
pub(crate) fn feedback(text: &str) -> Feedback {
    Feedback { from: text.into(), summary: text.into(), comments: vec![line_comment(text)] }
}

/// A remark on a line.
pub(crate) fn line_comment(text: &str) -> LineComment {
    LineComment { path: "src/lib.rs".into(), line: Some(7), side: Side::New, body: text.into() }
}
