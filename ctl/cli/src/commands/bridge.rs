//! `bridge`, in the shape of `brctl` (bridge-utils 1.7).

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;
use vswitch_api::Client;
use vswitch_api::endpoint::EndpointState;
use vswitch_api::topology::{Topology, TopologyNetwork};

use crate::{natural, output};

const EXAMPLES: &str = "\
Examples:
  vswitchctl bridge show
  vswitchctl bridge show blue

Every network that the switch carries is a bridge. Its id is made of the gateway's MAC address; its interfaces are those
inside the containers, CONTAINER:INTERFACE. There is one path only between two of them, so that no spanning tree is needed.";

/// What can be asked about bridges.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum BridgeCommand {
    /// Show bridges and their interfaces, as brctl does
    Show(ShowArgs),
}

/// Arguments of `bridge show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// Only these, by name or id
    #[arg(value_name = "BRIDGE")]
    bridges: Vec<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl BridgeCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let BridgeCommand::Show(args) = self;
        let bridges = select(bridges(&client.topology().await?), &args.bridges)?;
        if args.json { output::json(&bridges) } else { Ok(output::print(&render(&bridges))?) }
    }
}

/// A line of the listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Bridge {
    name: String,
    network_id: String,
    bridge_id: String,
    stp: bool,
    interfaces: Vec<String>,
}

/// The priority before the address in a bridge's id: the default of IEEE 802.1D (17.14), in hexadecimal.
const PRIORITY: &str = "8000";

fn bridges(topology: &Topology) -> Vec<Bridge> {
    let mut bridges: Vec<_> = topology
        .networks
        .iter()
        .filter_map(|network| bridge(topology, network, network.gateway_mac.as_ref()?))
        .collect();
    bridges.sort_by(|a, b| natural::compare(&a.name, &b.name));
    bridges
}

fn bridge(topology: &Topology, network: &TopologyNetwork, mac: &str) -> Option<Bridge> {
    let members = topology.endpoints.iter().filter(|one| one.network_id == network.id);
    let present = members.filter(|one| matches!(one.state, EndpointState::Up | EndpointState::NoCarrier));
    let mut interfaces: Vec<_> =
        present.map(|one| format!("{}:{}", one.name, one.interface.as_deref().unwrap_or_default())).collect();
    interfaces.sort_by(|a, b| natural::compare(a, b));
    Some(Bridge {
        name: network.name.clone(),
        network_id: network.id.clone(),
        bridge_id: format!("{PRIORITY}.{}", mac.replace(':', "")),
        stp: false,
        interfaces,
    })
}

/// Those that were asked for, in that order; all without a wish.
fn select(bridges: Vec<Bridge>, names: &[String]) -> anyhow::Result<Vec<Bridge>> {
    if names.is_empty() {
        return Ok(bridges);
    }
    let mut selected = Vec::new();
    for name in names {
        let named = |one: &&Bridge| one.name == *name || (name.len() >= ID_PREFIX && one.network_id.starts_with(name));
        match bridges.iter().find(named) {
            Some(bridge) => selected.push(bridge.clone()),
            None => bail!("bridge {name} does not exist; 'vswitchctl bridge show' lists those that do"),
        }
    }
    Ok(selected)
}

/// Fewer digits of an id than people quote are taken for a name.
pub(crate) const ID_PREFIX: usize = 4;

fn render(bridges: &[Bridge]) -> String {
    let mut text = String::from("bridge name\tbridge id\t\tSTP enabled\tinterfaces\n");
    for bridge in bridges {
        let stp = if bridge.stp { "yes" } else { "no" };
        let interfaces = bridge.interfaces.join(INTERFACE_BELOW);
        text += &format!("{}\t\t{}\t{stp}\t\t{interfaces}\n", printable(&bridge.name), bridge.bridge_id);
    }
    text
}

const INTERFACE_BELOW: &str = "\n\t\t\t\t\t\t\t";

fn printable(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str, interfaces: &[&str]) -> Bridge {
        Bridge {
            name: name.into(),
            network_id: format!("{name}0000").repeat(8),
            bridge_id: "8000.0242ac110001".into(),
            stp: false,
            interfaces: interfaces.iter().map(|&one| one.into()).collect(),
        }
    }

    /// To the tab what brctl prints for bridges with no, one and two interfaces.
    #[test]
    fn shape() {
        let bridges = [bridge("br0", &[]), bridge("docker0", &["a:eth0"]), bridge("x", &["a:eth1", "b:eth0"])];
        let expected = "bridge name\tbridge id\t\tSTP enabled\tinterfaces\n\
             br0\t\t8000.0242ac110001\tno\t\t\n\
             docker0\t\t8000.0242ac110001\tno\t\ta:eth0\n\
             x\t\t8000.0242ac110001\tno\t\ta:eth1\n\t\t\t\t\t\t\tb:eth0\n";
        assert_eq!(render(&bridges), expected);
    }

    /// By name or the beginning of the id, and an unknown one is an error that names it.
    #[test]
    fn selection() {
        let all = || vec![bridge("abcd", &[]), bridge("b", &[])];
        assert_eq!(select(all(), &["b".into(), "abcd0".into()]).unwrap(), [bridge("b", &[]), bridge("abcd", &[])]);
        assert_eq!(select(all(), &[]).unwrap().len(), 2);
        assert!(select(all(), &["nope".into()]).unwrap_err().to_string().starts_with("bridge nope does not exist"));
    }
}
