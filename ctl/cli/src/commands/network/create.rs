//! `network create`.

use anyhow::anyhow;
use clap::{ArgAction, Args};
use vswitch_api::Client;
use vswitch_api::network::{ConfigFrom, Ipam, IpamConfig, NetworkCreate};

use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl network create blue                                   an automatic IPv4 subnet
  vswitchctl network create --ipv6 blue                            and an automatic IPv6 one
  vswitchctl network create --subnet 10.9.0.0/24 --subnet fd09::/64 --gateway 10.9.0.254 blue
  vswitchctl network create --opt com.docker.network.bridge.enable_icc=false isolated
  vswitchctl network create -d macvlan --subnet 10.1.0.0/24 --gateway 10.1.0.254 -o parent=eth0 lan
  vswitchctl network create -d overlay --subnet 10.100.0.0/16 --ip-range 10.100.1.0/24 --opt vni=4097 wide";

/// Arguments of `network create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// bridge, macvlan or ipvlan for the LAN of an interface, overlay for a network that spans several hosts
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Subnet (once for IPv4, once for IPv6)
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// Give automatic addresses from this part of the subnet
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<String>,
    /// The gateway's address [default: the subnet's first]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// An address never to give away
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS", value_parser = values::key_value)]
    aux_addresses: Vec<(String, String)>,
    /// IPv4
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    ipv4: Option<bool>,
    /// IPv6
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    ipv6: Option<bool>,
    /// Nothing leaves the network
    #[arg(long)]
    internal: bool,
    /// An option of the driver
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = values::key_value)]
    options: Vec<(String, String)>,
    /// A label
    #[arg(long = "label", value_name = "KEY[=VALUE]", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Who gives addresses
    #[arg(long, default_value = "default", value_name = "DRIVER")]
    ipam_driver: String,
    /// An option of the address driver
    #[arg(long = "ipam-opt", value_name = "KEY=VALUE", value_parser = values::key_value)]
    ipam_options: Vec<(String, String)>,
    /// Make no network, but keep these settings for others, which name it with --config-from
    #[arg(long)]
    config_only: bool,
    /// Take the settings of this network, which was made with --config-only
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Accepted for Docker's sake
    #[arg(long, hide = true)]
    attachable: bool,
    /// Accepted for Docker's sake
    #[arg(long, hide = true, default_value = "")]
    scope: String,
    /// Its name
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl CreateArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let created = client.create_network(&self.request()?).await?;
        if !created.warning.is_empty() {
            output::note(&format!("warning: {}", created.warning));
        }
        Ok(output::print(&format!("{}\n", created.id))?)
    }

    fn request(self) -> anyhow::Result<NetworkCreate> {
        let config = subnets(self.subnet, self.ip_range, self.gateway, self.aux_addresses)?;
        let ipam = Ipam {
            driver: self.ipam_driver,
            options: (!self.ipam_options.is_empty()).then(|| self.ipam_options.into_iter().collect()),
            config,
        };
        Ok(NetworkCreate {
            name: self.name,
            driver: self.driver,
            scope: self.scope,
            internal: self.internal,
            attachable: self.attachable,
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(ipam),
            config_only: self.config_only,
            config_from: ConfigFrom { network: self.config_from.unwrap_or_default() },
            options: self.options.into_iter().collect(),
            labels: self.labels.into_iter().collect(),
            ..NetworkCreate::default()
        })
    }
}

/// Put ranges, gateways and reserved addresses to the subnet of their family. Whether they lie in it, the daemon checks.
fn subnets(
    subnets: Vec<String>,
    ranges: Vec<String>,
    gateways: Vec<String>,
    reserved: Vec<(String, String)>,
) -> anyhow::Result<Vec<IpamConfig>> {
    let mut configs: Vec<_> =
        subnets.into_iter().map(|subnet| IpamConfig { subnet, ..IpamConfig::default() }).collect();
    if configs.is_empty() && !(ranges.is_empty() && gateways.is_empty()) {
        return Err(anyhow!("every ip-range or gateway must have a corresponding subnet"));
    }
    for range in ranges {
        let config = of_family(&mut configs, "range", &range)?;
        if !config.ip_range.is_empty() {
            let IpamConfig { ip_range, subnet, .. } = config;
            return Err(anyhow!(
                "cannot configure multiple ranges ({range}, {ip_range}) on the same subnet ({subnet})"
            ));
        }
        config.ip_range = range;
    }
    for gateway in gateways {
        let config = of_family(&mut configs, "gateway", &gateway)?;
        if !config.gateway.is_empty() {
            let IpamConfig { gateway: first, subnet, .. } = config;
            return Err(anyhow!(
                "cannot configure multiple gateways ({gateway}, {first}) for the same subnet ({subnet})"
            ));
        }
        config.gateway = gateway;
    }
    for (name, address) in reserved {
        of_family(&mut configs, "aux-address", &address)?.auxiliary_addresses.insert(name, address);
    }
    Ok(configs)
}

fn of_family<'a>(configs: &'a mut [IpamConfig], what: &str, address: &str) -> anyhow::Result<&'a mut IpamConfig> {
    let ipv6 = |text: &str| text.contains(':');
    let found = configs.iter_mut().find(|config| ipv6(&config.subnet) == ipv6(address));
    found.ok_or_else(|| anyhow!("no matching subnet for {what} {address}; give one with --subnet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Each address goes to the subnet of its family.
    #[test]
    fn families() {
        let configs = subnets(
            strings(&["10.9.0.0/24", "fd09::/64"]),
            strings(&["10.9.0.128/25"]),
            strings(&["fd09::99", "10.9.0.254"]),
            vec![("nas".into(), "10.9.0.9".into())],
        )
        .unwrap();
        assert_eq!((configs[0].ip_range.as_str(), configs[0].gateway.as_str()), ("10.9.0.128/25", "10.9.0.254"));
        assert_eq!(configs[0].auxiliary_addresses["nas"], "10.9.0.9");
        assert_eq!((configs[1].ip_range.as_str(), configs[1].gateway.as_str()), ("", "fd09::99"));
    }

    /// What has no subnet, or comes twice, is refused in Docker's words.
    #[test]
    fn refusals() {
        let refused = |subnet: &[&str], range: &[&str], gateway: &[&str]| {
            subnets(strings(subnet), strings(range), strings(gateway), Vec::new()).unwrap_err().to_string()
        };
        assert_eq!(refused(&[], &[], &["10.0.0.1"]), "every ip-range or gateway must have a corresponding subnet");
        assert!(refused(&["10.0.0.0/8"], &[], &["fd00::1"]).starts_with("no matching subnet for gateway fd00::1"));
        assert!(refused(&["10.0.0.0/8"], &["10.1.0.0/16", "10.2.0.0/16"], &[]).contains("multiple ranges"));
        assert!(refused(&["10.0.0.0/8"], &[], &["10.0.0.1", "10.0.0.2"]).contains("multiple gateways"));
    }
}
