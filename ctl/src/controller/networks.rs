//! Networks: create, remove, prune, list.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rand::Rng;
use vswitch_api::network::NetworkCreate;
use vswitch_frame::{MacAddr, NetworkIndex};
use vswitch_switch::l2::SnoopingConfig;
use vswitch_switch::{Beyond, Gateway, Mesh, NetworkConfig};

use super::desired::Changing;
use super::state::{NetworkState, State};
use super::uplink::UplinkState;
use super::{Controller, NetworkFilter, peerings, services, view};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::ipam::{GatewayLeg, Ranges, SubnetPlan, default_gateway, pools, pools::Pool};
use crate::model::{Driver, EngineNames, Family, Faults, Network, NetworkOptions, NetworkSpec, Owner};
use crate::store::Change;
use crate::uplink::router;

impl Controller {
    /// Makes a network and answers its id.
    ///
    /// # Errors
    /// When the name is taken, a subnet overlaps, no subnet is left, or the switch or store refuse.
    pub fn create_network(&self, spec: NetworkSpec) -> Result<Id, ControlError> {
        let automatic = [&spec.ipv4, &spec.ipv6].into_iter().any(|family| matches!(family, Family::Automatic));
        let mut state = if automatic { self.turn_with_host() } else { self.turn() };
        if state.networks.values().any(|on| on.network.name == spec.name) {
            return Err(ControlError::NetworkExists(spec.name));
        }
        self.make_network(&mut state, spec, Id::random(&mut rand::rng()))
    }

    /// Makes a network with this id, of a name that is free.
    pub(super) fn make_network(&self, state: &mut Changing<'_>, spec: NetworkSpec, id: Id) -> Result<Id, ControlError> {
        let (overlay, mtu) = match spec.overlay {
            Some(wish) => self.plan_overlay(state, wish, &spec).map(|(overlay, mtu)| (Some(overlay), mtu))?,
            None => (None, spec.options.mtu),
        };
        let (leg4, leg6) = spec.legs();
        // What only holds settings occupies nothing.
        let off = |family: Family| if spec.settings.is_some() { Family::Off } else { family };
        let overlap = Overlap::of(&spec.options);
        if spec.settings.is_none() {
            self.check_uplinks(&spec.options, spec.internal)?;
        }
        let ipv4 = self.plan_ipv4(state, off(spec.ipv4), overlap)?.map(|plan| SubnetPlan { leg: leg4, ..plan });
        let ipv6 = self.plan_ipv6(state, off(spec.ipv6), overlap)?.map(|plan| SubnetPlan { leg: leg6, ..plan });
        let driver = match (&spec.settings, &overlay) {
            (Some(_), _) => Driver::Null,
            (None, Some(_)) => Driver::Overlay,
            (None, None) => spec.driver,
        };
        let network = Network {
            id,
            name: spec.name,
            created: Moment::now(),
            driver,
            internal: spec.internal,
            attachable: spec.attachable,
            ipam: spec.ipam,
            ipv4,
            ipv6,
            options: NetworkOptions { mtu, ..spec.options },
            raw_options: spec.raw_options,
            labels: spec.labels,
            overlay: overlay.filter(|_| driver == Driver::Overlay),
            settings: spec.settings,
            config_from: spec.config_from,
            peerings: Vec::new(),
            policy: Vec::new(),
            names: EngineNames::default(),
            services: Vec::new(),
        };
        self.add_network(state, network)
    }

    /// What a network that holds settings gives to one that is to have them.
    ///
    /// # Errors
    /// When there is none of that name, or it is a network like others.
    pub fn settings_of(&self, name: &str) -> Result<NetworkCreate, ControlError> {
        let state = self.state();
        let Ok(on) = state.network(name) else { return Err(ControlError::SettingsNotFound(name.to_owned())) };
        let none = || ControlError::from(Faults::forbidden_one(format!("{name:?} is not a configuration network")));
        on.network.settings.clone().ok_or_else(none)
    }

    /// Removes a network on which nobody is active; stopped containers lose their endpoints on it.
    ///
    /// # Errors
    /// When it is unknown, predefined, or in use.
    pub async fn remove_network(&self, text: &str) -> Result<(), ControlError> {
        self.remove_unused(text)?;
        self.take_hosts_out().await;
        Ok(())
    }

    fn remove_unused(&self, text: &str) -> Result<(), ControlError> {
        let mut state = self.turn();
        let on = state.network(text)?;
        if on.network.predefined() {
            return Err(ControlError::PredefinedNetwork(on.network.name.clone()));
        }
        if on.network.settings.is_some()
            && state.networks.values().any(|one| one.network.config_from == on.network.name)
        {
            return Err(ControlError::SettingsInUse(on.network.name.clone()));
        }
        let active: Vec<String> = state
            .active_endpoints(on)
            .filter(|one| one.endpoint.owner != Owner::Machine)
            .map(|one| format!("name:{:?} id:{:?}", one.endpoint.name, one.endpoint.id.short()))
            .chain(state.machine_ports_on(&on.network.id).map(|name| format!("port {name} for machines")))
            .collect();
        if !active.is_empty() {
            let network = on.network.name.clone();
            return Err(ControlError::NetworkBusy { network, endpoints: active.join(", ") });
        }
        let id = on.network.id.clone();
        self.drop_network(&mut state, &id)
    }

    /// Removes all custom networks that match and that no container uses. Answers their names.
    ///
    /// # Errors
    /// When the switch or the store refuse.
    pub async fn prune_networks(&self, matches: impl Fn(&Network) -> bool) -> Result<Vec<String>, ControlError> {
        let pruned = self.prune_unused(matches);
        self.take_hosts_out().await;
        pruned
    }

    fn prune_unused(&self, matches: impl Fn(&Network) -> bool) -> Result<Vec<String>, ControlError> {
        let mut state = self.turn();
        let unused: Vec<(Id, String)> = state
            .networks
            .values()
            .filter(|on| {
                let custom = !on.network.predefined() && on.network.settings.is_none();
                let used = state.active_endpoints(on).next().is_some()
                    || state.machine_ports_on(&on.network.id).next().is_some();
                custom && matches(&on.network) && !used
            })
            .map(|on| (on.network.id.clone(), on.network.name.clone()))
            .collect();
        for (id, _) in &unused {
            self.drop_network(&mut state, id)?;
        }
        self.tell_prune();
        Ok(unused.into_iter().map(|(_, name)| name).collect())
    }

    /// All networks that match, by name.
    #[must_use]
    pub fn list_networks(&self, filter: &NetworkFilter) -> Vec<vswitch_api::network::Network> {
        let state = self.state();
        let mut found: Vec<_> = state.networks.values().filter(|on| filter.matches(&state, on)).collect();
        found.sort_by(|a, b| a.network.name.cmp(&b.network.name));
        found.into_iter().map(|on| self.shown_network(&state, on)).collect()
    }

    /// One network.
    ///
    /// # Errors
    /// When it is unknown or ambiguous.
    pub fn inspect_network(&self, text: &str) -> Result<vswitch_api::network::Network, ControlError> {
        let state = self.state();
        Ok(self.shown_network(&state, state.network(text)?))
    }

    fn shown_network(&self, state: &State, on: &NetworkState) -> vswitch_api::network::Network {
        vswitch_api::network::Network { uplink: self.leaves_by(&on.network), ..view::network(state, on) }
    }

    /// The switch learns of the networks that the store knows.
    pub(super) fn restore_networks(&self) -> Result<(), ControlError> {
        let mut state = self.turn();
        for on in state.networks.values_mut() {
            on.index = self.switch_network(&on.network)?;
            self.plug_tunnel(on)?;
        }
        Ok(())
    }

    pub(super) fn add_network(&self, state: &mut Changing<'_>, network: Network) -> Result<Id, ControlError> {
        let index = self.switch_network(&network)?;
        let (id, name) = (network.id.clone(), network.name.clone());
        let told = network.clone();
        let committed = state.commit(&Change::new().put_network(&network));
        let result = committed.map_err(ControlError::from).and_then(|()| {
            state.insert_network(network, index);
            state.networks.get_mut(&id).map_or(Ok(()), |on| self.plug_tunnel(on))?;
            self.refresh_router(state)
        });
        if let Err(error) = result {
            if let Some(mut on) = state.networks.remove(&id) {
                self.unplug_tunnel(&mut on);
                // What goes wrong with that is mended later, and the first error is the one to report.
                if let Err(error) = state.settle(&Change::new().drop_network(&id)) {
                    tracing::warn!("network {name} was not made: {error}");
                }
                self.refresh_router_anyway(state);
            }
            if let Some(index) = index
                && let Err(error) = self.inner.switch.remove_network(index)
            {
                tracing::warn!("the switch keeps a network that was not made: {error}");
            }
            return Err(error);
        }
        tracing::info!(network = name, id = id.short(), "network created");
        self.tell_network(&told, "create");
        Ok(id)
    }

    pub(super) fn drop_network(&self, state: &mut Changing<'_>, id: &Id) -> Result<(), ControlError> {
        let Some(on) = state.networks.get(id) else { return Ok(()) };
        let endpoints: Vec<Id> = on.endpoints.iter().cloned().collect();
        let index = on.index;
        // Endpoints of stopped containers stay in the store: starting such a container says which network is missing.
        let lost: Vec<&Id> = endpoints
            .iter()
            .filter(|id| state.endpoints.get(*id).is_some_and(|one| one.endpoint.container().is_none()))
            .collect();
        let parted = peerings::without(state, id);
        let joined: Vec<Id> = peerings::others(state, &on.network).map(|other| other.network.id.clone()).collect();
        let change = Change::new().drop_network(id).drop_endpoints(lost.iter().copied());
        state.commit(&parted.iter().fold(change, Change::put_network))?;
        for network in parted {
            if let Some(on) = state.networks.get_mut(&network.id) {
                on.network = network;
            }
        }
        self.close_machine_ports(state, id);
        for id in lost {
            self.let_host_go(state, id);
            state.remove_endpoint(id);
        }
        if let Some(mut on) = state.networks.remove(id) {
            self.unplug_tunnel(&mut on);
            self.unplug_leg(&mut on);
            for service in &on.network.services {
                self.give_bindings_back(state, &services::owner(service.id), &service.published);
            }
            tracing::info!(network = on.network.name, id = id.short(), "network removed");
            self.tell_network(&on.network, "destroy");
        }
        peerings::publish_names(state, &joined);
        if let Some(index) = index {
            // The index is soon another network's, so neither rules nor flows may speak of it any more.
            self.refresh_router_anyway(state);
            self.flush_network(index);
            if let Err(error) = self.inner.switch.remove_network(index) {
                tracing::warn!("the switch keeps a removed network: {error}");
            }
        }
        Ok(())
    }

    pub(super) fn switch_network(&self, network: &Network) -> Result<Option<NetworkIndex>, ControlError> {
        match network.driver {
            Driver::Bridge | Driver::Overlay | Driver::Macvlan | Driver::Ipvlan => {
                Ok(Some(self.inner.switch.add_network(switch_config(network))?))
            }
            Driver::Host | Driver::Null => Ok(None),
        }
    }

    pub(super) fn plan_ipv4(
        &self,
        state: &State,
        family: Family,
        overlap: Overlap,
    ) -> Result<Option<SubnetPlan>, ControlError> {
        match family {
            Family::Off => Ok(None),
            Family::Given(wish) => self.met_by(state, &wish.plan, overlap).map_or(Ok(Some(wish.plan)), Err),
            Family::Automatic => {
                let mut used = state.host.ipv4_ranges();
                self.insert_all(&mut used, state, true);
                let own: Vec<Pool> = state.defaults.pools.iter().filter(|pool| pool.is_ipv4()).copied().collect();
                let net = match own.is_empty() {
                    true => pools::choose(pools::default_pools(), &used),
                    false => pools::choose(own.into_iter(), &used),
                };
                Ok(Some(automatic(net.ok_or(ControlError::PoolsExhausted)?)))
            }
        }
    }

    pub(super) fn plan_ipv6(
        &self,
        state: &mut Changing<'_>,
        family: Family,
        overlap: Overlap,
    ) -> Result<Option<SubnetPlan>, ControlError> {
        match family {
            Family::Off => Ok(None),
            Family::Given(wish) => self.met_by(state, &wish.plan, overlap).map_or(Ok(Some(wish.plan)), Err),
            Family::Automatic => {
                let mut used = state.host.ipv6_ranges();
                self.insert_all(&mut used, state, false);
                let own: Vec<Pool> = state.defaults.pools.iter().filter(|pool| !pool.is_ipv4()).copied().collect();
                let net = match own.is_empty() {
                    true => pools::choose(std::iter::once(self.ula_pool(state)?), &used),
                    false => pools::choose(own.into_iter(), &used),
                };
                Ok(Some(automatic(net.ok_or(ControlError::PoolsExhausted)?)))
            }
        }
    }

    /// This daemon's own ULA prefix, chosen when it is first needed.
    pub(super) fn ula_pool(&self, state: &mut Changing<'_>) -> Result<Pool, ControlError> {
        let bits = match state.ula {
            Some(bits) => bits,
            None => {
                let bits = rand::rng().random();
                state.commit(&Change::new().put_ula(bits))?;
                *state.ula.insert(bits)
            }
        };
        Ok(pools::ula_pool(pools::ula_prefix(bits)))
    }

    /// Takes what is not free out of the choice.
    fn insert_all(&self, used: &mut Ranges, state: &State, ipv4: bool) {
        let inside = state.networks.values().flat_map(|on| on.network.subnets()).map(|plan| plan.net);
        let uplink = self.inner.uplink.iter().flat_map(UplinkState::nets);
        for net in inside.chain(uplink).filter(|net| net.addr().is_ipv4() == ipv4) {
            used.insert_net(net);
        }
    }

    /// What of those that share their addresses has one of this subnet's already.
    pub(super) fn met_by(&self, state: &State, plan: &SubnetPlan, overlap: Overlap) -> Option<ControlError> {
        if overlap == Overlap::Allowed {
            return None;
        }
        let overlaps = |other: IpNet, network: &str| ControlError::PoolOverlaps {
            subnet: plan.net.to_string(),
            other: other.to_string(),
            network: network.to_owned(),
        };
        let meets = |other: &&SubnetPlan| other.net.contains(&plan.net) || plan.net.contains(&other.net);
        let sharing = state.networks.values().filter(|on| !on.network.options.overlap);
        let met =
            sharing.filter_map(|on| Some((on.network.subnets().find(meets)?.net, on.network.name.as_str()))).next();
        let uplink = self.inner.uplink.as_ref().filter(|_| overlap != Overlap::WithUplink);
        // What stands for the host may be an address that is set apart.
        let is_apart = |net: &IpNet| plan.aux.values().any(|&apart| IpNet::from(apart) == *net);
        let by_uplink = || Some((uplink?.meets(plan).filter(|net| !is_apart(net))?, router::NAME));
        met.or_else(by_uplink).map(|(other, network)| overlaps(other, network))
    }
}

/// Whether a subnet may have addresses that others have, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    Allowed,
    /// It is a LAN's, which the uplink may be on, too.
    WithUplink,
    Refused,
}

impl Overlap {
    pub(super) const fn of(options: &NetworkOptions) -> Overlap {
        if options.overlap {
            Overlap::Allowed
        } else if options.routed_elsewhere() {
            Overlap::WithUplink
        } else {
            Overlap::Refused
        }
    }
}

/// What the switch needs to know of a network.
pub(super) fn switch_config(network: &Network) -> NetworkConfig {
    let ipv4 = network.ipv4.as_ref().and_then(|plan| match plan.own()? {
        std::net::IpAddr::V4(address) => Some((address, plan.net.prefix_len())),
        std::net::IpAddr::V6(_) => None,
    });
    let ipv6 = network.ipv6.as_ref().and_then(|plan| match plan.own()? {
        std::net::IpAddr::V6(address) => Some((address, plan.net.prefix_len())),
        std::net::IpAddr::V4(_) => None,
    });
    let mac = network.gateway_mac();
    let also = network.services.iter().flat_map(|one| &one.addresses);
    let beyond = network.subnets().filter(|_| network.options.rest_proxied);
    let gateway = (ipv4.is_some() || ipv6.is_some()).then_some(Gateway {
        mac,
        ipv4,
        ipv6,
        also: also.chain(&network.options.gateway_addresses).copied().collect(),
        proxied: network.options.proxied.clone(),
        beyond: beyond.filter_map(|plan| Some(Beyond { net: plan.net, inside: plan.range? })).collect(),
        mesh: mesh(network),
    });
    NetworkConfig {
        name: network.name.clone(),
        gateway,
        inter_port: network.options.icc,
        forward_bpdus: network.options.bpdus,
        snooping: network
            .options
            .mcast_snooping
            .then(|| SnoopingConfig { querier: network.options.mcast_querier.unwrap_or(true) }),
        lan: network.options.lan.as_ref().map(|lan| lan.meeting.mode()),
        mtu: network.options.mtu,
    }
}

/// As whom other hosts of an overlay meet services of this one. Each host's record of the network has an id of its own.
fn mesh(network: &Network) -> Option<Mesh> {
    const LOCAL: u64 = 0x0200_0000_0000;
    let addresses: Vec<IpAddr> = network.services.iter().flat_map(|one| one.addresses.iter().copied()).collect();
    let ours = network.driver == Driver::Overlay && !addresses.is_empty();
    let [a, b, c, d] = network.id.seed();
    ours.then(|| Mesh { mac: MacAddr::from_u64(LOCAL | u64::from(u32::from_be_bytes([a, b, c, d]))), addresses })
}

fn automatic(net: IpNet) -> SubnetPlan {
    let aux = BTreeMap::new();
    let gateway = default_gateway(net, &aux).expect("automatic subnets are large");
    SubnetPlan { net, range: None, gateway, leg: GatewayLeg::Switch, aux, given: false }
}
