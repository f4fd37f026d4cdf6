//! `tunnel remote`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::tunnel::{Remote, RemoteAdd};

use crate::failure::Tally;
use crate::table::Table;
use crate::{output, units};

/// What can be done with the other hosts of an overlay network.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Add other hosts: frames from them are believed, and flooded frames go to them
    Add(RemoteArgs),
    /// Remove other hosts
    Rm(RemoteArgs),
    /// Show the other hosts
    #[command(visible_alias = "list")]
    Ls(ListArgs),
}

/// Arguments of `tunnel remote add` and `rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    /// The network, by name or id
    network: String,
    /// The other hosts' VTEP addresses
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
}

/// Arguments of `tunnel remote ls`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The network, by name or id
    network: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl RemoteCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        match self {
            RemoteCommand::Add(args) => {
                for address in args.addresses {
                    let request = RemoteAdd { address };
                    tally.note(client.add_remote(&args.network, &request).await, Some(&request.address))?;
                }
            }
            RemoteCommand::Rm(args) => {
                for address in &args.addresses {
                    tally.note(client.remove_remote(&args.network, address).await, Some(address))?;
                }
            }
            RemoteCommand::Ls(args) => {
                let remotes = client.tunnel(&args.network).await?.remotes;
                if args.json {
                    output::json(&remotes)?;
                } else {
                    output::print(&render(&remotes))?;
                }
            }
        }
        Ok(tally.exit())
    }
}

fn render(remotes: &[Remote]) -> String {
    let headers = ["REMOTE", "FROM", "PACKETS IN", "BYTES IN", "PACKETS OUT", "BYTES OUT", "HEARD", "PATH MTU"];
    let mut table = Table::new(headers).numbers(2..=7);
    for remote in remotes {
        table.row([
            &remote.address,
            &remote.origin,
            &units::count(remote.in_packets),
            &units::bytes(remote.in_bytes),
            &units::count(remote.out_packets),
            &units::bytes(remote.out_bytes),
            &remote.heard_seconds.map_or_else(|| "never".to_owned(), |age| format!("{} s ago", units::count(age))),
            &remote.path_mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A remote that was never heard of says so.
    #[test]
    fn table() {
        let remote = Remote { address: "192.0.2.2".into(), origin: "operator".into(), ..Remote::default() };
        let heard = Remote { heard_seconds: Some(2), path_mtu: Some(1400), in_packets: 1000, ..remote.clone() };
        let text = render(&[remote, heard]);
        assert!(text.contains("192.0.2.2   operator") && text.contains("never"), "{text}");
        assert!(text.contains("1,000") && text.contains("2 s ago") && text.contains("1400"), "{text}");
    }
}
