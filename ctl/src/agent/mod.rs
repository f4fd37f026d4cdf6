//! The agent: the only process that creates namespaces, interfaces and container processes.

pub mod client;
pub mod protocol;
mod socket;
mod wire;

use std::{ffi::OsString, process::ExitCode};

/// `vswitchd agent ARGS`: runs the agent. Must be called before the process has a second thread.
pub fn main(_args: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::FAILURE
}
