//! The way out: opened, kept, and the router's rules as the state says.

mod memory;
mod packet;
mod packets;
mod sockets;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
pub use packet::{Interface, OpenPacket};
pub use sockets::OpenSockets;
pub(super) use sockets::descriptors;
use vswitch_frame::NetworkIndex;
use vswitch_switch::Switch;
use vswitch_switch::nat::table::{FlowFilter, FlowRecord};

use self::packets::Packets;
use self::sockets::SocketsState;
use super::state::State;
use super::{Controller, peerings, policies, ports};
use crate::error::ControlError;
use crate::ipam::SubnetPlan;
use crate::model::{Endpoint, Network};
use crate::overlay::underlay::Monitor;
use crate::publish::{Families, PublishSpec};
use crate::uplink::router::{self, Leaving, Way};

/// An uplink that can begin.
#[derive(Debug)]
pub enum OpenUplink {
    /// Interfaces that were opened, one at least.
    Packet(Vec<OpenPacket>),
    /// Sockets of the host.
    Sockets(Box<OpenSockets>),
}

/// Whether anything goes by an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// As far as anybody knows.
    Usable,
    Gone,
    NoCarrier,
    /// A next router does not answer.
    Silent,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Usable => "it is usable",
            Health::Gone => "its interface vanished",
            Health::NoCarrier => "its interface is switched off or has no carrier",
            Health::Silent => "a next router of it does not answer",
        })
    }
}

/// The controller's part of the uplink.
#[derive(Debug)]
pub(super) enum UplinkState {
    Packet(Packets),
    Sockets(Box<SocketsState>),
}

impl UplinkState {
    /// Makes the uplink a network of the switch. Nothing passes before it has its port.
    pub(super) fn new(switch: &Switch, open: OpenUplink) -> Result<UplinkState, ControlError> {
        Ok(match open {
            OpenUplink::Packet(open) => UplinkState::Packet(Packets::new(switch, open)?),
            OpenUplink::Sockets(open) => UplinkState::Sockets(Box::new(SocketsState::new(switch, *open)?)),
        })
    }

    /// The uplinks in the words of the API, without the networks that leave by them.
    pub(super) fn stats(&self, monitor: &Monitor) -> Vec<vswitch_api::stats::UplinkStats> {
        match self {
            UplinkState::Packet(packets) => packets.each().iter().map(|packet| packet.stats(monitor)).collect(),
            UplinkState::Sockets(sockets) => vec![sockets.stats()],
        }
    }

    /// What they are called where networks are.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            UplinkState::Packet(packets) => {
                let numbered = packets.each().iter().enumerate();
                numbered.map(|(number, packet)| router::name(number, &packet.uplink)).collect()
            }
            UplinkState::Sockets(_) => vec![router::NAME.to_owned()],
        }
    }

    /// By which of them a network leaves.
    pub(super) fn way(&self, network: &Network) -> Option<usize> {
        match self {
            _ if network.internal || network.routed_elsewhere() => None,
            UplinkState::Packet(packets) => packets.way(network),
            UplinkState::Sockets(_) => Some(0),
        }
    }

    /// What went over sockets, if it consists of them.
    pub(super) fn sockets_stats(&self) -> Option<vswitch_api::stats::SocketsStats> {
        match self {
            UplinkState::Packet(_) => None,
            UplinkState::Sockets(sockets) => Some(sockets.counters()),
        }
    }

    /// Lets a flow have another socket of the host's from its next packet on, if it has one that can be changed; says whether it had.
    pub(super) fn rebind(&self, flow: &FlowRecord) -> bool {
        match self {
            UplinkState::Packet(_) => false,
            UplinkState::Sockets(sockets) => sockets.rebind(flow),
        }
    }

    /// Addresses at which containers reach the host's loopback, IPv4 first.
    pub(in crate::controller) fn host_addresses(&self) -> Vec<IpAddr> {
        match self {
            UplinkState::Packet(_) => Vec::new(),
            UplinkState::Sockets(sockets) => sockets.uplink.loopbacks().collect(),
        }
    }

    /// Subnets that no network may have.
    pub(super) fn nets(&self) -> Vec<IpNet> {
        match self {
            UplinkState::Packet(packets) => {
                let families = packets.each().iter().flat_map(|packet| packet.uplink.families());
                families.map(|family| family.net).collect()
            }
            UplinkState::Sockets(sockets) => sockets.uplink.loopbacks().map(IpNet::from).collect(),
        }
    }

    /// Whether a subnet would share addresses with the uplink, and which of the uplink's.
    pub(super) fn meets(&self, plan: &SubnetPlan) -> Option<IpNet> {
        let meets = |net: &IpNet| net.contains(&plan.net) || plan.net.contains(net);
        self.nets().into_iter().find(meets)
    }

    /// The families in which a container with these can be reached.
    pub(super) fn families(&self, inside: Families) -> Families {
        match self {
            UplinkState::Packet(packets) => {
                let ipv4 = packets.each().iter().any(|packet| packet.uplink.ipv4.is_some());
                let ipv6 = packets.each().iter().any(|packet| packet.uplink.ipv6.is_some());
                Families { ipv4: inside.ipv4 && ipv4, ipv6: inside.ipv6 && ipv6 }
            }
            // A connection of the one family ends here and goes on as one of the other.
            UplinkState::Sockets(_) => {
                let any = inside.ipv4 || inside.ipv6;
                Families { ipv4: any, ipv6: any }
            }
        }
    }

    /// Whether a host address can be reached by the uplink at all; if not, why.
    pub(super) fn check_host(&self, spec: &PublishSpec, host: IpAddr) -> Result<(), String> {
        match self {
            UplinkState::Packet(_) if host.is_unspecified() || host.is_loopback() => Ok(()),
            UplinkState::Packet(packets) => {
                let own: Vec<IpAddr> = packets.each().iter().flat_map(|packet| packet.uplink.own()).collect();
                if own.contains(&host) {
                    return Ok(());
                }
                let own: Vec<_> = own.iter().map(ToString::to_string).collect();
                Err(format!(
                    "failed to bind host port {}: cannot assign requested address; the uplink has {}",
                    ports::host_text(host, spec),
                    own.join(", ")
                ))
            }
            // The host's own answer is as good as any.
            UplinkState::Sockets(_) => Ok(()),
        }
    }
}

impl Controller {
    /// The name of the uplink that a network leaves by now, where there are several.
    pub(super) fn leaves_by(&self, network: &Network) -> Option<String> {
        let Some(UplinkState::Packet(packets)) = &self.inner.uplink else { return None };
        let several = (packets.each().len() > 1).then_some(packets);
        let way = several.and_then(|_| self.inner.uplink.as_ref()?.way(network))?;
        packets.each().get(way).map(|packet| packet.uplink.name.clone())
    }

    /// Makes the router and the gateways do what the state says. Without an uplink there is a router where networks are joined.
    pub(super) fn refresh_router(&self, state: &State) -> Result<(), ControlError> {
        self.publish_gateways(state);
        // What has a router of its own is none of ours.
        let ours = state.networks.values().filter(|one| !one.network.routed_elsewhere());
        let inside = ours.filter_map(|one| Some((one.index?, &one.network)));
        let (peerings, policies) = (peerings::specs(state), policies::specs(state));
        let services = self.service_specs(state);
        let published = ports::published(state);
        match &self.inner.uplink {
            None => {
                let needed = !peerings.is_empty() || !policies.is_empty() || !services.is_empty();
                let config = router::plan_inside(inside).with_access(peerings, policies).with_services(services);
                let config = needed.then_some(config);
                Ok(self.inner.switch.set_router(config)?)
            }
            Some(UplinkState::Packet(packets)) => {
                let each = packets.each();
                let ways: Vec<Way<'_>> =
                    each.iter().map(|packet| Way { uplink: &packet.uplink, index: packet.index() }).collect();
                let leaving = |(index, network)| Leaving { index, network, way: packets.way(network) };
                let settings = each.first().map(|packet| packet.settings.clone()).unwrap_or_default();
                let config = router::plan(&ways, inside.map(leaving), &published, &settings);
                let config = config.with_access(peerings, policies).with_services(services);
                Ok(self.inner.switch.set_router(Some(config))?)
            }
            Some(UplinkState::Sockets(sockets)) => {
                let (index, shards) = (sockets.index(), sockets.shards());
                let config = router::plan_sockets(index, shards, inside.clone(), &published, &sockets.settings);
                self.inner.switch.set_router(Some(config.with_access(peerings, policies).with_services(services)))?;
                sockets.follow(&self.inner.switch, &inside, &published)
            }
        }
    }

    /// Says so when running containers had an uplink before this start and have none now.
    pub(super) fn warn_of_closed_ports(&self) {
        let state = self.state();
        let running = state.containers.values().map(|one| &one.container).filter(|container| container.running());
        for container in running.filter(|container| self.inner.uplink.is_none() && !container.ports.is_empty()) {
            tracing::warn!("nobody reaches the published ports of container {} with --uplink none", container.name);
        }
    }

    /// As [`Controller::refresh_router`], where there is nobody to tell: the old rules stay, and the log says so.
    pub(super) fn refresh_router_anyway(&self, state: &State) {
        if let Err(error) = self.refresh_router(state) {
            tracing::error!("the router keeps its old rules: {error}");
        }
    }

    /// Says whose an endpoint's addresses are, before it can send: all endpoints of one container share what one may hold.
    pub(super) fn assign_addresses(&self, network: NetworkIndex, endpoint: &Endpoint) {
        let number = endpoint.container().unwrap_or(&endpoint.id).number();
        for address in endpoint.addresses() {
            self.inner.names.assign(network, address, number);
            if let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink {
                sockets.assign(network, address, number);
            }
        }
    }

    /// Ends the flows of addresses in a network, as Docker does when an endpoint goes. Those of a network that went are over.
    pub(super) fn flush_addresses(&self, network: Option<NetworkIndex>, addresses: impl Iterator<Item = IpAddr>) {
        let Some(network) = network else { return };
        for address in addresses {
            self.inner.names.forget_endpoint(network, address);
            let filter = FlowFilter { endpoint: Some(address), network: Some(network), ..FlowFilter::default() };
            let ended = self.inner.switch.flush_flows(&filter);
            if let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink {
                sockets.forget_endpoint(network, address);
            }
            tracing::debug!(%address, ended, "flows flushed");
        }
    }

    /// Ends the flows of a network that goes.
    pub(super) fn flush_network(&self, network: NetworkIndex) {
        let filter = FlowFilter { network: Some(network), ..FlowFilter::default() };
        let _ = self.inner.switch.flush_flows(&filter);
    }

    /// Lets the uplink take part.
    pub(super) fn plug_uplink(&self) -> Result<(), ControlError> {
        match &self.inner.uplink {
            Some(UplinkState::Packet(packets)) => {
                packets.each().iter().try_for_each(|packet| packet.plug(&self.inner.switch))
            }
            Some(UplinkState::Sockets(sockets)) => sockets.plug(&self.inner.switch),
            None => Ok(()),
        }
    }

    /// Looks after the uplink for as long as the agent lives.
    pub(super) async fn keep_uplink(self) {
        match &self.inner.uplink {
            Some(UplinkState::Packet(packets)) => tokio::select! {
                () = self.keep_interfaces(packets) => {}
                () = self.keep_memory() => {}
            },
            Some(UplinkState::Sockets(_)) => self.keep_memory().await,
            None => {}
        }
    }
}
