//! What runs inside a container before and beside its command.
//!
//! ```text
//! agent ── thread: setns(net), unshare(mnt, pid, uts, ipc) ── sandbox-init (pid 1) ── sandbox-init --exec ══ command
//!       └─ thread: setns(mnt, pid, uts, ipc, net) ─────────────────────────────────── sandbox-init --exec ══ command
//! agent ── sandbox-init --users: setns(user, net), unshare(mnt, pid, uts, ipc) ── sandbox-init (pid 1) ── as above
//! ```
//!
//! Each stage is this executable anew, since a forked child of a process with threads may hardly do anything. It finds a
//! socket as its standard input, and there what to do and the descriptors that belong to it.

mod capability;
mod identity;
mod init;
pub(crate) mod message;
mod mounts;
mod seccomp;
mod stage;
pub(crate) mod users;

use std::{ffi::OsString, process::ExitCode};

pub(crate) use init::exit_code;

/// `vswitchd sandbox-init ARGS`: the first process of a container, with `--exec` the last step before a command, or
/// with `--users` the first step into a user namespace.
/// Must be called before the process has a second thread.
pub fn init_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    match args.next() {
        Some(argument) if argument == "--exec" => stage::main(),
        Some(argument) if argument == "--users" => users::main(),
        _ => init::main(),
    }
}
