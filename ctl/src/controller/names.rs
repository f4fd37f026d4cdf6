//! Names: what the name server knows, kept as the state says, and the server's sockets inside the sandboxes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::Resolving;
use super::state::{ContainerState, EndpointState, NetworkState, State};
use super::{Controller, links, unexpected};
use crate::agent::protocol::{Reply, Request, SandboxSocket};
use crate::dns::{Client, Dns, Limits, Member, Outlet, Scope, Servers, Serving, Upstreams, View, Zone};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::Owner;

/// The controller's part of the name server.
#[derive(Debug)]
pub(super) struct Names {
    dns: Dns,
    /// By container.
    serving: Mutex<HashMap<Id, Serving>>,
}

impl Names {
    pub(super) fn new(dns: Dns) -> Names {
        Names { dns, serving: Mutex::default() }
    }

    fn serving(&self) -> MutexGuard<'_, HashMap<Id, Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller {
    /// What the name server has counted.
    #[must_use]
    pub fn dns_stats(&self) -> vswitch_api::stats::DnsStats {
        self.inner.names.dns.stats()
    }

    /// Lets a container's name server answer, if it needs one, and tells it what the container may see now.
    ///
    /// # Errors
    /// When the sandbox is gone or a program inside has the port.
    pub(super) async fn serve_names(&self, container: &Id) -> Result<(), ControlError> {
        if self.inner.names.serving().contains_key(container) || !self.needs_server(&self.state(), container) {
            self.publish_scope(&self.state(), container);
            return Ok(());
        }
        let sandbox = container.to_string();
        let request = Request::SandboxOpen { sandbox: sandbox.clone(), socket: SandboxSocket::NameServer };
        let (udp, tcp) = match self.inner.agent.call(request, Vec::new()).await? {
            (Reply::Sockets, descriptors) => {
                let [udp, tcp] = <[_; 2]>::try_from(descriptors).map_err(|_| unexpected(&Reply::Sockets))?;
                (udp, tcp)
            }
            (reply, _) => return Err(unexpected(&reply)),
        };
        let outlet = Outlet::Sandbox { agent: self.inner.agent.clone(), sandbox };
        let state = self.state();
        let client = Client::new(self.scope(&state, container), outlet, Limits::default());
        let serving = self.inner.names.dns.serve(client, udp, tcp);
        let serving =
            serving.map_err(|error| ControlError::Internal(format!("the name server cannot listen: {error}")))?;
        self.inner.names.serving().insert(container.clone(), serving);
        Ok(())
    }

    /// As [`Controller::serve_names`] for a container that runs already: it goes on without.
    pub(super) async fn serve_names_anyway(&self, container: &Id) {
        if let Err(error) = self.serve_names(container).await {
            tracing::warn!("container {} has no name server: {error}", container.short());
        }
    }

    /// Ends a container's name server.
    pub(super) fn stop_names(&self, container: &Id) {
        self.inner.names.serving().remove(container);
    }

    /// Tells a container's name server what it may see now. The state's lock keeps the order of changes.
    pub(super) fn publish_scope(&self, state: &State, container: &Id) {
        if let Some(serving) = self.inner.names.serving().get(container) {
            serving.client().publish(self.scope(state, container));
        }
    }

    /// Whether /etc/resolv.conf of a container names the server: on a custom network, whose names only it knows, and
    /// where the host has no resolver but on its own loopback, which is out of a container's reach.
    pub(super) fn needs_server(&self, state: &State, container: &Id) -> bool {
        let Some(one) = state.containers.get(container) else { return false };
        let custom = endpoints(state, one).any(|(_, on)| !on.network.predefined());
        custom || (!one.endpoints.is_empty() && self.resolving(state, one).only_loopback())
    }

    /// What a container wants of its resolver.
    pub(super) fn resolving(&self, state: &State, one: &ContainerState) -> Resolving {
        Resolving::new(&one.container.spec, &state.defaults.dns, &self.inner.host.resolv_conf())
    }

    fn scope(&self, state: &State, container: &Id) -> Scope {
        let Some(one) = state.containers.get(container) else { return Scope::default() };
        let resolving = self.resolving(state, one);
        let subnets = endpoints(state, one).flat_map(|(_, on)| on.network.subnets()).map(|plan| plan.net).collect();
        let leaves = self.inner.uplink.is_some() && endpoints(state, one).any(|(_, on)| !on.network.internal);
        let mut members: Vec<_> = endpoints(state, one).filter(|(_, on)| !on.network.predefined()).collect();
        // Docker's order of networks: by priority, those that lead out first, by name.
        members.sort_by(|(a, on_a), (b, on_b)| {
            let rank = |endpoint: &EndpointState, on: &NetworkState| {
                (Reverse(endpoint.endpoint.gw_priority), on.network.internal)
            };
            rank(a, on_a).cmp(&rank(b, on_b)).then_with(|| on_a.network.name.cmp(&on_b.network.name))
        });
        let view = |(endpoint, on): (&EndpointState, &NetworkState)| View {
            name: on.network.name.to_ascii_lowercase().into(),
            zone: Arc::clone(&on.zone),
            links: endpoint.endpoint.links.iter().map(|link| links::in_zone(state, link)).collect(),
        };
        Scope {
            networks: members.into_iter().map(view).collect(),
            upstreams: Upstreams {
                keep_single_labels: resolving.keeps_single_labels(),
                servers: match resolving.given.is_empty() {
                    true => Servers::Host,
                    false => Servers::Given(resolving.given),
                },
                leaves,
                subnets,
            },
        }
    }
}

/// Endpoints of a container, with their networks.
fn endpoints<'a>(
    state: &'a State,
    one: &'a ContainerState,
) -> impl Iterator<Item = (&'a EndpointState, &'a NetworkState)> {
    one.endpoints.iter().filter_map(|id| {
        let endpoint = state.endpoints.get(id)?;
        Some((endpoint, state.networks.get(&endpoint.endpoint.network)?))
    })
}

/// Tells everybody on a network who is on it now. The default networks have no names, as with Docker.
pub(super) fn publish_network(state: &State, network: &Id) {
    let Some(on) = state.networks.get(network).filter(|on| !on.network.predefined()) else { return };
    let subnets = on.network.subnets().map(|plan| plan.net);
    let present = on.endpoints.iter().filter_map(|id| state.endpoints.get(id)).filter(|one| one.port.is_some());
    on.zone.store(Arc::new(Zone::new(&on.network.name, subnets, present.map(|one| member(state, one)))));
}

/// Everything that an endpoint is called.
fn member<'a>(state: &'a State, one: &'a EndpointState) -> Member<'a> {
    let endpoint = &one.endpoint;
    let mut names = vec![endpoint.name.as_str()];
    names.extend(endpoint.aliases.iter().map(String::as_str));
    if let Owner::Container(id) = &endpoint.owner {
        names.push(id.short());
        names.extend(state.containers.get(id).map(|one| one.container.hostname.as_str()));
    }
    Member { names, addresses: endpoint.addresses().collect() }
}
