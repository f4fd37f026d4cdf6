//! Links: whom they mean, and what they need.

use super::state::{ContainerState, EndpointState, State};
use crate::dns;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{EndpointSpec, Link, Network};

/// Fixes links to containers that exist. On a default network, which has no names, the other must exist.
pub(super) fn resolve(state: &State, network: &Network, spec: &mut EndpointSpec) -> Result<(), ControlError> {
    for link in &mut spec.links {
        match state.container(&link.target) {
            Ok(one) => link.target = one.container.id.to_string(),
            Err(_) if !network.predefined() => {}
            Err(error) => return Err(ControlError::LinkTarget { target: link.target.clone(), why: error.to_string() }),
        }
    }
    Ok(())
}

/// Refuses to start a container with links to containers that do not run or are elsewhere, on a default network.
pub(super) fn check(state: &State, container: &Id) -> Result<(), ControlError> {
    let Some(one) = state.containers.get(container) else { return Ok(()) };
    for (endpoint, link) in fixed(state, one) {
        let other = state.container(&link.target)?;
        let own = &one.container.name;
        if !other.container.running() {
            return Err(ControlError::LinkNotRunning {
                target: other.container.name.clone(),
                alias: format!("/{own}/{}", link.alias),
            });
        }
        if state.endpoint_of(&other.container.id, &endpoint.endpoint.network).is_none() {
            return Err(ControlError::LinkElsewhere(other.container.name.clone()));
        }
    }
    Ok(())
}

/// The lines of /etc/hosts that a container's links on default networks make: addresses and names.
pub(super) fn lines(state: &State, one: &ContainerState) -> Vec<String> {
    let mut lines = Vec::new();
    for (endpoint, link) in fixed(state, one) {
        let Ok(other) = state.container(&link.target) else { continue };
        let Some(there) = state.endpoint_of(&other.container.id, &endpoint.endpoint.network) else { continue };
        let mut names = vec![link.alias.as_str()];
        for name in [other.container.hostname.as_str(), other.container.name.as_str()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let names = names.join(" ");
        lines.extend(there.endpoint.addresses().map(|address| format!("{address}\t{names}\n")));
    }
    lines
}

/// Whether a container has a link to `other`.
pub(super) fn leads_to(state: &State, one: &ContainerState, other: &Id) -> bool {
    fixed(state, one).any(|(_, link)| link.target == other.as_str())
}

/// Links of a container on default networks.
pub(super) fn fixed<'a>(
    state: &'a State,
    one: &'a ContainerState,
) -> impl Iterator<Item = (&'a EndpointState, &'a Link)> {
    let endpoints = one.endpoints.iter().filter_map(|id| state.endpoints.get(id));
    let predefined = |endpoint: &&EndpointState| {
        state.networks.get(&endpoint.endpoint.network).is_some_and(|on| on.network.predefined())
    };
    endpoints.filter(predefined).flat_map(|endpoint| endpoint.endpoint.links.iter().map(move |link| (endpoint, link)))
}

/// A link as the zone of its network answers it: containers are found there by their short ids, too.
pub(super) fn in_zone(state: &State, link: &Link) -> dns::Link {
    let target = match state.container(&link.target) {
        Ok(one) => one.container.id.short().to_owned(),
        Err(_) => link.target.to_ascii_lowercase(),
    };
    dns::Link { alias: link.alias.to_ascii_lowercase().into(), target: target.into() }
}

/// `CONTAINER:ALIAS`, the container by its present name.
pub(super) fn text(state: &State, link: &Link) -> String {
    let name = state.container(&link.target).map_or(link.target.as_str(), |one| one.container.name.as_str());
    format!("{name}:{}", link.alias)
}
