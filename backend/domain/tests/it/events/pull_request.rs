//! Events of the pull request machine.

use super::Recorded;
use crate::samples::{
    id, minute,
    pull_request::{new, remark},
};
use syndarix_domain::{
    actor::Actor,
    pull_request::{Comment, Event, New, PullRequest},
};

impl Recorded for PullRequest {
    const SOURCE: &'static str = include_str!("../../../src/pull_request/types.rs");

    fn events(text: &str, n: u128) -> Vec<Event> {
        let (at, text) = (minute(3), text.to_owned());
        vec![
            Event::Submitted { pull_request: new(&text, n), at },
            Event::Submitted { pull_request: New { story: None, ..new(&text, n) }, at },
            Event::Reviewing { at },
            Event::Pushed { head: text.clone(), at },
            Event::Approved { head: text.clone(), at },
            Event::ChangesRequested { reason: text.clone(), conflicts: vec![text.clone()], at },
            Event::Merging { at },
            Event::Merged { commit: text.clone(), at },
            Event::Commented { comment: remark(&text, n) },
            Event::Commented { comment: Comment { author: Actor::System, line: None, ..remark(&text, n) } },
            Event::Commented { comment: Comment { author: Actor::Agent(id(n)), ..remark(&text, n) } },
            Event::Closed { at },
        ]
    }
}
