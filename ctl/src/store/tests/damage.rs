//! Damage: found whole or refused, never changed without a word.

use std::collections::BTreeMap;
use std::path::Path;

use super::network;
use crate::model::Network;
use crate::store::tables::{Verdict, examine};
use crate::store::{Change, Store, StoreError};

const STORE: &str = "state.redb";

/// A store with records; as it is after an orderly end, and as a killed vswitchd leaves it.
fn stores(dir: &Path) -> (Vec<Network>, [Vec<u8>; 2]) {
    let (store, _) = Store::open(dir).unwrap();
    let networks: Vec<Network> = (0..24).map(|number| network(&format!("network-{number}"))).collect();
    for network in &networks {
        store.commit(&Change::new().put_network(network)).unwrap();
    }
    store.commit(&Change::new().put_ula([1, 2, 3, 4, 5])).unwrap();
    let killed = std::fs::read(dir.join(STORE)).unwrap();
    drop(store);
    (networks, [std::fs::read(dir.join(STORE)).unwrap(), killed])
}

/// Holds a damaged store against what it was. Answers whether it was taken.
fn whole_or_refused(bytes: &[u8], networks: &[Network], what: &str) -> bool {
    let Verdict::Sound { contents, .. } = examine(bytes) else { return false };
    let by_name = |list: &[Network]| -> BTreeMap<String, Network> {
        list.iter().map(|one| (one.name.clone(), one.clone())).collect()
    };
    assert_eq!(by_name(&contents.networks), by_name(networks), "{what}");
    assert_eq!(contents.ula, Some([1, 2, 3, 4, 5]), "{what}");
    true
}

/// The bytes that are not zero, which is where a change can matter.
fn used(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at)
}

/// A flag that was turned by mistake is turned back on disk. Where the last change made the file shorter, the version that the flag
/// leads to is not whole; then the store is refused, and stays as it is.
#[test]
fn a_turned_flag() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let (networks, [_, mut killed]) = stores(dir.path());
        killed[9] ^= 1;
        let path = dir.path().join(STORE);
        std::fs::write(&path, &killed).unwrap();
        match Store::open(dir.path()) {
            Err(StoreError::Corrupt { .. }) => assert!(std::fs::read(&path).unwrap() == killed, "it was changed"),
            first => {
                let whole = |(store, contents): (Store, crate::store::Contents)| {
                    drop(store);
                    assert_eq!((contents.networks.len(), contents.ula), (networks.len(), Some([1, 2, 3, 4, 5])));
                };
                whole(first.unwrap());
                whole(Store::open(dir.path()).unwrap());
                return;
            }
        }
    }
    panic!("none of them was turned back");
}

/// One bit in the header, in records and in what leads to them: all records are there, or the store is refused.
#[test]
fn flipped_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (networks, stores) = stores(dir.path());
    let (mut taken, mut refused) = (0, 0);
    for bytes in stores {
        assert!(whole_or_refused(&bytes, &networks, "whole"));
        let flags = (9 * 8..10 * 8).map(|bit| (bit / 8, bit % 8));
        let header = flags.chain((0..320 * 8).step_by(7).map(|bit| (bit / 8, bit % 8)));
        let rest = used(&bytes).skip_while(|at| *at < 320).enumerate().step_by(41).map(|(nth, at)| (at, nth % 8));
        for (at, bit) in header.chain(rest) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            match whole_or_refused(&damaged, &networks, &format!("byte {at}, bit {bit}")) {
                true => taken += 1,
                false => refused += 1,
            }
        }
    }
    // Bits that nobody uses any more, and bits that somebody does.
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

/// Cut short, made longer, pages of zeros and of noise: whole or refused, and what is refused stays as it is on disk,
/// byte for byte, under a sentence that names the copy.
#[test]
fn truncation_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let (networks, stores) = stores(dir.path());
    // A start over a sound store keeps the copy.
    drop(Store::open(dir.path()).unwrap());
    let copy = std::fs::read(dir.path().join("state.redb.good")).unwrap();
    let mut refused = 0;
    for bytes in stores {
        let mut variants: Vec<(String, Vec<u8>)> = Vec::new();
        for length in (0..12).map(|part| bytes.len() * part / 12 + part) {
            variants.push((format!("cut to {length}"), bytes[..length].to_vec()));
        }
        variants.push(("longer".to_owned(), [bytes.clone(), vec![0; 1 << 20]].concat()));
        let mut pages: Vec<usize> = used(&bytes).map(|at| at / 4096 * 4096).collect();
        pages.dedup();
        for page in pages {
            for (what, fill) in [("zeros", 0u8), ("noise", 0x5a)] {
                let mut damaged = bytes.clone();
                let end = (page + 4096).min(damaged.len());
                damaged[page..end].fill(fill);
                variants.push((format!("{what} at {page}"), damaged));
            }
        }
        for (what, damaged) in variants {
            let path = dir.path().join(STORE);
            std::fs::write(&path, &damaged).unwrap();
            match Store::open(dir.path()) {
                Ok((store, contents)) => {
                    assert!(whole_or_refused(&damaged, &networks, &what), "{what}");
                    assert_eq!(contents.networks.len(), networks.len());
                    // It can be used, not only read.
                    let more = network("more");
                    store.commit(&Change::new().put_network(&more)).unwrap();
                    drop(store);
                    assert_eq!(Store::open(dir.path()).unwrap().1.networks.len(), networks.len() + 1, "{what}");
                }
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
                    let sentence = error.to_string();
                    assert!(sentence.contains("left as it is") && sentence.contains("state.redb.good"), "{sentence}");
                    assert!(std::fs::read(&path).unwrap() == damaged, "{what} was written to");
                }
            }
        }
    }
    assert!(refused > 20, "{refused}");
    std::fs::write(dir.path().join(STORE), copy).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().1.networks.len(), networks.len());
}
