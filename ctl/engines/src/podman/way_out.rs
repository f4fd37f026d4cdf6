//! `slirp4netns` and `pasta`, which podman starts for the network namespace that all rootless bridge networks share, before the
//! first container on one of them.
//!
//! They are the last programs that podman starts in the host's network namespace before it calls netavark in that other one, so
//! this is where an ordinary user's vswitchd can be started from. Then they become the programs that podman meant.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{complain, daemon, original};

/// What podman's shared namespace is called, in all versions.
const SHARED: &str = "rootless-netns";

/// Runs it in the place of the program `name`, with the process's own arguments.
pub(crate) fn main(name: &str) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if is_for_bridges(&arguments)
        && let Err(why) = daemon::start_below_podman()
    {
        complain(&format!("{why:#}; podman's own network helpers are used"));
    }
    complain(&original::become_it(name, &arguments, None).to_string());
    ExitCode::from(127)
}

/// Whether bridge networks are about to be used; containers may also have one of these programs for themselves.
fn is_for_bridges(arguments: &[OsString]) -> bool {
    daemon::is_rootless()
        && arguments.iter().any(|argument| argument.to_str().is_some_and(|argument| argument.contains(SHARED)))
}
