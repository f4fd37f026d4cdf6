//! `slirp4netns` and `pasta`, by which an ordinary user's podman gives a network namespace a way out.
//!
//! podman starts one for the namespace that all rootless bridge networks share, before the first container on one of them: the last
//! program that it starts in the host's network namespace before it calls netavark in that other one. So this is where an ordinary
//! user's vswitchd can be started from. Through that namespace nothing goes then; the program that podman meant serves it all the same,
//! for those whose networks podman's own netavark makes.
//!
//! For a container on no network they are [`slirp4netns`] and [`pasta`] themselves.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::{complain, daemon, original, pasta, slirp4netns};

/// What podman's shared namespace is called, in all versions.
const SHARED: &str = "rootless-netns";

/// Runs it in the place of the program `name`, with the process's own arguments.
pub(crate) fn main(name: &str) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let own = if name == pasta::NAME { pasta::main } else { slirp4netns::main };
    if !is_for_bridges(&arguments) {
        return own();
    }
    if let Err(why) = daemon::start_below_podman() {
        complain(&format!("{why:#}; podman's own network helpers are used"));
    }
    if original::find(name).is_none() {
        return own();
    }
    complain(&original::become_it(name, &arguments, None).to_string());
    ExitCode::from(127)
}

/// Whether podman calls, by the folder of helpers that `vswitchctl engine podman install` has made: `netavark` is in it, too. For
/// whatever else calls `pasta` it is a program like `slirp4netns`; and so it is where podman has none of its own.
pub(crate) fn is_called() -> bool {
    let own = std::env::args_os().next().map(PathBuf::from);
    let beside = own.and_then(|own| Some(own.parent()?.join("netavark")));
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    is_for_bridges(&arguments) && beside.is_some_and(|path| path.exists())
}

/// Whether bridge networks are about to be used; containers may also have one of these programs for themselves.
fn is_for_bridges(arguments: &[OsString]) -> bool {
    daemon::is_rootless()
        && arguments.iter().any(|argument| argument.to_str().is_some_and(|argument| argument.contains(SHARED)))
}
