//! Events of the run machine.

use super::Recorded;
use crate::samples::{
    id, minute,
    run::{USAGE, answers, call, new, result},
};
use syndarix_domain::{
    run::{Answer, Call, CallStatus, Event, Outcome, Resume, Run, RunResult, Wait},
    stage::StageName,
};

impl Recorded for Run {
    const SOURCE: &'static str = include_str!("../../../src/run/types.rs");

    fn events(text: &str, n: u128) -> Vec<Event> {
        let (at, text) = (minute(3), text.to_owned());
        let stage = StageName::Implementation;
        let begun = Call { status: CallStatus::Started, step: Some(2), ..call("a", &text) };
        let mut events = vec![
            Event::Started { run: new(stage, n), at },
            Event::ModelCallStarted { step: 1, at },
            Event::ModelCallFinished { step: 1, calls: vec![begun.clone()], usage: USAGE, at },
            Event::ModelCallFailed { step: 1, reason: text.clone(), at },
            Event::Charged { usage: USAGE, at },
            Event::ToolCallStarted { call: "a".into(), tool: text.clone(), step: 2, at },
            Event::ToolCallFinished { call: "a".into(), tool: text.clone(), step: 2, artefact: false, at },
            Event::Woken { answer: None, at },
            Event::Failed { reason: text.clone(), at },
            Event::Stalled { reason: text.clone(), at },
            Event::Cancelled { reason: text.clone(), at },
        ];
        events.extend(
            waits(&text, n)
                .into_iter()
                .zip(resumes(&text, &begun).into_iter().cycle())
                .map(|(wait, resume)| Event::Waiting { wait, resume, at }),
        );
        events.extend(answers(&text, stage).map(|answer| Event::Woken { answer: Some(answer), at }));
        events.extend(StageName::ALL.map(|stage| Event::Succeeded { result: result(stage, &text), at }));
        let [_, _, changes, ..] = answers(&text, stage);
        if let Answer::ChangesRequested { from, summary, comments } = changes {
            let outcome = Outcome::ChangesRequested { from, summary, comments };
            let result = RunResult { outcome, ..result(stage, &text) };
            events.push(Event::Succeeded { result, at });
        }
        events
    }
}

fn waits(text: &str, n: u128) -> [Wait; 5] {
    [
        Wait::Approval { approval: id(n) },
        Wait::Human { approval: id(n + 1) },
        Wait::RateLimit { until: minute(90), detail: text.into() },
        Wait::Budget { detail: text.into() },
        Wait::Paused { by: id(n + 2) },
    ]
}

fn resumes(text: &str, begun: &Call) -> Vec<Resume> {
    let calls = vec![begun.clone()];
    let result = result(StageName::Implementation, text);
    vec![
        Resume::Result { calls: calls.clone(), call: "a".into(), result },
        Resume::Leave { calls: calls.clone(), call: "a".into() },
        Resume::Think,
        Resume::Act { calls },
    ]
}
