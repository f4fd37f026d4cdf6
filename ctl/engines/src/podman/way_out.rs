//! `slirp4netns` and `pasta`, by which an ordinary user's podman gives a network namespace a way out.
//!
//! podman starts one for the namespace that all rootless bridge networks share, before the first container on one of them: the last
//! program that it starts in the host's network namespace before it calls netavark in that other one. So this is where an ordinary
//! user's vswitchd can be started from. Through that namespace nothing goes then; the program that podman meant serves it all the same,
//! for those whose networks podman's own netavark makes.
//!
//! For a container on no network it is [`slirp4netns`] itself.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{complain, daemon, original, slirp4netns};

/// What podman's shared namespace is called, in all versions.
const SHARED: &str = "rootless-netns";

/// Runs it in the place of the program `name`, with the process's own arguments.
pub(crate) fn main(name: &str) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_ours = name == slirp4netns::NAME;
    if is_for_bridges(&arguments) {
        if let Err(why) = daemon::start_below_podman() {
            complain(&format!("{why:#}; podman's own network helpers are used"));
        }
        if is_ours && original::find(name).is_none() {
            return slirp4netns::main();
        }
    } else if is_ours {
        return slirp4netns::main();
    }
    complain(&original::become_it(name, &arguments, None).to_string());
    ExitCode::from(127)
}

/// Whether bridge networks are about to be used; containers may also have one of these programs for themselves.
fn is_for_bridges(arguments: &[OsString]) -> bool {
    daemon::is_rootless()
        && arguments.iter().any(|argument| argument.to_str().is_some_and(|argument| argument.contains(SHARED)))
}
