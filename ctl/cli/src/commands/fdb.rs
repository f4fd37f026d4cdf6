//! `fdb`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use vswitch_api::fdb::{FdbAdd, FdbEntry, FdbKind};
use vswitch_api::{Client, ClientError};

use crate::failure::Tally;
use crate::table::Table;
use crate::{natural, output};

const EXAMPLES: &str = "\
Examples:
  vswitchctl fdb show blue
  vswitchctl fdb add blue 02:42:0a:09:00:05 web      frames to that address go to web only
  vswitchctl fdb flush blue                          forget what was learned";

/// What can be done with a network's forwarding database.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum FdbCommand {
    /// Show which MAC address is behind which port
    #[command(visible_alias = "ls")]
    Show(ShowArgs),
    /// Add a static entry
    Add(AddArgs),
    /// Remove entries, learned or static
    Rm(RmArgs),
    /// Forget all learned entries
    Flush(FlushArgs),
}

/// Arguments of `fdb show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The network, by name or id
    network: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `fdb add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The network, by name or id
    network: String,
    /// The MAC address
    #[arg(value_name = "MAC")]
    mac_address: String,
    /// The endpoint or container that it leads to, by name or id
    endpoint: String,
}

/// Arguments of `fdb rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The network, by name or id
    network: String,
    /// The MAC addresses
    #[arg(required = true, value_name = "MAC")]
    mac_addresses: Vec<String>,
}

/// Arguments of `fdb flush`.
#[derive(Debug, Args)]
pub(crate) struct FlushArgs {
    /// The network, by name or id
    network: String,
}

impl FdbCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        match self {
            FdbCommand::Show(args) => {
                let mut entries = client.fdb(&args.network).await?;
                entries
                    .sort_by(|a, b| natural::compare(&a.endpoint, &b.endpoint).then(a.mac_address.cmp(&b.mac_address)));
                if args.json {
                    output::json(&entries)?;
                } else {
                    output::print(&render(&entries))?;
                }
            }
            FdbCommand::Add(args) => {
                let request = FdbAdd { mac_address: args.mac_address, endpoint: args.endpoint };
                client.add_fdb(&args.network, &request).await?;
            }
            FdbCommand::Rm(args) => {
                for address in &args.mac_addresses {
                    let removed =
                        client.remove_fdb(&args.network, address).await.and_then(|removed| match removed.removed {
                            0 => Err(absent(&args.network, address)),
                            _ => Ok(()),
                        });
                    tally.note(removed, Some(address))?;
                }
            }
            FdbCommand::Flush(args) => {
                let removed = client.flush_fdb(&args.network).await?.removed;
                let entries = if removed == 1 { "entry" } else { "entries" };
                output::print(&format!("{removed} {entries} forgotten\n"))?;
            }
        }
        Ok(tally.exit())
    }
}

/// What can be done with the groups of a network that snoops.
#[derive(Debug, Subcommand)]
pub(crate) enum MdbCommand {
    /// Show which endpoint asked for which group
    #[command(visible_alias = "ls")]
    Show(ShowArgs),
}

impl MdbCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let MdbCommand::Show(args) = self;
        let groups = client.mdb(&args.network).await?;
        if args.json {
            return output::json(&groups);
        }
        let mut table = Table::new(["GROUP", "VLAN", "PORT", "ENDPOINT", "ENDS"]).numbers([1, 2]);
        for one in groups {
            let vlan = one.vlan.map(|vlan| vlan.to_string()).unwrap_or_default();
            table.row([&one.group, &vlan, &one.port.to_string(), &one.endpoint, &format!("{} s", one.seconds)]);
        }
        Ok(output::print(&table.render())?)
    }
}

/// Arguments of `lldp`.
#[derive(Debug, Args)]
pub(crate) struct LldpArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl LldpArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let neighbours = client.lldp().await?;
        if self.json {
            return output::json(&neighbours);
        }
        let mut table =
            Table::new(["PORT", "ENDPOINT", "SYSTEM", "CHASSIS", "PORT ID", "DESCRIPTION", "ENDS"]).numbers([0]);
        for one in neighbours {
            let text = |text: Option<String>| text.unwrap_or_default();
            let (port, ends) = (one.port.to_string(), format!("{} s", one.seconds));
            let (system, description) = (text(one.system), text(one.port_description));
            table.row([&port, &one.endpoint, &system, &one.chassis, &one.port_id, &description, &ends]);
        }
        Ok(output::print(&table.render())?)
    }
}

fn absent(network: &str, address: &str) -> ClientError {
    let message = format!("network {network} has no entry for {address}; see 'vswitchctl fdb show {network}'");
    ClientError::Refused { status: 404, message, exit_code: None }
}

/// The forwarding database as a table.
pub(crate) fn render(entries: &[FdbEntry]) -> String {
    // Networks without VLANs have no use for the column.
    let vlans = entries.iter().any(|entry| entry.vlan.is_some());
    let mut table = match vlans {
        true => Table::new(["MAC ADDRESS", "PORT", "ENDPOINT", "KIND", "AGE", "VLAN"]).numbers([1, 5]),
        false => Table::new(["MAC ADDRESS", "PORT", "ENDPOINT", "KIND", "AGE"]).numbers([1]),
    };
    for entry in entries {
        let kind = match entry.kind {
            FdbKind::Learned => "learned",
            FdbKind::Static => "static",
            FdbKind::Sticky => "sticky",
        };
        let age = entry.age_seconds.map(|seconds| format!("{seconds} s")).unwrap_or_default();
        let (port, vlan) = (entry.port.to_string(), entry.vlan.map(|vlan| vlan.to_string()).unwrap_or_default());
        let cells: [&str; 6] = [&entry.mac_address, &port, &entry.endpoint, kind, &age, &vlan];
        table.row(cells.into_iter().take(if vlans { 6 } else { 5 }));
    }
    table.render()
}
