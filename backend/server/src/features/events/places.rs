//! Where a reader of several projects is: one cursor each, in one opaque id.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use syndarix_bus::Cursor;
use syndarix_domain::ids::ProjectId;

/// The first byte of an id: how the rest is written.
const VERSION: u8 = 1;
/// A project is named by the random half of its id: eight bytes tell the projects of one person apart.
const NAME: usize = 8;

/// A cursor in each of several projects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<[u8; NAME], Cursor>);

impl Places {
    /// The only place of a stream of one project.
    pub(super) fn of(project: ProjectId, cursor: Cursor) -> Self {
        Self(BTreeMap::from([(name(project), cursor)]))
    }

    pub(super) fn set(&mut self, project: ProjectId, cursor: Cursor) {
        self.0.insert(name(project), cursor);
    }

    pub(super) fn get(&self, project: ProjectId) -> Option<Cursor> {
        self.0.get(&name(project)).copied()
    }

    pub(super) fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        for (name, cursor) in &self.0 {
            bytes.extend_from_slice(name);
            number(&mut bytes, u64::from(cursor.epoch.unsigned_abs()));
            number(&mut bytes, cursor.seq.unsigned_abs());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None`: not an id of ours.
    pub(super) fn decode(id: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let mut places = BTreeMap::new();
        while !rest.is_empty() {
            let (name, after) = rest.split_first_chunk::<NAME>()?;
            rest = after;
            let epoch = i32::try_from(read_number(&mut rest)?).ok()?;
            let seq = i64::try_from(read_number(&mut rest)?).ok()?;
            places.insert(*name, Cursor { epoch, seq });
        }
        Some(Self(places))
    }
}

fn name(project: ProjectId) -> [u8; NAME] {
    let (_, half) = project.0.as_u64_pair();
    half.to_be_bytes()
}

/// Seven bits to a byte, the lowest first; the top bit says that more follow.
fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        value |= part.checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn an_id_reads_back_as_the_places_it_was_made_of(
            places in prop::collection::vec((any::<u128>(), 0..i32::MAX, 0..i64::MAX), 0..50),
        ) {
            let mut made = Places::default();
            for (project, epoch, seq) in places {
                made.set(ProjectId(Uuid::from_u128(project)), Cursor { epoch, seq });
            }
            prop_assert_eq!(Places::decode(&made.encode()), Some(made));
        }

        #[test]
        fn nothing_that_a_client_sends_as_an_id_is_a_panic(id in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Places::decode(&id);
            let _ = Places::decode(&URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}
