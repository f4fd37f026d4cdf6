//! What is done to containers by name: `start`, `stop`, `pause`, `unpause`, `kill`, `rename`, `rm`, `wait`, `logs`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use vswitch_api::Client;
use vswitch_api::client::{Frames, OutputQuery, StreamsWanted};
use vswitch_api::docker::container::ContainerUpdate;
use vswitch_api::docker::create::RestartPolicyWish;

use crate::failure::{Tally, Usage};
use crate::foreground::{self, Attachment, LeaveArgs};
use crate::{output, values};

/// Arguments of `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Show what the container writes, and end with its exit status
    #[arg(short, long)]
    attach: bool,
    /// Send it standard input, too
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    leave: LeaveArgs,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl StartArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        if self.attach || self.interactive {
            let [container] = &self.containers[..] else {
                return Err(Usage("you cannot start and attach multiple containers at once".into()).into());
            };
            let shown = client.container(container).await?;
            let detach_keys = &*self.leave.detach_keys;
            let streams = StreamsWanted { input: self.interactive, output: true, errors: true, detach_keys };
            let wanted = Attachment { container: &shown.id, tty: shown.tty, streams, start: true };
            return foreground::attach(client, wanted).await;
        }
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
    /// Seconds between asking and killing [default: what was said when it was created, or 10]
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

/// Arguments of `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Seconds between asking and killing [default: what was said when it was created, or 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u32>,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl RestartArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let grace = self.time.map(|seconds| Duration::from_secs(seconds.into()));
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.restart_container(container, grace).await, Some(container))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// When it is started again by itself: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY", required = true)]
    restart: String,
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl UpdateArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let (name, most) = self.restart.split_once(':').unwrap_or((&self.restart, "0"));
        let most = most.parse().map_err(|_| Usage("maximum retry count must be an integer".into()))?;
        let policy = RestartPolicyWish { name: name.to_owned(), maximum_retry_count: most };
        let update = ContainerUpdate { restart_policy: policy, ..ContainerUpdate::default() };
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.update_container(container, &update).await, Some(container))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `pause`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl PauseArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.pause_container(container).await, Some(container))?;
        }
        Ok(tally.exit())
    }
}

/// Arguments of `unpause`.
#[derive(Debug, Args)]
pub(crate) struct UnpauseArgs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl UnpauseArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for container in &self.containers {
            tally.note(client.unpause_container(container).await, Some(container))?;
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
                Err(error) if self.force && error.is_not_found() => output::note(&error.to_string()),
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
    /// So many lines from the end, or all
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<String>,
    /// Nothing before this time, or before so long ago, such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Nothing after this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Put its time in front of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The container, by name or id
    container: String,
}

impl LogsArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if self.timestamps || self.tail.is_some() || self.since.is_some() || self.until.is_some() {
            return self.some(client).await;
        }
        if !self.follow {
            return Ok(output::bytes(&client.container_logs(&self.container).await?)?);
        }
        let mut written = client.follow_container_logs(&self.container).await?;
        while let Some(bytes) = written.next().await? {
            output::bytes(&bytes)?;
        }
        Ok(())
    }

    /// A part of it. Both streams come in the order in which they were written.
    async fn some(self, client: &Client) -> anyhow::Result<()> {
        let mut frames = (!client.container(&self.container).await?.tty).then(Frames::default);
        let wanted = OutputQuery {
            follow: self.follow,
            timestamps: self.timestamps,
            since: self.since,
            until: self.until,
            tail: self.tail,
        };
        let mut written = client.container_output(&self.container, &wanted).await?;
        while let Some(bytes) = written.next().await? {
            match &mut frames {
                None => output::bytes(&bytes)?,
                Some(frames) => {
                    for piece in frames.take(&bytes) {
                        output::bytes(&piece.bytes)?;
                    }
                }
            }
        }
        Ok(())
    }
}
