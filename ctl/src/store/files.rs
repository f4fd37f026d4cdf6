//! The files of a store, and how they come into being: whole beside their place, then put into it.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::medium::Medium;
use super::tables::{self, Verdict};
use super::{StoreError, lock};
use crate::private;

/// The store itself.
pub(super) const STORE: &str = "state.redb";

/// The latest copy that was found sound.
pub(super) const GOOD: &str = "state.redb.good";

/// A store that is still being made.
const NEW: &str = "state.redb.new";

/// What the first start of an earlier version left half-made.
const UNFINISHED: &str = "state.redb.unfinished";

/// How the tables' names can be recognised in a file that the database does not know as its own.
const MARK: &[u8] = b"schema";

/// A store whose every checksum was found right.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) medium: Medium,
    /// The bytes that were examined.
    pub(super) bytes: Vec<u8>,
    pub(super) contents: super::Contents,
    /// See [`Verdict::Sound`].
    pub(super) repair: bool,
    /// It was made just now.
    pub(super) fresh: bool,
}

/// Opens the store of a directory, made first if there is none. What is refused was only read.
pub(super) fn open(dir: &Path) -> Result<Opened, StoreError> {
    // Whatever is there is of a start that did not come to its end.
    let _ = std::fs::remove_file(dir.join(NEW));
    let path = dir.join(STORE);
    if !path.exists() {
        return fresh(dir);
    }
    let io = |error: io::Error| StoreError::Unreadable { path: path.clone(), detail: error.to_string() };
    let mut file = File::options().read(true).write(true).open(&path).map_err(io)?;
    if !lock::wait_for(&file, || None).map_err(io)? {
        return Err(StoreError::InUse { path });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    match tables::examine(&bytes) {
        Verdict::Sound { contents, repair, turn, .. } => {
            if turn {
                bytes[tables::FLAGS] ^= tables::SECOND_HOLDS;
                let at = u64::try_from(tables::FLAGS).expect("it is a small number");
                file.write_all_at(&[bytes[tables::FLAGS]], at).map_err(io)?;
            }
            file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
            Ok(Opened { path, medium: Medium::file(file), bytes, contents: *contents, repair, fresh: false })
        }
        Verdict::Newer(found) => Err(StoreError::Newer { path, found }),
        Verdict::NeverFilled | Verdict::Damaged(_) if never_begun(dir, &bytes) => {
            drop(file);
            set_aside(dir)?;
            fresh(dir)
        }
        Verdict::NeverFilled => Err(corrupt(dir, "it is empty".to_owned())),
        Verdict::Damaged(detail) => Err(corrupt(dir, detail)),
    }
}

/// Makes an empty store and opens it.
fn fresh(dir: &Path) -> Result<Opened, StoreError> {
    let io = |detail: String| StoreError::Io { path: dir.join(STORE), detail };
    let bytes = tables::empty().map_err(io)?;
    place(dir, STORE, NEW, &bytes).map_err(|error| io(error.to_string()))?;
    // The name lasts when its directory is on disk.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io(error.to_string()))?;
    Ok(Opened { fresh: true, ..open(dir)? })
}

/// Keeps a copy of a store that is sound, in place of the former one.
pub(super) fn keep(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    place(dir, GOOD, &format!("{GOOD}.new"), bytes)
}

/// Puts a whole file into its place, so that there is never a part of one.
fn place(dir: &Path, name: &str, beside: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = dir.join(beside);
    let write = || {
        let mut file = private::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&beside, dir.join(name))
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Whether a file that holds no store is what earlier versions left behind when their first start was killed or the disk
/// was full: nothing but the lock is beside it, and no record was ever written to it.
fn never_begun(dir: &Path, bytes: &[u8]) -> bool {
    let Ok(mut entries) = dir.read_dir() else { return false };
    let alone =
        entries.all(|entry| entry.is_ok_and(|entry| ["lock", STORE].iter().any(|name| entry.file_name() == *name)));
    let unsaid = matches!(tables::examine(bytes), Verdict::NeverFilled)
        || (bytes.iter().take(9).all(|byte| *byte == 0) && !bytes.windows(MARK.len()).any(|part| part == MARK));
    alone && unsaid
}

/// Makes room for a new store; nothing is thrown away.
fn set_aside(dir: &Path) -> Result<(), StoreError> {
    let (from, to) = (dir.join(STORE), dir.join(UNFINISHED));
    std::fs::rename(&from, &to).map_err(|error| StoreError::Io { path: from, detail: error.to_string() })?;
    tracing::warn!("an earlier first start did not finish its store; what it left is {} now", to.display());
    Ok(())
}

fn corrupt(dir: &Path, detail: String) -> StoreError {
    let sound = |path: PathBuf| {
        let found = tables::examine(&std::fs::read(&path).ok()?);
        let modified = path.metadata().ok()?.modified().ok()?;
        matches!(found, Verdict::Sound { .. }).then(|| {
            let at = humantime::format_rfc3339_seconds(modified);
            format!(
                "to go on, put the copy {} of {at} in its place (what was changed since then is lost); to start empty, \
                 move it away",
                path.display()
            )
        })
    };
    let advice = sound(dir.join(GOOD));
    let advice = advice.unwrap_or_else(|| "move it away to start empty, or restore a copy of it".to_owned());
    StoreError::Corrupt { path: dir.join(STORE), detail, advice }
}
