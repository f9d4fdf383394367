//! Events of the story machine.

use super::Recorded;
use crate::samples::{feedback, id, minute, story::new};
use syndarix_domain::{
    stage::StageName,
    story::{Change, Event, Stage, StageOutput, Story},
};

impl Recorded for Story {
    const SOURCE: &'static str = include_str!("../../../src/story/types.rs");

    fn events(text: &str, n: u128) -> Vec<Event> {
        let (run, test_run, pull_request, at) = (id(n), id(n + 1), id(n + 2), minute(3));
        let text = text.to_owned();
        let mut events = vec![
            Event::Created { story: new(&text, n), at },
            Event::Started { at },
            Event::RunStarted { run, at },
            Event::Asked { run, approval: id(n + 3), at },
            Event::Resumed { run, at },
            Event::PullRequestOpened { change: Change { pull_request, branch: text.clone() }, at },
            Event::ReviewPassed { run, head: text.clone(), at },
            Event::ChangesRequested { feedback: feedback(&text), at },
            Event::Merged { pull_request, commit: text.clone(), at },
            Event::TestsFailed { test_run, feedback: feedback(&text), at },
            Event::Done { commit: text.clone(), test_run, at },
            Event::Blocked { reason: text.clone(), at },
            Event::Unblocked { at },
            Event::Cancelled { reason: text.clone(), at },
            Event::Planned { sprint: Some(id(n)), at },
            Event::Planned { sprint: None, at },
            Event::DeadlinePassed { stage: StageName::Review, escalated: true, at },
        ];
        let outputs = [
            StageOutput::Analysis { acceptance: vec![text.clone()] },
            StageOutput::Design { decision: text.clone() },
            StageOutput::Implementation,
            StageOutput::Review { head: text.clone() },
        ];
        events.extend(outputs.map(|output| Event::StageFinished { run, output, at }));
        let stages = [
            Stage::Analysis,
            Stage::Design,
            Stage::Implementation,
            Stage::Review { pull_request },
            Stage::Testing { commit: text },
        ];
        events.extend(stages.map(|stage| Event::Moved { stage, at }));
        events
    }
}
