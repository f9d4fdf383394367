//! What verification says, and the one check that database and file share.

use crate::db::audit::Place;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use syndarix_domain::audit::{Fault, Hash, Payload, Sealed, Verifier, commitment};
use uuid::Uuid;

/// What was found in one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// The project, or the nil id for the instance's own chain.
    pub chain: Uuid,
    /// Sealed entries that were found good, from the first on.
    pub entries: u64,
    /// Those of them whose payload was erased.
    pub erased: u64,
    /// Entries that wait for the sealer; nothing is said of them.
    pub unsealed: u64,
    /// When the oldest of those was written: a sealer that runs is seconds behind.
    pub unsealed_since: Option<syndarix_domain::Timestamp>,
    /// The hash of the last good entry, in hex.
    pub head: String,
    /// Where the chain is broken, if it is.
    pub first_bad: Option<Bad>,
}

impl ChainReport {
    /// The chain is whole.
    pub fn is_ok(&self) -> bool {
        self.first_bad.is_none()
    }

    /// There is nothing of such a chain, sealed or not.
    pub fn is_absent(&self) -> bool {
        self.entries == 0 && self.unsealed == 0 && self.is_ok()
    }
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// The first bad position.
    pub position: u64,
    /// What is wrong there.
    pub reason: String,
}

/// The header, as it was written; every name of it is checked against its column or its line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) v: u8,
    pub(super) id: Uuid,
    pub(super) chain: Uuid,
    pub(super) time: syndarix_domain::Timestamp,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) category: String,
    #[serde(default)]
    pub(super) severity: Option<String>,
    pub(super) actor_type: String,
    pub(super) actor_id: Option<Uuid>,
    #[serde(default)]
    pub(super) action: Option<String>,
    /// Where the event stands that the entry is, if it is one.
    #[serde(default)]
    pub(super) event: Option<Place>,
    /// The payload's commitment; the verifier reads it from the bytes.
    #[serde(rename = "payload")]
    _payload: String,
}

/// The versions of headers that this program reads.
const HEADER_VERSIONS: RangeInclusive<u8> = 1..=3;

/// A sealed entry as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) position: i64,
    pub(super) header: Vec<u8>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) salt: Option<Vec<u8>>,
    pub(super) previous: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

/// Goes through one chain, entry by entry, in constant memory.
#[derive(Debug)]
pub(super) struct Walk {
    chain: Uuid,
    verifier: Verifier,
    erased: u64,
    /// The number of the last event.
    event: Option<i64>,
    marks: Vec<Mark>,
}

/// Where a chain was once, as it is recorded elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) position: u64,
    pub(super) hash: Option<Vec<u8>>,
    /// Who says so, for the sentence.
    pub(super) source: &'static str,
}

impl Walk {
    pub(super) fn new(chain: Uuid) -> Self {
        Self { chain, verifier: Verifier::default(), erased: 0, event: None, marks: Vec::new() }
    }

    /// The chain must pass these places.
    pub(super) fn through(self, marks: Vec<Mark>) -> Self {
        Self { marks, ..self }
    }

    /// What a chain that ends here lacks, or has got instead.
    pub(super) fn ended(&self) -> Option<Bad> {
        let short = self.marks.iter().find(|mark| mark.position > self.verifier.position())?;
        Some(self.bad(format!(
            "the chain ends here, and {} says that it had {} entries",
            short.source, short.position
        )))
    }

    /// The position that comes next.
    pub(super) fn expected(&self) -> u64 {
        self.verifier.position() + 1
    }

    /// Something is wrong at the next position.
    pub(super) fn bad(&self, reason: impl Into<String>) -> Bad {
        Bad { position: self.expected(), reason: reason.into() }
    }

    /// Checks the next entry; `also` says what else is wrong with it, given its header. A bad entry counts for
    /// nothing: the walk stays where it was.
    pub(super) fn check(
        &mut self,
        found: Found,
        also: impl FnOnce(&Header) -> Option<String>,
    ) -> Result<(), Bad> {
        let erased = found.payload.is_none();
        let sealed = sealed(found).map_err(|reason| self.bad(reason))?;
        let mut verifier = self.verifier.clone();
        verifier.check(&sealed).map_err(|Fault { position, reason }| Bad { position, reason })?;
        let header: Header =
            serde_json::from_slice(&sealed.header).map_err(|_| self.bad("the header does not read"))?;
        let other = || {
            let mark = self.marks.iter().find(|mark| {
                mark.position == verifier.position()
                    && mark.hash.as_ref().is_some_and(|hash| hash.as_slice() != verifier.head().as_slice())
            });
            mark.map(|mark| format!("the chain was written again: {} has another hash here", mark.source))
        };
        if let Some(reason) = self.foreign(&header).or_else(|| also(&header)).or_else(other) {
            return Err(self.bad(reason));
        }
        self.verifier = verifier;
        self.event = header.event.map(|event| event.seq).or(self.event);
        self.erased += u64::from(erased);
        Ok(())
    }

    fn foreign(&self, header: &Header) -> Option<String> {
        if !HEADER_VERSIONS.contains(&header.v) {
            return Some("the header has a version that this program does not know".into());
        }
        if header.chain != self.chain {
            return Some("the entry belongs to another chain".into());
        }
        // The first one need not be the project's first: earlier releases wrote entries beside events.
        let (last, next) = (self.event?, header.event.as_ref()?.seq);
        (next != last + 1).then(|| format!("event {next} comes after event {last}"))
    }

    pub(super) fn head(&self) -> Hash {
        self.verifier.head()
    }

    pub(super) fn report(
        &self,
        (unsealed, unsealed_since): (u64, Option<syndarix_domain::Timestamp>),
        first_bad: Option<Bad>,
    ) -> ChainReport {
        ChainReport {
            chain: self.chain,
            entries: self.verifier.position(),
            erased: self.erased,
            unsealed,
            unsealed_since,
            head: hex::encode(self.head()),
            first_bad,
        }
    }
}

fn sealed(found: Found) -> Result<Sealed, String> {
    let position = u64::try_from(found.position).map_err(|_| "a position is below 1".to_owned())?;
    let hash = |bytes: Vec<u8>, what: &str| {
        Hash::try_from(bytes).map_err(|bytes| format!("the {what} has {} bytes, not 32", bytes.len()))
    };
    let payload = match (found.payload, found.salt) {
        (Some(bytes), Some(salt)) => Some(Payload { commitment: commitment(&salt, &bytes), bytes, salt }),
        (None, None) => None,
        (Some(_), None) => return Err("the salt was removed without its payload".into()),
        (None, Some(_)) => return Err("the payload was removed without its salt".into()),
    };
    Ok(Sealed {
        position,
        header: found.header,
        payload,
        previous: hash(found.previous, "previous hash")?,
        hash: hash(found.hash, "hash")?,
    })
}
