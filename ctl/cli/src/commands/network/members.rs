//! `network connect` and `network disconnect`.

use clap::Args;
use vswitch_api::Client;
use vswitch_api::network::{EndpointConfig, NetworkConnect, NetworkDisconnect};

use crate::values;

/// Arguments of `network connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Further address, of 169.254.0.0/16 or fe80::/10 (repeat for more)
    #[arg(long = "link-local-ip", value_name = "ADDRESS")]
    link_local_ips: Vec<String>,
    /// MAC address
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    #[command(flatten)]
    allowed: values::AllowArgs,
    /// Further name on the network (repeat for more)
    #[arg(long = "alias", visible_alias = "network-alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// Reach a container under another name
    #[arg(long = "link", value_name = "CONTAINER[:ALIAS]")]
    links: Vec<String>,
    /// An option of the endpoint
    #[arg(long = "driver-opt", value_name = "KEY=VALUE", value_parser = values::key_value)]
    options: Vec<(String, String)>,
    /// The network of the highest priority gives the default route
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    gw_priority: i64,
    /// The network, by name or id
    network: String,
    /// The container, by name or id
    container: String,
}

impl ConnectArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut endpoint = EndpointConfig {
            aliases: self.aliases,
            links: self.links,
            mac_address: self.mac_address.unwrap_or_default(),
            driver_opts: self.options.into_iter().collect(),
            gw_priority: self.gw_priority,
            ..EndpointConfig::default()
        };
        self.allowed.put_into(&mut endpoint);
        if let Some(address) = self.ip {
            values::addresses(&mut endpoint.ipam_config).ipv4_address = address;
        }
        if let Some(address) = self.ip6 {
            values::addresses(&mut endpoint.ipam_config).ipv6_address = address;
        }
        if !self.link_local_ips.is_empty() {
            values::addresses(&mut endpoint.ipam_config).link_local_ips = self.link_local_ips;
        }
        let request = NetworkConnect { container: self.container, endpoint_config: Some(endpoint) };
        Ok(client.connect_network(&self.network, &request).await?)
    }
}

/// Arguments of `network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct DisconnectArgs {
    /// Also when the container is gone
    #[arg(short, long)]
    force: bool,
    /// The network, by name or id
    network: String,
    /// The container, by name or id
    container: String,
}

impl DisconnectArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = NetworkDisconnect { container: self.container, force: self.force };
        Ok(client.disconnect_network(&self.network, &request).await?)
    }
}
