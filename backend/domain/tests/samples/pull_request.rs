//! Samples of the pull request machine.

use super::{Named, Sampled, id, minute, play};
use syndarix_domain::{
    actor::Actor,
    machine::Rejection,
    pull_request::{Command, Comment, New, PullRequest},
    story::Side,
};

const HEAD: &str = "abc";
const NEXT_HEAD: &str = "def";
const MERGE_COMMIT: &str = "c0ffee";

/// A pull request as it is offered.
pub(crate) fn new(text: &str, n: u128) -> New {
    New {
        id: id(n),
        project: id(n + 1),
        story: Some(id(n + 2)),
        number: 12,
        title: text.into(),
        body: text.into(),
        head_branch: "story-7".into(),
        base_branch: "main".into(),
        head: HEAD.into(),
    }
}

/// A remark on a line.
pub(crate) fn remark(text: &str, n: u128) -> Comment {
    Comment {
        author: Actor::User(id(n)),
        body: text.into(),
        path: Some("src/lib.rs".into()),
        line: Some(7),
        side: Side::Old,
        at: minute(5),
    }
}

fn approve() -> Command {
    Command::Approve { head: HEAD.into() }
}

fn finish() -> Command {
    Command::FinishMerge { commit: MERGE_COMMIT.into() }
}

fn after(commands: &[Command]) -> Result<Option<PullRequest>, Rejection> {
    play(std::iter::once(Command::Submit(new("CSV export", 1))).chain(commands.iter().cloned()))
}

impl Sampled for PullRequest {
    fn states() -> Result<Vec<Named<Option<Self>>>, Rejection> {
        use Command::{BeginMerge, BeginReview, Close, RequestChanges};
        Ok(vec![
            ("nothing", None),
            ("submitted", after(&[])?),
            ("reviewing", after(&[BeginReview])?),
            ("approved", after(&[BeginReview, approve()])?),
            ("approved, merging", after(&[BeginReview, approve(), BeginMerge])?),
            ("changes_requested", after(&[BeginReview, RequestChanges])?),
            ("merged", after(&[BeginReview, approve(), BeginMerge, finish()])?),
            ("closed", after(&[Close])?),
        ])
    }

    fn commands(state: Option<&Self>) -> Vec<Named<Command>> {
        let head = state.map_or_else(|| HEAD.to_owned(), |pr| pr.head.clone());
        let next = if head == HEAD { NEXT_HEAD } else { HEAD }.to_owned();
        vec![
            ("submit", Command::Submit(new("CSV export", 1))),
            ("begin_review", Command::BeginReview),
            ("push", Command::Push { head: next.clone() }),
            ("push, the head that is known", Command::Push { head: head.clone() }),
            ("approve", Command::Approve { head }),
            ("approve, another head", Command::Approve { head: next }),
            ("request_changes", Command::RequestChanges),
            ("begin_merge", Command::BeginMerge),
            ("finish_merge", finish()),
            ("finish_merge, another commit", Command::FinishMerge { commit: "dead".into() }),
            (
                "fail_merge",
                Command::FailMerge { conflicts: vec!["src/lib.rs".into()], reason: "conflict".into() },
            ),
            ("comment", Command::Comment { comment: remark("why?", 81) }),
            ("comment, no text", Command::Comment { comment: remark(" ", 81) }),
            ("close", Command::Close),
        ]
    }
}
