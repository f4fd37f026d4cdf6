//! What links open on a default network whose containers may not talk to each other (`icc=false`): the ports that the other one
//! exposes.

use std::net::IpAddr;

use vswitch_switch::{Opening, Station};

use super::state::{ContainerState, EndpointState, State};
use super::{Controller, links};
use crate::ids::Id;
use crate::publish::Exposed;

impl Controller {
    /// Opens what is to be open on a network as its endpoints are now.
    pub(super) fn settle_openings(&self, state: &State, network: &Id) {
        let Some(on) = state.networks.get(network).filter(|on| on.network.predefined()) else { return };
        let Some(index) = on.index else { return };
        let clients = on.endpoints.iter().filter_map(|id| state.endpoints.get(id));
        let openings = clients.flat_map(|one| of_client(state, one)).collect();
        // Only a network that is gone has none.
        let _ = self.inner.switch.set_openings(index, openings);
    }
}

fn of_client<'a>(state: &'a State, one: &'a EndpointState) -> impl Iterator<Item = Opening> + 'a {
    let client = station(one);
    let links = one.endpoint.container().and_then(|id| state.containers.get(id)).into_iter();
    let links = links.flat_map(move |container| links::fixed(state, container)).map(|(_, link)| link.target.as_str());
    let servers = links.filter_map(move |target| {
        let container = state.container(target).ok()?;
        let there = state.endpoint_of(&container.container.id, &one.endpoint.network)?;
        Some((client?, station(there)?, container))
    });
    servers.flat_map(|(client, server, container)| {
        exposed(container).map(move |Exposed { transport, port }| Opening {
            client,
            server,
            protocol: transport.protocol().0,
            port,
        })
    })
}

/// One that has a port now.
fn station(one: &EndpointState) -> Option<Station> {
    match (one.endpoint.ipv4?.address, one.port?) {
        (IpAddr::V4(ipv4), port) => Some(Station { mac: one.endpoint.mac, ipv4, port }),
        (IpAddr::V6(_), _) => None,
    }
}

/// What `--expose` names, and what is published.
fn exposed(one: &ContainerState) -> impl Iterator<Item = Exposed> {
    let published = one.container.spec.publish.iter();
    let published = published.map(|spec| Exposed { transport: spec.transport, port: spec.target_port });
    one.container.spec.expose.iter().copied().chain(published)
}
