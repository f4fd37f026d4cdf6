//! `demo --hosts 2`: two hosts with a vswitchd each, and one overlay network over both.

use anyhow::Context;
use vswitch_api::Client;
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};
use vswitch_api::tunnel::RemoteAdd;

use super::container::Container;
use super::daemon::Daemon;
use super::picture;
use super::worker::{Ready, hosts};
use super::{PORT, Tour};
use crate::commands::{stats, tunnel};

const NETWORK: &str = "wide";
const SUBNET: &str = "10.100.0.0/16";
const VNI: u32 = 4097;

impl Tour<'_> {
    /// As [`Tour::go`], over two hosts.
    pub(super) async fn span(&mut self, daemon: &mut Daemon) -> anyhow::Result<()> {
        self.begin("starting two hosts with a vswitchd each")?;
        daemon.ready().await?;
        let clients = [daemon.host(1), daemon.host(2)];
        daemon.answers(&clients[1]).await?;
        let [one, two] = [hosts::address(1), hosts::address(2)];
        self.done("hosts", &format!("{one} and {two}, two namespaces joined by a veth pair"), "")?;
        for (number, client) in (1..).zip(&clients) {
            self.network_on(client, number).await?;
        }
        let [left_host, right_host] = &clients;
        self.begin("starting a container on each host")?;
        let left = Container::start(left_host, "left", NETWORK, &[], &["idle"]).await?;
        let worker = ["serve", "--port", &PORT.to_string()];
        let mut right = Container::start(right_host, "right", NETWORK, &[], &worker).await?;
        let (from, to) = (left.endpoint().await?, right.endpoint().await?);
        let bare = |address: &Option<String>| {
            address.as_deref().map(|text| picture::bare(text).to_owned()).context("a container has no IPv4 address")
        };
        let (from, to) = (bare(&from.ipv4_address)?, bare(&to.ipv4_address)?);
        self.done("containers", &format!("left ({from}) on {one}, right ({to}) on {two}"), "")?;
        right.hears::<Ready>().await?;
        self.ping(&left, &to).await?;
        self.stream(&left, &to, self.seconds).await?;
        let tunnels = left_host.tunnels().await?;
        let counted = left_host.stats().await?;
        self.progress.blocks(&[
            ("Who is where, as the first host knows it (tunnel ls)", tunnel::entries(&tunnels)),
            ("Ports of the first host", stats::ports(&counted.ports)),
        ])?;
        self.begin("removing the containers and the networks")?;
        left.remove().await?;
        right.remove().await?;
        for client in &clients {
            client.remove_network(NETWORK).await?;
        }
        self.done("removed", "both containers and both ends of the network", "")
    }

    async fn network_on(&mut self, client: &Client, number: u8) -> anyhow::Result<()> {
        let other = hosts::address(3 - number);
        self.begin(&format!("making the overlay network on host {number}"))?;
        let range = format!("10.100.{number}.0/24");
        let config = IpamConfig { subnet: SUBNET.into(), ip_range: range.clone(), ..IpamConfig::default() };
        let request = NetworkCreate {
            name: NETWORK.into(),
            driver: "overlay".into(),
            ipam: Some(Ipam { config: vec![config], ..Ipam::default() }),
            options: [("vni".to_owned(), VNI.to_string())].into(),
            ..NetworkCreate::default()
        };
        client.create_network(&request).await?;
        client.add_remote(NETWORK, &RemoteAdd { address: other.to_string() }).await?;
        self.done(
            "overlay",
            &format!("{NETWORK} on host {number}: VNI {VNI}, addresses of {range}, remote {other}"),
            "",
        )
    }
}
