//! Sockets of the host as the way out, and the host ports of containers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::RngCore;
use vswitch_frame::{MacAddr, NetworkIndex, PortId};
use vswitch_switch::nat::Protocol;
use vswitch_switch::nat::proxy::datagram::{DatagramLimits, Filter};
use vswitch_switch::nat::proxy::destinations::Destinations;
use vswitch_switch::nat::proxy::stream::{StreamDrop, StreamLimits};
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::nat::table::{FlowRecord, Leg};
use vswitch_switch::{
    Budget, Clients, HostGateway, HostGatewaySettings, HostGatewayStats, HostGateways, HostPort, HostPortId,
    InsideNetwork, PortConfig, PortDevice, SpareSockets, Switch,
};

use crate::error::ControlError;
use crate::model::Network;
use crate::publish::{Binding, Claim, Published, Transport, host};
use crate::uplink::{PingSockets, PublishSource, SocketsUplink, UdpFilter, router};

/// The uplink of sockets before it is part of a switch.
#[derive(Debug)]
pub struct OpenSockets {
    /// What it should be like.
    pub uplink: SocketsUplink,
    /// How the router's flows behave.
    pub settings: Settings,
    /// What the agent opened where vswitchd itself may not.
    pub ping: PingSockets,
}

/// The controller's part of it.
#[derive(Debug)]
pub(in crate::controller) struct SocketsState {
    pub(super) uplink: SocketsUplink,
    pub(super) settings: Settings,
    index: NetworkIndex,
    /// What serves the networks that share their addresses.
    shared: HostGateways,
    /// What serves each of the others.
    own: Mutex<BTreeMap<NetworkIndex, OwnGateway>>,
    /// What such a one is made of.
    of_own: HostGatewaySettings,
    listeners: Mutex<BTreeMap<Binding, Listener>>,
}

/// The way out of a network whose addresses are its own.
#[derive(Debug)]
struct OwnGateway {
    gateway: HostGateways,
    port: PortId,
}

/// A host port that is taken.
#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    /// What the switch does with it.
    open: Option<OpenPort>,
}

/// A host port that leads somewhere.
#[derive(Debug, Clone, Copy)]
struct OpenPort {
    id: HostPortId,
    leads_to: Published,
}

impl SocketsState {
    pub(super) fn new(switch: &Switch, open: OpenSockets) -> Result<SocketsState, ControlError> {
        let OpenSockets { uplink, settings, ping } = open;
        let index = switch.add_network(router::sockets_network(&uplink))?;
        let shards = switch.workers().min(descriptors() / DESCRIPTORS_OF_A_SHARD).max(1);
        let Shares { shared: (streams, datagrams), own, budget } = shares(descriptors(), shards);
        let of_host = HostGatewaySettings {
            datagrams,
            streams,
            destinations: Destinations {
                loopback_v4: uplink.loopback_v4,
                loopback_v6: uplink.loopback_v6,
                host_v4: uplink.host_v4,
                host_v6: uplink.host_v6,
                closed_v4: uplink.closed_v4,
                closed_v6: uplink.closed_v6,
                source_v4: uplink.source_v4,
                source_v6: uplink.source_v6,
            },
            filter: match uplink.filter {
                UdpFilter::AddressAndPortDependent => Filter::AddressAndPortDependent,
                UdpFilter::EndpointIndependent => Filter::EndpointIndependent,
            },
            mac: MacAddr::ZERO,
            router: router::ROUTER_MAC,
            network: None,
            budget: None,
            spares: SpareSockets::new(ping.v4, ping.v6),
        };
        let macs: Vec<MacAddr> = (0..shards).map(router::shard_mac).collect();
        let shared = HostGateways::new(&of_host, &macs, rand::rng().next_u64())
            .map_err(|error| ControlError::Internal(format!("cannot begin the sockets uplink: {error}")))?;
        let (streams, datagrams) = own;
        let of_own = HostGatewaySettings { streams, datagrams, budget: Some(Budget::new(budget)), ..of_host };
        let (own, listeners) = (Mutex::default(), Mutex::default());
        Ok(SocketsState { uplink, settings, index, shared, own, of_own, listeners })
    }

    /// How many serve the networks that share their addresses.
    pub(super) fn shards(&self) -> usize {
        self.shared.each().count()
    }

    pub(super) const fn index(&self) -> NetworkIndex {
        self.index
    }

    pub(super) fn plug(&self, switch: &Switch) -> Result<(), ControlError> {
        for (number, gateway) in self.shared.each().enumerate() {
            let name = if number == 0 { PORT.to_owned() } else { format!("{PORT}.{number}") };
            self.plug_one(switch, name, gateway, router::shard_mac(number))?;
        }
        Ok(())
    }

    /// What is for another one's address must never come to it, so its address is not learned but known.
    fn plug_one(
        &self,
        switch: &Switch,
        name: String,
        gateway: &HostGateway,
        mac: MacAddr,
    ) -> Result<PortId, ControlError> {
        let port = switch.add_port(PortConfig::new(name, self.index), PortDevice::Host(gateway.clone()))?;
        switch.fdb_add_static(self.index, mac, port)?;
        Ok(port)
    }

    pub(super) fn assign(&self, network: NetworkIndex, address: IpAddr, endpoint: u64) {
        self.gateway_of(network).assign(address, endpoint);
    }

    pub(super) fn forget_endpoint(&self, network: NetworkIndex, address: IpAddr) {
        self.gateway_of(network).forget_endpoint(address);
    }

    /// Lets the socket inside that a flow is of have another one of the host's from its next packet on; says whether it had one.
    pub(super) fn rebind(&self, flow: &FlowRecord) -> bool {
        let [Leg::Uplink | Leg::UplinkOf(_), Leg::Inside(network)] = flow.egress else { return false };
        let FlowRecord { original, .. } = flow;
        let has_own = original.protocol() == Protocol::UDP || original.protocol().is_icmp();
        has_own && self.gateway_of(network).rebind(SocketAddr::new(original.source(), original.source_port()))
    }

    /// What serves a network.
    fn gateway_of(&self, network: NetworkIndex) -> HostGateways {
        self.own().get(&network).map_or_else(|| self.shared.clone(), |own| own.gateway.clone())
    }

    fn gateways(&self) -> Vec<HostGateways> {
        let own = self.own();
        own.values().map(|own| &own.gateway).chain([&self.shared]).cloned().collect()
    }

    /// Everything that is counted; what served networks that are gone is not.
    fn counted(&self) -> HostGatewayStats {
        let mut sum = HostGatewayStats::default();
        self.gateways().iter().for_each(|gateway| sum.add(&gateway.stats()));
        sum
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<NetworkIndex, OwnGateway>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flows now, and a number that was reached since [`SocketsState::shrink`].
    pub(super) fn flows(&self) -> (u64, u64) {
        let counted = self.counted();
        // All of a burst of connections may open and close between two looks.
        (counted.streams.flows.flows + counted.datagrams.flows.flows, counted.streams.flows.most)
    }

    /// Makes tables as small as what is in them.
    pub(super) fn shrink(&self) {
        self.gateways().iter().for_each(HostGateways::shrink);
    }

    pub(super) fn stats(&self) -> vswitch_api::stats::UplinkStats {
        vswitch_api::stats::UplinkStats {
            name: PORT.to_owned(),
            interface: PORT.to_owned(),
            up: true,
            ..Default::default()
        }
    }

    pub(super) fn counters(&self) -> vswitch_api::stats::SocketsStats {
        let counted = self.counted();
        let (streams, datagrams) = (counted.streams.flows, counted.datagrams.flows);
        let (fragments, shell) = (counted.datagrams.fragments, counted.datagrams.shell);
        let refused = streams.drops().find(|(reason, _)| *reason == StreamDrop::NoSocket).map_or(0, |(_, count)| count);
        let mut drops: BTreeMap<String, u64> =
            datagrams.drops().map(|(reason, count)| (reason.to_string(), count)).collect();
        if shell.outbox_full > 0 {
            drops.insert("outbox-full".to_owned(), shell.outbox_full);
        }
        if fragments.given_up > 0 {
            drops.insert("incomplete".to_owned(), fragments.given_up);
        }
        vswitch_api::stats::SocketsStats {
            streams: vswitch_api::stats::StreamsStats {
                flows: streams.flows,
                opened: streams.opened,
                accepted: streams.accepted,
                reset: streams.reset,
                expired: streams.expired,
                evicted: streams.evicted,
                sent_bytes: streams.sent,
                received_bytes: streams.received,
                refused_clients: counted.streams.refused_clients,
                refused,
                drops: streams.drops().map(|(reason, count)| (reason.to_string(), count)).collect(),
            },
            datagrams: vswitch_api::stats::DatagramsStats {
                flows: datagrams.flows,
                opened: datagrams.opened,
                expired: datagrams.expired,
                evicted: datagrams.evicted,
                sent: datagrams.sent[0],
                sent_bytes: datagrams.sent[1],
                received: datagrams.received[0],
                received_bytes: datagrams.received[1],
                errors: datagrams.errors,
                reassembled: fragments.whole,
                no_descriptor: shell.descriptors,
                no_ping: shell.no_ping,
                drops,
            },
        }
    }

    /// Takes the host ports of bindings that belong together, all or none; leaves out those of a family that the host does not
    /// have. What needs a privilege is left to the agent, by `deferred`, where there is a chance.
    pub(in crate::controller) fn claim(
        &self,
        bindings: &mut Vec<Binding>,
        deferred: Option<&mut Vec<Binding>>,
    ) -> Result<(), Claim> {
        let (mut taken, mut later, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for &binding in &*bindings {
            match host::open(&binding) {
                Ok(socket) => taken.push((binding, socket)),
                Err(error) if host::may_do_without(&binding, &error) => missing.push(binding),
                Err(error) => match host::Obstacle::of(&error) {
                    host::Obstacle::Privilege if deferred.is_some() => later.push(binding),
                    host::Obstacle::InUse => return Err(Claim::InUse(host::sentence(&binding, &error))),
                    _ => return Err(Claim::Refused(host::sentence(&binding, &error))),
                },
            }
        }
        bindings.retain(|binding| !missing.contains(binding));
        if let (Some(deferred), true) = (deferred, !later.is_empty()) {
            deferred.append(&mut later);
        }
        let listeners = taken.into_iter().map(|(binding, socket)| (binding, Listener { socket, open: None }));
        self.listeners().extend(listeners);
        Ok(())
    }

    /// Keeps a socket that the agent opened.
    pub(in crate::controller) fn keep(&self, binding: Binding, socket: OwnedFd) {
        self.listeners().insert(binding, Listener { socket, open: None });
    }

    /// Gives host ports back.
    pub(in crate::controller) fn release(&self, bindings: &[Binding]) {
        let mut listeners = self.listeners();
        for binding in bindings {
            if let Some(listener) = listeners.remove(binding) {
                self.shut(listener.open);
            }
        }
    }

    /// Lets the switch do what the state says: which port leads to which address, how long packets may be, and who serves which
    /// network.
    pub(super) fn follow<'a>(
        &self,
        switch: &Switch,
        networks: &(impl Iterator<Item = (NetworkIndex, &'a Network)> + Clone),
        published: &[Published],
    ) -> Result<(), ControlError> {
        let alone = networks.clone().filter(|(_, network)| network.options.overlap);
        self.serve_own(switch, alone.clone())?;
        let shared = networks.clone().filter(|(_, network)| !network.options.overlap);
        let shared: Vec<_> = shared.flat_map(|(_, network)| inside(network)).collect();
        self.shared.set_networks(&shared);
        for (index, network) in alone {
            // Those that share their addresses are no more outside for it than for each other.
            let own: Vec<_> = inside(network).chain(shared.iter().copied()).collect();
            self.gateway_of(index).set_networks(&own);
        }
        let wanted: BTreeMap<Binding, Published> = published.iter().map(|one| (one.binding, *one)).collect();
        for (binding, listener) in &mut *self.listeners() {
            let wanted = wanted.get(binding).copied();
            if listener.open.map(|open| open.leads_to) == wanted {
                continue;
            }
            self.shut(listener.open.take());
            let Some(leads_to) = wanted else { continue };
            let network = networks.clone().find(|(index, _)| *index == leads_to.network);
            let gateway = network.and_then(|(_, network)| {
                network.subnets().find(|plan| plan.net.contains(&leads_to.address)).map(|plan| plan.gateway)
            });
            let Some(gateway) = gateway else { continue };
            match self.open(listener, leads_to, gateway) {
                Ok(id) => listener.open = Some(OpenPort { id, leads_to }),
                Err(error) => tracing::error!("nobody reaches published port {binding}: {error}"),
            }
        }
        self.leave_own(switch, networks);
        Ok(())
    }

    /// Gives each network whose addresses are its own what serves it.
    fn serve_own<'a>(
        &self,
        switch: &Switch,
        alone: impl Iterator<Item = (NetworkIndex, &'a Network)>,
    ) -> Result<(), ControlError> {
        for (index, network) in alone {
            let Some(reference) = switch.network(index) else { continue };
            let mut own = self.own();
            if own.contains_key(&index) {
                continue;
            }
            let (settings, mac) =
                (HostGatewaySettings { network: Some(reference), ..self.of_own.clone() }, router::own_mac(index));
            let gateway = HostGateways::new(&settings, &[mac], rand::rng().next_u64());
            let gateway = gateway.map_err(|error| {
                ControlError::Internal(format!("network {} has no way out over sockets: {error}", network.name))
            })?;
            let Some(one) = gateway.each().next() else { continue };
            let port = self.plug_one(switch, format!("{PORT}:{}", network.name), one, mac)?;
            own.insert(index, OwnGateway { gateway, port });
        }
        Ok(())
    }

    /// Takes away what served networks that are gone.
    fn leave_own<'a>(&self, switch: &Switch, networks: &(impl Iterator<Item = (NetworkIndex, &'a Network)> + Clone)) {
        let is_there =
            |index: NetworkIndex| networks.clone().any(|(other, network)| other == index && network.options.overlap);
        let gone: Vec<OwnGateway> =
            self.own().extract_if(.., |index, _| !is_there(*index)).map(|(_, own)| own).collect();
        for own in gone {
            if let Err(error) = switch.remove_port(own.port) {
                tracing::warn!("the way out of a network that is gone stays: {error}");
            }
        }
    }

    fn open(&self, listener: &Listener, leads_to: Published, gateway: IpAddr) -> io::Result<HostPortId> {
        let clients = match self.uplink.source {
            PublishSource::Client => Clients::Themselves,
            PublishSource::Gateway => Clients::Gateway,
        };
        let Published { binding, network, address } = leads_to;
        let target = SocketAddr::new(address, binding.target_port);
        let port = HostPort { socket: listener.socket.try_clone()?, target, gateway, clients };
        match binding.transport {
            Transport::Udp => self.gateway_of(network).publish_datagrams(port),
            Transport::Tcp => self.gateway_of(network).publish_streams(port),
            Transport::Sctp => Err(rustix::io::Errno::PROTONOSUPPORT.into()),
        }
    }

    fn shut(&self, open: Option<OpenPort>) {
        if let Some(open) = open
            && !self.gateway_of(open.leads_to.network).unpublish(open.id)
        {
            tracing::warn!("a published port was closed already");
        }
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<Binding, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many descriptors the process may have.
pub(in crate::controller) fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// How many flows there may be, each of which holds a descriptor.
#[derive(Debug, PartialEq)]
struct Shares {
    /// Of each that serves networks which share their addresses.
    shared: (StreamLimits, DatagramLimits),
    /// Of each that serves one network alone.
    own: (StreamLimits, DatagramLimits),
    /// Of all of the latter together.
    budget: usize,
}

/// A quarter of all is left for endpoints, clients and published ports, so that a container that opens as many as it can harms
/// nothing else; no endpoint gets all of them, and networks with addresses of their own no more than an eighth.
fn shares(descriptors: usize, shards: usize) -> Shares {
    let flows = descriptors - (descriptors / 4).max(RESERVE).min(descriptors);
    let budget = flows / 8;
    Shares { shared: limits((flows - budget) / shards), own: limits(budget / 2), budget }
}

fn limits(flows: usize) -> (StreamLimits, DatagramLimits) {
    let (mut streams, mut datagrams) = (StreamLimits::default(), DatagramLimits::default());
    datagrams.flows = datagrams.flows.min(flows / 4).max(1);
    streams.flows = streams.flows.min(flows - flows / 4).max(1);
    datagrams.per_endpoint = datagrams.per_endpoint.min(most_of(datagrams.flows));
    streams.per_endpoint = streams.per_endpoint.min(most_of(streams.flows));
    (streams, datagrams)
}

/// What of a network is inside.
fn inside(network: &Network) -> impl Iterator<Item = InsideNetwork> {
    let mtu = u16::try_from(network.options.mtu).unwrap_or(u16::MAX);
    network.pieces().map(move |(plan, net)| InsideNetwork { net, mtu, gateway: plan.own() })
}

fn most_of(flows: usize) -> usize {
    (flows - flows / 4).saturating_add(1).min(flows.max(2))
}

/// Descriptors that flows never get.
const RESERVE: usize = 64;

/// Where there are fewer for each, fewer serve together what many would each by itself: what one may have is bounded by its part.
const DESCRIPTORS_OF_A_SHARD: usize = 65_536;

/// The port's name in listings.
const PORT: &str = "sockets";

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows share what descriptors there are, never all of them; where there are plenty the defaults hold.
    #[test]
    fn flows_leave_descriptors() {
        for descriptors in [0, 1, 64, 100, 256, 1024, 4096, 65_536, 1 << 20, usize::MAX] {
            for shards in [1, 2, 4] {
                let Shares { shared: (streams, datagrams), own, budget } = shares(descriptors, shards);
                assert!(streams.flows > 0 && datagrams.flows > 0 && own.0.flows > 0 && own.1.flows > 0);
                let all = shards * (streams.flows + datagrams.flows) + budget;
                assert!(descriptors < RESERVE + 12 * shards || all + RESERVE <= descriptors, "{descriptors}");
                assert!(streams.per_endpoint <= streams.flows.max(2));
                assert!(datagrams.per_endpoint <= datagrams.flows.max(2));
            }
        }
        assert_eq!(shares(1 << 20, 4).shared, (StreamLimits::default(), DatagramLimits::default()));
    }
}
