//! `stats`: what the switch has counted, or what containers use (`usage`).

mod render;
mod usage;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use vswitch_api::Client;

use crate::failure::Usage;
use crate::{output, values};
pub(crate) use render::{drops, ports};

const EXAMPLES: &str = "\
Examples:
  vswitchctl stats                                what has been counted since vswitchd started
  vswitchctl stats --watch                        rates, every second, until Ctrl-C
  vswitchctl stats --watch --interval 5 | tee log
  vswitchctl stats web db                         what these containers use, every second, until Ctrl-C
  vswitchctl stats --no-stream --format '{{.Name}} {{.MemUsage}}' web
  vswitchctl stats --json | jq '.ports[] | {endpoint, drops: .counters.drops}'

'In' is from the container into the switch. A segmentation-offload frame of up to 64 KiB counts as one frame.";

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsArgs {
    /// Show rates, again and again
    #[arg(short, long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = values::seconds, requires = "watch")]
    interval: Duration,
    /// End after so many looks
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print the daemon's answer as JSON (with --watch, or of containers, one line a look)
    #[arg(long)]
    json: bool,
    /// Show what these containers use instead, by name or id
    #[arg(value_name = "CONTAINER", conflicts_with_all = ["watch", "interval"])]
    containers: Vec<String>,
    /// One look at the containers
    #[arg(long, requires = "containers", conflicts_with = "count")]
    no_stream: bool,
    /// For containers: 'json' (one object a line), 'table TEMPLATE' or a template such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long, value_name = "FORMAT", requires = "containers", conflicts_with = "json")]
    format: Option<String>,
    /// Print ids of containers in full
    #[arg(long, requires = "containers")]
    no_trunc: bool,
}

impl StatsArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        if !self.containers.is_empty() {
            return usage::run(client, &self).await;
        }
        if self.watch {
            watch::run(client, &self).await?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.count.is_some() {
            return Err(Usage("--count says how often to look; add --watch or name containers".into()).into());
        }
        let stats = client.stats().await?;
        if self.json {
            output::json(&stats)?;
        } else {
            output::print(&render::totals(&stats))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
