//! What vswitchd may still do once it serves. Read first: seccomp(2), landlock(7).
//!
//! vswitchd parses what hostile containers send. Should one of them ever make it run code of its own, that code finds
//! no capability ([`crate::privileges`]), few system calls ([`filter`]: none that executes programs, makes or enters
//! namespaces, mounts, traces, loads code into memory or opens raw sockets) and few files ([`files`]: the state
//! directory, and what the host lets everybody read about its network).
//!
//! Both restrictions belong to threads: they begin while there is only one, after the agent was started, which needs
//! much more, and every later thread inherits them. Neither can be lifted again.
//!
//! A call outside the list is refused with EPERM: a library that learned a new system call must not end the network of
//! all containers. The tests run with [`Mode::Kill`], where the first such call ends vswitchd, so that none goes unnoticed.
//!
//! Known gaps: TCP and UDP are free, as the uplink consists of them; and files of the folder of `--config-file` can be read as
//! far as their modes allow, since that file may be replaced while vswitchd runs (a file in /etc itself is read alone, and
//! after it was replaced no more).

mod calls;
mod files;
mod filter;

use std::path::PathBuf;

use vswitch_api::version::{Confinement, SystemCalls};

/// What happens when vswitchd does what it should not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It fails
    #[default]
    Refuse,
    /// A system call ends vswitchd, for tests
    Kill,
    /// It is not confined, for debugging
    Off,
}

/// The files that vswitchd needs after its start.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Folders in which it makes, changes and removes files and folders.
    pub own: Vec<PathBuf>,
    /// Folders out of which it removes files: those of its sockets.
    pub sockets: Vec<PathBuf>,
    /// Files and folders that it reads.
    pub read: Vec<PathBuf>,
}

/// Why vswitchd could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// A rule of our own is wrong, or the kernel does not take it.
    #[error("cannot restrict vswitchd's system calls ({0}); --confinement off starts it without")]
    SystemCalls(#[from] seccompiler::Error),
    /// As for system calls.
    #[error("cannot restrict vswitchd's files ({0}); --confinement off starts it without")]
    Files(#[from] landlock::RulesetError),
    /// A folder of our own cannot be opened.
    #[error("cannot open {path} to restrict vswitchd to it ({source}); --confinement off starts it without")]
    Place {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: landlock::PathFdError,
    },
}

/// Confines the calling thread, and those that it starts, for good. Answers what this kernel makes of it: without
/// landlock, or on an architecture without a filter, vswitchd serves with what there is, and says so in its log.
///
/// The caller has set no-new-privs.
///
/// # Errors
/// When the kernel knows a restriction and refuses it; the caller must not go on.
pub fn confine(mode: Mode, places: &Places) -> Result<Confinement, ConfinementError> {
    if mode == Mode::Off {
        tracing::warn!("--confinement off: vswitchd's system calls and files are not restricted");
        return Ok(Confinement { system_calls: SystemCalls::Unrestricted, landlock: None });
    }
    // Files first: the filter knows nothing of landlock's own calls.
    let landlock = files::restrict(places)?;
    Ok(Confinement { system_calls: filter::install(mode)?, landlock })
}
