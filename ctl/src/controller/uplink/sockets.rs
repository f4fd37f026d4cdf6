//! Sockets of the host as the way out, and the host ports of containers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::RngCore;
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::proxy::datagram::{DatagramLimits, Filter};
use vswitch_switch::nat::proxy::destinations::Destinations;
use vswitch_switch::nat::proxy::stream::{StreamDrop, StreamLimits};
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::{
    Clients, HostGateway, HostGatewaySettings, HostPort, HostPortId, InsideNetwork, PortConfig, PortDevice, Switch,
};

use crate::error::ControlError;
use crate::model::Network;
use crate::publish::{Binding, Claim, Transport, host};
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
    gateway: HostGateway,
    listeners: Mutex<BTreeMap<Binding, Listener>>,
}

/// A host port that is taken.
#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    /// What the switch does with it, and for whom.
    open: Option<(HostPortId, IpAddr)>,
}

impl SocketsState {
    pub(super) fn new(switch: &Switch, open: OpenSockets) -> Result<SocketsState, ControlError> {
        let OpenSockets { uplink, settings, ping } = open;
        let index = switch.add_network(router::sockets_network())?;
        let (streams, datagrams) = shares(descriptors());
        let of_host = HostGatewaySettings {
            datagrams,
            streams,
            destinations: Destinations {
                loopback_v4: uplink.loopback_v4,
                loopback_v6: uplink.loopback_v6,
                closed_v4: uplink.closed_v4,
                closed_v6: uplink.closed_v6,
                source_v4: uplink.source_v4,
                source_v6: uplink.source_v6,
            },
            filter: match uplink.filter {
                UdpFilter::AddressAndPortDependent => Filter::AddressAndPortDependent,
                UdpFilter::EndpointIndependent => Filter::EndpointIndependent,
            },
            mac: router::SOCKETS_MAC,
            router: router::ROUTER_MAC,
        };
        let gateway = HostGateway::new(of_host, rand::rng().next_u64())
            .map_err(|error| ControlError::Internal(format!("cannot begin the sockets uplink: {error}")))?;
        gateway.lend_ping_sockets(false, ping.v4);
        gateway.lend_ping_sockets(true, ping.v6);
        Ok(SocketsState { uplink, settings, index, gateway, listeners: Mutex::default() })
    }

    pub(super) const fn index(&self) -> NetworkIndex {
        self.index
    }

    pub(super) fn plug(&self, switch: &Switch) -> Result<(), ControlError> {
        let config = PortConfig::new(PORT, self.index);
        switch.add_port(config, PortDevice::Host(self.gateway.clone()))?;
        Ok(())
    }

    pub(super) fn assign(&self, address: IpAddr, endpoint: u64) {
        self.gateway.assign(address, endpoint);
    }

    pub(super) fn forget_endpoint(&self, address: IpAddr) {
        self.gateway.forget_endpoint(address);
    }

    /// Flows now, and a number that was reached since [`SocketsState::shrink`].
    pub(super) fn flows(&self) -> (u64, u64) {
        let counted = self.gateway.stats();
        // All of a burst of connections may open and close between two looks.
        (counted.streams.flows.flows + counted.datagrams.flows.flows, counted.streams.flows.most)
    }

    /// Makes tables as small as what is in them.
    pub(super) fn shrink(&self) {
        self.gateway.shrink();
    }

    pub(super) fn stats(&self) -> vswitch_api::stats::UplinkStats {
        vswitch_api::stats::UplinkStats { interface: PORT.to_owned(), up: true, down: false, lost: 0, recovered: 0 }
    }

    pub(super) fn counters(&self) -> vswitch_api::stats::SocketsStats {
        let counted = self.gateway.stats();
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

    /// Lets the switch do what the state says: which port leads to which address, and how long packets may be.
    pub(super) fn follow<'a>(
        &self,
        networks: &(impl Iterator<Item = &'a Network> + Clone),
        published: &[(Binding, IpAddr)],
    ) {
        let mtu = |network: &Network| u16::try_from(network.options.mtu).unwrap_or(u16::MAX);
        let inside = networks.clone().flat_map(|one| {
            one.pieces().map(move |(plan, net)| InsideNetwork { net, mtu: mtu(one), gateway: plan.own() })
        });
        self.gateway.set_networks(inside.collect());
        let wanted: BTreeMap<Binding, IpAddr> = published.iter().copied().collect();
        let mut listeners = self.listeners();
        for (binding, listener) in &mut *listeners {
            let target = wanted.get(binding).copied();
            if listener.open.map(|(_, target)| target) == target {
                continue;
            }
            self.shut(listener.open.take());
            let Some(target) = target else { continue };
            let gateway = networks.clone().flat_map(Network::subnets).find(|plan| plan.net.contains(&target));
            let Some(gateway) = gateway.map(|plan| plan.gateway) else { continue };
            match self.open(binding, listener, target, gateway) {
                Ok(id) => listener.open = Some((id, target)),
                Err(error) => tracing::error!("nobody reaches published port {binding}: {error}"),
            }
        }
    }

    fn open(&self, binding: &Binding, listener: &Listener, target: IpAddr, gateway: IpAddr) -> io::Result<HostPortId> {
        let clients = match self.uplink.source {
            PublishSource::Client => Clients::Themselves,
            PublishSource::Gateway => Clients::Gateway,
        };
        let target = SocketAddr::new(target, binding.target_port);
        let port = HostPort { socket: listener.socket.try_clone()?, target, gateway, clients };
        match binding.transport {
            Transport::Udp => self.gateway.publish_datagrams(port),
            Transport::Tcp => self.gateway.publish_streams(port),
            Transport::Sctp => Err(rustix::io::Errno::PROTONOSUPPORT.into()),
        }
    }

    fn shut(&self, open: Option<(HostPortId, IpAddr)>) {
        if let Some((id, _)) = open
            && !self.gateway.unpublish(id)
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

/// How many flows there may be, each of which holds a descriptor: a quarter of all is left for endpoints, clients and
/// published ports, so that a container that opens as many as it can harms nothing else; and no endpoint gets all of them.
fn shares(descriptors: usize) -> (StreamLimits, DatagramLimits) {
    let flows = descriptors - (descriptors / 4).max(RESERVE).min(descriptors);
    let (mut streams, mut datagrams) = (StreamLimits::default(), DatagramLimits::default());
    datagrams.flows = datagrams.flows.min(flows / 4).max(1);
    streams.flows = streams.flows.min(flows - flows / 4).max(1);
    datagrams.per_endpoint = datagrams.per_endpoint.min(most_of(datagrams.flows));
    streams.per_endpoint = streams.per_endpoint.min(most_of(streams.flows));
    (streams, datagrams)
}

const fn most_of(flows: usize) -> usize {
    (flows - flows / 4).saturating_add(1)
}

/// Descriptors that flows never get.
const RESERVE: usize = 64;

/// The port's name in listings.
const PORT: &str = "sockets";

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows share what descriptors there are, never all of them; where there are plenty the defaults hold.
    #[test]
    fn flows_leave_descriptors() {
        for descriptors in [0, 1, 64, 100, 256, 1024, 4096, 65_536, 1 << 20, usize::MAX] {
            let (streams, datagrams) = shares(descriptors);
            assert!(streams.flows > 0 && datagrams.flows > 0);
            assert!(
                descriptors < RESERVE + 3 || streams.flows + datagrams.flows + RESERVE <= descriptors,
                "{descriptors}"
            );
            assert!(streams.per_endpoint <= streams.flows.max(2) && datagrams.per_endpoint <= datagrams.flows.max(2));
        }
        assert_eq!(shares(1 << 20), (StreamLimits::default(), DatagramLimits::default()));
    }
}
