//! `run`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use vswitch_api::client::StreamsWanted;
use vswitch_api::{Client, ClientError};

use super::create::{ContainerArgs, Shape};
use crate::failure::{self, Usage};
use crate::foreground::{self, Attachment, Job, LeaveArgs, TtyArgs};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl run --rm -- bash                                   a shell on the default network
  vswitchctl run -d --name web --network blue --ip 10.9.0.5 -- python3 -m http.server
  vswitchctl run --rm --network blue -- curl http://10.9.0.5:8000
  vswitchctl run --rm --network container:web -- ss -ltn        share another container's network
  vswitchctl run -it --name box -- bash                         Ctrl-P Ctrl-Q leaves it
  vswitchctl attach box                                         comes back to it
  vswitchctl run --rm --rootfs ./alpine -v data:/data -- sh     another root directory, and a volume

The container has its own network, hostname, processes, /dev, /proc, /run, /sys and /tmp, and otherwise the
host's root filesystem, with the homes read-only; --volume and --mount share more, --rootfs brings another.
Of the caller's environment it gets HOME and what -e names; PATH, HOSTNAME and, with a terminal, TERM are its own.

The exit status is the command's; 125: vswitchd failed, 126: the command cannot be executed, 127: there
is no such command.";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Leave it running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Connect these streams only: stdin (with -i), stdout, stderr (repeat for more)
    #[arg(short, long, value_name = "STREAM", ignore_case = true)]
    attach: Vec<Stream>,
    #[command(flatten)]
    tty: TtyArgs,
    #[command(flatten)]
    leave: LeaveArgs,
    #[command(flatten)]
    container: ContainerArgs,
}

impl RunArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        daemon_failure(self.create_and_start(client).await)
    }

    async fn create_and_start(self, client: &Client) -> anyhow::Result<ExitCode> {
        let (detach, rm) = (self.detach, self.container.removed());
        let chosen = !self.attach.is_empty();
        if detach && chosen {
            return Err(Usage("conflicting options: cannot specify both --attach and --detach".into()).into());
        }
        let tty = if detach || chosen { self.tty.explicit() } else { self.tty.wanted() };
        let kept = chosen || self.tty.explicit() && self.tty.interactive();
        let input = self.tty.interactive() && (detach || kept);
        let wants = |stream| !chosen || self.attach.contains(&stream);
        // As Docker: who is there to send it is the one who ends it, unless it is to be left and come back to.
        let once = input && chosen && wants(Stream::Stdin);
        let created = self.container.create(client, Shape { tty, input, once }).await?;
        let started = if detach {
            client.start_container(&created.id).await.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        } else if kept {
            let streams = StreamsWanted {
                input: input && wants(Stream::Stdin),
                output: wants(Stream::Stdout),
                // All that a terminal shows is its output.
                errors: wants(Stream::Stderr) && !(tty && chosen),
                detach_keys: &self.leave.detach_keys,
            };
            if !streams.output && !streams.errors {
                output::print(&format!("{}\n", created.id))?;
            }
            foreground::attach(client, Attachment { container: &created.id, tty, streams, start: true }).await
        } else {
            foreground::run(client, Job::Start(&created.id), tty).await
        };
        if started.is_err() && rm {
            // It never ran, so nothing else removes it; it may be gone already.
            let _ = client.remove_container(&created.id, true).await;
        }
        if detach && started.is_ok() {
            output::print(&format!("{}\n", created.id))?;
        }
        started
    }
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// Docker's exit status for whatever kept the command from running, except for a wrong command line.
pub(crate) fn daemon_failure(outcome: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    outcome.or_else(|error| {
        if error.is::<Usage>() {
            return Err(error);
        }
        failure::report(&error);
        Ok(match error.downcast_ref() {
            Some(ClientError::Refused { exit_code: Some(status), .. }) => foreground::exit_code(*status),
            _ => ExitCode::from(failure::DAEMON),
        })
    })
}
