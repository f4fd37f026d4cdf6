//! How a command ends that did not work.

use std::fmt;
use std::io;
use std::process::ExitCode;

use vswitch_api::ClientError;

use crate::output;

/// Exit status of a wrong command line.
pub(crate) const USAGE: u8 = 2;
/// Exit status of `run` and `exec` where the daemon failed or refused (Docker's).
pub(crate) const DAEMON: u8 = 125;

/// The command line is wrong in a way that only shows after parsing.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Say what went wrong, once, and give the exit status for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // The daemon's errors carry their cause in their sentence.
    if error.is::<ClientError>() {
        output::complain(error);
    } else {
        output::complain(&format!("{error:#}"));
    }
    if error.is::<Usage>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    // A daemon that hangs up is a failure, though its cause looks the same.
    !error.is::<ClientError>() && error.chain().any(broken)
}

/// Several objects, one call each: failures are told and the rest goes on, as Docker's commands do.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    failed: bool,
}

impl Tally {
    /// Take note of one outcome; print `name` if it worked and is worth a line.
    pub(crate) fn note(&mut self, outcome: Result<(), ClientError>, name: Option<&str>) -> anyhow::Result<()> {
        match (outcome, name) {
            (Ok(()), Some(name)) => output::print(&format!("{name}\n"))?,
            (Ok(()), None) => {}
            (Err(error), _) => {
                self.failed = true;
                output::complain(&error);
            }
        }
        Ok(())
    }

    /// Take note of one outcome; what came of it.
    pub(crate) fn keep<T>(&mut self, outcome: Result<T, ClientError>) -> Option<T> {
        outcome
            .map_err(|error| {
                self.failed = true;
                output::complain(&error);
            })
            .ok()
    }

    /// The exit status for all of them.
    pub(crate) fn exit(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
