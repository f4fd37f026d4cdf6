//! What is done to containers by name: `start`, `stop`, `kill`, `rename`, `rm`, `wait`, `logs`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use vswitch_api::Client;

use crate::failure::Tally;
use crate::{output, values};

/// Arguments of `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl StartArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.start_container(container).await, Some(container))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds between asking and killing [default: 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u32>,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl StopArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let grace = self.time.map(|seconds| Duration::from_secs(seconds.into()));
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.stop_container(container, grace).await, Some(container))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL", value_parser = values::signal, allow_negative_numbers = true)]
    signal: i32,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl KillArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.kill_container(container, self.signal).await, Some(container))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The container, by name or id
    container: String,
    /// Its new name
    name: String,
}

impl RenameArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        Ok(client.rename_container(&self.container, &self.name).await?)
    }
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Also containers that run (they are killed), and no complaint about ones that do not exist
    #[arg(short, long)]
    force: bool,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl RmArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for container in &self.containers {
            match client.remove_container(container, self.force).await {
                Err(error) if self.force && crate::failure::is_absent(&error) => output::note(&error.to_string()),
                removed => tally.note(removed, Some(container))?,
            }
        }
        Ok(tally.exit())
    }
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl WaitArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for container in &self.containers {
            let ended = client.wait_container(container).await;
            let status = ended.as_ref().map(|status| status.exit_code.to_string()).unwrap_or_default();
            tally.note(ended.map(drop), Some(&status))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// The container, by name or id
    container: String,
}

impl LogsArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if !self.follow {
            return Ok(output::bytes(&client.container_logs(&self.container).await?)?);
        }
        let mut written = client.follow_container_logs(&self.container).await?;
        while let Some(bytes) = written.next().await? {
            output::bytes(&bytes)?;
        }
        Ok(())
    }
}
