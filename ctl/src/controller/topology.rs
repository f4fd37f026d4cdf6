//! Networks, containers and endpoints together, in the words of the API.

use vswitch_api::topology::{Topology, TopologyNetwork, TopologySubnet, TopologyUplink};

use super::state::{NetworkState, State};
use super::{Controller, peerings, services, view};
use crate::ipam::{SubnetPlan, gateway_mac};
use crate::uplink::Uplink;

impl Controller {
    /// Everything that is connected, at one moment. `uplink` is what vswitchd was told.
    #[must_use]
    pub fn topology(&self, uplink: &Uplink) -> Topology {
        let on = self.inner.uplink.as_ref();
        let up: Vec<bool> = on.iter().flat_map(|on| on.stats(&self.inner.monitor)).map(|one| one.up).collect();
        let state = self.state();
        let way_out = !matches!(uplink, Uplink::None);
        let packets = uplink.packets();
        let shown = |one: &NetworkState| TopologyNetwork {
            uplink: self.leaves_by(&one.network),
            ..network(&state, one, way_out)
        };
        let mut networks: Vec<_> = state.networks.values().map(shown).collect();
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let mut containers: Vec<_> = state.containers.values().map(|one| view::container(&state, one)).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut endpoints: Vec<_> = state.endpoints.values().map(|one| view::endpoint(&state, one)).collect();
        endpoints.sort_by(|a, b| (&a.name, &a.network).cmp(&(&b.name, &b.network)));
        let mut uplinks = packets.iter().enumerate().map(|(number, packet)| TopologyUplink {
            text: packet.to_string(),
            name: Some(packet.name.clone()),
            kind: "packet".to_owned(),
            interface: Some(packet.interface.clone()),
            up: up.get(number).copied().unwrap_or(true),
            addresses: addresses(packet).collect(),
        });
        let without = || {
            let text = uplink.to_string();
            let kind = text.split(',').next().unwrap_or_default().to_owned();
            TopologyUplink { kind, up: way_out, text, ..TopologyUplink::default() }
        };
        let first = uplinks.next().unwrap_or_else(without);
        Topology { uplink: first, further_uplinks: uplinks.collect(), networks, containers, endpoints }
    }
}

fn network(state: &State, on: &NetworkState, way_out: bool) -> TopologyNetwork {
    let network = &on.network;
    let subnet = |plan: &SubnetPlan| TopologySubnet { subnet: plan.net.to_string(), gateway: plan.gateway.to_string() };
    let subnets: Vec<_> = network.subnets().map(subnet).collect();
    let gateway = (on.index.is_some() && network.subnets().any(|plan| plan.own().is_some()))
        .then(|| gateway_mac(network.ipv4.as_ref(), network.id.seed()).to_string());
    TopologyNetwork {
        id: network.id.to_string(),
        name: network.name.clone(),
        driver: network.driver.word().to_owned(),
        uplink: None,
        mtu: network.options.mtu,
        outside: way_out && gateway.is_some() && !network.internal,
        gateway_mac: gateway,
        icc: network.options.icc,
        subnets,
        peerings: peerings::of(state, on),
        services: services::drawn(state, on),
    }
}

fn addresses(uplink: &crate::uplink::PacketUplink) -> impl Iterator<Item = String> {
    uplink.families().flat_map(|family| family.own.iter().map(|own| format!("{own}/{}", family.net.prefix_len())))
}
