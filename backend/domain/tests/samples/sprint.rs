//! Samples of the sprint machine.

use super::{Named, Sampled, id, play};
use chrono::{Days, NaiveDate};
use syndarix_domain::{
    machine::Rejection,
    sprint::{Command, New, Sprint},
};

const QUESTION: u128 = 31;

/// The n-th day of the samples' sprint.
pub(crate) fn day(n: u64) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_days(Days::new(20_000 + n))
}

/// Two weeks.
pub(crate) fn new(text: &str, n: u128) -> New {
    New {
        id: id(n),
        project: id(n + 1),
        name: text.into(),
        goal: text.into(),
        starts_on: day(0),
        ends_on: day(13),
    }
}

fn edit(goal: &str, first: u64, last: u64) -> Command {
    Command::Edit { name: "Sprint 3".into(), goal: goal.into(), starts_on: day(first), ends_on: day(last) }
}

fn start(stories: u32, gate: Option<u128>) -> Command {
    Command::Start { stories, gate: gate.map(id) }
}

fn complete(unfinished: &[u128], gate: Option<u128>) -> Command {
    let unfinished = unfinished.iter().map(|&n| id(n)).collect();
    Command::Complete { unfinished, points: 21, gate: gate.map(id) }
}

fn cancel() -> Command {
    Command::Cancel { reason: "not wanted".into() }
}

fn after(sprint: New, commands: &[Command]) -> Result<Option<Sprint>, Rejection> {
    play(std::iter::once(Command::Create(sprint)).chain(commands.iter().cloned()))
}

impl Sampled for Sprint {
    fn states() -> Result<Vec<Named<Option<Self>>>, Rejection> {
        use Command::RequestReview;
        let planned = || new("Sprint 3", 1);
        let goalless = New { goal: String::new(), ..planned() };
        let dateless = New { ends_on: None, ..planned() };
        let begin = start(4, None);
        let end = complete(&[], None);
        Ok(vec![
            ("nothing", None),
            ("planning", after(planned(), &[])?),
            ("planning, no goal", after(goalless, &[])?),
            ("planning, no last day", after(dateless, &[])?),
            ("planning, asked", after(planned(), &[start(4, Some(QUESTION))])?),
            ("active", after(planned(), std::slice::from_ref(&begin))?),
            ("review", after(planned(), &[begin.clone(), RequestReview])?),
            (
                "review, asked",
                after(planned(), &[begin.clone(), RequestReview, complete(&[], Some(QUESTION))])?,
            ),
            ("done", after(planned(), &[begin, RequestReview, end])?),
            ("cancelled", after(planned(), &[cancel()])?),
        ])
    }

    fn commands(_: Option<&Self>) -> Vec<Named<Command>> {
        vec![
            ("create", Command::Create(new("Sprint 3", 1))),
            ("create, no name", Command::Create(new("", 1))),
            ("create, last day before the first", Command::Create(New { starts_on: day(20), ..new("x", 1) })),
            ("edit", edit("exports", 0, 13)),
            ("edit, last day before the first", edit("exports", 9, 2)),
            (
                "edit, no name",
                Command::Edit { name: " ".into(), goal: String::new(), starts_on: None, ends_on: None },
            ),
            ("add_story", Command::AddStory { story: id(92), from: None }),
            ("add_story, carried over", Command::AddStory { story: id(92), from: Some(id(93)) }),
            ("remove_story", Command::RemoveStory { story: id(92), to: None }),
            ("remove_story, carried over", Command::RemoveStory { story: id(92), to: Some(id(93)) }),
            ("start", start(4, None)),
            ("start, gated", start(4, Some(QUESTION))),
            ("start, no story", start(0, None)),
            ("request_review", Command::RequestReview),
            ("time_up", Command::TimeUp),
            ("complete", complete(&[], None)),
            ("complete, gated", complete(&[], Some(QUESTION))),
            ("complete, a story unfinished", complete(&[91], None)),
            ("decline", Command::Decline { approval: id(QUESTION) }),
            ("decline, another question", Command::Decline { approval: id(QUESTION + 1) }),
            ("cancel", cancel()),
        ]
    }
}
