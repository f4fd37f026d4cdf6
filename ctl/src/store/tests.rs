use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::Moment;
use crate::model::{Driver, IpamDriver, NetworkOptions};

fn network(name: &str) -> Network {
    Network {
        id: Id::random(&mut rand::rng()),
        name: name.into(),
        created: Moment::now(),
        driver: Driver::Bridge,
        internal: false,
        attachable: false,
        ipam: IpamDriver::Default,
        ipv4: None,
        ipv6: None,
        options: NetworkOptions::default(),
        raw_options: [("mtu".to_owned(), "1500".to_owned())].into(),
        labels: Default::default(),
        overlay: None,
    }
}

/// What was committed is there after the store was opened again, and what was removed is not.
#[test]
fn survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (network("a"), network("b"));
    {
        let (store, contents) = Store::open(dir.path()).unwrap();
        assert!(contents.networks.is_empty() && contents.ula.is_none());
        store.commit(&Change::new().put_network(&a).put_network(&b).put_ula([1, 2, 3, 4, 5])).unwrap();
        store.commit(&Change::new().drop_network(&a.id)).unwrap();
    }
    let (_, contents) = Store::open(dir.path()).unwrap();
    assert_eq!(contents.networks, [b]);
    assert_eq!(contents.ula, Some([1, 2, 3, 4, 5]));
}

/// A damaged file is refused with a sentence, and not one byte of it changes.
#[test]
fn damaged_stores_are_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    for content in [&b""[..], b"x", &[0u8; 100_000], &b"noise".repeat(10_000)] {
        std::fs::write(&path, content).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

/// A record that is not what this version writes is refused as damage, not skipped.
#[test]
fn unreadable_records_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        let transaction = store.database.begin_write().unwrap();
        transaction.open_table(NETWORKS).unwrap().insert("x", &b"{}"[..]).unwrap();
        transaction.commit().unwrap();
    }
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("record x") && error.contains("left as it is"), "{error}");
}

/// A store of a later version is refused and keeps its schema.
#[test]
fn newer_stores_are_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        let transaction = store.database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("schema", &b"2"[..]).unwrap();
        transaction.commit().unwrap();
    }
    for _ in 0..2 {
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
    }
}

/// Two vswitchd cannot share a directory; the lock goes with its holder.
#[test]
fn the_directory_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/for/us");
    let held = StateDir::lock(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(StateDir::lock(&path), Err(StateDirError::InUse { .. })));
    drop(held);
    StateDir::lock(&path).unwrap();
}

/// A directory of another user is refused, also by root. Without root, `/` is somebody else's.
#[test]
fn directories_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
        dir.path()
    } else {
        Path::new("/")
    };
    let error = StateDir::lock(path).unwrap_err();
    assert!(matches!(error, StateDirError::NotOwned { .. }), "{error}");
}
