//! What the demo runs inside its containers: this program again, so that nothing need be installed there.
//!
//! Each worker prints JSON, one value a line, for the demo to read.

mod ping;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{output, values};
pub(crate) use ping::Pings;
pub(crate) use stream::{Ready, Sent};

/// The workers.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Do nothing until killed.
    Idle,
    /// Send echo requests, each once the one before is answered; print [`Pings`].
    Ping {
        address: IpAddr,
        #[arg(long)]
        count: u32,
    },
    /// Take TCP connections, read them to their end and answer with the count of bytes; print [`Ready`].
    Serve {
        #[arg(long)]
        port: u16,
    },
    /// Send as much as goes over one TCP connection; print [`Sent`].
    Send {
        address: SocketAddr,
        #[arg(long, value_parser = values::seconds)]
        seconds: Duration,
    },
    /// Become another program that ends when the demo does.
    Daemon {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

impl WorkerCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            WorkerCommand::Idle => loop {
                std::thread::park();
            },
            WorkerCommand::Ping { address, count } => say(&ping::ping(address, count)?),
            WorkerCommand::Serve { port } => stream::serve(port),
            WorkerCommand::Send { address, seconds } => say(&stream::send(address, seconds)?),
            WorkerCommand::Daemon { command } => daemon(&command),
        }
    }
}

fn daemon(command: &[std::ffi::OsString]) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let (program, arguments) = command.split_first().context("no program is named")?;
    Err(Command::new(program).args(arguments).exec()).context(format!("{} cannot be started", program.display()))
}

fn say(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(output::print(&(serde_json::to_string(value)? + "\n"))?)
}

/// What a worker has said.
pub(crate) fn understand<T: DeserializeOwned>(line: &str) -> anyhow::Result<T> {
    serde_json::from_str(line).with_context(|| format!("a demo worker said '{}'", line.trim()))
}
