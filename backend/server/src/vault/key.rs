//! One master key, and what is done with it.

use super::{Place, Sealed};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use syndarix_llm::Secret;

/// Bytes of a key.
const LENGTH: usize = 32;
/// Bytes of a nonce: so many that they may be drawn by chance for as long as anybody likes.
const NONCE: usize = 24;
/// Bytes of an id and of a fingerprint, which people compare.
const SHOWN: usize = 8;

/// What secrets are sealed with. What is done with it is done with keys that are derived from it, one for each purpose.
#[derive(Clone)]
pub(super) struct MasterKey {
    pub(super) id: String,
    cipher: XChaCha20Poly1305,
    fingerprints: [u8; LENGTH],
    /// As it is written in a file.
    text: String,
}

impl MasterKey {
    /// Reads 64 hexadecimal digits.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let derived = |purpose: &str| mac(&bytes, &[b"syndarix master key", purpose.as_bytes()]);
        Some(Self {
            id: shown(&derived("id")),
            cipher: XChaCha20Poly1305::new(&derived("sealing").into()),
            fingerprints: derived("fingerprints"),
            text: text.to_ascii_lowercase(),
        })
    }

    /// A new one.
    pub(super) fn make() -> Option<Self> {
        let bytes: [u8; LENGTH] = rand::random();
        Self::of(&hex::encode(bytes))
    }

    /// For the file that it is kept in.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn seal(&self, place: Place<'_>, secret: &Secret) -> Sealed {
        let nonce: [u8; NONCE] = rand::random();
        let aad = place.bytes();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &aad };
        let mut bytes = nonce.to_vec();
        // It fails for messages of gigabytes only; what is stored then opens for nobody, and says so.
        bytes.extend(self.cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default());
        let fingerprint =
            mac(&self.fingerprints, &[place.organisation.0.as_bytes(), secret.expose().as_bytes()]);
        Sealed { key_id: self.id.clone(), bytes, fingerprint: shown(&fingerprint) }
    }

    pub(super) fn unseal(&self, place: Place<'_>, bytes: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let aad = place.bytes();
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok()?;
        String::from_utf8(opened).ok().map(Secret::new)
    }
}

impl Place<'_> {
    /// Each part with its length, so that no two places are written alike.
    fn bytes(&self) -> Vec<u8> {
        let parts = [
            self.what.as_bytes(),
            self.organisation.0.as_bytes(),
            self.id.as_bytes(),
            self.address.as_bytes(),
        ];
        parts.iter().flat_map(|part| measured(part)).collect()
    }
}

fn measured(part: &[u8]) -> Vec<u8> {
    let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
    [&length.to_be_bytes()[..], part].concat()
}

fn mac(key: &[u8; LENGTH], parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut block = [0; 64];
    block[..LENGTH].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(&measured(part));
    }
    mac.finalize().into_bytes().into()
}

fn shown(bytes: &[u8; LENGTH]) -> String {
    hex::encode(&bytes[..SHOWN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use syndarix_domain::ids::OrganisationId;
    use uuid::Uuid;

    fn place(n: u128, address: &str) -> Place<'_> {
        Place {
            what: "a test",
            organisation: OrganisationId(Uuid::from_u128(n)),
            id: Uuid::from_u128(7),
            address,
        }
    }

    #[test]
    fn a_secret_opens_where_it_belongs_and_nowhere_else() {
        let (key, other) = (MasterKey::make().unwrap(), MasterKey::make().unwrap());
        let here = place(1, "https://one");
        let sealed = key.seal(here, &Secret::new("a secret"));
        assert_eq!(key.unseal(here, &sealed.bytes).unwrap().expose(), "a secret");
        assert!(key.unseal(place(2, "https://one"), &sealed.bytes).is_none(), "another tenant");
        assert!(key.unseal(place(1, "https://two"), &sealed.bytes).is_none(), "another address");
        assert!(key.unseal(Place { id: Uuid::nil(), ..here }, &sealed.bytes).is_none(), "another row");
        assert!(other.unseal(here, &sealed.bytes).is_none(), "another key");
        assert!(key.unseal(here, b"short").is_none());
    }

    #[test]
    fn a_fingerprint_is_that_of_the_secret_and_of_its_owner() {
        let key = MasterKey::make().unwrap();
        let print = |n, address, secret: &str| key.seal(place(n, address), &Secret::new(secret)).fingerprint;
        assert_eq!(print(1, "a", "one"), print(1, "b", "one"));
        assert_ne!(print(1, "a", "one"), print(1, "a", "two"));
        assert_ne!(print(1, "a", "one"), print(2, "a", "one"));
    }

    #[test]
    fn a_key_is_64_digits_and_its_id_is_no_part_of_it() {
        assert!(MasterKey::of("00").is_none() && MasterKey::of(&"x".repeat(64)).is_none());
        let key = MasterKey::of(&"Ab".repeat(32)).unwrap();
        assert_eq!(key.id, MasterKey::of(&"aB".repeat(32)).unwrap().id);
        assert!(!key.text().contains(&key.id));
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unnoticed(secret in ".{0,80}", at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let key = MasterKey::of(&"5a".repeat(32)).unwrap();
            let mut sealed = key.seal(place(1, ""), &Secret::new(secret.clone())).bytes;
            let opened = key.unseal(place(1, ""), &sealed).unwrap();
            prop_assert_eq!(opened.expose(), secret);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(key.unseal(place(1, ""), &sealed).is_none());
        }
    }
}
