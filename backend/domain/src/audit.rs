//! The audit chain: hash = SHA-256(previous hash, position, header bytes as stored).
//!
//! The header is hashed exactly as stored, never re-serialised, and carries SHA-256(salt, payload) in place of
//! the payload: erasing a payload and its salt leaves the chain whole. The position is bound in, so that gaps
//! and reorders show.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The largest header that is accepted, in bytes.
pub const MAX_HEADER: usize = 64 * 1024;

/// The length of every salt, in bytes. Fixed, so that no byte can pass from the salt to the payload unseen.
pub const SALT: usize = 32;

/// A link of the chain.
pub type Hash = [u8; 32];

/// What the first entry of a chain links to.
pub const GENESIS: Hash = [0; 32];

/// The hash of the entry at this position (from 1) of a chain.
pub fn link(previous: &Hash, position: u64, header: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(position.to_be_bytes());
    hasher.update(header);
    hasher.finalize().into()
}

/// What a header says of its payload: nothing can be guessed from it without the salt.
pub fn commitment(salt: &[u8], payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0x10]);
    hasher.update(salt);
    hasher.update(payload);
    hasher.finalize().into()
}

/// A sealed entry, as verification reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// From 1, without a gap.
    pub position: u64,
    /// As stored.
    pub header: Vec<u8>,
    /// As stored; `None` when the payload was erased.
    pub payload: Option<Payload>,
    /// As stored.
    pub previous: Hash,
    /// As stored.
    pub hash: Hash,
}

/// A payload with the salt and the commitment of its header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// As stored.
    pub bytes: Vec<u8>,
    /// As stored.
    pub salt: Vec<u8>,
    /// What the header says of it.
    pub commitment: Hash,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The first bad position.
    pub position: u64,
    /// What is wrong there.
    pub reason: String,
}

/// Checks a chain entry by entry, in constant memory.
#[derive(Debug, Clone)]
pub struct Verifier {
    position: u64,
    previous: Hash,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { position: 0, previous: GENESIS }
    }
}

impl Verifier {
    /// The number of entries that were found good.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The hash of the last good entry.
    pub fn head(&self) -> Hash {
        self.previous
    }

    /// Checks the next entry.
    pub fn check(&mut self, entry: &Sealed) -> Result<(), Fault> {
        let expected = self.position + 1;
        let fault = |reason: String| Fault { position: expected, reason };
        if entry.position != expected {
            return Err(fault(format!("expected position {expected}, found {}", entry.position)));
        }
        if entry.previous != self.previous {
            return Err(fault("does not link to the entry before it".into()));
        }
        if link(&self.previous, expected, &entry.header) != entry.hash {
            return Err(fault("the header does not match its hash".into()));
        }
        if let Some(payload) = &entry.payload {
            check_payload(payload, &entry.header).map_err(fault)?;
        }
        self.position = expected;
        self.previous = entry.hash;
        Ok(())
    }
}

/// The part of a header that verification reads; everything else in it is only hashed.
#[derive(Deserialize)]
struct Committed {
    /// The commitment, in hex.
    payload: String,
}

/// The header is the only witness: a commitment that stands beside it could be changed together with the payload.
fn check_payload(payload: &Payload, header: &[u8]) -> Result<(), String> {
    if payload.salt.len() != SALT {
        return Err(format!("the salt has {} bytes, not {SALT}", payload.salt.len()));
    }
    let found = commitment(&payload.salt, &payload.bytes);
    let Ok(committed) = serde_json::from_slice::<Committed>(header) else {
        return Err("the header does not name its payload".into());
    };
    if found != payload.commitment || hex::encode(found) != committed.payload {
        return Err("the payload does not match its header".into());
    }
    Ok(())
}
