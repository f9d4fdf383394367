//! Events of the approval machine.

use super::Recorded;
use crate::samples::{
    approval::{decided, fixed, request},
    id, line_comment, minute,
};
use serde_json::json;
use syndarix_domain::approval::{Approval, Decided, Event, Outcome, Request, Subject};

impl Recorded for Approval {
    const SOURCE: &'static str = include_str!("../../../src/approval/types.rs");

    fn events(text: &str, n: u128) -> Vec<Event> {
        let (at, text) = (minute(3), text.to_owned());
        let changed = Decided {
            comments: vec![line_comment(&text)],
            ..decided(Outcome::ApprovedWithChanges, &text, Some(json!({ "branch": text })))
        };
        let spawn = Request { subject: Subject::Agent { agent: id(n) }, ..fixed(&text, n) };
        vec![
            Event::Requested { request: Box::new(spawn), at },
            Event::Requested { request: Box::new(request(&text, n)), at },
            Event::Requested { request: Box::new(fixed(&text, n)), at },
            Event::Decided(changed),
            Event::Decided(decided(Outcome::Approved, &text, None)),
            Event::Decided(decided(Outcome::ChangesRequested, &text, None)),
            Event::Decided(decided(Outcome::Rejected, &text, None)),
            Event::Reminded { escalated: true, at },
            Event::Expired { at },
            Event::Cancelled { reason: text.clone(), at },
            Event::Superseded { reason: text, at },
        ]
    }
}
