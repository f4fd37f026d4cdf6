//! `stats`.

mod render;
mod watch;

use std::time::Duration;

use clap::Args;
use vswitch_api::Client;

use crate::{output, values};
pub(crate) use render::{drops, ports};

const EXAMPLES: &str = "\
Examples:
  vswitchctl stats                                what has been counted since vswitchd started
  vswitchctl stats --watch                        rates, every second, until Ctrl-C
  vswitchctl stats --watch --interval 5 | tee log
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
    #[arg(short = 'n', long, requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print the daemon's answer as JSON (with --watch one line a look)
    #[arg(long)]
    json: bool,
}

impl StatsArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if self.watch {
            return watch::run(client, &self).await;
        }
        let stats = client.stats().await?;
        if self.json { output::json(&stats) } else { Ok(output::print(&render::totals(&stats))?) }
    }
}
