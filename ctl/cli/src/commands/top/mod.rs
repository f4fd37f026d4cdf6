//! `top`: endpoints live, or the processes of one container.
//!
//! `sample` makes rates out of two looks at the counters; `app` is what the keys change; `view` draws both; `screen` lends
//! the terminal and gives it back; `live` and `plain` are the two ways to look again and again. `processes` is the other thing.

mod app;
mod live;
mod plain;
mod processes;
mod sample;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::{Args, ValueEnum};
use vswitch_api::Client;

use crate::failure::Usage;
use crate::values;

const EXAMPLES: &str = "\
Examples:
  vswitchctl top                             live; q ends, the last line names the other keys
  vswitchctl top --sort drops --interval 0.5
  vswitchctl top --once                      one table of rates, for scripts
  vswitchctl top --json --count 10           ten lines of JSON, one a second
  vswitchctl top web                         the processes of a container
  vswitchctl top web -o pid,rss,cmd          in these columns

'In' is from the container into the switch. Flows are those that the uplink's router tracks.";

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = values::seconds)]
    interval: Duration,
    /// What the rows are sorted by
    #[arg(short, long, value_name = "COLUMN", default_value = "in")]
    sort: Column,
    /// Print one table and end
    #[arg(long, conflicts_with_all = ["count", "container"])]
    once: bool,
    /// Print one line of JSON a look, without a terminal
    #[arg(long)]
    json: bool,
    /// End after so many lines
    #[arg(short = 'n', long, requires = "json", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Show the processes of this container instead, by its name or id
    #[arg(conflicts_with_all = ["count", "interval", "sort"])]
    container: Option<String>,
    /// How: -ef (as without), aux, or -o COLUMN,...
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// What can be sorted by, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Column {
    /// Name of the endpoint
    Endpoint,
    /// Name of the network
    Network,
    /// Bits into the switch
    In,
    /// Bits out of the switch
    Out,
    /// Frames dropped
    Drops,
    /// Flows tracked
    Flows,
}

impl TopArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if let Some(container) = &self.container {
            return processes::run(client, container, &self.options.join(" "), self.json).await;
        }
        if self.once || self.json {
            return plain::run(client, &self).await;
        }
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Usage("top needs a terminal to draw on; use --once or --json without one".into()).into());
        }
        live::run(client, &self).await
    }
}
