//! Events of the sprint machine.

use super::Recorded;
use crate::samples::{
    id, minute,
    sprint::{day, new},
};
use syndarix_domain::sprint::{Event, New, Sprint};

impl Recorded for Sprint {
    const SOURCE: &'static str = include_str!("../../../src/sprint/types.rs");

    fn events(text: &str, n: u128) -> Vec<Event> {
        let (at, text) = (minute(3), text.to_owned());
        vec![
            Event::Created { sprint: new(&text, n), at },
            Event::Created { sprint: New { starts_on: None, ends_on: None, ..new(&text, n) }, at },
            Event::Edited { name: text.clone(), goal: text.clone(), starts_on: day(1), ends_on: None, at },
            Event::StoryAdded { story: id(n), from: None, at },
            Event::StoryAdded { story: id(n), from: Some(id(n + 1)), at },
            Event::StoryRemoved { story: id(n), to: None, at },
            Event::StoryRemoved { story: id(n), to: Some(id(n + 1)), at },
            Event::Asked { approval: id(n), at },
            Event::Declined { approval: id(n), at },
            Event::Started { at },
            Event::ReviewStarted { time_up: true, at },
            Event::Completed { points: 21, at },
            Event::Cancelled { reason: text, at },
        ]
    }
}
