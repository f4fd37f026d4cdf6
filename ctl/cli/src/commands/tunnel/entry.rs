//! `tunnel entry`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::tunnel::{EntryAdd, EntryKind};

use super::list;
use crate::failure::Tally;
use crate::output;

/// What can be done with bound stations.
#[derive(Debug, Subcommand)]
pub(crate) enum EntryCommand {
    /// Bind a station to another host; with its IP address, questions for that are answered here
    Add(AddArgs),
    /// Remove stations' entries
    Rm(RmArgs),
    /// Show a network's entries that were not learned
    #[command(visible_alias = "list")]
    Ls(ListArgs),
}

/// Arguments of `tunnel entry add`.
#[derive(Debug, Args)]
#[command(override_usage = "vswitchctl tunnel entry add <NETWORK> <MAC> [IP] <REMOTE>")]
pub(crate) struct AddArgs {
    /// The network, by name or id
    network: String,
    /// The station's MAC address
    #[arg(value_name = "MAC")]
    mac_address: String,
    /// The station's IP address, if questions for it are to be answered here, and the remote that it is behind
    #[arg(required = true, num_args = 1..=2, value_names = ["IP", "REMOTE"])]
    place: Vec<String>,
}

/// Arguments of `tunnel entry rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The network, by name or id
    network: String,
    /// The MAC addresses
    #[arg(required = true, value_name = "MAC")]
    mac_addresses: Vec<String>,
}

/// Arguments of `tunnel entry ls`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The network, by name or id
    network: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl EntryCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        match self {
            EntryCommand::Add(args) => client.add_entry(&args.network.clone(), &args.request()).await?,
            EntryCommand::Rm(args) => {
                for address in &args.mac_addresses {
                    tally.note(client.remove_entry(&args.network, address).await, Some(address))?;
                }
            }
            EntryCommand::Ls(args) => {
                let mut tunnel = client.tunnel(&args.network).await?;
                tunnel.entries.retain(|entry| entry.kind != EntryKind::Learned);
                if args.json {
                    output::json(&tunnel.entries)?;
                } else {
                    output::print(&list::entries(&[tunnel]))?;
                }
            }
        }
        Ok(tally.exit())
    }
}

impl AddArgs {
    fn request(self) -> EntryAdd {
        let mut place = self.place;
        let remote = place.pop().unwrap_or_default();
        EntryAdd { mac_address: self.mac_address, ip_address: place.pop(), remote }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The IP address in the middle may be left out.
    #[test]
    fn middle_argument() {
        let request = |place: &[&str]| {
            let place = place.iter().map(|word| (*word).to_owned()).collect();
            AddArgs { network: "n".into(), mac_address: "m".into(), place }.request()
        };
        assert_eq!((request(&["r"]).ip_address, request(&["r"]).remote), (None, "r".to_owned()));
        assert_eq!((request(&["i", "r"]).ip_address, request(&["i", "r"]).remote), (Some("i".into()), "r".to_owned()));
    }
}
