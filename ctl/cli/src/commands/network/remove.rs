//! `network rm` and `network prune`.

use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::Args;
use vswitch_api::Client;

use super::list;
use crate::failure::Tally;
use crate::output;

/// Arguments of `network rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// No complaint about networks that do not exist
    #[arg(short, long)]
    force: bool,
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

impl RmArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for network in &self.networks {
            match client.remove_network(network).await {
                Err(error) if self.force && error.is_not_found() => {}
                removed => tally.note(removed, Some(network))?,
            }
        }
        Ok(tally.exit())
    }
}

/// Arguments of `network prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only networks for which this holds: label=…, label!=…, until=TIME
    #[arg(long, value_name = "KEY=VALUE", value_parser = list::prune_filter)]
    filter: Vec<(String, String)>,
    /// Print the removed names as JSON
    #[arg(long, requires = "force")]
    json: bool,
}

impl PruneArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        if !self.force && !confirmed("all custom networks not used by at least one container")? {
            output::note("nothing removed");
            return Ok(ExitCode::FAILURE);
        }
        let pruned = client.prune_networks(&list::filters(self.filter)).await?;
        if self.json {
            output::json(&pruned.networks_deleted)?;
        } else if !pruned.networks_deleted.is_empty() {
            output::print(&format!("Deleted Networks:\n{}\n", pruned.networks_deleted.join("\n")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether whoever is at standard input wants `what` to be removed.
pub(crate) fn confirmed(what: &str) -> io::Result<bool> {
    output::print(&format!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
