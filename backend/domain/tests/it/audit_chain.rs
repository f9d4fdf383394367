//! Whatever single thing is changed in a chain, the verifier finds it, and says where.

use proptest::prelude::*;
use syndarix_domain::audit::{Fault, GENESIS, Hash, Payload, SALT, Sealed, Verifier, commitment, link};

/// Seals these payloads into a chain, as the sealer does.
fn chain(payloads: &[Vec<u8>]) -> Vec<Sealed> {
    let mut previous = GENESIS;
    (1..).zip(payloads).map(|(position, bytes)| seal(&mut previous, position, bytes)).collect()
}

fn seal(previous: &mut Hash, position: u64, bytes: &[u8]) -> Sealed {
    let salt = commitment(b"salt", &position.to_be_bytes()).to_vec();
    let committed = commitment(&salt, bytes);
    let header = format!(r#"{{"v":1,"action":"entry {position}","payload":"{}"}}"#, hex::encode(committed));
    let header = header.into_bytes();
    let hash = link(previous, position, &header);
    let payload = Some(Payload { bytes: bytes.to_vec(), salt, commitment: committed });
    let entry = Sealed { position, header, payload, previous: *previous, hash };
    *previous = hash;
    entry
}

fn verify(chain: &[Sealed]) -> Result<Verifier, Fault> {
    let mut verifier = Verifier::default();
    chain.iter().try_for_each(|entry| verifier.check(entry))?;
    Ok(verifier)
}

fn first_bad(chain: &[Sealed]) -> Option<u64> {
    verify(chain).err().map(|fault| fault.position)
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..24), 2..12)
}

fn flip(bytes: &mut [u8], at: prop::sample::Index, mask: u8) {
    let at = at.index(bytes.len());
    bytes[at] ^= mask;
}

#[test]
fn the_hash_of_an_entry_stays_what_it_is() {
    let hash = hex::encode(link(&GENESIS, 1, b"header"));
    assert_eq!(hash, "e87f9c96cf90e782c087446f0f647d33a1eb1f119e65f7ff510b2183307f7bef");
    let commitment = hex::encode(commitment(&[7; SALT], b"payload"));
    assert_eq!(commitment, "aef1db812b9209bed57962b3f41c30c0a9b5eb5cd4109d7729ba0de7bb1bc9ca");
}

#[test]
fn a_byte_cannot_pass_from_the_salt_to_the_payload() {
    let mut entries = chain(&[b"pay 10".to_vec()]);
    let payload = entries[0].payload.as_mut().unwrap();
    let moved = payload.salt.pop().unwrap();
    payload.bytes.insert(0, moved);
    assert_eq!(
        commitment(&payload.salt, &payload.bytes),
        payload.commitment,
        "the hash alone does not see it"
    );
    assert_eq!(first_bad(&entries), Some(1));
}

#[test]
fn a_payload_that_brings_its_own_commitment_is_found() {
    let mut entries = chain(&[b"pay 10".to_vec(), b"pay 20".to_vec()]);
    let payload = entries[1].payload.as_mut().unwrap();
    payload.bytes = b"pay 99".to_vec();
    payload.commitment = commitment(&payload.salt, &payload.bytes);
    assert_eq!(first_bad(&entries), Some(2));
}

proptest! {
    #[test]
    fn an_untouched_chain_is_good(payloads in payloads()) {
        let chain = chain(&payloads);
        let verifier = verify(&chain).unwrap();
        prop_assert_eq!(verifier.position(), payloads.len() as u64);
        prop_assert_eq!(verifier.head(), chain.last().unwrap().hash);
    }

    #[test]
    fn erased_payloads_leave_the_chain_whole(payloads in payloads(), erased in prop::collection::vec(any::<bool>(), 12)) {
        let mut chain = chain(&payloads);
        let head = chain.last().unwrap().hash;
        for (entry, _) in chain.iter_mut().zip(erased).filter(|(_, erased)| *erased) {
            entry.payload = None;
        }
        prop_assert_eq!(verify(&chain).unwrap().head(), head);
    }

    #[test]
    fn any_changed_byte_is_found_where_it_is(
        payloads in payloads(), entry in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        mask in 1_u8.., field in 0..6,
    ) {
        let mut chain = chain(&payloads);
        let which = entry.index(chain.len());
        let entry = &mut chain[which];
        let payload = entry.payload.as_mut().unwrap();
        match field {
            0 => flip(&mut entry.header, at, mask),
            1 => flip(&mut entry.previous, at, mask),
            2 => flip(&mut entry.hash, at, mask),
            3 => flip(&mut payload.bytes, at, mask),
            4 => flip(&mut payload.salt, at, mask),
            _ => flip(&mut payload.commitment, at, mask),
        }
        prop_assert_eq!(first_bad(&chain), Some(which as u64 + 1));
    }

    #[test]
    fn a_changed_position_is_found_where_it_is(
        payloads in payloads(), entry in any::<prop::sample::Index>(), position in any::<u64>(),
    ) {
        let mut chain = chain(&payloads);
        let which = entry.index(chain.len());
        prop_assume!(position != which as u64 + 1);
        chain[which].position = position;
        prop_assert_eq!(first_bad(&chain), Some(which as u64 + 1));
    }

    /// Renumbered or not: the position is bound into the hash.
    #[test]
    fn a_removed_entry_is_found_where_it_was(
        payloads in payloads(), entry in any::<prop::sample::Index>(), renumber in any::<bool>(),
    ) {
        let mut chain = chain(&payloads);
        let which = entry.index(chain.len() - 1);
        chain.remove(which);
        if renumber {
            for (position, entry) in (1..).zip(&mut chain) {
                entry.position = position;
            }
        }
        prop_assert_eq!(first_bad(&chain), Some(which as u64 + 1));
    }

    /// Only the count or a checkpoint shows a missing end: the chain itself is then just a shorter one.
    #[test]
    fn a_missing_end_shows_in_position_and_head(payloads in payloads()) {
        let mut chain = chain(&payloads);
        let last = chain.pop().unwrap();
        let verifier = verify(&chain).unwrap();
        prop_assert_eq!(verifier.position() + 1, last.position);
        prop_assert_eq!(verifier.head(), last.previous);
    }

    #[test]
    fn swapped_entries_are_found_at_the_first_of_them(
        payloads in payloads(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), renumber in any::<bool>(),
    ) {
        let mut chain = chain(&payloads);
        let (a, b) = (a.index(chain.len()), b.index(chain.len()));
        prop_assume!(a != b);
        chain.swap(a, b);
        if renumber {
            for (position, entry) in (1..).zip(&mut chain) {
                entry.position = position;
            }
        }
        prop_assert_eq!(first_bad(&chain), Some(a.min(b) as u64 + 1));
    }

    #[test]
    fn a_repeated_entry_is_found_where_it_is(payloads in payloads(), entry in any::<prop::sample::Index>()) {
        let mut chain = chain(&payloads);
        let which = entry.index(chain.len());
        chain.insert(which, chain[which].clone());
        prop_assert_eq!(first_bad(&chain), Some(which as u64 + 2));
    }

    /// What a thief of the database can do without the checkpoint key: rewrite from one entry to the end.
    #[test]
    fn a_full_rewrite_changes_the_head(payloads in payloads(), entry in any::<prop::sample::Index>()) {
        let head = chain(&payloads).last().unwrap().hash;
        let mut changed = payloads.clone();
        let which = entry.index(changed.len());
        changed[which].push(0);
        prop_assert_ne!(verify(&chain(&changed)).unwrap().head(), head);
    }
}
