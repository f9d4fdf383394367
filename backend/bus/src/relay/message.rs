//! What goes over a hint channel: numbers and whispers, never an event.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use syndarix_domain::ids::ProjectId;
use uuid::Uuid;

/// JSON punctuation around one entry, at most, in bytes.
const AROUND: usize = 8;
/// A head in JSON: two quotes, 36 characters of id, at most 19 digits.
const HEAD: usize = 2 + 36 + 19 + AROUND;
/// The message around its entries.
const FRAME: usize = 128;

/// One message of a hub to the others.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The hub that sends it.
    pub(crate) from: Uuid,
    /// Logs that have grown, and to where.
    pub(crate) heads: Vec<(ProjectId, i64)>,
    /// Ephemeral items: where, type, payload.
    pub(crate) whispers: Vec<(ProjectId, String, Value)>,
    #[serde(skip)]
    room: usize,
}

impl Message {
    /// An empty one with room for so many bytes.
    pub(crate) fn new(from: Uuid, limit: usize) -> Self {
        Self { from, heads: Vec::new(), whispers: Vec::new(), room: limit.saturating_sub(FRAME) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.whispers.is_empty()
    }

    /// False: there is no room left.
    pub(crate) fn add_head(&mut self, project: ProjectId, seq: i64) -> bool {
        let fits = self.room >= HEAD;
        if fits {
            self.room -= HEAD;
            self.heads.push((project, seq));
        }
        fits
    }

    /// Gives the item back when there is no room left.
    pub(crate) fn add_whisper(
        &mut self,
        item: (ProjectId, String, Value),
    ) -> Result<(), (ProjectId, String, Value)> {
        let size = item.2.to_string().len() + 2 * item.1.len() + HEAD;
        if self.room < size {
            return Err(item);
        }
        self.room -= size;
        self.whispers.push(item);
        Ok(())
    }

    pub(crate) fn encode(&self) -> String {
        // Ids, numbers, strings and JSON values: nothing that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_keeps_within_its_limit_and_reads_back(
            heads in prop::collection::vec((any::<u128>(), 0..i64::MAX), 0..200),
            whispers in prop::collection::vec((any::<u128>(), ".{0,40}", ".{0,300}"), 0..60),
            limit in 200_usize..9_000,
        ) {
            let mut message = Message::new(Uuid::from_u128(7), limit);
            for (project, seq) in heads {
                message.add_head(ProjectId(Uuid::from_u128(project)), seq);
            }
            for (project, kind, text) in whispers {
                let _ = message.add_whisper((ProjectId(Uuid::from_u128(project)), kind, text.into()));
            }
            let text = message.encode();
            prop_assert!(text.len() <= limit, "{} of {limit}", text.len());
            let read = Message::decode(&text).unwrap();
            prop_assert_eq!((read.from, read.heads, read.whispers), (message.from, message.heads, message.whispers));
        }
    }
}
