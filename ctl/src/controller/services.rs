//! Services: made, changed, shown; which backends take connections now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vswitch_api::service::{Service, ServiceBackend};
use vswitch_api::stats::BackendStats;
use vswitch_api::topology::TopologyService;
use vswitch_switch::nat::rules::{PortRange, ServicePort, ServiceSpec};
use vswitch_switch::nat::table::FlowFilter;
use vswitch_switch::nat::translate::ServedBy;
use vswitch_switch::router::RouterStats;

use super::state::{EndpointState, NetworkState, State};
use super::{Controller, names};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Backends, Driver, Network, ServiceChange, ServiceRecord, ServiceWish, looked_at};
use crate::publish::{Binding, PublishSpec, Published};

/// What is known of a backend's health, by service, endpoint and address.
pub(super) type Healths = BTreeMap<(u64, Id, IpAddr), bool>;

/// What a backend is to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It takes connections.
    Up,
    /// It serves at some of its addresses, and takes connections there.
    Partly,
    /// Nobody has looked yet.
    Checking,
    /// It did not serve when somebody looked last.
    Down,
    /// It keeps the connections that it has.
    Draining,
    /// It was one.
    Former,
    /// It is not there now.
    Absent,
}

impl Controller {
    /// Makes a service.
    ///
    /// # Errors
    /// When its name or address is taken, a backend is not on its network, a port of the host cannot be had, or the store refuses.
    pub async fn create_service(&self, network: &str, wish: ServiceWish) -> Result<(), ControlError> {
        let (id, record) = {
            let mut state = self.turn();
            let network = state.network(network)?.network.clone();
            check_network(&state, &network)?;
            if let Ok((on, _)) = find(&state, &wish.name) {
                return Err(ControlError::Conflict(format!(
                    "service {} exists already, on network {}; use another name, or 'service update' it",
                    wish.name, on.network.name
                )));
            }
            if state.name_taken(&wish.name) {
                return Err(ControlError::Conflict(format!(
                    "{} is the name of a container or an attached namespace; use another name for the service",
                    wish.name
                )));
            }
            if let Backends::Named(names) = &wish.backends {
                check_backends(&state, &network, names)?;
            }
            let addresses = claim(&mut state, &network, &wish.addresses)?;
            let record = ServiceRecord {
                id: rand::random(),
                name: wish.name,
                addresses,
                ports: wish.ports,
                published: Vec::new(),
                backends: wish.backends,
                algorithm: wish.algorithm,
                health: wish.health,
                interval_ms: wish.interval_ms,
                drained: BTreeSet::new(),
                former: BTreeSet::new(),
            };
            (network.id, record)
        };
        let made = self.finish_service(&id, record.clone(), wish.publish).await;
        if made.is_err() {
            let mut state = self.turn();
            let committed =
                state.networks.get(&id).is_some_and(|on| on.network.services.iter().any(|one| one.id == record.id));
            if !committed {
                give_back(&mut state, &id, &record.addresses);
            }
        }
        made
    }

    async fn finish_service(&self, network: &Id, mut record: ServiceRecord, publish: bool) -> Result<(), ControlError> {
        if publish {
            let spec = |port: &ServicePort| PublishSpec {
                transport: port.transport,
                host: None,
                host_ports: PortRange::single(port.port).ok(),
                target_port: port.port,
            };
            let specs: Vec<PublishSpec> = record.ports.iter().map(spec).collect();
            let owner = owner(record.id);
            record.published = self.lease_for_service(&owner, &record.name, &record.addresses, &specs).await?;
        }
        let watched = record.health.is_some().then_some(record.id);
        let (name, published, service) = (record.name.clone(), record.published.clone(), record.id);
        let changed = self.change_services(network, |services| services.push(record));
        match changed {
            Ok(()) => {
                tracing::info!(service = name, "service created");
                if watched.is_some() {
                    self.watch_service(service);
                }
                Ok(())
            }
            Err(error) => {
                self.give_bindings_back(&mut self.turn(), &owner(service), &published);
                Err(error)
            }
        }
    }

    /// Changes a service. Backends that it is not to have any more keep the connections that they have.
    ///
    /// # Errors
    /// When it is unknown, a backend is not on its network or none of its own, or the store refuses.
    pub fn update_service(&self, name: &str, change: &ServiceChange) -> Result<(), ControlError> {
        let (network, id, present) = {
            let state = self.state();
            let (on, record) = find(&state, name)?;
            if let (Backends::Labelled(_), false) =
                (&record.backends, change.add.is_empty() && change.remove.is_empty())
            {
                return Err(ControlError::invalid(format!(
                    "service {name} selects its backends by labels, so none is added or removed by name; drain one instead"
                )));
            }
            check_backends(&state, &on.network, &change.add)?;
            let health = change.health.as_ref().unwrap_or(&record.health);
            if health.is_some() {
                looked_at(&record.ports).map_err(ControlError::invalid)?;
            } else if change.interval_ms.is_some() {
                return Err(ControlError::invalid(format!(
                    "nobody looks at the backends of service {name}, so there is no interval; say how to look, tcp or http:/path"
                )));
            }
            for gone in &change.remove {
                check_is_backend(&state, on, record, gone)?;
            }
            let present = on.endpoints.iter().filter_map(|id| state.endpoints.get(id));
            let present: BTreeSet<String> = present.map(|one| one.endpoint.name.clone()).collect();
            (on.network.id.clone(), record.id, present)
        };
        self.change_services(&network, |services| {
            let Some(record) = services.iter_mut().find(|one| one.id == id) else { return };
            if let Backends::Named(names) = &mut record.backends {
                names.retain(|one| !change.remove.contains(one));
                names.extend(change.add.iter().cloned());
                names.sort();
                names.dedup();
            }
            record.former.extend(change.remove.iter().cloned());
            // Whose endpoint is gone has no connections either.
            record.former.retain(|one| !change.add.contains(one) && present.contains(one));
            record.drained.retain(|one| !change.remove.contains(one) && !change.add.contains(one));
            record.algorithm = change.algorithm.unwrap_or(record.algorithm);
            record.interval_ms = change.interval_ms.unwrap_or(record.interval_ms);
            if let Some(health) = change.health.clone() {
                record.health = health;
            }
        })?;
        self.watch_service(id);
        Ok(())
    }

    /// Gives a backend no new connections any more, or again.
    ///
    /// # Errors
    /// When service or backend are unknown, or the store refuses.
    pub fn drain_service(&self, name: &str, backend: &str, undo: bool) -> Result<(), ControlError> {
        let (network, id) = {
            let state = self.state();
            let (on, record) = find(&state, name)?;
            check_is_backend(&state, on, record, backend)?;
            (on.network.id.clone(), record.id)
        };
        self.change_services(&network, |services| {
            let Some(record) = services.iter_mut().find(|one| one.id == id) else { return };
            match undo {
                true => record.drained.remove(backend),
                false => record.drained.insert(backend.to_owned()),
            };
        })
    }

    /// Removes a service and ends its connections.
    ///
    /// # Errors
    /// When it is unknown or the store refuses.
    pub fn remove_service(&self, name: &str) -> Result<(), ControlError> {
        let (network, index, record) = {
            let state = self.state();
            let (on, record) = find(&state, name)?;
            (on.network.id.clone(), on.index, record.clone())
        };
        self.change_services(&network, |services| services.retain(|one| one.id != record.id))?;
        let mut state = self.turn();
        give_back(&mut state, &network, &record.addresses);
        self.give_bindings_back(&mut state, &owner(record.id), &record.published);
        drop(state);
        for &address in &record.addresses {
            let filter = FlowFilter { destination: Some(address.into()), network: index, ..FlowFilter::default() };
            let _ = self.inner.switch.flush_flows(&filter);
        }
        tracing::info!(service = name, "service removed");
        Ok(())
    }

    /// All services, by name.
    #[must_use]
    pub fn services(&self) -> Vec<Service> {
        let given = self.given_flows();
        let state = self.state();
        let mut all: Vec<Service> = each(&state).map(|(on, one)| self.service_view(&state, on, one, &given)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One service.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn service(&self, name: &str) -> Result<Service, ControlError> {
        let given = self.given_flows();
        let state = self.state();
        let (on, record) = find(&state, name)?;
        Ok(self.service_view(&state, on, record, &given))
    }

    fn given_flows(&self) -> Given {
        self.inner.switch.stats().router.as_ref().map(given).unwrap_or_default()
    }

    /// The counters of all backends.
    pub(super) fn backend_stats(&self, state: &State, router: &RouterStats) -> Vec<BackendStats> {
        let given = given(router);
        let views = each(state).map(|(on, one)| self.service_view(state, on, one, &given));
        let mut all: Vec<BackendStats> = views
            .flat_map(|view| {
                let service = view.name;
                view.backends.into_iter().map(move |one| BackendStats {
                    service: service.clone(),
                    backend: one.name,
                    state: one.state,
                    connections: one.connections,
                    flows: one.flows,
                })
            })
            .collect();
        all.sort_by(|a, b| (&a.service, &a.backend).cmp(&(&b.service, &b.backend)));
        all
    }

    fn service_view(&self, state: &State, on: &NetworkState, record: &ServiceRecord, given: &Given) -> Service {
        let healths = self.healths();
        let present = backends(state, on, record, &healths);
        let shown = present.iter().filter(|(_, standing)| !matches!(standing, Standing::Former | Standing::Absent));
        let flows_of = |address| on.index.map_or(0, |network| self.inner.switch.flows_of(network, address));
        let mut backends: Vec<ServiceBackend> = shown
            .map(|(one, standing)| {
                let addresses: Vec<IpAddr> = one.endpoint.addresses().collect();
                ServiceBackend {
                    name: one.endpoint.name.clone(),
                    addresses: addresses.iter().map(ToString::to_string).collect(),
                    state: match standing {
                        Standing::Up => "up",
                        Standing::Partly => "partly",
                        Standing::Checking => "checking",
                        Standing::Down => "down",
                        Standing::Draining => "draining",
                        Standing::Former | Standing::Absent => "absent",
                    }
                    .to_owned(),
                    connections: addresses.iter().filter_map(|one| given.get(&(record.id, *one))).sum(),
                    flows: addresses.iter().map(|one| flows_of(*one)).sum(),
                }
            })
            .collect();
        if let Backends::Named(names) = &record.backends {
            let absent = names.iter().filter(|name| !backends.iter().any(|one| one.name == **name));
            let absent: Vec<ServiceBackend> = absent
                .map(|name| match name.parse::<IpAddr>() {
                    Ok(address) => ServiceBackend {
                        name: name.clone(),
                        addresses: vec![name.clone()],
                        state: if record.drained.contains(name) { "draining" } else { "elsewhere" }.to_owned(),
                        connections: given.get(&(record.id, address)).copied().unwrap_or_default(),
                        flows: flows_of(address),
                    },
                    Err(_) => {
                        ServiceBackend { name: name.clone(), state: "absent".to_owned(), ..ServiceBackend::default() }
                    }
                })
                .collect();
            backends.extend(absent);
        }
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        Service {
            name: record.name.clone(),
            network: on.network.name.clone(),
            addresses: record.addresses.iter().map(ToString::to_string).collect(),
            ports: record.ports.iter().map(port_text).collect(),
            published: record.published.iter().map(published_text).collect(),
            named: match &record.backends {
                Backends::Named(names) => names.clone(),
                Backends::Labelled(_) => Vec::new(),
            },
            selector: match &record.backends {
                Backends::Named(_) => Vec::new(),
                Backends::Labelled(labels) => labels.iter().map(label_text).collect(),
            },
            algorithm: record.algorithm_word().to_owned(),
            health: record.health.as_ref().map(ToString::to_string).unwrap_or_default(),
            health_interval_ms: record.interval_ms,
            backends,
        }
    }

    /// Changes a network's services in the store, in memory, in the switch and in the name server.
    fn change_services(&self, network: &Id, change: impl FnOnce(&mut Vec<ServiceRecord>)) -> Result<(), ControlError> {
        let mut state = self.turn();
        let on = state.networks.get(network).ok_or_else(|| ControlError::NetworkNotFound(network.to_string()))?;
        let mut changed = on.network.clone();
        change(&mut changed.services);
        self.change_record(&mut state, changed)?;
        self.show_services(&state, network);
        Ok(())
    }

    /// Lets the gateway answer for the services' addresses, and names lead to them.
    fn show_services(&self, state: &State, network: &Id) {
        if let Some(on) = state.networks.get(network)
            && let Err(error) = self.settle_network(on)
        {
            tracing::error!("the services of network {} are not reached: {error}", on.network.name);
        }
        names::publish_network(state, network);
    }

    /// Ends the connections by which some services lead to somebody with these addresses.
    pub(super) fn cut_off(
        &self,
        state: &State,
        is_meant: impl Fn(&Network, &ServiceRecord) -> bool,
        backend: &[IpAddr],
    ) {
        for on in state.networks.values() {
            let Some(network) = on.index else { continue };
            for record in on.network.services.iter().filter(|record| is_meant(&on.network, record)) {
                for &backend in backend {
                    let served = ServedBy { network, service: &record.addresses, ports: &record.ports, backend };
                    self.inner.switch.cut_off(&served);
                }
            }
        }
    }

    /// Lets services know of an endpoint that came or went.
    pub(super) fn follow_backends(&self, state: &State, network: &Id) {
        let concerned = state.networks.get(network).is_some_and(|on| !on.network.services.is_empty());
        if concerned && !state.restoring {
            self.refresh_router_anyway(state);
        }
    }

    /// All services as the router is told.
    pub(super) fn service_specs(&self, state: &State) -> Vec<ServiceSpec> {
        let healths = self.healths();
        let spec = |on: &NetworkState, record: &ServiceRecord| {
            let present = backends(state, on, record, &healths);
            // Also of those that are not there yet: after a restart connections go on before all endpoints are back.
            let addresses = |up: bool| -> Vec<IpAddr> {
                let some = present.iter().flat_map(|(one, standing)| {
                    one.endpoint.addresses().filter(|address| match standing {
                        Standing::Up => up,
                        Standing::Partly => up == serves(record, one, *address, &healths).unwrap_or_default(),
                        _ => !up,
                    })
                });
                some.collect()
            };
            Some(ServiceSpec {
                id: record.id,
                network: on.index?,
                addresses: record.addresses.clone(),
                ports: record.ports.clone(),
                algorithm: record.algorithm,
                backends: addresses(true).into_iter().chain(elsewhere(record, false)).collect(),
                former: addresses(false).into_iter().chain(elsewhere(record, true)).collect(),
                elsewhere: elsewhere(record, false).collect(),
            })
        };
        each(state).filter_map(|(on, one)| spec(on, one)).collect()
    }
}

/// How many flows each backend was given.
type Given = BTreeMap<(u64, IpAddr), u64>;

fn given(router: &RouterStats) -> Given {
    router.backends.iter().map(|one| ((one.service, one.address), one.flows)).collect()
}

/// Ports of the host that lead to services, with the address that each leads to.
pub(super) fn published(state: &State) -> impl Iterator<Item = Published> {
    let services = each(state).filter_map(|(on, record)| Some((on.index?, record)));
    services.flat_map(|(network, record)| {
        record.published.iter().filter_map(move |&binding| {
            let of = |ipv4: bool| record.addresses.iter().find(|address| address.is_ipv4() == ipv4);
            let address = *of(binding.host.is_ipv4()).or_else(|| of(!binding.host.is_ipv4()))?;
            Some(Published { binding, network, address })
        })
    })
}

/// All services, each with its network.
pub(super) fn each(state: &State) -> impl Iterator<Item = (&NetworkState, &ServiceRecord)> {
    state.networks.values().flat_map(|on| on.network.services.iter().map(move |one| (on, one)))
}

/// Whether there are services, which must know of every endpoint that comes and goes.
pub(super) fn any(state: &State) -> bool {
    each(state).next().is_some()
}

/// Who leases ports for a service.
pub(super) fn owner(service: u64) -> Id {
    let digits = format!("{service:016x}");
    digits.repeat(4).parse().expect("64 hexadecimal digits are an id")
}

/// The services of a network, as a picture of it shows them.
pub(super) fn drawn(state: &State, on: &NetworkState) -> Vec<TopologyService> {
    let service = |record: &ServiceRecord| {
        let mut backends: Vec<_> = watched(state, on, record).iter().map(|one| one.endpoint.name.clone()).collect();
        backends.extend(elsewhere(record, false).map(|address| address.to_string()));
        backends.sort();
        TopologyService {
            name: record.name.clone(),
            addresses: record.addresses.iter().map(ToString::to_string).collect(),
            ports: record.ports.iter().map(port_text).collect(),
            backends,
        }
    };
    on.network.services.iter().map(service).collect()
}

fn port_text(port: &ServicePort) -> String {
    format!("{}:{}/{}", port.port, port.target, port.transport.protocol())
}

pub(super) fn find<'a>(state: &'a State, name: &str) -> Result<(&'a NetworkState, &'a ServiceRecord), ControlError> {
    each(state).find(|(_, one)| one.name == name).ok_or_else(|| ControlError::ServiceNotFound(name.to_owned()))
}

/// The endpoints on a service's network that are or were its backends, or will be when they are there.
fn backends<'a>(
    state: &'a State,
    on: &'a NetworkState,
    record: &ServiceRecord,
    healths: &Healths,
) -> Vec<(&'a EndpointState, Standing)> {
    let is_backend = |one: &EndpointState| match &record.backends {
        Backends::Named(names) => names.contains(&one.endpoint.name),
        Backends::Labelled(labels) => {
            let held =
                one.endpoint.container().and_then(|id| state.containers.get(id)).map(|one| &one.container.spec.labels);
            held.is_some_and(|held| {
                labels.iter().all(|(key, value)| {
                    held.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
                })
            })
        }
    };
    let all = on.endpoints.iter().filter_map(|id| state.endpoints.get(id));
    all.filter_map(|one| {
        let standing = match is_backend(one) {
            true if one.port.is_none() => Standing::Absent,
            true if record.drained.contains(&one.endpoint.name) => Standing::Draining,
            true if record.health.is_none() => Standing::Up,
            true => {
                let known: Vec<_> =
                    concerned(record, one).map(|address| serves(record, one, address, healths)).collect();
                match () {
                    () if known.iter().all(|serves| *serves == Some(true)) => Standing::Up,
                    () if known.contains(&Some(true)) => Standing::Partly,
                    () if known.contains(&None) => Standing::Checking,
                    () => Standing::Down,
                }
            }
            false if record.former.contains(&one.endpoint.name) => Standing::Former,
            false => return None,
        };
        Some((one, standing))
    })
    .collect()
}

/// The addresses of a backend by which a service leads to it: those of a family in which the service has one.
pub(super) fn concerned(record: &ServiceRecord, one: &EndpointState) -> impl Iterator<Item = IpAddr> {
    let led_by = |address: &IpAddr| record.addresses.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    one.endpoint.addresses().filter(led_by).collect::<Vec<_>>().into_iter()
}

/// What is known of a backend at one of its addresses.
fn serves(record: &ServiceRecord, one: &EndpointState, address: IpAddr, healths: &Healths) -> Option<bool> {
    healths.get(&(record.id, one.endpoint.id.clone(), address)).copied()
}

/// The backends that other hosts of the network have, named by address: those that take connections, or those that are `drained`.
fn elsewhere(record: &ServiceRecord, drained: bool) -> impl Iterator<Item = IpAddr> {
    let named = match &record.backends {
        Backends::Named(names) => names.as_slice(),
        Backends::Labelled(_) => &[],
    };
    named.iter().filter(move |name| record.drained.contains(*name) == drained).filter_map(|name| name.parse().ok())
}

/// The endpoints that are to be looked at.
pub(super) fn watched<'a>(state: &'a State, on: &'a NetworkState, record: &ServiceRecord) -> Vec<&'a EndpointState> {
    let all = backends(state, on, record, &Healths::new());
    let here = |standing: &Standing| !matches!(standing, Standing::Former | Standing::Absent);
    all.into_iter().filter(|(_, standing)| here(standing)).map(|(one, _)| one).collect()
}

fn check_network(state: &State, network: &Network) -> Result<(), ControlError> {
    if network.predefined() {
        return Err(ControlError::invalid(format!(
            "network {} has no services; make one of your own with 'vswitchctl network create'",
            network.name
        )));
    }
    super::peerings::check_routed(state, network)
}

/// Whether the gateway, which answers for services, is there for an address of this family.
fn check_gateway(network: &Network, address: IpAddr) -> Result<(), ControlError> {
    let plan = if address.is_ipv4() { network.ipv4.as_ref() } else { network.ipv6.as_ref() };
    match plan.is_some_and(|plan| plan.own().is_some()) {
        true => Ok(()),
        false => Err(ControlError::invalid(format!(
            "the switch has no gateway in the subnet of {address} on network {}, so it cannot answer for a service there",
            network.name
        ))),
    }
}

/// Whether a container may have this name: those of services lead to their addresses.
pub(super) fn check_name(state: &State, name: &str) -> Result<(), ControlError> {
    match find(state, name) {
        Ok((on, _)) => Err(ControlError::Conflict(format!(
            "{name} is the name of a service on network {}; use another name, or 'vswitchctl service rm {name}' first",
            on.network.name
        ))),
        Err(_) => Ok(()),
    }
}

fn check_backends(state: &State, network: &Network, names: &[String]) -> Result<(), ControlError> {
    for name in names {
        if let Ok(address) = name.parse() {
            check_elsewhere(state, network, address)?;
            continue;
        }
        let here = |one: &&EndpointState| one.endpoint.name == *name && one.endpoint.network == network.id;
        if state.endpoints.values().any(|one| here(&one)) {
            continue;
        }
        let known = state.containers.values().any(|one| one.container.name == *name)
            || state.endpoints.values().any(|one| one.endpoint.name == *name);
        return Err(match known {
            true => ControlError::invalid(format!(
                "{name} is not on network {0}, so it cannot be a backend there; 'vswitchctl network connect {0} {name}' first",
                network.name
            )),
            false => ControlError::ContainerNotFound(name.clone()),
        });
    }
    Ok(())
}

/// Whether a backend may be named by this address: it is somebody's behind another host.
fn check_elsewhere(state: &State, network: &Network, address: IpAddr) -> Result<(), ControlError> {
    if network.driver != Driver::Overlay {
        return Err(ControlError::invalid(format!(
            "{address} is an address, by which backends are named that other hosts of an overlay have; network {} has one host: name a \
             container or an attached namespace",
            network.name
        )));
    }
    let plan = network.subnets().find(|plan| plan.net.contains(&address));
    let Some(plan) = plan else {
        return Err(ControlError::invalid(format!(
            "{address} is in no subnet of network {}, so nobody there can be a backend at it",
            network.name
        )));
    };
    let own = plan.gateway == address || network.services.iter().any(|one| one.addresses.contains(&address));
    let here =
        |one: &&EndpointState| one.endpoint.network == network.id && one.endpoint.addresses().any(|it| it == address);
    match state.endpoints.values().find(here) {
        Some(one) => {
            Err(ControlError::invalid(format!("{address} is {}, which is on this host: name it so", one.endpoint.name)))
        }
        None if own => Err(ControlError::invalid(format!("{address} is the switch's own, and no backend"))),
        None => Ok(()),
    }
}

fn check_is_backend(state: &State, on: &NetworkState, record: &ServiceRecord, name: &str) -> Result<(), ControlError> {
    let named = matches!(&record.backends, Backends::Named(names) if names.iter().any(|one| one == name));
    let labelled = || watched(state, on, record).iter().any(|one| one.endpoint.name == name);
    match named || labelled() {
        true => Ok(()),
        false => Err(ControlError::BackendNotFound { service: record.name.clone(), backend: name.to_owned() }),
    }
}

/// Takes the addresses of a service: those that are wanted, else the next free ones.
fn claim(state: &mut State, network: &Network, wanted: &[IpAddr]) -> Result<Vec<IpAddr>, ControlError> {
    let on = state.networks.get_mut(&network.id).ok_or_else(|| ControlError::NetworkNotFound(network.name.clone()))?;
    let mut claimed: Vec<IpAddr> = Vec::new();
    let asked: Vec<(Option<IpAddr>, bool)> = match wanted.is_empty() {
        true => vec![(None, true), (None, false)],
        false => wanted.iter().map(|&address| (Some(address), address.is_ipv4())).collect(),
    };
    for (address, ipv4) in asked {
        let claim = on.claim(address, ipv4).and_then(|address| {
            claimed.extend(address);
            match address.map(|address| check_gateway(network, address)) {
                // Nobody asked for this family.
                Some(Err(_)) if wanted.is_empty() => {
                    claimed.pop().into_iter().for_each(|address| on.surrender(address));
                    Ok(())
                }
                Some(checked) => checked,
                None => Ok(()),
            }
        });
        if let Err(error) = claim {
            claimed.iter().for_each(|&address| on.surrender(address));
            return Err(error);
        }
    }
    Ok(claimed)
}

fn give_back(state: &mut State, network: &Id, addresses: &[IpAddr]) {
    if let Some(on) = state.networks.get_mut(network) {
        addresses.iter().for_each(|&address| on.surrender(address));
    }
}

fn label_text((key, value): (&String, &Option<String>)) -> String {
    value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}"))
}

fn published_text(binding: &Binding) -> String {
    let host = std::net::SocketAddr::new(binding.host, binding.host_port);
    format!("{host}/{}", binding.transport.protocol())
}
