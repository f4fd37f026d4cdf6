//! Published ports of containers: leased at the start, freed at the end.

use std::net::IpAddr;

use super::state::State;
use super::{Controller, routes};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Endpoint, NetworkMode};
use crate::publish::{Binding, Families, PublishSpec};

/// Bindings of all containers that have some now, each with the address that it leads to.
pub(super) fn published(state: &State) -> Vec<(Binding, IpAddr)> {
    let mut all = Vec::new();
    for (id, one) in state.containers.iter().filter(|(_, one)| !one.container.ports.is_empty()) {
        let ways = routes::ways(state, id);
        let address = |ipv4| if ipv4 { ways.ipv4_address() } else { ways.ipv6_address() };
        let bindings = one.container.ports.iter();
        all.extend(bindings.filter_map(|&binding| Some((binding, address(binding.host.is_ipv4())?))));
    }
    all
}

impl Controller {
    /// Whether a container that is to be created may publish ports at all. Answers warnings.
    pub(super) fn check_publish(
        &self,
        state: &State,
        raw: &[String],
        mode: &NetworkMode,
        networks: &[Id],
    ) -> Result<Vec<String>, ControlError> {
        let Some(first) = raw.first() else { return Ok(Vec::new()) };
        match mode {
            NetworkMode::Host => {
                return Ok(vec!["Published ports are discarded when using host network mode".to_owned()]);
            }
            NetworkMode::Container(_) => {
                return Err(ControlError::invalid(
                    "conflicting options: port publishing and the container type network mode; publish on the container \
                     that is joined",
                ));
            }
            NetworkMode::None => {
                return Err(ControlError::invalid(format!(
                    "network none has no way in, so port {first} cannot be published; choose another network"
                )));
            }
            NetworkMode::Networks => {}
        }
        self.check_uplink(first)?;
        let internal = |id: &Id| state.networks.get(id).filter(|on| on.network.internal);
        let names: Vec<_> = networks.iter().filter_map(internal).map(|on| on.network.name.as_str()).collect();
        if names.len() == networks.len() {
            return Err(ControlError::invalid(format!(
                "port {first} cannot be published: network {} is internal and has no way in; choose a network without \
                 --internal",
                names.join(", ")
            )));
        }
        Ok(Vec::new())
    }

    fn check_uplink(&self, port: &str) -> Result<(), ControlError> {
        match self.inner.uplink {
            Some(_) => Ok(()),
            None => Err(ControlError::invalid(format!(
                "published ports need an uplink and this vswitchd runs with --uplink none; leave -p {port} out, or start \
                 vswitchd with --uplink packet:IFACE,address=A/LEN,gateway=A"
            ))),
        }
    }

    /// Leases the host ports of a container that is being started. The rules are not changed yet.
    pub(super) fn lease_ports(&self, id: &Id) -> Result<(), ControlError> {
        let mut state = self.state();
        let container = &state.container_by_id(id)?.container;
        let Some(first) = container.spec.publish.first().filter(|_| container.mode == NetworkMode::Networks) else {
            return Ok(());
        };
        let (name, specs) = (container.name.clone(), container.spec.publish.clone());
        self.check_uplink(&first.target_port.to_string())?;
        let ways = routes::ways(&state, id);
        let endpoint = ways.ipv4.or(ways.ipv6).map(|endpoint| endpoint.id.to_string()).unwrap_or_default();
        let refused =
            |detail: String| ControlError::PortUnavailable { name: name.clone(), endpoint: endpoint.clone(), detail };
        let families = self.families(ways.ipv4, ways.ipv6);
        let mut ports = Vec::new();
        for spec in &specs {
            let checked = self.check_host(spec, families);
            let leased =
                checked.and_then(|()| state.ports.lease(spec, families, id).map_err(|error| error.to_string()));
            match leased {
                Ok(bindings) => ports.extend(bindings),
                Err(detail) => {
                    state.ports.release(id);
                    return Err(refused(detail));
                }
            }
        }
        state.container_by_id(id)?.container.ports = ports;
        Ok(())
    }

    /// The families in which the uplink and the container can meet.
    fn families(&self, ipv4: Option<&Endpoint>, ipv6: Option<&Endpoint>) -> Families {
        let Some(on) = &self.inner.uplink else { return Families::default() };
        Families { ipv4: ipv4.is_some() && on.uplink.ipv4.is_some(), ipv6: ipv6.is_some() && on.uplink.ipv6.is_some() }
    }

    fn check_host(&self, spec: &PublishSpec, families: Families) -> Result<(), String> {
        let Some(on) = &self.inner.uplink else { return Ok(()) };
        let Some(host) = spec.host else {
            return match families {
                Families { ipv4: false, ipv6: false } => Err(format!(
                    "port {} cannot be published: the container has no address of a family that the uplink has",
                    spec.target_port
                )),
                _ => Ok(()),
            };
        };
        let (reachable, word) = if host.is_ipv4() { (families.ipv4, "IPv4") } else { (families.ipv6, "IPv6") };
        if !reachable {
            return Err(format!(
                "port {} cannot be published on {}: the container or the uplink has no {word} address",
                spec.target_port,
                bare(host)
            ));
        }
        if host.is_unspecified() || host.is_loopback() || on.uplink.own().any(|own| own == host) {
            return Ok(());
        }
        let own: Vec<_> = on.uplink.own().map(|own| own.to_string()).collect();
        Err(format!(
            "failed to bind host port {}: cannot assign requested address; the uplink has {}",
            host_text(host, spec),
            own.join(", ")
        ))
    }

    /// Lets traffic to a container's host ports through.
    pub(super) fn open_ports(&self, id: &Id) -> Result<(), ControlError> {
        let mut state = self.state();
        match state.container_by_id(id)?.container.ports.is_empty() {
            true => Ok(()),
            false => self.refresh_router(&state),
        }
    }

    /// Frees the host ports of a container that does not run (any more), and closes them.
    pub(super) fn release_ports(&self, id: &Id) {
        let mut state = self.state();
        state.ports.release(id);
        let Ok(one) = state.container_by_id(id) else { return };
        if !std::mem::take(&mut one.container.ports).is_empty() {
            self.refresh_router_anyway(&state);
        }
    }
}

/// What is said when a port of the host's own loopback is published: it is leased, and nobody comes there.
pub(super) fn loopback_warnings(specs: &[PublishSpec]) -> Vec<String> {
    let local = specs.iter().filter(|spec| spec.host.is_some_and(|host| host.is_loopback()));
    local
        .take(1)
        .map(|spec| {
            let host = spec.host.map(|host| host_text(host, spec)).unwrap_or_default();
            format!(
                "{host} is on the host's own loopback, which a packet uplink does not reach, so nobody can connect to it; \
                 publish on one of the uplink's addresses instead"
            )
        })
        .collect()
}

fn host_text(host: IpAddr, spec: &PublishSpec) -> String {
    let port = spec.host_ports.map(|ports| ports.to_string()).unwrap_or_default();
    format!("{}:{port}/{}", bare(host), spec.transport.protocol())
}

/// An address as it stands before a port.
fn bare(host: IpAddr) -> String {
    if host.is_ipv4() { host.to_string() } else { format!("[{host}]") }
}
