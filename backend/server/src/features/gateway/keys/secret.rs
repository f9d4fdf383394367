//! The key itself: made here, shown once, kept as a hash.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use sha2::{Digest, Sha256};
use std::fmt;

/// Some clients refuse a key that does not begin with `sk-`; the rest tells people, and scanners of secrets, whose it is.
const START: &str = "sk-sdx-";
/// Bytes of chance. With so many, a plain hash is enough: there is nothing to guess.
const LENGTH: usize = 32;
/// Characters of a key after its start: four for three bytes.
const TEXT: usize = (LENGTH * 4).div_ceil(3);
/// Characters that are shown of a key.
const SHOWN: usize = START.len() + 6;

/// A virtual key. Says nothing of itself in logs.
pub(super) struct Secret(String);

/// What is kept of a key.
pub(super) type Hash = [u8; 32];

impl Secret {
    /// A new one.
    pub(super) fn make() -> Self {
        let mut bytes = [0; LENGTH];
        rand::rng().fill_bytes(&mut bytes);
        Self(format!("{START}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What may be seen of it.
    pub(super) fn prefix(&self) -> &str {
        self.0.get(..SHOWN).unwrap_or_default()
    }

    /// What is kept of it.
    pub(super) fn hash(&self) -> Hash {
        hash(&self.0)
    }

    /// The text, for the one answer that shows it.
    pub(super) fn reveal(self) -> String {
        self.0
    }
}

/// Whether somebody sent what looks like a virtual key.
pub(in crate::features::gateway) fn is_key(sent: &str) -> bool {
    sent.starts_with(START)
}

/// Whether what somebody sent could be a key at all: what could not is looked up nowhere.
pub(super) fn could_be(sent: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    sent.strip_prefix(START).is_some_and(|text| text.len() == TEXT && text.bytes().all(is_usual))
}

/// The hash of what somebody sent. Anything may be sent.
pub(super) fn hash(sent: &str) -> Hash {
    Sha256::digest(sent.as_bytes()).into()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_and_shows_its_beginning_only() {
        let (one, other) = (Secret::make(), Secret::make());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(format!("{one:?}"), "Secret([redacted])");
        let prefix = one.prefix().to_owned();
        let (expected, text) = (one.hash(), one.reveal());
        assert_eq!(hash(&text), expected);
        assert!(could_be(&text), "{text}");
        assert!(text.starts_with(&prefix) && text.len() > prefix.len() + 30, "{text}");
    }

    #[test]
    fn what_cannot_be_a_key_is_known_by_its_form() {
        let key = Secret::make().reveal();
        for other in
            ["", "sk-sdx-wrong", &key[1..], &key[..key.len() - 1], &format!("{key}A"), &key.replace('s', "ß")]
        {
            assert!(!could_be(other), "{other}");
        }
    }
}
