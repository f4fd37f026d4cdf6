//! Sockets of the host as the way out, and the host ports of containers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::RngCore;
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::proxy::datagram::DatagramLimits;
use vswitch_switch::nat::proxy::destinations::Destinations;
use vswitch_switch::nat::proxy::stream::StreamLimits;
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::{Clients, HostGateway, HostGatewaySettings, HostPort, HostPortId, PortConfig, PortDevice, Switch};

use crate::error::ControlError;
use crate::model::Network;
use crate::publish::{Binding, Claim, Transport, host};
use crate::uplink::{PublishSource, SocketsUplink, router};

/// The uplink of sockets before it is part of a switch.
#[derive(Debug)]
pub struct OpenSockets {
    /// What it should be like.
    pub uplink: SocketsUplink,
    /// How the router's flows behave.
    pub settings: Settings,
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
        let OpenSockets { uplink, settings } = open;
        let index = switch.add_network(router::sockets_network())?;
        let of_host = HostGatewaySettings {
            datagrams: DatagramLimits::default(),
            streams: StreamLimits::default(),
            destinations: Destinations { loopback_v4: uplink.loopback_v4, loopback_v6: uplink.loopback_v6 },
            mac: router::SOCKETS_MAC,
            router: router::ROUTER_MAC,
        };
        let gateway = HostGateway::new(of_host, rand::rng().next_u64())
            .map_err(|error| ControlError::Internal(format!("cannot begin the sockets uplink: {error}")))?;
        Ok(SocketsState { uplink, settings, index, gateway, listeners: Mutex::default() })
    }

    pub(super) const fn index(&self) -> NetworkIndex {
        self.index
    }

    /// What stands for the host's loopback inside.
    pub(super) fn host_address(&self) -> Option<IpAddr> {
        self.uplink.loopback_v4.map(IpAddr::V4).or(self.uplink.loopback_v6.map(IpAddr::V6))
    }

    pub(super) fn plug(&self, switch: &Switch) -> Result<(), ControlError> {
        let config = PortConfig { name: PORT.to_owned(), network: self.index, identity: None, mac_limit: None };
        switch.add_port(config, PortDevice::Host(self.gateway.clone()))?;
        Ok(())
    }

    pub(super) fn forget_endpoint(&self, address: IpAddr) {
        self.gateway.forget_endpoint(address);
    }

    pub(super) fn stats(&self) -> vswitch_api::stats::UplinkStats {
        vswitch_api::stats::UplinkStats { interface: PORT.to_owned(), up: true, lost: 0, recovered: 0 }
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
        let mtus = networks.clone().flat_map(|one| one.subnets().map(move |plan| (plan.net, mtu(one))));
        self.gateway.set_mtus(mtus.collect());
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

/// The port's name in listings.
const PORT: &str = "sockets";
