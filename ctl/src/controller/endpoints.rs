//! Endpoints: bringing them up and down, and attaching namespaces that somebody else made.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipnet::IpNet;
use vswitch_switch::{Identity, PortConfig, PortDevice};

use super::state::{State, prefix_of};
use super::{Controller, features, host, names, policies, routes, services, unexpected, view};
use crate::agent::client::AgentError;
use crate::agent::protocol::{Link, NetnsRef, OtherRoutes, Reply, Request};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{AttachSpec, Attachment, DefaultRoute, Endpoint, Network, Owner, StaticAddress};
use crate::namegen;
use crate::store::Change;

impl Controller {
    /// Gives a namespace that exists already an endpoint.
    ///
    /// # Errors
    /// When the network, namespace or an address cannot be had; nothing is left behind then.
    pub async fn attach(&self, spec: AttachSpec) -> Result<vswitch_api::endpoint::Endpoint, ControlError> {
        let held;
        let (endpoint, sandbox_request) = {
            let mut state = self.turn();
            let network = state.network(&spec.network)?.network.id.clone();
            let name = match spec.name {
                // Containers of engines have an endpoint on each of their networks.
                Some(name) if spec.engine.is_none() && state.name_taken(&name) => {
                    return Err(ControlError::AttachmentExists(name));
                }
                Some(name) => {
                    services::check_name(&state, &name)?;
                    name
                }
                None => namegen::generate(&mut rand::rng(), |name| state.name_taken(name)),
            };
            let owner =
                Owner::Attached(Attachment { netns: spec.netns.clone(), engine: spec.engine, wishes: spec.wishes });
            let endpoint = state.add_endpoint(&network, owner, &name, &spec.endpoint)?;
            let sandbox = endpoint.sandbox();
            let request = match spec.netns {
                NetnsRef::Host => Request::SandboxHost { sandbox },
                netns => Request::SandboxAttach { sandbox, netns, force: spec.force },
            };
            // Nobody else knows of it yet, so nobody holds it; whoever detaches it waits for the end of this.
            held = state.endpoints[&endpoint.id].gate.clone().try_lock_owned();
            (endpoint, request)
        };
        let undo = |error: ControlError| {
            self.turn().remove_endpoint(&endpoint.id);
            error
        };
        let known = self.inner.agent.call(sandbox_request, Vec::new()).await;
        if let (Reply::Namespace { netns: found }, _) = known.map_err(|error| undo(error.into()))?
            && let Some(one) = self.turn().endpoints.get_mut(&endpoint.id)
            && let Owner::Attached(attachment) = &mut one.endpoint.owner
        {
            attachment.netns = found;
        }
        let kept = match self.bring_attached_up(&endpoint.id, spec.default_route).await {
            Ok(kept) => kept,
            Err(error) => {
                self.ask_anyway(Request::SandboxRemove { sandbox: endpoint.sandbox() }).await;
                return Err(undo(error));
            }
        };
        let of_an_engine = endpoint.engine().is_some();
        let warnings: Vec<String> = kept.iter().filter(|_| !of_an_engine).map(|route| kept_route(route)).collect();
        for warning in &warnings {
            tracing::warn!(endpoint = endpoint.name, "{warning}");
        }
        tracing::info!(endpoint = endpoint.name, network = endpoint.network_name, "namespace attached");
        drop(held);
        let state = self.state();
        let shown = view::endpoint(&state, state.endpoint(endpoint.id.as_str())?);
        Ok(vswitch_api::endpoint::Endpoint { warnings, ..shown })
    }

    /// Interface, port and default route of an attached namespace, then the commit. Answers what default routes of others
    /// were kept instead.
    pub(super) async fn bring_attached_up(&self, id: &Id, take_over: bool) -> Result<Vec<String>, ControlError> {
        self.bring_up(id).await?;
        let route = {
            let state = self.state();
            let one = state.endpoint(id.as_str())?;
            let on = state.network(one.endpoint.network.as_str())?;
            // The first endpoint of a namespace gives its default route, a later one only if it names a gateway.
            let first = !state.endpoints.values().any(|other| {
                other.endpoint.id != *id
                    && other.endpoint.attached_to() == one.endpoint.attached_to()
                    && !other.endpoint.lost
            });
            let named = one.endpoint.ipv4.is_some_and(|fixed| fixed.gateway.is_some())
                || one.endpoint.ipv6.is_some_and(|fixed| fixed.gateway.is_some());
            let others = if take_over { OtherRoutes::Overrule } else { OtherRoutes::Keep };
            // The networks of an engine's container are all alike: whichever there is gives the route.
            let wanted = first || named || take_over || one.endpoint.engine().is_some();
            let never = one.endpoint.wishes().is_some_and(|wishes| wishes.default_route != DefaultRoute::Automatic);
            (wanted && !never).then(|| routes::single_route(&one.endpoint, &on.network, others))
        };
        let result = match route {
            Some(request) => match self.inner.agent.call(request, Vec::new()).await {
                Ok((Reply::Kept { routes }, _)) => Ok(routes),
                Ok(_) => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            },
            None => Ok(Vec::new()),
        };
        let result = match (result, self.routes_of_engine(id)) {
            (Ok(kept), Some(routes)) => {
                self.inner.agent.call(routes, Vec::new()).await.map(|_| kept).map_err(ControlError::from)
            }
            (result, _) => result,
        };
        let result = result.and_then(|kept| {
            let mut state = self.turn();
            let endpoint = state.endpoint(id.as_str())?.endpoint.clone();
            state.commit(&Change::new().put_endpoints([&endpoint]))?;
            Ok(kept)
        });
        if result.is_err() {
            self.take_down(id).await;
        }
        result
    }

    /// Undoes [`Controller::attach`].
    ///
    /// # Errors
    /// When it is unknown or a container's, or when the store cannot be told.
    pub async fn detach(&self, text: &str) -> Result<(), ControlError> {
        let gate = Arc::clone(&self.state().endpoint(text)?.gate);
        let _held = gate.lock().await;
        let endpoint = {
            let state = self.state();
            // It may be gone by now.
            let endpoint = state.endpoint(text)?.endpoint.clone();
            if endpoint.owner == Owner::Host {
                return Err(ControlError::Conflict(format!(
                    "the host is on network {} because of its option host=true, and leaves it with 'network rm {0}'",
                    endpoint.network_name
                )));
            }
            if endpoint.owner == Owner::Machine {
                return Err(ControlError::Conflict(format!(
                    "endpoint {text} belongs to a port for machines; use 'port close {}'",
                    endpoint.name
                )));
            }
            if endpoint.container().is_some() {
                return Err(ControlError::Conflict(format!(
                    "endpoint {text} belongs to container {}; use 'network disconnect {} {0}'",
                    endpoint.name, endpoint.network_name
                )));
            }
            endpoint
        };
        self.take_down(&endpoint.id).await;
        self.ask_anyway(Request::SandboxRemove { sandbox: endpoint.sandbox() }).await;
        let mut state = self.turn();
        self.free_ports(&mut state, &endpoint.id);
        let settled = state.settle(&Change::new().drop_endpoints([&endpoint.id]));
        state.remove_endpoint(&endpoint.id);
        tracing::info!(endpoint = endpoint.name, network = endpoint.network_name, "namespace detached");
        Ok(settled?)
    }

    /// All endpoints, by name and network.
    #[must_use]
    pub fn list_endpoints(&self) -> Vec<vswitch_api::endpoint::Endpoint> {
        let state = self.state();
        let mut found: Vec<_> = state.endpoints.values().map(|one| self.shown(&state, one)).collect();
        found.sort_by(|a, b| (&a.name, &a.network).cmp(&(&b.name, &b.network)));
        found
    }

    /// One endpoint.
    ///
    /// # Errors
    /// When it is unknown or ambiguous.
    pub fn inspect_endpoint(&self, text: &str) -> Result<vswitch_api::endpoint::Endpoint, ControlError> {
        let state = self.state();
        Ok(self.shown(&state, state.endpoint(text)?))
    }

    /// Makes an endpoint's interface and gives it a port. Its sandbox exists.
    pub(super) async fn bring_up(&self, id: &Id) -> Result<(), ControlError> {
        self.lease_by_dhcp(id).await?;
        let request = {
            let state = self.state();
            let endpoint = &state.endpoint(id.as_str())?.endpoint;
            let on = state.networks.get(&endpoint.network);
            let network = on.ok_or_else(|| ControlError::NetworkNotFound(endpoint.network_name.clone()))?;
            let mut link = link(endpoint, &network.network, self.mtu_on(network));
            link.interface = link.interface.or_else(|| numbered(&state, endpoint, &network.network));
            Request::EndpointAttach { endpoint: id.to_string(), sandbox: endpoint.sandbox(), link }
        };
        let opened = self.inner.agent.call(request, Vec::new()).await;
        if let Err(AgentError::Exhausted | AgentError::Late { .. }) = opened {
            // The interface is there, or will be.
            self.ask_anyway(Request::EndpointDetach { endpoint: id.to_string() }).await;
        }
        let (interface, descriptor) = opened_endpoint(opened?)?;
        if let Err(error) = self.plug_in(id, interface, PortDevice::Packet(descriptor)) {
            self.ask_anyway(Request::EndpointDetach { endpoint: id.to_string() }).await;
            return Err(error);
        }
        Ok(())
    }

    /// Gives an endpoint whose interface still exists its port again.
    pub(super) async fn reopen(&self, id: &Id) -> Result<(), ControlError> {
        let request = Request::EndpointReopen { endpoint: id.to_string() };
        let (interface, descriptor) = opened_endpoint(self.inner.agent.call(request, Vec::new()).await?)?;
        self.plug_in(id, interface, PortDevice::Packet(descriptor))?;
        self.keep_old_lease(id);
        Ok(())
    }

    /// Takes an endpoint's port and interface away. Goes on whatever fails.
    pub(super) async fn take_down(&self, id: &Id) {
        self.unplug(id);
        self.ask_anyway(Request::EndpointDetach { endpoint: id.to_string() }).await;
    }

    /// Takes an endpoint's port away, if it has one.
    pub(super) fn unplug(&self, id: &Id) {
        self.give_lease_back(id);
        let (port, network, addresses) = {
            let mut state = self.turn();
            let Some(one) = state.endpoints.get_mut(id) else { return };
            let (port, endpoint) = (one.port.take(), one.endpoint.clone());
            if port.is_some() {
                self.withdraw(&state, &endpoint);
            }
            names::publish_network(&state, &endpoint.network);
            self.settle_openings(&state, &endpoint.network);
            self.follow_endpoint(&state, &endpoint);
            self.follow_backends(&state, &endpoint.network);
            let network = state.networks.get(&endpoint.network).and_then(|on| on.index);
            let addresses: Vec<_> = endpoint.addresses().collect();
            (port, (endpoint.network, network), addresses)
        };
        if let Some(port) = port
            && let Err(error) = self.inner.switch.remove_port(port)
        {
            tracing::warn!("the switch could not remove {port}: {error}");
        }
        let (id, network) = network;
        self.cut_off(&self.state(), |on, _| on.id == id, &addresses);
        self.flush_addresses(network, addresses.into_iter());
    }

    pub(super) fn plug_in(&self, id: &Id, interface: String, device: PortDevice) -> Result<(), ControlError> {
        let (network, config) = {
            let state = self.state();
            let one = state.endpoint(id.as_str())?;
            let endpoint = &one.endpoint;
            let on = state.networks.get(&endpoint.network);
            let on = on.ok_or_else(|| ControlError::NetworkNotFound(endpoint.network_name.clone()))?;
            let unknown = || ControlError::Internal(format!("network {} is not on the switch", on.network.name));
            let index = on.index.ok_or_else(unknown)?;
            self.assign_addresses(index, endpoint);
            if policies::any(&state) {
                self.refresh_router(&state)?;
            }
            let mut allowed = endpoint.allowed.clone();
            allowed.nets.extend(endpoint.link_local.iter().map(|address| IpNet::from(*address)));
            let config = PortConfig {
                name: endpoint.name.clone(),
                network: index,
                identity: identity(endpoint, on.network.options.anti_spoof && !on.network.is_passthru()),
                mac_limit: on.network.options.mac_limit,
                allowed,
                features: features::to_switch(&state, one),
            };
            (self.inner.switch.network(index).ok_or_else(unknown)?, config)
        };
        let port = self.inner.switch.add_port_on(network, config, device)?;
        let mut state = self.turn();
        if let Some(one) = state.endpoints.get_mut(id) {
            one.port = Some(port);
            one.unplugged = false;
            one.endpoint.interface = Some(interface).filter(|name| !name.is_empty());
            one.endpoint.lost = false;
            let endpoint = one.endpoint.clone();
            names::publish_network(&state, &endpoint.network);
            self.settle_openings(&state, &endpoint.network);
            self.follow_mirror(&state, &endpoint.name);
            self.announce(&state, &endpoint, port);
            self.follow_endpoint(&state, &endpoint);
            self.follow_backends(&state, &endpoint.network);
            if let Some(identity) = identity(&endpoint, true) {
                self.inner.switch.announce(port, &identity);
            }
            return Ok(());
        }
        drop(state);
        let _ = self.inner.switch.remove_port(port);
        Err(ControlError::EndpointNotFound(id.short().to_owned()))
    }
}

/// The interface's name where its network says what interfaces are called: the first number that is free in the sandbox.
fn numbered(state: &State, endpoint: &Endpoint, network: &Network) -> Option<String> {
    let prefix = network.options.interface_prefix.as_ref()?;
    let others = state.endpoints.values().map(|one| &one.endpoint).filter(|one| one.sandbox() == endpoint.sandbox());
    let taken: Vec<&str> = others.filter_map(|one| one.interface.as_deref()).collect();
    (0..=taken.len()).map(|number| format!("{prefix}{number}")).find(|name| !taken.contains(&name.as_str()))
}

/// Name and descriptor of an endpoint that the agent opened.
pub(super) fn opened_endpoint(answer: (Reply, Vec<OwnedFd>)) -> Result<(String, OwnedFd), ControlError> {
    match answer {
        (Reply::Endpoint { interface }, mut descriptors) => {
            let none = || ControlError::Internal("the agent sent no descriptor; restart vswitchd".to_owned());
            Ok((interface, descriptors.pop().ok_or_else(none)?))
        }
        (reply, _) => Err(unexpected(&reply)),
    }
}

fn kept_route(route: &str) -> String {
    format!(
        "the namespace keeps its own default route, {route}; what is not on the network goes by that. With --default-route it \
         goes by the network until detach"
    )
}

/// Only endpoints that vswitchd addresses have an identity that frames can be held against.
pub(super) fn identity(endpoint: &Endpoint, anti_spoof: bool) -> Option<Identity> {
    if !anti_spoof || endpoint.addresses().next().is_none() {
        return None;
    }
    let ipv4 = match endpoint.ipv4.map(|fixed| fixed.address) {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let ipv6 = match endpoint.ipv6.map(|fixed| fixed.address) {
        Some(IpAddr::V6(address)) => Some(address),
        _ => None,
    };
    Some(Identity { mac: endpoint.mac, ipv4, ipv6 })
}

pub(super) fn link(endpoint: &Endpoint, network: &crate::model::Network, mtu: u32) -> Link {
    // The rest of the subnet is where the host's own routes say.
    let alone = endpoint.owner == Owner::Host && host::ranges(network).next().is_some();
    let prefix = |fixed: StaticAddress| match (alone, fixed.address) {
        (true, IpAddr::V4(_)) => 32,
        (true, IpAddr::V6(_)) => 128,
        (false, _) => prefix_of(Some(network), fixed),
    };
    let ipv4 = endpoint.ipv4.and_then(|fixed| match fixed.address {
        IpAddr::V4(address) => Some((address, prefix(fixed))),
        IpAddr::V6(_) => None,
    });
    let ipv6 = endpoint.ipv6.and_then(|fixed| match fixed.address {
        IpAddr::V6(address) => Some((address, prefix(fixed))),
        IpAddr::V4(_) => None,
    });
    let link_local = endpoint.link_local.clone();
    let enable_ipv6 = ipv6.is_some() || link_local.iter().any(IpAddr::is_ipv6);
    let bare = endpoint.attached_to() == Some(&NetnsRef::Host);
    let (bare_ipv4, replace_tap) =
        endpoint.wishes().map_or((false, false), |wishes| (wishes.bare_ipv4, wishes.replace_tap));
    Link {
        interface: endpoint.interface.clone(),
        mac: endpoint.mac,
        mtu,
        ipv4: ipv4.filter(|_| !bare_ipv4),
        ipv6,
        link_local,
        enable_ipv6,
        bare,
        replace_tap,
    }
}
