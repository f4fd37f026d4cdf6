//! The desired state in memory: what exists, and who has which address. Decides, does nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vswitch_frame::{MacAddr, NetworkIndex, PortId};

use super::lan::Leg;
use super::machines::MachinePortState;
use super::overlay::Tunnel;
use super::services;
use crate::dns::{Zone, ZoneCell};
use crate::error::ControlError;
use crate::ids::{Found, Id, find};
use crate::ipam::host::HostNetworks;
use crate::ipam::{Leases, SubnetPlan};
use crate::model::{Asked, Container, Defaults, Endpoint, EndpointSpec, Meeting, Network, Owner, Phase, StaticAddress};
use crate::publish::{Binding, PortLeases};
use crate::store::Contents;

/// Everything that should exist.
#[derive(Debug, Default)]
pub struct State {
    pub(super) networks: BTreeMap<Id, NetworkState>,
    pub(super) containers: BTreeMap<Id, ContainerState>,
    pub(super) endpoints: BTreeMap<Id, EndpointState>,
    /// Ports for machines, by name.
    pub(super) machines: BTreeMap<String, MachinePortState>,
    pub(super) ula: Option<[u8; 5]>,
    /// What the operator decided.
    pub(super) defaults: Defaults,
    /// What the host occupied when that was looked at last, which takes a while where it has many routes.
    pub(super) host: HostNetworks,
    /// Host ports of containers that run or are being started.
    pub(super) ports: PortLeases,
    /// The host's endpoints of networks that are gone, whose interfaces are to go.
    pub(super) leaving: Vec<Endpoint>,
    /// Told when names change that are in the host's /etc/hosts.
    pub(super) host_names: Arc<tokio::sync::Notify>,
    /// Endpoints come back one by one, and who is where is told once they all have.
    pub(super) restoring: bool,
    sequence: u64,
}

/// A network and what is taken on it.
#[derive(Debug)]
pub(super) struct NetworkState {
    pub(super) network: Network,
    /// On the switch; `host` and `none` are not.
    pub(super) index: Option<NetworkIndex>,
    /// The way to other hosts, of an overlay network.
    pub(super) tunnel: Option<Tunnel>,
    /// Its leg on the LAN of its parent, if it is to have one and that was there once.
    pub(super) leg: Option<Leg>,
    pub(super) endpoints: BTreeSet<Id>,
    /// The names of those that are there now.
    pub(super) zone: Arc<ZoneCell>,
    pub(super) ipv4: Option<Leases>,
    pub(super) ipv6: Option<Leases>,
    /// By whom they are used or are to be used.
    pub(super) macs: HashMap<MacAddr, BTreeSet<Id>>,
}

/// A container and who waits for it.
#[derive(Debug)]
pub(super) struct ContainerState {
    pub(super) container: Container,
    /// Held by the one operation on this container that is under way.
    pub(super) gate: Arc<tokio::sync::Mutex<()>>,
    /// Tells waiters; its end tells them that the container was removed.
    pub(super) phase: watch::Sender<Phase>,
    /// Its processes are held still.
    pub(super) paused: bool,
    /// It is being started, so its endpoints are in use already.
    pub(super) starting: bool,
    /// Whether and when it is started again by itself.
    pub(super) restart: Restart,
    /// In the order in which they come up.
    pub(super) endpoints: Vec<Id>,
}

/// A start that nobody asks for.
#[derive(Debug, Default)]
pub(super) struct Restart {
    /// Number of the wait that is going on; another one makes it void.
    pub(super) waiting: Option<u64>,
    /// How long the last one was.
    pub(super) last: Option<Duration>,
}

/// An endpoint and its port.
#[derive(Debug)]
pub(super) struct EndpointState {
    pub(super) endpoint: Endpoint,
    pub(super) port: Option<PortId>,
    /// Its interface was asked to have no carrier.
    pub(super) unplugged: bool,
    /// Held by who attaches or detaches a namespace; a container's endpoints go by the container's gate.
    pub(super) gate: Arc<tokio::sync::Mutex<()>>,
    /// Ports of the host that lead to it for a while, by lease.
    pub(super) leases: Vec<(Id, Vec<Binding>)>,
}

impl ContainerState {
    /// Whether its endpoints carry traffic, or are about to.
    pub(super) fn active(&self) -> bool {
        self.starting || self.container.running()
    }

    /// Begins a wait for a start that nobody asks for; its number.
    pub(super) fn wait_for_restart(&mut self) -> u64 {
        let number = rand::random();
        self.restart.waiting = Some(number);
        number
    }
}

impl State {
    /// From what the store held. Leases are what the endpoints hold.
    #[must_use]
    pub(super) fn new(contents: Contents, defaults: Defaults) -> Self {
        let mut state = State { ula: contents.ula, defaults, ..State::default() };
        for network in contents.networks {
            for service in &network.services {
                state.ports.keep(&service.published, &services::owner(service.id));
            }
            state.insert_network(network, None);
        }
        for container in contents.containers {
            state.ports.keep(&container.ports, &container.id);
            state.insert_container(container);
        }
        let mut endpoints = contents.endpoints;
        endpoints.sort_by_key(|endpoint| endpoint.sequence);
        // Machines are not there any more, nor is anybody who would bring them back.
        endpoints.retain(|endpoint| endpoint.owner != Owner::Machine);
        for endpoint in endpoints {
            state.sequence = state.sequence.max(endpoint.sequence + 1);
            if let Some(on) = state.networks.get_mut(&endpoint.network) {
                // What was committed once is taken without asking again.
                for address in endpoint.addresses() {
                    let _ = on.leases(address).map(|leases| leases.hold(address));
                }
            }
            state.ports.keep(&endpoint.ports, &endpoint.id);
            state.insert_endpoint(endpoint);
        }
        state
    }

    pub(super) fn insert_network(&mut self, network: Network, index: Option<NetworkIndex>) {
        self.networks.insert(network.id.clone(), NetworkState::new(network, index));
    }

    /// What becomes of a network and of its endpoints when its record is another one. They keep the addresses that are
    /// still theirs to have, and get others for the rest.
    pub(super) fn resettle(
        &self,
        network: Network,
        index: Option<NetworkIndex>,
    ) -> Result<(NetworkState, Vec<Endpoint>), ControlError> {
        let mut on = NetworkState::new(network, index);
        let held = self.networks.get(&on.network.id).into_iter().flat_map(|old| &old.endpoints);
        let mut endpoints: Vec<Endpoint> =
            held.filter_map(|id| self.endpoints.get(id)).map(|one| one.endpoint.clone()).collect();
        endpoints.sort_by_key(|endpoint| endpoint.sequence);
        let mut moved: Vec<(bool, bool)> = Vec::new();
        for endpoint in &endpoints {
            let mut keeps = |fixed: Option<StaticAddress>| {
                fixed.is_some_and(|fixed| on.leases(fixed.address).is_some_and(|it| it.hold(fixed.address).is_ok()))
            };
            moved.push((!keeps(endpoint.ipv4), !keeps(endpoint.ipv6)));
        }
        for (endpoint, (ipv4, ipv6)) in endpoints.iter_mut().zip(moved) {
            let derived = |fixed: Option<StaticAddress>| match fixed.map(|fixed| fixed.address) {
                Some(IpAddr::V4(address)) => Some(MacAddr::from_ipv4(address)),
                _ => None,
            };
            let was_derived = derived(endpoint.ipv4) == Some(endpoint.mac);
            if ipv4 {
                endpoint.ipv4 = on.lease(None, true)?;
            }
            if ipv6 {
                endpoint.ipv6 = on.lease(None, false)?;
            }
            let taken = !endpoint.asked.mac && on.check_mac(endpoint.mac, |_| None).is_err();
            if ipv4 && was_derived || taken {
                endpoint.mac = on.free_mac(endpoint.ipv4);
            }
            on.hold_mac(endpoint.mac, &endpoint.id);
            on.endpoints.insert(endpoint.id.clone());
        }
        Ok((on, endpoints))
    }

    /// Puts a network, and its endpoints, in the place of what they were. Answers what that was.
    pub(super) fn exchange(
        &mut self,
        on: NetworkState,
        endpoints: Vec<Endpoint>,
    ) -> (Option<NetworkState>, Vec<Endpoint>) {
        let old = endpoints.into_iter().filter_map(|endpoint| {
            let one = self.endpoints.get_mut(&endpoint.id)?;
            Some(std::mem::replace(&mut one.endpoint, endpoint))
        });
        let old = old.collect();
        (self.networks.insert(on.network.id.clone(), on), old)
    }

    pub(super) fn insert_container(&mut self, container: Container) {
        let (phase, _) = watch::channel(container.phase);
        let id = container.id.clone();
        let entry = ContainerState {
            container,
            gate: Arc::default(),
            phase,
            paused: false,
            starting: false,
            restart: Restart::default(),
            endpoints: Vec::new(),
        };
        self.containers.insert(id, entry);
    }

    /// The network that `text` names.
    pub(super) fn network(&self, text: &str) -> Result<&NetworkState, ControlError> {
        let objects = self.networks.values().map(|on| (&on.network.id, on.network.name.as_str()));
        match find(text, objects) {
            Found::One(id) => Ok(&self.networks[&id]),
            Found::Nothing => Err(ControlError::NetworkNotFound(text.to_owned())),
            Found::Several(count) => Err(ControlError::Ambiguous { what: "network", name: text.to_owned(), count }),
        }
    }

    /// The container that `text` names.
    pub(super) fn container(&self, text: &str) -> Result<&ContainerState, ControlError> {
        let bare = text.strip_prefix('/').unwrap_or(text);
        let objects = self.containers.values().map(|one| (&one.container.id, one.container.name.as_str()));
        match find(bare, objects) {
            Found::One(id) => Ok(&self.containers[&id]),
            Found::Nothing => Err(ControlError::ContainerNotFound(text.to_owned())),
            Found::Several(count) => Err(ControlError::Ambiguous { what: "container", name: text.to_owned(), count }),
        }
    }

    /// The container with this id, which an operation under way keeps from being removed.
    pub(super) fn container_by_id(&self, id: &Id) -> Result<&ContainerState, ControlError> {
        self.containers.get(id).ok_or_else(|| ControlError::ContainerNotFound(id.short().to_owned()))
    }

    /// The same, to change it.
    pub(super) fn container_mut(&mut self, id: &Id) -> Result<&mut ContainerState, ControlError> {
        self.containers.get_mut(id).ok_or_else(|| ControlError::ContainerNotFound(id.short().to_owned()))
    }

    /// The endpoint that `text` names: by its id, or by its name if it is an attached namespace's.
    pub(super) fn endpoint(&self, text: &str) -> Result<&EndpointState, ControlError> {
        let objects = self.endpoints.values().map(|one| {
            let attached = one.endpoint.container().is_none();
            (&one.endpoint.id, if attached { one.endpoint.name.as_str() } else { "" })
        });
        match find(text, objects) {
            Found::One(id) => Ok(&self.endpoints[&id]),
            Found::Nothing => Err(ControlError::EndpointNotFound(text.to_owned())),
            Found::Several(count) => Err(ControlError::Ambiguous { what: "endpoint", name: text.to_owned(), count }),
        }
    }

    /// Whether a container or an attached namespace has this name.
    pub(super) fn name_taken(&self, name: &str) -> bool {
        self.containers.values().any(|one| one.container.name == name)
            || self.machines.contains_key(name)
            || self.endpoints.values().any(|one| one.endpoint.container().is_none() && one.endpoint.name == name)
    }

    /// The endpoint of a container on a network.
    pub(super) fn endpoint_of(&self, container: &Id, network: &Id) -> Option<&EndpointState> {
        let ids = &self.containers.get(container)?.endpoints;
        ids.iter().filter_map(|id| self.endpoints.get(id)).find(|one| one.endpoint.network == *network)
    }

    /// Whether nobody is on a network, but for the host perhaps.
    pub(super) fn is_deserted(&self, on: &NetworkState) -> bool {
        let mut there = on.endpoints.iter().filter_map(|id| self.endpoints.get(id));
        there.all(|one| one.endpoint.owner == Owner::Host) && self.machine_ports_on(&on.network.id).next().is_none()
    }

    /// Endpoints of a network that carry traffic or are about to: of containers that run or are being started, and of
    /// attached namespaces.
    pub(super) fn active_endpoints<'a>(&'a self, on: &'a NetworkState) -> impl Iterator<Item = &'a EndpointState> {
        on.endpoints.iter().filter_map(|id| self.endpoints.get(id)).filter(|one| match &one.endpoint.owner {
            Owner::Container(id) => self.containers.get(id).is_some_and(ContainerState::active),
            Owner::Attached(_) => !one.endpoint.lost,
            Owner::Machine => true,
            // It is there because of the network, and goes with it.
            Owner::Host => false,
        })
    }

    /// Finds addresses for a new endpoint and keeps it. Refuses what Docker refuses. Addresses that were asked for are its own
    /// from when it is active (`take_addresses`).
    pub(super) fn add_endpoint(
        &mut self,
        network: &Id,
        owner: Owner,
        name: &str,
        spec: &EndpointSpec,
    ) -> Result<Endpoint, ControlError> {
        let sequence = self.sequence;
        let on = self.networks.get_mut(network).ok_or_else(|| ControlError::NetworkNotFound(network.to_string()))?;
        if on.network.settings.is_some() {
            return Err(ControlError::SettingsOnly(on.network.name.clone()));
        }
        if on.index.is_none() {
            return Err(ControlError::invalid(format!(
                "network {} has no endpoints; a container gets it with 'run --network {0}'",
                on.network.name
            )));
        }
        let meeting = on.network.options.lan.as_ref().map(|lan| lan.meeting);
        if meeting == Some(Meeting::Passthru) && !on.endpoints.is_empty() {
            return Err(ControlError::Conflict(format!(
                "network {} has macvlan_mode=passthru, which is for one container, and has one; disconnect that first",
                on.network.name
            )));
        }
        if on.network.predefined() && !spec.aliases.is_empty() {
            return Err(ControlError::invalid("network-scoped aliases are only supported for user-defined networks"));
        }
        if let Some(mac) = spec.mac {
            on.check_station(mac)?;
        }
        let ipv4 = on.lease(spec.ipv4, true)?;
        let ipv6 = match on.lease(spec.ipv6, false) {
            Ok(ipv6) => ipv6,
            Err(error) => {
                on.give_back(ipv4);
                return Err(error);
            }
        };
        let mac = spec.mac.unwrap_or_else(|| on.free_mac(ipv4));
        if let Err(error) = self.check_options(network, None, mac, &spec.options) {
            if let Some(on) = self.networks.get_mut(network) {
                on.give_back(ipv4);
                on.give_back(ipv6);
            }
            return Err(error);
        }
        let on = self.networks.get(network).ok_or_else(|| ControlError::NetworkNotFound(network.to_string()))?;
        let endpoint = Endpoint {
            id: Id::random(&mut rand::rng()),
            network: network.clone(),
            network_name: on.network.name.clone(),
            owner,
            name: name.to_owned(),
            sequence,
            mac,
            ipv4,
            ipv6,
            link_local: spec.link_local.clone(),
            aliases: spec.aliases.clone(),
            links: spec.links.clone(),
            gw_priority: spec.gw_priority,
            interface: spec.interface.clone(),
            allowed: spec.allowed.clone(),
            options: spec.options.clone(),
            lost: false,
            asked: Asked {
                ipv4: spec.ipv4.is_some(),
                ipv6: spec.ipv6.is_some(),
                mac: spec.mac.is_some(),
                driver_opts: spec.driver_opts.clone(),
            },
            ports: Vec::new(),
        };
        self.sequence += 1;
        self.insert_endpoint(endpoint.clone());
        let live = match &endpoint.owner {
            Owner::Container(id) => self.containers.get(id).is_some_and(ContainerState::active),
            Owner::Attached(_) | Owner::Host | Owner::Machine => true,
        };
        if live && let Err(error) = self.take_addresses_of(&endpoint.id) {
            self.remove_endpoint(&endpoint.id);
            return Err(error);
        }
        Ok(endpoint)
    }

    fn insert_endpoint(&mut self, endpoint: Endpoint) {
        let id = endpoint.id.clone();
        if let Some(on) = self.networks.get_mut(&endpoint.network) {
            on.hold_mac(endpoint.mac, &id);
            on.endpoints.insert(id.clone());
        }
        if let Some(container) = endpoint.container().and_then(|id| self.containers.get_mut(id)) {
            container.endpoints.push(id.clone());
        }
        let state = EndpointState { endpoint, port: None, unplugged: false, gate: Arc::default(), leases: Vec::new() };
        self.endpoints.insert(id, state);
    }

    /// Forgets an endpoint and gives its addresses back.
    pub(super) fn remove_endpoint(&mut self, id: &Id) -> Option<Endpoint> {
        let EndpointState { endpoint, .. } = self.endpoints.remove(id)?;
        if let Some(on) = self.networks.get_mut(&endpoint.network) {
            on.give_back(endpoint.ipv4);
            on.give_back(endpoint.ipv6);
            on.release_mac(endpoint.mac, id);
            on.endpoints.remove(id);
        }
        if let Some(container) = endpoint.container().and_then(|id| self.containers.get_mut(id)) {
            container.endpoints.retain(|other| other != id);
        }
        Some(endpoint)
    }
}

impl NetworkState {
    fn new(network: Network, index: Option<NetworkIndex>) -> Self {
        let ipv4 = network.ipv4.as_ref().map(Leases::new);
        let ipv6 = network.ipv6.as_ref().map(Leases::new);
        // What was committed once is taken without asking again.
        let addresses: Vec<IpAddr> = network.services.iter().flat_map(|one| one.addresses.iter().copied()).collect();
        let mut on = NetworkState {
            network,
            index,
            tunnel: None,
            leg: None,
            endpoints: BTreeSet::new(),
            zone: Zone::cell(),
            ipv4,
            ipv6,
            macs: HashMap::new(),
        };
        for address in addresses {
            let _ = on.leases(address).map(|leases| leases.claim(Some(address)));
        }
        on
    }
}

/// The subnet plan of the family of `address`.
pub(super) fn plan_of(network: &Network, address: IpAddr) -> Option<&SubnetPlan> {
    if address.is_ipv4() { network.ipv4.as_ref() } else { network.ipv6.as_ref() }
}

/// Prefix length of an endpoint's address.
pub(super) fn prefix_of(network: Option<&Network>, fixed: StaticAddress) -> u8 {
    let host = if fixed.address.is_ipv4() { 32 } else { 128 };
    let plan = network.and_then(|network| plan_of(network, fixed.address));
    fixed.prefix.or(plan.map(|plan| plan.net.prefix_len())).unwrap_or(host)
}

/// Gateway of an endpoint's address.
pub(super) fn gateway_of(network: Option<&Network>, fixed: StaticAddress) -> Option<IpAddr> {
    fixed.gateway.or_else(|| plan_of(network?, fixed.address)?.router())
}
