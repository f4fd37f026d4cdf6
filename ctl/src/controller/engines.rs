//! Endpoints of containers that are a container engine's: podman's, or those of whoever speaks CNI.
//!
//! Everything is found by the engine's own names for it, and everything may be asked for twice. A network of an engine
//! lives as long as it has endpoints, for engines tell of a network when its first container starts and never of its end.

use std::net::IpAddr;

use vswitch_api::engine::EngineKey;

use super::desired::Changing;
use super::networks::Overlap;
use super::state::State;
use super::{Controller, routes};
use crate::agent::protocol::{NetnsRef, OtherRoutes, Request};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{
    AttachSpec, DefaultRoute, Endpoint, EngineNames, EngineNetwork, EnginePortsSpec, EngineSpec, Family, Network,
    NetworkSpec,
};
use crate::publish::{Binding, PublishSpec};
use crate::store::Change;

/// Label of a network that an engine brought, with the engine's name.
pub(super) const ENGINE_LABEL: &str = "vswitch.engine";

/// Ports that lead to an engine's container until this is dropped.
#[derive(Debug)]
pub struct PortLease {
    controller: Controller,
    endpoint: Id,
    lease: Id,
    bindings: Vec<Binding>,
}

impl PortLease {
    /// Which.
    #[must_use]
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        self.controller.end_lease(&self.endpoint, &self.lease);
    }
}

impl Controller {
    /// Gives the namespace of a client's order an endpoint, or the host's own an interface that the engine moves on, in the place of
    /// one that its engine asked for before.
    ///
    /// # Errors
    /// As [`Controller::attach`]; nothing is left behind then.
    pub async fn attach_for_engine(
        &self,
        spec: EngineSpec,
        netns: NetnsRef,
    ) -> Result<vswitch_api::endpoint::Endpoint, ControlError> {
        if netns == NetnsRef::Host && self.inner.rootless {
            return Err(ControlError::invalid(
                "only root's vswitchd makes interfaces that an engine moves into its containers; start vswitchd as root",
            ));
        }
        // One at a time: what is asked for twice at once is there once.
        let _turn = self.inner.engines.lock().await;
        self.detach_engines(&spec.key).await?;
        let network = match spec.network {
            EngineNetwork::Existing(name) => self.state().network(&name)?.network.id.clone(),
            EngineNetwork::Brought(network, id) => {
                let network = self.network_of_engine(*network, &id, &spec.key.engine)?;
                self.set_names(&mut self.turn(), &network, spec.names)?;
                network
            }
        };
        let attach = AttachSpec {
            name: Some(spec.name),
            netns,
            network: network.to_string(),
            endpoint: spec.endpoint,
            default_route: false,
            force: false,
            engine: Some(spec.key),
            wishes: spec.wishes,
        };
        let attached = async {
            self.bring_host_in(&network).await?;
            let attached = self.attach(attach).await?;
            match self.publish_on(&attached.id, &spec.publish).await {
                Ok(()) => Ok(attached),
                Err(error) => {
                    if let Err(left) = self.detach(&attached.id).await {
                        tracing::warn!("endpoint {} of an engine stays: {left}", attached.name);
                    }
                    Err(error)
                }
            }
        };
        let result = attached.await;
        if result.is_err() {
            self.drop_unused_network(&network);
            self.take_hosts_out().await;
        }
        self.publish_gateways(&self.state());
        result
    }

    /// Names who is asked for names that nobody on a network of an engine has.
    ///
    /// # Errors
    /// When the engine has no such network on the switch, or the store cannot be told.
    pub fn set_resolvers_of_engine(&self, engine: &str, name: &str, servers: Vec<IpAddr>) -> Result<(), ControlError> {
        let mut state = self.turn();
        let own = |network: &Network| {
            network.labels.get(ENGINE_LABEL).is_some_and(|one| one == engine)
                && (network.name == name || network.name == renamed(engine, name))
        };
        let network = state.networks.values().map(|on| &on.network).find(|network| own(network));
        let network = network.ok_or_else(|| ControlError::NetworkNotFound(name.to_owned()))?;
        let (id, names) = (network.id.clone(), EngineNames { servers, ..network.names.clone() });
        self.set_names(&mut state, &id, names)?;
        self.publish_gateways(&state);
        Ok(())
    }

    fn set_names(&self, state: &mut Changing<'_>, id: &Id, names: EngineNames) -> Result<(), ControlError> {
        let Some(on) = state.networks.get(id).filter(|on| on.network.names != names) else { return Ok(()) };
        let network = Network { names, ..on.network.clone() };
        state.commit(&Change::new().put_network(&network))?;
        if let Some(on) = state.networks.get_mut(id) {
            on.network = network;
        }
        Ok(())
    }

    /// The routes that an engine wants of an endpoint, if any.
    pub(super) fn routes_of_engine(&self, id: &Id) -> Option<Request> {
        let state = self.state();
        let endpoint = &state.endpoint(id.as_str()).ok()?.endpoint;
        routes::engine_routes(endpoint, &state.networks.get(&endpoint.network)?.network)
    }

    /// Takes an engine's endpoint away.
    ///
    /// # Errors
    /// When there is none, or the store cannot be told.
    pub async fn detach_for_engine(&self, key: &EngineKey) -> Result<(), ControlError> {
        let _turn = self.inner.engines.lock().await;
        match self.detach_engines(key).await? {
            0 => Err(unknown_endpoint(key)),
            _ => Ok(()),
        }
    }

    async fn detach_engines(&self, key: &EngineKey) -> Result<usize, ControlError> {
        let found: Vec<(Id, Id)> = {
            let state = self.state();
            let endpoints = state.endpoints.values().map(|one| &one.endpoint);
            let wanted = endpoints.filter(|one| one.engine() == Some(key));
            wanted.map(|one| (one.id.clone(), one.network.clone())).collect()
        };
        for (endpoint, network) in &found {
            self.detach(endpoint.as_str()).await?;
            self.drop_unused_network(network);
        }
        if !found.is_empty() {
            self.take_hosts_out().await;
            self.lead_out(key).await;
            self.publish_gateways(&self.state());
        }
        Ok(found.len())
    }

    /// Gives a container that may have lost its default route with an endpoint another one.
    async fn lead_out(&self, lost: &EngineKey) {
        let routes: Vec<Request> = {
            let state = self.state();
            let left = of_container(&state, &lost.engine, &lost.container);
            let networks = left.iter().filter_map(|one| Some((*one, &state.networks.get(&one.network)?.network)));
            let automatic =
                |one: &Endpoint| one.wishes().is_none_or(|wishes| wishes.default_route == DefaultRoute::Automatic);
            let leading = networks.filter(|(one, network)| !network.internal && automatic(one));
            leading.map(|(one, network)| routes::single_route(one, network, OtherRoutes::Keep)).collect()
        };
        for route in routes {
            self.ask_anyway(route).await;
        }
    }

    /// Takes away what engines left behind: endpoints whose namespace is gone.
    pub(super) async fn sweep_engines(&self) {
        let _turn = self.inner.engines.lock().await;
        let lost = {
            let state = self.state();
            let lost = state.endpoints.values().map(|one| &one.endpoint).filter(|one| one.lost);
            let of_engines = lost.filter(|one| one.engine().is_some());
            of_engines.map(|one| (one.id.clone(), one.network.clone(), one.name.clone())).collect::<Vec<_>>()
        };
        for (id, network, name) in lost {
            match self.detach(id.as_str()).await {
                Ok(()) => tracing::info!(
                    container = name,
                    "the namespace of an engine's container is gone, so its endpoint is"
                ),
                Err(error) => {
                    tracing::warn!("the endpoint of container {name}, whose namespace is gone, stays: {error}");
                }
            }
            self.drop_unused_network(&network);
        }
        self.take_hosts_out().await;
    }

    /// The network that an engine speaks of: known already, or made.
    fn network_of_engine(&self, mut spec: NetworkSpec, id: &Id, engine: &str) -> Result<Id, ControlError> {
        let mut state = self.turn();
        if let Some(on) = state.networks.get(id) {
            if is_as(&on.network, &spec) {
                return Ok(id.clone());
            }
            if state.active_endpoints(on).next().is_some() {
                return Err(ControlError::Conflict(format!(
                    "network {} was changed while containers are on it; stop them first",
                    spec.name
                )));
            }
            self.drop_network(&mut state, id)?;
        }
        if state.networks.values().any(|on| on.network.name == spec.name)
            || Network::PREDEFINED.contains(&spec.name.as_str())
        {
            spec.name = renamed(engine, &spec.name);
        }
        // Engines choose subnets by themselves, and know nothing of each other, nor of vswitch's own networks.
        let given = [&spec.ipv4, &spec.ipv6].into_iter().filter_map(|family| match family {
            Family::Given(wish) => Some(&wish.plan),
            Family::Off | Family::Automatic => None,
        });
        let met = given.filter_map(|plan| self.met_by(&state, plan, Overlap::of(&spec.options))).next();
        let alone = spec.overlay.is_none() && spec.options.lan.is_none() && !spec.options.host;
        if met.is_some() && alone && spec.options.is_translated() {
            tracing::info!(network = spec.name, engine, "addresses that others have, too, are this network's alone");
            spec.options.overlap = true;
        }
        spec.labels.insert(ENGINE_LABEL.to_owned(), engine.to_owned());
        self.make_network(&mut state, spec, id.clone())
    }

    /// Removes a network of an engine on which nobody is any more.
    fn drop_unused_network(&self, id: &Id) {
        let mut state = self.turn();
        let unused = state
            .networks
            .get(id)
            .is_some_and(|on| on.network.labels.contains_key(ENGINE_LABEL) && state.is_deserted(on));
        if unused && let Err(error) = self.drop_network(&mut state, id) {
            tracing::warn!("network {} of an engine, which nobody uses, stays: {error}", id.short());
        }
    }

    /// Publishes ports on an endpoint for as long as it exists.
    async fn publish_on(&self, endpoint: &str, specs: &[PublishSpec]) -> Result<(), ControlError> {
        if specs.is_empty() {
            return Ok(());
        }
        let id = self.state().endpoint(endpoint)?.endpoint.id.clone();
        let bindings = self.lease_for(&id, &id, specs).await?;
        let mut state = self.turn();
        let stored = match state.endpoints.get_mut(&id) {
            Some(one) => {
                one.endpoint.ports = bindings;
                let endpoint = one.endpoint.clone();
                state.commit(&Change::new().put_endpoints([&endpoint])).map_err(ControlError::from)
            }
            None => Err(ControlError::EndpointNotFound(id.short().to_owned())),
        };
        let opened = stored.and_then(|()| self.refresh_router(&state));
        if opened.is_err() {
            self.free_ports(&mut state, &id);
        }
        opened
    }

    /// Publishes ports on an endpoint of an engine's container in the place of those that were; all or none of them.
    ///
    /// # Errors
    /// When there is no such endpoint, or a port cannot be had.
    pub async fn publish_for_engine(&self, key: &EngineKey, specs: &[PublishSpec]) -> Result<(), ControlError> {
        let _turn = self.inner.engines.lock().await;
        let id = {
            let mut state = self.turn();
            let mut endpoints = state.endpoints.values().map(|one| &one.endpoint);
            let found = endpoints.find(|one| one.engine() == Some(key)).map(|one| one.id.clone());
            let id = found.ok_or_else(|| unknown_endpoint(key))?;
            self.free_ports(&mut state, &id);
            let endpoint = state.endpoint(id.as_str())?.endpoint.clone();
            state.commit(&Change::new().put_endpoints([&endpoint]))?;
            id
        };
        self.publish_on(id.as_str(), specs).await
    }

    /// Publishes ports on an endpoint of an engine's container until the answer is dropped.
    ///
    /// # Errors
    /// When there is no such endpoint, or a port cannot be had.
    pub async fn lease_for_engine(&self, spec: EnginePortsSpec) -> Result<PortLease, ControlError> {
        let unknown = || ControlError::EndpointNotFound(format!("of {} container {}", spec.engine, spec.container));
        let endpoint = {
            let state = self.state();
            let candidates = of_container(&state, &spec.engine, &spec.container);
            let wanted = |address: IpAddr| candidates.iter().find(|one| one.addresses().any(|own| own == address));
            let found = spec.address.and_then(wanted).or_else(|| candidates.first().filter(|_| spec.address.is_none()));
            found.ok_or_else(unknown)?.id.clone()
        };
        let lease = Id::random(&mut rand::rng());
        let bindings = self.lease_for(&endpoint, &lease, &spec.publish).await?;
        let opened = {
            let mut state = self.turn();
            match state.endpoints.get_mut(&endpoint) {
                Some(one) => one.leases.push((lease.clone(), bindings.clone())),
                None => {
                    self.give_bindings_back(&mut state, &lease, &bindings);
                    return Err(unknown());
                }
            }
            self.refresh_router(&state)
        };
        // Gives back what it has when it is dropped.
        let held = PortLease { controller: self.clone(), endpoint, lease, bindings };
        opened.map(|()| held)
    }

    fn end_lease(&self, endpoint: &Id, lease: &Id) {
        let mut state = self.turn();
        // One whose endpoint went before was given back then.
        let Some(one) = state.endpoints.get_mut(endpoint) else { return };
        let ended: Vec<_> = one.leases.extract_if(.., |(other, _)| other == lease).collect();
        for (lease, bindings) in ended {
            self.give_bindings_back(&mut state, &lease, &bindings);
        }
        self.refresh_router_anyway(&state);
    }

    /// Frees what leads to an endpoint that goes.
    pub(super) fn free_ports(&self, state: &mut State, endpoint: &Id) {
        let Some(one) = state.endpoints.get_mut(endpoint) else { return };
        let mut all = std::mem::take(&mut one.leases);
        all.push((endpoint.clone(), std::mem::take(&mut one.endpoint.ports)));
        all.retain(|(_, bindings)| !bindings.is_empty());
        for (owner, bindings) in &all {
            self.give_bindings_back(state, owner, bindings);
        }
        if !all.is_empty() {
            self.refresh_router_anyway(state);
        }
    }
}

fn unknown_endpoint(key: &EngineKey) -> ControlError {
    ControlError::EndpointNotFound(format!("{} of {} container {}", key.interface, key.engine, key.container))
}

/// What an engine's network is called here if its name is taken.
fn renamed(engine: &str, name: &str) -> String {
    format!("{engine}-{name}")
}

/// The endpoints of an engine's container, in the order in which they came.
fn of_container<'a>(state: &'a State, engine: &str, container: &str) -> Vec<&'a Endpoint> {
    let ours = |key: &EngineKey| key.engine == engine && key.container == container;
    let endpoints = state.endpoints.values().map(|one| &one.endpoint);
    let mut found: Vec<_> = endpoints.filter(|one| one.engine().is_some_and(ours)).collect();
    found.sort_by_key(|one| one.sequence);
    found
}

/// Whether a network is what an engine says it is now.
fn is_as(network: &Network, spec: &NetworkSpec) -> bool {
    let same = |have: Option<&crate::ipam::SubnetPlan>, want: &Family| match (have, want) {
        (None, Family::Off) | (Some(_), Family::Automatic) => true,
        (Some(have), Family::Given(wish)) => *have == wish.plan,
        _ => false,
    };
    same(network.ipv4.as_ref(), &spec.ipv4)
        && same(network.ipv6.as_ref(), &spec.ipv6)
        && network.internal == spec.internal
        && network.raw_options == spec.raw_options
}
