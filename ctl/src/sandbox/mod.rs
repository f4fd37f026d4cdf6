//! What runs inside a container before its command does.

use std::{ffi::OsString, process::ExitCode};

/// `vswitchd sandbox-init ARGS`: the first process of a container. Must be called before the process has a second thread.
pub fn init_main(_args: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::FAILURE
}
