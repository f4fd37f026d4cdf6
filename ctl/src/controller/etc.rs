//! /etc/hosts and /etc/resolv.conf of containers, kept as the state says while they run.

use std::collections::HashMap;
use std::net::IpAddr;

use super::state::{ContainerState, State};
use super::uplink::UplinkState;
use super::{Controller, files, links};
use crate::agent::protocol::Request;
use crate::ids::Id;
use crate::ipam::SubnetPlan;
use crate::model::{HostAddress, NetworkMode};

/// Docker's name for the host, and ours.
pub(super) const HOST_NAMES: [&str; 2] = ["host.vswitch.internal", "host.docker.internal"];

/// The gateway of whoever asks.
pub(super) const GATEWAY_NAME: &str = "gateway.vswitch.internal";

/// The texts of both files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Etc {
    pub(super) hosts: String,
    pub(super) resolv_conf: String,
}

/// What running containers were given last. Held across a change, so that changes reach a container in their order.
pub(super) type Given = tokio::sync::Mutex<HashMap<Id, Etc>>;

/// The gateway of a container's first network that has one, of each family: the host's addresses to Docker's containers.
fn first_gateways(state: &State, owner: &ContainerState) -> Vec<IpAddr> {
    let endpoints = owner.endpoints.iter().filter_map(|id| state.endpoints.get(id));
    let networks = endpoints.filter_map(|one| state.networks.get(&one.endpoint.network));
    let mut gateways = networks.map(|on| on.network.subnets().filter_map(SubnetPlan::own).collect::<Vec<_>>());
    gateways.find(|some| !some.is_empty()).unwrap_or_default()
}

/// What a container is called at its own addresses: as Docker, the name with its domain and without; and its name among containers.
fn own_names(hostname: &str, domain: &str, name: &str) -> String {
    let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
    let bare = full.split('.').next().unwrap_or_default();
    let mut names = vec![full.as_str()];
    for more in [bare, name] {
        if !names.contains(&more) {
            names.push(more);
        }
    }
    names.join(" ")
}

impl Controller {
    /// The files that a container should have; `None` with the host's network, whose files it shares.
    pub(super) fn etc(&self, state: &State, container: &Id) -> Option<Etc> {
        let one = state.containers.get(container)?;
        // A container that joins another's namespace sees that one's names and addresses.
        let owner = match &one.container.mode {
            NetworkMode::Networks | NetworkMode::None => one,
            NetworkMode::Container(other) => state.containers.get(other)?,
            NetworkMode::Host => return None,
        };
        let spec = &owner.container.spec;
        let mut host: Vec<IpAddr> = self.host_addresses().collect();
        if host.is_empty() {
            host = first_gateways(state, owner);
        }
        let extra = spec.extra_hosts.iter().flat_map(|extra| {
            let addresses = match extra.address {
                HostAddress::Address(address) => vec![address],
                HostAddress::Word(_) => host.clone(),
            };
            addresses.into_iter().map(|address| (address, extra.name.as_str()))
        });
        let names = own_names(&owner.container.hostname, &spec.process.domainname, &owner.container.name);
        let endpoints = owner.endpoints.iter().filter_map(|id| state.endpoints.get(id));
        let own = endpoints.flat_map(|one| one.endpoint.addresses()).map(|address| (address, names.as_str()));
        // Whoever has a way out reaches the host by it.
        let way_out = matches!(owner.container.mode, NetworkMode::Networks);
        let host_names = HOST_NAMES.join(" ");
        let host = self.host_addresses().filter(|_| way_out).map(|address| (address, host_names.as_str()));
        let mut hosts = files::etc_hosts(extra.chain(host).chain(own));
        hosts.extend(links::lines(state, owner));
        let served = self.needs_server(state, &owner.container.id);
        Some(Etc { hosts, resolv_conf: self.resolving(state, owner).text(served) })
    }

    /// Remembers what a container that starts is given.
    pub(super) async fn note_etc(&self, container: &Id, etc: Option<Etc>) {
        let mut given = self.inner.given.lock().await;
        match etc {
            Some(etc) => given.insert(container.clone(), etc),
            None => given.remove(container),
        };
    }

    /// Something about `changed` is different now: it, who shares its namespace and who is linked to it are told.
    pub(super) async fn refresh_etc(&self, changed: &Id) {
        let mut given = self.inner.given.lock().await;
        let wanted: Vec<(Id, Etc)> = {
            let state = self.state();
            let concerned = state.containers.values().filter(|one| {
                let owner = match &one.container.mode {
                    NetworkMode::Container(other) => state.containers.get(other).unwrap_or(one),
                    _ => one,
                };
                let concerned = owner.container.id == *changed || links::leads_to(&state, owner, changed);
                one.container.running() && concerned
            });
            let all =
                concerned.filter_map(|one| Some((one.container.id.clone(), self.etc(&state, &one.container.id)?)));
            all.filter(|(id, etc)| given.get(id) != Some(etc)).collect()
        };
        for (id, etc) in wanted {
            let Etc { hosts, resolv_conf } = etc.clone();
            self.ask_anyway(Request::ProcessFiles {
                process: id.to_string(),
                etc_hosts: hosts,
                etc_resolv_conf: resolv_conf,
            })
            .await;
            given.insert(id, etc);
        }
    }

    /// The host's address as containers reach it, if they do.
    pub(super) fn host_address(&self) -> Option<IpAddr> {
        self.host_addresses().next()
    }

    /// The same, of each family.
    pub(super) fn host_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.inner.uplink.iter().flat_map(UplinkState::host_addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The full name comes first, which `hostname -f` asks for, and no name twice.
    #[test]
    fn names() {
        assert_eq!(own_names("web", "", "web"), "web");
        assert_eq!(own_names("hh", "dd", "web"), "hh.dd hh web");
        assert_eq!(own_names("hh.dd", "", "hh"), "hh.dd hh");
    }
}
