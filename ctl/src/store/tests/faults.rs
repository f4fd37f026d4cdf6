//! A file system that refuses, and starts that are cut short.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use redb::StorageBackend;

use super::network;
use crate::model::Network;
use crate::store::medium::{Image, Medium};
use crate::store::tables::{self, Verdict, examine};
use crate::store::{Change, Store, StoreError};

/// A full disk: after `left` more changes it refuses `failing` ones.
#[derive(Debug)]
pub(crate) struct Disk {
    image: Image,
    left: AtomicU32,
    failing: AtomicU32,
    /// It does not answer.
    held: Mutex<bool>,
    /// Changes that were asked for.
    asked: AtomicU32,
    let_go: Condvar,
}

impl Disk {
    pub(crate) fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.let_go.notify_all();
    }

    /// How many changes were asked for; those that wait for an answer, too.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(SeqCst)
    }

    fn change(&self) -> io::Result<()> {
        self.asked.fetch_add(1, SeqCst);
        drop(self.let_go.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
        if self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Ok(());
        }
        match self.failing.fetch_update(SeqCst, SeqCst, |failing| failing.checked_sub(1)) {
            Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            Err(_) => Ok(()),
        }
    }
}

/// The same disk for the store and for the test.
#[derive(Debug)]
struct Shared(Arc<Disk>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.image.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.image.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change()?;
        self.0.image.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.change()?;
        self.0.image.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change()?;
        self.0.image.write(offset, data)
    }
}

/// A store with one network, `a`, on such a disk.
pub(crate) fn on_disk() -> (Arc<Disk>, Store) {
    let image = Image::new(tables::empty().unwrap());
    let disk = Arc::new(Disk {
        image,
        left: AtomicU32::new(u32::MAX),
        failing: AtomicU32::new(0),
        held: Mutex::default(),
        asked: AtomicU32::new(0),
        let_go: Condvar::new(),
    });
    let medium = Medium::new(Shared(Arc::clone(&disk)));
    let store = Store::on("state.redb".into(), medium);
    store.begin(false).unwrap();
    store.commit(&Change::new().put_network(&network("a"))).unwrap();
    (disk, store)
}

/// What a start after a kill at this moment would find.
fn found(store: &Store) -> String {
    let Verdict::Sound { contents, .. } = examine(&store.shared.medium.bytes().unwrap()) else { panic!("not sound") };
    let mut names: Vec<&str> = contents.networks.iter().map(|network| network.name.as_str()).collect();
    names.sort_unstable();
    names.concat()
}

/// The disk is full at any of the writes of a change: the change is refused and is not there, or is there; the store
/// can be read whenever vswitchd is killed; and with room again everything is written, without a restart.
#[test]
fn a_full_disk_for_a_while() {
    for left in 0..200 {
        let (disk, store) = on_disk();
        let (b, c) = (network("b"), network("c"));
        disk.failing.store(u32::MAX, SeqCst);
        disk.left.store(left, SeqCst);
        let result = store.commit(&Change::new().put_network(&b));
        let killed = found(&store);
        if result.is_ok() {
            assert!(left > 4 && killed == "ab", "{left} {killed}");
            return;
        }
        let sentence = result.unwrap_err().to_string();
        assert!(
            sentence.contains("see that there is space") && sentence.contains("need not be restarted"),
            "{sentence}"
        );
        assert!(["a", "ab"].contains(&killed.as_str()), "{left}: {killed}");
        assert!(store.commit(&Change::new().put_network(&c)).is_err(), "still full");
        disk.failing.store(0, SeqCst);
        store.commit(&Change::new().put_network(&c)).unwrap();
        assert_eq!(found(&store), "ac", "{left}: what was refused did not happen");
    }
    panic!("no change takes so many writes");
}

/// A disk that does not answer holds nobody up for long: the change is refused, further ones are at once, and once the disk answers
/// the refused one is undone, and written is what had happened meanwhile.
#[test]
fn a_disk_that_does_not_answer() {
    let (disk, mut store) = on_disk();
    let (b, c) = (network("b"), network("c"));
    disk.hold(true);
    store.writer.patience = Duration::from_millis(20);
    let sentence = store.commit(&Change::new().put_network(&b)).unwrap_err().to_string();
    assert!(sentence.contains("the disk does not answer"), "{sentence}");
    store.writer.patience = Duration::from_secs(3600);
    assert!(store.commit(&Change::new().put_network(&b)).is_err());
    assert!(store.settle(&Change::new().put_network(&c)).is_err());
    assert!(store.is_paid(&c.id).is_err());
    disk.hold(false);
    while store.pay().is_err() {
        std::thread::yield_now();
    }
    assert_eq!(found(&store), "ac");
    store.commit(&Change::new().put_network(&b)).unwrap();
    assert_eq!(found(&store), "abc");
}

/// One error that is over at once is nobody's business.
#[test]
fn one_error_is_overcome() {
    for left in 0..12 {
        let (disk, store) = on_disk();
        disk.left.store(left, SeqCst);
        disk.failing.store(1, SeqCst);
        store.commit(&Change::new().put_network(&network("b"))).unwrap();
        assert_eq!(found(&store), "ab", "{left}");
    }
}

/// What has happened is written when that is possible again, by the next change or by itself; the latest word on a
/// record holds.
#[test]
fn what_is_owed_is_paid() {
    let full = |disk: &Disk| {
        disk.failing.store(u32::MAX, SeqCst);
        disk.left.store(0, SeqCst);
    };
    for paid_by_a_change in [false, true] {
        let (disk, store) = on_disk();
        let mut b = network("b");
        full(&disk);
        let error = store.settle(&Change::new().put_network(&b)).unwrap_err();
        assert!(matches!(error, StoreError::Owed { .. }) && error.to_string().contains("it is done"), "{error}");
        b.name = "B".to_owned();
        assert!(store.settle(&Change::new().put_network(&b)).is_err());
        assert!(store.is_paid(&b.id).is_err() && store.pay().is_err());
        disk.failing.store(0, SeqCst);
        match paid_by_a_change {
            true => store.commit(&Change::new().put_network(&network("c"))).unwrap(),
            false => store.pay().unwrap(),
        }
        store.is_paid(&b.id).unwrap();
        assert_eq!(found(&store), if paid_by_a_change { "Bac" } else { "Ba" });
    }
}

/// The first start was killed, or the disk full, at any moment: what it leaves is in nobody's way later. So is what
/// earlier versions left, which is kept aside.
#[test]
fn a_first_start_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let (store, contents) = Store::open(dir.path()).unwrap();
        assert!(contents.networks.is_empty());
        store.commit(&Change::new().put_network(&network("a"))).unwrap();
        drop(store);
        let path = dir.path().join("state.redb");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(path).unwrap();
        assert!(!dir.path().join("state.redb.new").exists());
    };
    let whole = tables::empty().unwrap();
    for length in (0..=16).map(|part| whole.len() * part / 16) {
        std::fs::write(dir.path().join("state.redb.new"), &whole[..length]).unwrap();
        start();
    }
    // Neither is a directory that cannot be written refused for ever.
    std::fs::create_dir(dir.path().join("state.redb.new")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Io { .. })));
    std::fs::remove_dir(dir.path().join("state.redb.new")).unwrap();
    start();
    let _ = std::fs::remove_file(dir.path().join("state.redb.good"));
    let mut unmarked = redb_without_tables();
    unmarked[..9].fill(0);
    for leftover in [Vec::new(), vec![0; 8192], unmarked, redb_without_tables()] {
        std::fs::write(dir.path().join("state.redb"), &leftover).unwrap();
        start();
        assert_eq!(std::fs::read(dir.path().join("state.redb.unfinished")).unwrap(), leftover);
        std::fs::remove_file(dir.path().join("state.redb.unfinished")).unwrap();
    }
}

/// What was there before the first table.
fn redb_without_tables() -> Vec<u8> {
    let image = Medium::new(Image::new(Vec::new()));
    tables::close(tables::open(&image).unwrap()).unwrap();
    image.bytes().unwrap()
}

/// A copy of a sound store is kept at each start and when control asks for it, and only of one that has changed.
#[test]
fn copies_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("state.redb.good");
    let (store, _) = Store::open(dir.path()).unwrap();
    let in_copy = || -> Vec<Network> {
        match examine(&std::fs::read(&good).unwrap()) {
            Verdict::Sound { contents, .. } => contents.networks,
            other => panic!("{other:?}"),
        }
    };
    store.keep_copy();
    assert!(!good.exists(), "there is nothing to keep yet");
    let a = network("a");
    store.commit(&Change::new().put_network(&a)).unwrap();
    store.keep_copy();
    assert_eq!(in_copy(), std::slice::from_ref(&a));
    assert_eq!(good.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    store.commit(&Change::new().drop_network(&a.id)).unwrap();
    drop(store);
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(in_copy(), []);
}
