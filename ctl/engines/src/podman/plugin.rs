//! `vswitch`, the network driver that netavark from 1.6 on finds in podman's `netavark_plugin_dirs`. Read first: netavark's
//! `plugin-API.md`.
//!
//! podman says nothing of a network that is removed, and gives a plug-in's network no subnet: `create` chooses one.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_json::{Value, json};

use super::netavark::{answer_with, deaf_to_signals, explained, read};
use super::reservation::Reservation;
use super::translate::{key, status, wish};
use super::wire::{Network, NetworkOptions, PortMapping, Request, Subnet, publish};
use crate::daemon;

/// What `setup` and `teardown` read.
#[derive(Debug, Deserialize)]
struct PluginRequest {
    container_id: String,
    container_name: String,
    port_mappings: Option<Vec<PortMapping>>,
    network: Network,
    network_options: NetworkOptions,
}

/// Runs it with the process's own arguments.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(answer) => answer_with(&answer, ExitCode::SUCCESS),
        Err(error) => answer_with(json!({ "error": format!("{error:#}") }).to_string().as_bytes(), ExitCode::FAILURE),
    }
}

fn run(words: &[&str]) -> anyhow::Result<Vec<u8>> {
    match words {
        [] | ["info"] => Ok(info().to_string().into_bytes()),
        ["create"] => Ok(serde_json::to_vec(&create(read(io::stdin())?.1)?)?),
        ["setup", netns] => setup(&read::<PluginRequest>(io::stdin())?.1, netns),
        ["teardown", _] => {
            let _deaf = deaf_to_signals();
            teardown(&read::<PluginRequest>(io::stdin())?.1)
        }
        _ => bail!("podman calls this with info, create, setup NETNS or teardown NETNS"),
    }
}

fn info() -> Value {
    json!({ "version": format!("vswitch {}", env!("CARGO_PKG_VERSION")), "api_version": "1.0.0" })
}

/// Gives a network the subnets that it lacks. They follow from its id, so that two networks hardly ever have the same.
fn create(mut network: Network) -> anyhow::Result<Network> {
    if !matches!(network.ipam_driver(), "" | "host-local") {
        return Ok(network);
    }
    let digits = network.id.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let seed = digits.with_context(|| format!("invalid network id {:?}: write 64 hexadecimal digits", network.id))?;
    let subnets = network.subnets.get_or_insert_default();
    let has = |subnets: &[Subnet], ipv6: bool| subnets.iter().any(|one| one.subnet.contains(':') == ipv6);
    if subnets.is_empty() || (network.ipv6_enabled && !has(subnets, false)) {
        let [.., high, low] = seed.to_be_bytes();
        // podman's own networks begin at 10.88 and 10.89.
        let subnet = Ipv4Net::new_assert([10, 128 | high, low, 0].into(), 24);
        subnets.push(Subnet::of(IpNet::from(subnet)));
    }
    if network.ipv6_enabled && !has(subnets, true) {
        let bits = 0xfd00_0000_0000_0000 | (seed >> 8);
        subnets.push(Subnet::of(IpNet::from(Ipv6Net::new_assert((u128::from(bits) << 64).into(), 64))));
    }
    network.ipam_options.get_or_insert_default().insert("driver".to_owned(), "host-local".to_owned());
    Ok(network)
}

fn setup(given: &PluginRequest, netns: &str) -> anyhow::Result<Vec<u8>> {
    let file = File::open(netns).with_context(|| format!("cannot open the network namespace {netns}"))?;
    // Of an ordinary user's containers rootlessport publishes the ports.
    let rootless = daemon::is_rootless();
    let ports = given.port_mappings.as_deref().filter(|_| !rootless).unwrap_or_default();
    let ports = if given.network.internal { &[] } else { ports };
    let reservation = Reservation::before(ports);
    let ports = publish(ports).map_err(anyhow::Error::msg)?;
    let names = given.network.dns_enabled;
    let request = Request::of_one(given.container_id.clone(), given.container_name.clone());
    let wish = wish(&request, (&given.network.name, &given.network, &given.network_options), ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let endpoint = runtime.block_on(async {
        let client = daemon::client()?;
        let mut attached = client.attach_for_engine(&wish, file.as_fd()).await;
        if let Err(error) = &attached
            && error.is_unreachable()
        {
            daemon::start(&client, error)?;
            attached = client.attach_for_engine(&wish, file.as_fd()).await;
        }
        attached.map_err(|error| explained(error, rootless))
    })?;
    reservation.after();
    Ok(serde_json::to_vec(&status(&endpoint, names))?)
}

fn teardown(given: &PluginRequest) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match daemon::client()?.detach_for_engine(&key(&given.container_id, &given.network_options)).await {
            Ok(()) => Ok(Vec::new()),
            Err(error) if error.is_not_found() || error.is_unreachable() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn network(change: impl FnOnce(&mut Value)) -> Network {
        let mut value = json!({"name": "n", "driver": "vswitch", "labels": {"a": "b"}});
        value["id"] = json!(format!("{:0<64}", "00000000000081ff"));
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    /// A network gets a subnet of each family that it wants and has none of, and keeps the rest.
    #[test]
    fn subnets_are_chosen() {
        let made = create(network(|one| one["ipv6_enabled"] = true.into())).unwrap();
        let subnets: Vec<String> = made.subnets.unwrap().into_iter().map(|one| one.subnet).collect();
        assert_eq!(subnets, ["10.129.255.0/24", "fd00:0:0:81::/64"]);
        assert_eq!(made.ipam_options.unwrap()["driver"], "host-local");
        let kept = create(network(|one| one["subnets"] = json!([{"subnet": "10.1.0.0/24"}]))).unwrap();
        assert_eq!(kept.subnets.unwrap().len(), 1);
        let none = create(network(|one| one["ipam_options"] = json!({"driver": "none"}))).unwrap();
        assert!(none.subnets.is_none());
    }
}
