//! Stores as they should be; what becomes of others is in `damage` and `faults`.

mod damage;
pub(crate) mod faults;

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::Moment;
use crate::model::{Driver, IpamDriver, NetworkOptions};

impl Store {
    /// Writes bytes that no [`Change`] would.
    fn put(&self, table: Table, key: &str, value: &[u8]) {
        self.write([((table, key.to_owned()), Some(value.to_vec()))].into(), Otherwise::Forget).unwrap();
    }
}

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
        settings: None,
        config_from: String::new(),
        peerings: Vec::new(),
        policy: Vec::new(),
        names: crate::model::EngineNames::default(),
        services: Vec::new(),
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
    // This is not a first start.
    std::fs::write(dir.path().join("agent.log"), "").unwrap();
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
    let (store, _) = Store::open(dir.path()).unwrap();
    store.put(Table::Networks, "x", b"{}");
    drop(store);
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("record x") && error.contains("left as it is"), "{error}");
}

/// A store of a later version is refused and keeps its schema.
#[test]
fn newer_stores_are_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.put(Table::Meta, "schema", b"2");
    drop(store);
    let bytes = std::fs::read(dir.path().join("state.redb")).unwrap();
    for _ in 0..2 {
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
        assert_eq!(std::fs::read(dir.path().join("state.redb")).unwrap(), bytes);
    }
}

/// Two vswitchd cannot share a directory; the lock goes with its holder.
#[test]
fn the_directory_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/for/us");
    let held = StateDir::lock(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let refused = StateDir::lock(&path).unwrap_err();
    assert!(
        matches!(refused, StateDirError::InUse { holder: Some(pid), .. } if pid == std::process::id()),
        "{refused}"
    );
    drop(held);
    StateDir::lock(&path).unwrap();
}

/// Who holds the lock and is ending is waited for.
#[test]
fn the_end_of_a_holder_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let held = std::cell::RefCell::new(Some(StateDir::lock(dir.path()).unwrap()));
    let file = std::fs::File::open(dir.path().join("lock")).unwrap();
    // Asked when it has been waited for already: it is a process that there is not, and ends now.
    let holder = || {
        held.borrow_mut().take();
        Some(u32::MAX)
    };
    assert!(lock::wait_for(&file, holder).unwrap());
    assert!(held.borrow().is_none());
}

/// A directory of our own that others may read is closed to them, and so are the files in it; one that holds something
/// else is refused and left alone.
#[test]
fn directories_are_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let open = |path: &Path, mode: u32| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    for opened in [0o755, 0o1777, 0o750] {
        open(dir.path(), opened);
        let held = StateDir::lock(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
        drop((Store::open(held.path()).unwrap(), held));
        for file in dir.path().read_dir().unwrap() {
            let file = file.unwrap().path();
            assert_eq!(mode(&file), 0o600, "{file:?}");
            open(&file, 0o644);
        }
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("letter"), "").unwrap();
    open(home.path(), 0o755);
    let error = StateDir::lock(home.path()).unwrap_err();
    assert!(error.to_string().contains("(mode 755)") && error.to_string().contains("chmod 700"), "{error}");
    assert_eq!(mode(home.path()), 0o755);
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
