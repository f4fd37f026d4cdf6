//! vswitchctl, the command line of vswitch.
//!
//! It answers "what would a user of Docker's networks type?": a stateless translator between words on a command line
//! and the control API. It knows nothing of namespaces, frames or stored state; all of that is asked of `vswitchd`.
//!
//! - `cli` is the grammar's root; each noun's grammar sits beside its code in `commands`;
//! - `foreground` lends the caller's streams or terminal to a process (`run`, `exec`);
//! - `machines` keeps a port for machines open (`port open`);
//! - `listing`, `table`, `template` and `output` turn answers into what people and programs read;
//! - `commands::top` alone draws on the terminal; everything else prints;
//! - `demo` is a tour: a private daemon, two containers and traffic between them.
//!
//! One rule for every command: answers go to standard output, one sentence that says what to do goes to standard error,
//! and the exit status is 0 (done), 1 (failed) or 2 (the command line is wrong). `run` and `exec` pass on the status of
//! the process, and use Docker's 125, 126 and 127 for what went wrong before it ran. Whoever closes our standard
//! output early has read enough: that is no failure.
//!
//! Deliberately absent: a configuration file, colours in tables, and any fact that only the daemon can know (address
//! syntax, name rules), so that there is one place that refuses them.

mod cli;
mod clock;
mod commands;
mod demo;
mod failure;
mod foreground;
mod listing;
mod machines;
mod natural;
mod output;
mod pcap;
mod table;
mod template;
mod units;
mod values;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Parse the process's arguments, do what they say, and say how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match cli::Cli::read(arguments()) {
        Ok(cli) => cli,
        Err(error) => {
            let plain = error.render().to_string();
            match vswitch_api::text::printable(&plain) {
                // Fails only if nobody reads, which needs no answer.
                Cow::Borrowed(_) => drop(error.print()),
                Cow::Owned(safe) => output::note(safe.trim_end()),
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::anyhow!("the kernel refuses an event queue ({error})")),
    };
    let outcome = runtime.block_on(cli.run());
    // A thread may still sit in a read of the terminal: do not wait for it.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failure::report(&error))
}

/// The words of the command line. Wireshark starts programs by their names alone, and the one of ours stands for a command.
fn arguments() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let name = words.first().and_then(|program| Path::new(program).file_name());
    if name.is_some_and(|name| name == commands::extcap::PROGRAM) {
        words.insert(1, "extcap".into());
    }
    words
}
