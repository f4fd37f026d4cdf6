//! `exec`.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Args;
use vswitch_api::Client;
use vswitch_api::client::Streams;
use vswitch_api::container::ExecRequest;
use vswitch_api::stdio::StdioEvent;

use super::create::variables;
use super::run::daemon_failure;
use crate::foreground::{self, Job, TtyArgs};
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl exec web bash
  vswitchctl exec -e LANG=C -w /tmp web ip addr

The exit status is the command's; 125: vswitchd failed, 126: the command cannot be executed, 127: there
is no such command.";

/// Arguments of `exec`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecArgs {
    /// Leave it running
    #[arg(short, long, conflicts_with_all = ["tty", "interactive"])]
    detach: bool,
    /// Environment variable on top of the container's (repeat for more)
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = values::variable)]
    env: Vec<String>,
    /// Whose process it is, by names in the container or by numbers [default: the container's]
    #[arg(short, long, value_name = "USER[:GROUP]", default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    #[command(flatten)]
    tty: TtyArgs,
    /// The container, by name or id
    container: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ExecArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        daemon_failure(self.start(client).await)
    }

    /// What was asked for; a terminal is of the caller's kind.
    fn environment(&self, tty: bool) -> Vec<String> {
        let terminal = tty.then(|| "TERM".to_owned());
        variables(&terminal.into_iter().chain(self.env.iter().cloned()).collect::<Vec<_>>())
    }

    async fn start(self, client: &Client) -> anyhow::Result<ExitCode> {
        let tty = !self.detach && self.tty.wanted();
        let env = self.environment(tty);
        let request = ExecRequest { command: self.command, env, working_dir: self.workdir, tty, user: self.user };
        if self.detach {
            return detached(client, &self.container, &request).await;
        }
        foreground::run(client, Job::Exec(&self.container, &request), tty).await
    }
}

/// Start it without streams and leave once it runs.
async fn detached(client: &Client, container: &str, request: &ExecRequest) -> anyhow::Result<ExitCode> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut session = client.exec_with(container, request, Streams::all(null.as_fd())).await?;
    match session.next().await? {
        Some(StdioEvent::Started { .. } | StdioEvent::Exited { .. }) => Ok(ExitCode::SUCCESS),
        Some(StdioEvent::Failed { message, exit_code }) => {
            output::complain(&message);
            Ok(foreground::exit_code(exit_code))
        }
        None => anyhow::bail!("vswitchd went away before the command had started; try again"),
    }
}
