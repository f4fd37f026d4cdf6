//! `tunnel ls` and `tunnel inspect`.

use std::process::ExitCode;

use clap::Args;
use vswitch_api::Client;
use vswitch_api::tunnel::{Duplicate, Tunnel};

use crate::failure::Tally;
use crate::table::Table;
use crate::{natural, output, units};

/// Arguments of `tunnel ls`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// These networks only, by name or id
    networks: Vec<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `tunnel inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The networks, by name or id
    #[arg(required = true)]
    networks: Vec<String>,
}

impl ListArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        let mut tunnels = Vec::new();
        if self.networks.is_empty() {
            tunnels = client.tunnels().await?;
        }
        for network in &self.networks {
            tunnels.extend(tally.keep(client.tunnel(network).await));
        }
        tunnels.sort_by(|a, b| natural::compare(&a.network, &b.network));
        if self.json {
            output::json(&tunnels)?;
        } else {
            output::print(&entries(&tunnels))?;
        }
        Ok(tally.exit())
    }
}

impl InspectArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        let mut tunnels = Vec::new();
        for network in &self.networks {
            tunnels.extend(tally.keep(client.tunnel(network).await));
        }
        output::json(&tunnels)?;
        Ok(tally.exit())
    }
}

/// The entries of all tunnels in one table, then what needs somebody's attention.
pub(crate) fn entries(tunnels: &[Tunnel]) -> String {
    let mut table =
        Table::new(["NETWORK", "VNI", "MAC ADDRESS", "IP ADDRESS", "REMOTE", "KIND", "AGE"]).numbers([1, 6]);
    for tunnel in tunnels {
        for entry in &tunnel.entries {
            table.row([
                &tunnel.network,
                &tunnel.vni.to_string(),
                &entry.mac_address,
                &entry.ip_addresses.join(", "),
                &entry.remote,
                entry.kind.word(),
                &entry.age_seconds.map(|age| format!("{} s", units::count(age))).unwrap_or_default(),
            ]);
        }
    }
    let lines = tunnels.iter().flat_map(|tunnel| {
        let down = (!tunnel.up).then(|| {
            format!("{}: no interface has the address {}, so the tunnel is down\n", tunnel.network, tunnel.vtep)
        });
        let alone = (tunnel.up && tunnel.remotes.is_empty()).then(|| {
            format!("{0}: no remotes; add one with 'vswitchctl tunnel remote add {0} ADDRESS'\n", tunnel.network)
        });
        down.into_iter().chain(alone).chain(tunnel.duplicates.iter().map(|one| duplicate(&tunnel.network, one)))
    });
    let notes: String = lines.collect();
    table.render() + if notes.is_empty() { "" } else { "\n" } + &notes
}

fn duplicate(network: &str, one: &Duplicate) -> String {
    let place = one.remote.as_deref().map(|remote| format!(" behind {remote}")).unwrap_or_default();
    let Duplicate { address, endpoint, mac_address, count, age_seconds, .. } = one;
    format!(
        "{network}: {address} of {endpoint} is in use by {mac_address}{place}, too (seen {} times, {age_seconds} s ago)\n",
        units::count(*count)
    )
}

#[cfg(test)]
mod tests {
    use vswitch_api::tunnel::{Entry, EntryKind};

    use super::*;

    fn tunnel() -> Tunnel {
        let entry = Entry {
            mac_address: "02:42:0a:64:02:05".into(),
            ip_addresses: vec!["10.100.2.5".into()],
            remote: "192.0.2.2".into(),
            kind: EntryKind::Learned,
            age_seconds: Some(7),
        };
        let of = Duplicate {
            address: "10.100.1.2".into(),
            endpoint: "web".into(),
            mac_address: "02:00:00:00:00:09".into(),
            remote: Some("192.0.2.2".into()),
            count: 3,
            age_seconds: 1,
        };
        Tunnel {
            network: "blue".into(),
            network_id: String::new(),
            vni: 4097,
            vtep: "192.0.2.1".into(),
            port: 4789,
            up: true,
            interface: Some("eth0".into()),
            mtu: 1450,
            checksum: true,
            remotes: Vec::new(),
            entries: vec![entry],
            duplicates: vec![of],
            drops: Default::default(),
        }
    }

    /// A row for each entry; a tunnel without remotes, one that is down and a duplicate are mentioned below.
    #[test]
    fn table_and_notes() {
        let text = entries(&[tunnel()]);
        assert!(
            text.contains("blue      4097   02:42:0a:64:02:05   10.100.2.5   192.0.2.2   learned   7 s\n"),
            "{text}"
        );
        assert!(text.contains("blue: no remotes; add one"), "{text}");
        let says = "10.100.1.2 of web is in use by 02:00:00:00:00:09 behind 192.0.2.2, too (seen 3 times, 1 s ago)";
        assert!(text.contains(says), "{text}");
        let down = entries(&[Tunnel { up: false, ..tunnel() }]);
        assert!(down.contains("the tunnel is down") && !down.contains("no remotes"), "{down}");
    }
}
