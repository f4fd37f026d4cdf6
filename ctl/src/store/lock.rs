//! The state directory: this user's own, and used by one vswitchd at a time.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::private;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It is somebody else's.
    #[error(
        "the state directory {path} belongs to user {owner} and vswitchd runs as user {user}; \
         name one of your own with --state-dir"
    )]
    NotOwned {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others may look into it, and it is not clear that nobody wants them to.
    #[error(
        "the state directory {path} is open to others (mode {mode:o}) and holds what is not vswitchd's; say 'chmod 700 \
         {path}' if nobody else needs it, or name another with --state-dir"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another vswitchd uses it.
    #[error(
        "another vswitchd{} uses the state directory {path}; stop it, or name another directory with --state-dir",
        .holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process, as far as is known.
        holder: Option<u32>,
    },
    /// It is no directory, or cannot be made or written.
    #[error("cannot use the state directory {path} ({source}); name another with --state-dir")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A locked state directory. The lock ends with the process, however that ends.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory (mode 0700) if it is not there, and locks it. A vswitchd that is ending is waited for: one that
    /// was killed holds its lock until the kernel has taken down all its sockets.
    ///
    /// # Errors
    /// When it belongs to another user, is open to others and not only ours, is in use, or cannot be made.
    pub fn lock(path: &Path) -> Result<StateDir, StateDirError> {
        let io = |source| StateDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        make_private(&path)?;
        let file = private::append_to(&path.join(LOCK)).map_err(io)?;
        if !wait_for(&file, || holder(&path)).map_err(io)? {
            let holder = holder(&path);
            return Err(StateDirError::InUse { path, holder });
        }
        // For whoever asks in vain. It is no harm if a full disk does not take it.
        let _ = file.set_len(0).and_then(|()| (&file).write_all(format!("{}\n", std::process::id()).as_bytes()));
        Ok(StateDir { path, _lock: file })
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Refuses a directory of somebody else, and closes one of our own to others.
fn make_private(path: &Path) -> Result<(), StateDirError> {
    let io = |source| StateDirError::Io { path: path.to_owned(), source };
    let dir = File::open(path).map_err(io)?;
    let about = dir.metadata().map_err(io)?;
    let (owner, mode) = (about.uid(), about.mode() & 0o7777);
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        return Err(StateDirError::NotOwned { path: path.to_owned(), owner, user });
    }
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // Somebody's home or /tmp, named by mistake, stays as it is.
    let ours = OURS.iter().any(|name| path.join(name).exists()) || path.read_dir().map_err(io)?.next().is_none();
    if !ours {
        return Err(StateDirError::Open { path: path.to_owned(), mode });
    }
    tracing::warn!("the state directory {} was open to others (mode {mode:o}) and is 700 now", path.display());
    dir.set_permissions(Permissions::from_mode(0o700)).map_err(io)
}

/// Locks a file, within the time that the end of its holder may take. Answers whether it has the lock.
pub(super) fn wait_for(file: &File, holder: impl Fn() -> Option<u32>) -> io::Result<bool> {
    for waited in 0..=MOST_WAITS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if waited > FEW_WAITS && holder().is_some_and(is_well) => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(WAIT),
        }
    }
    Ok(false)
}

/// Who has locked a directory, by its own word.
fn holder(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path.join(LOCK)).ok()?.trim().parse().ok()
}

/// Whether a process lives and is not on its way out: then its memory goes first, and with it its command line.
fn is_well(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// The file that is locked. It holds the process id of who did.
const LOCK: &str = "lock";

/// What tells a state directory from others.
const OURS: [&str; 2] = [LOCK, "state.redb"];

/// How long the end of a holder may take, as a number of waits: a killed one has thousands of sockets to close.
const MOST_WAITS: u32 = 1500;

/// How long one that seems well is waited for.
const FEW_WAITS: u32 = 20;

/// One wait.
const WAIT: Duration = Duration::from_millis(20);
