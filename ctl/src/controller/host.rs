//! The host as a station of a network: `network create --opt host=true`.
//!
//! It is an endpoint like others, with an address from the network's subnet that is stored and stays, anti-spoofing, and a
//! port. On a LAN, where the host has an interface of its own already, its address there is one alone, and only the network's part of
//! the subnet is reached by it. As root its interface is the end of a veth pair; an ordinary user's is a TAP, which root has made once. It comes
//! with its network, and again at every start of vswitchd, and goes with it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use vswitch_switch::PortDevice;

use super::Controller;
use super::endpoints::{link, opened_endpoint};
use super::state::State;
use crate::agent::protocol::{HostLine, Request, Route, RouteTarget};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Endpoint, EndpointSpec, Network, NetworkSpec, Owner, host_interface};
use crate::store::Change;

/// Most lines of names, so that they fit a message to the agent.
const MOST_LINES: usize = 1024;

/// The endpoint's name, by which containers on the network find the host.
const NAME: &str = "host";

impl Controller {
    /// Makes a network, with the host on it if it is to be.
    ///
    /// # Errors
    /// As [`Controller::create_network`], and when the host cannot have its interface; nothing is left behind then.
    pub async fn create_network_with_host(&self, spec: NetworkSpec) -> Result<Id, ControlError> {
        let id = self.create_network(spec)?;
        let brought = self.bring_host_in(&id).await;
        if let Err(error) = brought {
            if let Err(left) = self.drop_network(&mut self.turn(), &id) {
                tracing::warn!("network {} stays, without the host: {left}", id.short());
            }
            return Err(error);
        }
        Ok(id)
    }

    /// Gives the host its interface on a network that wants it there. Where it has one already, nothing happens.
    pub(super) async fn bring_host_in(&self, network: &Id) -> Result<(), ControlError> {
        let (endpoint, known) = {
            let mut state = self.turn();
            let wants_host = |on: &&super::state::NetworkState| on.network.options.host && on.index.is_some();
            let Some(on) = state.networks.get(network).filter(wants_host) else { return Ok(()) };
            let mut known = on.endpoints.iter().filter_map(|id| state.endpoints.get(id));
            match known.find(|one| one.endpoint.owner == Owner::Host) {
                Some(one) if one.port.is_some() => return Ok(()),
                Some(one) => (one.endpoint.clone(), true),
                None => {
                    if self.inner.rootless && on.network.options.host_names {
                        return Err(ControlError::invalid(format!(
                            "only root's vswitchd has names of containers in /etc/hosts; leave host-names=true out and ask the \
                             network's gateway: resolvectl dns {} GATEWAY",
                            host_interface(&on.network.name)
                        )));
                    }
                    if self.inner.rootless && on.network.subnets().any(|plan| !plan.given) {
                        return Err(ControlError::invalid(
                            "name the network's subnets with --subnet: an ordinary user's host has an interface with an \
                             address of them that root gives it once",
                        ));
                    }
                    let interface = Some(host_interface(&on.network.name));
                    let spec = EndpointSpec { interface, ..EndpointSpec::default() };
                    (state.add_endpoint(network, Owner::Host, NAME, &spec)?, false)
                }
            }
        };
        let opened = async {
            self.open_host(&endpoint).await?;
            // At a start the network is there anyway, and its names follow when the others are there.
            if !known {
                self.write_host_names().await?;
            }
            let mut state = self.turn();
            let endpoint = state.endpoint(endpoint.id.as_str())?.endpoint.clone();
            Ok(state.commit(&Change::new().put_endpoints([&endpoint]))?)
        };
        let opened: Result<(), ControlError> = opened.await;
        match &opened {
            Ok(()) => tracing::info!(network = endpoint.network_name, "the host is on the network"),
            Err(_) => {
                self.take_down(&endpoint.id).await;
                self.ask_anyway(Request::SandboxRemove { sandbox: endpoint.sandbox() }).await;
                if !known {
                    self.turn().remove_endpoint(&endpoint.id);
                }
            }
        }
        opened
    }

    async fn open_host(&self, endpoint: &Endpoint) -> Result<(), ControlError> {
        if self.inner.rootless {
            let link = {
                let state = self.state();
                let network = &state.network(endpoint.network.as_str())?.network;
                link(endpoint, network, self.endpoint_mtu(network))
            };
            let user = rustix::process::geteuid().as_raw();
            let opened = self.inner.agent.call(Request::HostTap { link, user }, Vec::new()).await?;
            let (interface, tap) = opened_endpoint(opened)?;
            return self.plug_in(&endpoint.id, interface, PortDevice::Tap(tap));
        }
        // The agent may have it still, if only vswitchd was killed.
        if self.reopen(&endpoint.id).await.is_ok() {
            return Ok(());
        }
        self.ask(Request::SandboxHost { sandbox: endpoint.sandbox() }).await?;
        self.bring_up(&endpoint.id).await?;
        let to = |range| Route { destination: range, target: RouteTarget::Link, metric: None };
        let routes: Vec<Route> = {
            let state = self.state();
            ranges(&state.network(endpoint.network.as_str())?.network).map(to).collect()
        };
        match routes.is_empty() {
            true => Ok(()),
            false => {
                self.ask(Request::Routes { sandbox: endpoint.sandbox(), endpoint: endpoint.id.to_string(), routes })
                    .await
            }
        }
    }

    /// At a start: the host is again on every network where it was.
    pub(super) async fn settle_hosts(&self) {
        let networks: Vec<(Id, String)> = {
            let state = self.state();
            let wanted = state.networks.values().filter(|on| on.network.options.host);
            wanted.map(|on| (on.network.id.clone(), on.network.name.clone())).collect()
        };
        for (id, name) in networks {
            if let Err(error) = self.bring_host_in(&id).await {
                tracing::warn!("the host is not on network {name}: {error}");
            }
        }
    }

    /// Keeps the names of containers in the host's /etc/hosts as they are.
    pub(super) async fn keep_host_names(self) {
        let changed = Arc::clone(&self.state().host_names);
        loop {
            changed.notified().await;
            self.write_host_names_anyway().await;
        }
    }

    async fn write_host_names_anyway(&self) {
        if let Err(error) = self.write_host_names().await {
            tracing::warn!("{error}");
        }
    }

    /// Has the names of all containers on networks with the option `host-names` in the host's /etc/hosts.
    async fn write_host_names(&self) -> Result<(), ControlError> {
        let mut written = self.inner.host_names.lock().await;
        let (lines, wanted) = {
            let state = self.state();
            let networks = state.networks.values().filter(|on| on.network.options.host_names);
            let wanted = networks.clone().next().is_some();
            if !wanted && !*written {
                return Ok(());
            }
            let endpoints = networks.flat_map(|on| on.endpoints.iter().filter_map(|id| state.endpoints.get(id)));
            let present = endpoints.filter(|one| one.port.is_some() && one.endpoint.owner != Owner::Host);
            let lines = present.flat_map(|one| one.endpoint.addresses().map(|address| line(&one.endpoint, address)));
            (lines.take(MOST_LINES).collect::<Vec<_>>(), wanted)
        };
        *written = wanted;
        self.ask(Request::HostNames { lines, wanted }).await
    }

    /// Takes the host's port away, if this endpoint of a network that goes is the host's. Its interface goes with
    /// [`Controller::take_hosts_out`].
    pub(super) fn let_host_go(&self, state: &mut State, endpoint: &Id) {
        let Some(one) = state.endpoints.get(endpoint).filter(|one| one.endpoint.owner == Owner::Host) else { return };
        let (port, endpoint) = (one.port, one.endpoint.clone());
        state.leaving.push(endpoint);
        if let Some(port) = port
            && let Err(error) = self.inner.switch.remove_port(port)
        {
            tracing::warn!("the switch could not remove {port}: {error}");
        }
    }

    /// Takes the host's interfaces on networks away that are gone.
    pub(super) async fn take_hosts_out(&self) {
        let leaving = std::mem::take(&mut self.turn().leaving);
        if !leaving.is_empty() {
            self.write_host_names_anyway().await;
        }
        for endpoint in leaving {
            self.ask_anyway(Request::EndpointDetach { endpoint: endpoint.id.to_string() }).await;
            self.ask_anyway(Request::SandboxRemove { sandbox: endpoint.sandbox() }).await;
        }
    }
}

/// What the host reaches by its interface on a network that is a part of a LAN, where it has an interface of its own.
pub(super) fn ranges(network: &Network) -> impl Iterator<Item = IpNet> {
    let on_lan = network.routed_elsewhere();
    network.subnets().filter_map(move |plan| plan.range.filter(|_| on_lan))
}

fn line(endpoint: &Endpoint, address: IpAddr) -> HostLine {
    HostLine { address, names: std::iter::once(&endpoint.name).chain(&endpoint.aliases).cloned().collect() }
}
