//! The state directory: this user's own, and used by one vswitchd at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

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
    /// Another vswitchd uses it.
    #[error("another vswitchd uses the state directory {path}; stop it, or name another directory with --state-dir")]
    InUse {
        /// The directory.
        path: PathBuf,
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
    /// Makes the directory (mode 0700) if it is not there, and locks it.
    ///
    /// # Errors
    /// When it belongs to another user, is in use, or cannot be made.
    pub fn lock(path: &Path) -> Result<StateDir, StateDirError> {
        let io = |source| StateDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        let owner = path.metadata().map_err(io)?.uid();
        let user = rustix::process::geteuid().as_raw();
        if owner != user {
            return Err(StateDirError::NotOwned { path, owner, user });
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"));
        let file = file.map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateDir { path, _lock: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateDirError::InUse { path }),
            Err(error) => Err(io(error.into())),
        }
    }

    /// The directory, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
