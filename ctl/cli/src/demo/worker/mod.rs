//! What the demo runs inside its containers: this program again, so that nothing need be installed there.
//!
//! Each worker prints JSON, one value a line, for the demo to read.

pub(crate) mod hosts;
mod page;
mod parent;
mod ping;
pub(crate) mod stage;
mod stream;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{output, values};
pub(crate) use page::Fetched;
pub(crate) use ping::Pings;
use stage::Owner;
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
        /// Also serve a page of this name at port 80.
        #[arg(long)]
        page: Option<String>,
    },
    /// Fetch a page; print [`Fetched`].
    Fetch { address: SocketAddr },
    /// Make an outside, reached by its Unix socket, and an uplink to it; then become another program that ends when the
    /// demo does.
    Stage {
        /// The uplink is the host's own, with an address of the host's.
        #[arg(long)]
        host: bool,
        outside: std::path::PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Make a second host and become the first one's vswitchd, both of which end when the demo does.
    FirstHost { directory: std::path::PathBuf, program: std::path::PathBuf },
    /// Run the second host's vswitchd, which ends when the first one's does.
    SecondHost { directory: std::path::PathBuf, program: std::path::PathBuf },
    /// Be the outside.
    Outside { socket: std::path::PathBuf },
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
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            WorkerCommand::Idle => loop {
                std::thread::park();
            },
            WorkerCommand::Ping { address, count } => say(&ping::ping(address, count)?),
            WorkerCommand::Serve { port, page } => {
                if let Some(name) = page {
                    let pages = TcpListener::bind(("::", stage::PAGE_PORT))
                        .or_else(|_| TcpListener::bind(("0.0.0.0", stage::PAGE_PORT)))
                        .context("the page cannot be served")?;
                    std::thread::spawn(move || page::serve(&pages, &name));
                }
                stream::serve(port)
            }
            WorkerCommand::Fetch { address } => say(&page::fetch(address)?),
            WorkerCommand::Stage { host, outside, command } => {
                let owner = if host { Owner::Host } else { Owner::Switch };
                stage::stage(owner, &outside, &command).await
            }
            WorkerCommand::FirstHost { directory, program } => hosts::first(&directory, &program).await,
            WorkerCommand::SecondHost { directory, program } => hosts::second(&directory, &program).await,
            WorkerCommand::Outside { socket } => stage::outside(&socket).await,
            WorkerCommand::Send { address, seconds } => say(&stream::send(address, seconds)?),
            WorkerCommand::Daemon { command } => daemon(&command),
        }
    }
}

fn daemon(command: &[std::ffi::OsString]) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    become_program(command)
}

/// Replaces this program by another.
fn become_program(command: &[std::ffi::OsString]) -> anyhow::Result<()> {
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
