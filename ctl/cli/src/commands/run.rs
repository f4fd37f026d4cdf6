//! `run`.

use std::process::ExitCode;

use clap::Args;
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
  vswitchctl run -it --name box -- bash                         Ctrl-P Ctrl-Q leaves it, 'attach box' comes back
  vswitchctl run --rm --rootfs ./alpine -v data:/data -- sh     another root directory, and a volume

The container has its own network, hostname, processes, /dev, /proc, /run, /sys and /tmp, and otherwise the
host's root filesystem, with the homes read-only; --volume and --mount share more, --rootfs brings another.
Of the environment it gets HOME and what -e names.
The exit status is the command's; 125: vswitchd failed, 126: the command cannot be executed, 127: there
is no such command.";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Leave it running and print its id
    #[arg(short, long)]
    detach: bool,
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
        let tty = if detach { self.tty.explicit() } else { self.tty.wanted() };
        let kept = self.tty.explicit() && self.tty.interactive();
        let input = self.tty.interactive() && (detach || kept);
        let created = self.container.create(client, Shape { tty, input }).await?;
        let started = if detach {
            client.start_container(&created.id).await.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        } else if kept {
            let detach_keys = &self.leave.detach_keys;
            let wanted = Attachment { container: &created.id, tty, input, detach_keys, start: true };
            foreground::attach(client, wanted).await
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
