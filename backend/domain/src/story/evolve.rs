//! How events change a story. Total: what does not fit changes nothing.

use super::types::{Event, New, Phase, Stage, StageOutput, Story, Work};
use crate::Timestamp;

pub(super) fn evolve(state: Option<Story>, event: &Event) -> Option<Story> {
    if let Event::Upgraded(upgraded) = event {
        return upgraded.apply(state);
    }
    let Some(mut story) = state else {
        return match event {
            Event::Created { story, at } => Some(created(story, *at)),
            _ => None,
        };
    };
    if !story.phase.is_terminal() {
        apply(&mut story, event);
    }
    Some(story)
}

fn created(new: &New, at: Timestamp) -> Story {
    Story {
        id: new.id,
        project: new.project,
        number: new.number,
        title: new.title.clone(),
        description: new.description.clone(),
        points: new.points,
        sprint: new.sprint,
        acceptance: Vec::new(),
        design: None,
        change: None,
        round: 0,
        feedback: Vec::new(),
        phase: Phase::Working { stage: Stage::Analysis, work: Work::Idle, since: at },
        created_at: at,
        updated_at: at,
    }
}

fn apply(story: &mut Story, event: &Event) {
    let at = match event {
        Event::Created { .. } | Event::Upgraded(_) => return,
        Event::Started { at } => {
            // The stage is entered when the agents begin, not when the story was written: deadlines count from here.
            if let Phase::Working { work, since, .. } = &mut story.phase {
                *work = Work::Queued { since: *at };
                *since = *at;
            }
            *at
        }
        Event::RunStarted { run, at } | Event::Resumed { run, at } => {
            set_work(story, Work::Running { run: *run, since: *at }, *at)
        }
        Event::Asked { run, approval, at } => {
            set_work(story, Work::Asking { run: *run, approval: *approval, since: *at }, *at)
        }
        Event::PullRequestOpened { change, at } => {
            story.change = Some(change.clone());
            *at
        }
        Event::StageFinished { output, at, .. } => {
            take_output(story, output);
            *at
        }
        Event::Moved { stage, at } => {
            story.phase =
                Phase::Working { stage: stage.clone(), work: Work::Queued { since: *at }, since: *at };
            *at
        }
        Event::ReviewPassed { at, .. } => set_work(story, Work::Merging { since: *at }, *at),
        Event::ChangesRequested { feedback, at } => {
            story.round += 1;
            story.feedback.push(feedback.clone());
            *at
        }
        Event::Merged { at, .. } | Event::DeadlinePassed { at, .. } => *at,
        Event::TestsFailed { feedback, at, .. } => {
            story.round += 1;
            story.feedback.push(feedback.clone());
            // The merged branch is history: the repair gets a branch and a pull request of its own.
            story.change = None;
            *at
        }
        Event::Done { commit, test_run, at } => {
            story.phase = Phase::Done { at: *at, commit: commit.clone(), test_run: *test_run };
            *at
        }
        Event::Blocked { reason, at } => {
            if let Phase::Working { stage, .. } = &story.phase {
                story.phase = Phase::Blocked { from: stage.clone(), reason: reason.clone(), at: *at };
            }
            *at
        }
        Event::Unblocked { at } => {
            if let Phase::Blocked { from, .. } = &story.phase {
                story.phase =
                    Phase::Working { stage: from.clone(), work: Work::Queued { since: *at }, since: *at };
            }
            *at
        }
        Event::Cancelled { reason, at } => {
            story.phase = Phase::Cancelled { reason: reason.clone(), at: *at };
            *at
        }
        Event::Planned { sprint, at } => {
            story.sprint = *sprint;
            *at
        }
    };
    story.updated_at = at;
}

fn set_work(story: &mut Story, new: Work, at: Timestamp) -> Timestamp {
    if let Phase::Working { work, .. } = &mut story.phase {
        *work = new;
    }
    at
}

fn take_output(story: &mut Story, output: &StageOutput) {
    match output {
        StageOutput::Analysis { acceptance } => story.acceptance.clone_from(acceptance),
        StageOutput::Design { decision } => story.design = Some(decision.clone()),
        StageOutput::Implementation | StageOutput::Review { .. } => {}
    }
}
