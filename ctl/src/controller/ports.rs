//! Published ports of containers: leased at the start, freed at the end.

use std::net::IpAddr;

use super::state::State;
use super::uplink::UplinkState;
use super::{Controller, routes, services, unexpected};
use crate::agent::protocol::{Reply, Request};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{ContainerSpec, Endpoint, NetworkMode};
use crate::publish::{Binding, Claim, Exposed, Families, PublishSpec, Published, Transport, together};
use crate::store::Change;

/// Bindings of all containers that have some now, each with where it leads.
pub(super) fn published(state: &State) -> Vec<Published> {
    let leads = |binding: Binding, (endpoint, address): (&Endpoint, IpAddr)| {
        let network = state.networks.get(&endpoint.network)?.index?;
        Some(Published { binding, network, address })
    };
    let mut all = Vec::new();
    for (id, one) in state.containers.iter().filter(|(_, one)| !one.container.ports.is_empty()) {
        let ways = routes::ways(state, id);
        all.extend(one.container.ports.iter().filter_map(|&binding| leads(binding, target(&ways, &binding)?)));
    }
    for one in state.endpoints.values() {
        let bindings = one.endpoint.ports.iter().chain(one.leases.iter().flat_map(|(_, bindings)| bindings));
        let address = |ipv4| one.endpoint.addresses().find(|address| address.is_ipv4() == ipv4);
        let target = |ipv4: bool| address(ipv4).or_else(|| address(!ipv4));
        all.extend(bindings.filter_map(|&binding| leads(binding, (&one.endpoint, target(binding.host.is_ipv4())?))));
    }
    all.extend(services::published(state));
    all
}

/// Where a binding leads: to the container's address of its family, or of the other one where the host's sockets are between.
fn target<'a>(ways: &routes::Ways<'a>, binding: &Binding) -> Option<(&'a Endpoint, IpAddr)> {
    let ipv4 = ways.ipv4.zip(ways.ipv4_address());
    let ipv6 = ways.ipv6.zip(ways.ipv6_address());
    if binding.host.is_ipv4() { ipv4.or(ipv6) } else { ipv6.or(ipv4) }
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
        let on_lan = |id: &Id| state.networks.get(id).is_some_and(|on| on.network.routed_elsewhere());
        if networks.iter().all(on_lan) {
            return Ok(vec![format!(
                "port {first} is not published: the container is on a LAN, where it is reached at its own address"
            )]);
        }
        let internal = |id: &Id| state.networks.get(id).filter(|on| on.network.internal);
        let names: Vec<_> = networks.iter().filter_map(internal).map(|on| on.network.name.as_str()).collect();
        if names.len() == networks.len() {
            return Ok(vec![format!(
                "port {first} is published once the container is on a network without --internal, too; {} has no way in",
                names.join(", ")
            )]);
        }
        Ok(Vec::new())
    }

    fn check_uplink(&self, port: &str) -> Result<(), ControlError> {
        match self.inner.uplink {
            Some(_) => Ok(()),
            None => Err(ControlError::invalid(format!(
                "published ports need an uplink and this vswitchd runs with --uplink none; leave -p {port} out, or start \
                 vswitchd with --uplink sockets or --uplink packet:IFACE,address=A/LEN,gateway=A"
            ))),
        }
    }

    /// Leases the host ports of a container that is being started, and takes them from the host where the uplink consists of
    /// its sockets. The rules are not changed yet.
    pub(super) async fn lease_ports(&self, id: &Id) -> Result<(), ControlError> {
        let specs = {
            let state = self.state();
            let spec = &state.container_by_id(id)?.container.spec;
            all_specs(&spec.publish, spec)
        };
        let leased = self.lease_further(id, &specs).await;
        if leased.is_err() {
            self.give_back(&mut self.turn(), id);
        }
        leased
    }

    /// The same for some of them. After an error some may be leased.
    pub(super) async fn lease_further(&self, id: &Id, specs: &[PublishSpec]) -> Result<(), ControlError> {
        let (refused, deferred) = {
            let mut state = self.turn();
            let Some((refused, lease)) = self.prepare_lease(&mut state, id, specs)? else { return Ok(()) };
            match self.lease(&mut state, id, &lease) {
                Ok(deferred) => (refused, deferred),
                Err(detail) => return Err(refused.with(detail)),
            }
        };
        for binding in deferred {
            if let Err(error) = self.ask_for_port(binding).await {
                return Err(match error {
                    ControlError::NotPermitted(detail) | ControlError::Conflict(detail) => refused.with(detail),
                    ControlError::Internal(detail) => refused.with(detail),
                    other => other,
                });
            }
        }
        Ok(())
    }

    /// Takes the host ports of containers that run since before this start. Answers those that were not to be had.
    pub(super) async fn retake_ports(&self) -> Vec<Binding> {
        let mut lost = Vec::new();
        if !matches!(self.inner.uplink, Some(UplinkState::Sockets(_))) {
            return lost;
        }
        let running: Vec<(String, Vec<Binding>)> = {
            let state = self.state();
            let containers = state.containers.values().map(|one| (&one.container.name, &one.container.ports));
            let endpoints = state.endpoints.values().map(|one| (&one.endpoint.name, &one.endpoint.ports));
            let services = state.networks.values().flat_map(|on| &on.network.services);
            let services = services.map(|one| (&one.name, &one.published));
            let with_ports = containers.chain(endpoints).chain(services).filter(|(_, ports)| !ports.is_empty());
            with_ports.map(|(name, ports)| (name.clone(), ports.clone())).collect()
        };
        for (name, bindings) in running {
            for binding in bindings {
                if let Err(detail) = self.retake(binding).await {
                    tracing::error!(
                        "{name} has lost its published port {binding}: {detail}; it is published again as soon as \
                         that is possible"
                    );
                    lost.push(binding);
                }
            }
        }
        lost
    }

    async fn retake(&self, binding: Binding) -> Result<(), String> {
        let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink else { return Ok(()) };
        let mut deferred = Vec::new();
        let claimed = sockets.claim(&mut vec![binding], self.may_defer().then_some(&mut deferred));
        claimed.map_err(|(Claim::InUse(detail) | Claim::Refused(detail))| detail)?;
        for binding in deferred {
            self.ask_for_port(binding).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Tries again for host ports that were lost, for as long as their containers have them: the host's address may come later
    /// (DHCP, a VPN), or whoever has the port may end.
    pub(super) async fn regain_ports(self, mut lost: Vec<Binding>) {
        while !lost.is_empty() {
            tokio::time::sleep(BETWEEN_TRIES).await;
            let mut still = Vec::new();
            for binding in lost {
                let wanted = published(&self.state()).iter().any(|one| one.binding == binding);
                if !wanted {
                    continue;
                }
                match self.retake(binding).await {
                    Ok(()) => {
                        self.refresh_router_anyway(&self.state());
                        tracing::info!("port {binding} is published again");
                    }
                    Err(_) => still.push(binding),
                }
            }
            lost = still;
        }
    }

    /// Publishes what a running container's networks allow now, and nothing else: those through which it was reached may have
    /// come or gone.
    pub(super) async fn settle_ports(&self, id: &Id) -> Result<(), ControlError> {
        let before = self.state().container_by_id(id)?.container.ports.clone();
        let lacking = {
            let mut state = self.turn();
            self.give_back_unreached(&mut state, id);
            let container = &state.container_by_id(id)?.container;
            container.running()
                && container.ports.is_empty()
                && !all_specs(&container.spec.publish, &container.spec).is_empty()
        };
        if lacking {
            self.lease_ports(id).await?;
        }
        self.open_ports(id)?;
        let mut state = self.turn();
        let container = state.container_by_id(id)?.container.clone();
        if container.ports != before {
            state.settle(&Change::new().put_container(&container))?;
        }
        Ok(())
    }

    /// Gives back the host ports by which nobody comes to the container any more.
    fn give_back_unreached(&self, state: &mut State, id: &Id) {
        let Some(one) = state.containers.get(id) else { return };
        let ways = routes::ways(state, id);
        let reached = one.container.ports.iter().filter(|binding| target(&ways, binding).is_some());
        let left: Vec<Binding> = reached.copied().collect();
        self.give_back_all_but(state, id, &left);
    }

    fn prepare_lease(
        &self,
        state: &mut State,
        id: &Id,
        specs: &[PublishSpec],
    ) -> Result<Option<(Refused, Lease)>, ControlError> {
        let container = &state.container_by_id(id)?.container;
        let (name, mut specs) = (container.name.clone(), specs.to_vec());
        let Some(first) = specs.first().copied().filter(|_| container.mode == NetworkMode::Networks) else {
            return Ok(None);
        };
        self.check_uplink(&first.target_port.to_string())?;
        let ways = routes::ways(state, id);
        if ways.ipv4.is_none() && ways.ipv6.is_none() {
            // On internal networks only; another one may come.
            return Ok(None);
        }
        let by_default = default_host(state, ways.ipv4.or(ways.ipv6));
        for spec in &mut specs {
            spec.host = spec.host.or(by_default);
        }
        let endpoint = ways.ipv4.or(ways.ipv6).map(|endpoint| endpoint.id.to_string()).unwrap_or_default();
        let inside = Families { ipv4: ways.ipv4.is_some(), ipv6: ways.ipv6.is_some() };
        let families = self.inner.uplink.as_ref().map_or_else(Families::default, |on| on.families(inside));
        Ok(Some((Refused { name, endpoint }, Lease { specs, families })))
    }

    /// Answers what is to be asked of the agent.
    fn lease(&self, state: &mut State, id: &Id, lease: &Lease) -> Result<Vec<Binding>, String> {
        let mut leased = Vec::new();
        let result = self.lease_all(state, id, lease, &mut leased);
        // Also when a later one failed, so that they are given back.
        state.container_mut(id).map_err(|error| error.to_string())?.container.ports.extend(leased);
        result
    }

    /// Leases into `leased`. Answers what is to be asked of the agent.
    fn lease_all(
        &self,
        state: &mut State,
        id: &Id,
        lease: &Lease,
        leased: &mut Vec<Binding>,
    ) -> Result<Vec<Binding>, String> {
        let mut deferred = Vec::new();
        for specs in together(&lease.specs, lease.families) {
            specs.iter().try_for_each(|spec| self.check_host(spec, lease.families))?;
            let mut claim = |bindings: &mut Vec<Binding>| match &self.inner.uplink {
                Some(UplinkState::Sockets(sockets)) => {
                    sockets.claim(bindings, self.may_defer().then_some(&mut deferred))
                }
                _ => Ok(()),
            };
            let got = state.ports.lease_together(&specs, lease.families, id, &mut claim);
            leased.extend(got.map_err(|error| error.to_string())?);
        }
        Ok(deferred)
    }

    /// Whether the agent may have a port that vswitchd may not.
    fn may_defer(&self) -> bool {
        !self.inner.rootless
    }

    async fn ask_for_port(&self, binding: Binding) -> Result<(), ControlError> {
        let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink else { return Ok(()) };
        match self.inner.agent.call(Request::Listen { binding }, Vec::new()).await? {
            (Reply::Listening, mut descriptors) => {
                let none = || ControlError::Internal("the agent sent no descriptor; restart vswitchd".to_owned());
                sockets.keep(binding, descriptors.pop().ok_or_else(none)?);
                Ok(())
            }
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    fn check_host(&self, spec: &PublishSpec, families: Families) -> Result<(), String> {
        let Some(on) = &self.inner.uplink else { return Ok(()) };
        if matches!(on, UplinkState::Sockets(_)) && spec.transport == Transport::Sctp {
            return Err(format!(
                "port {}/sctp cannot be published: the sockets uplink carries tcp and udp; start vswitchd with --uplink \
                 packet:IFACE,address=A/LEN,gateway=A",
                spec.target_port
            ));
        }
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
        on.check_host(spec, host)
    }

    /// Lets traffic to a container's host ports through.
    pub(super) fn open_ports(&self, id: &Id) -> Result<(), ControlError> {
        let state = self.state();
        match state.container_by_id(id)?.container.ports.is_empty() {
            true => Ok(()),
            false => self.refresh_router(&state),
        }
    }

    /// Frees the host ports of a container that does not run (any more), and closes them.
    pub(super) fn release_ports(&self, id: &Id) {
        let mut state = self.turn();
        if self.give_back(&mut state, id) {
            self.refresh_router_anyway(&state);
        }
    }

    /// Leases host ports for an endpoint that is not a container's of vswitch, in the name of `owner`. The rules are not
    /// changed yet.
    pub(super) async fn lease_for(
        &self,
        endpoint: &Id,
        owner: &Id,
        specs: &[PublishSpec],
    ) -> Result<Vec<Binding>, ControlError> {
        let (name, addresses) = {
            let state = self.state();
            let one = &state.endpoint(endpoint.as_str())?.endpoint;
            (one.name.clone(), one.addresses().collect::<Vec<_>>())
        };
        let refused = Refused { name, endpoint: endpoint.to_string() };
        self.lease_towards(owner, refused, &addresses, specs).await
    }

    /// The same for a service with these addresses.
    pub(super) async fn lease_for_service(
        &self,
        owner: &Id,
        name: &str,
        addresses: &[IpAddr],
        specs: &[PublishSpec],
    ) -> Result<Vec<Binding>, ControlError> {
        let refused = Refused { name: name.to_owned(), endpoint: owner.to_string() };
        self.lease_towards(owner, refused, addresses, specs).await
    }

    async fn lease_towards(
        &self,
        owner: &Id,
        refused: Refused,
        addresses: &[IpAddr],
        specs: &[PublishSpec],
    ) -> Result<Vec<Binding>, ControlError> {
        let Some(first) = specs.first() else { return Ok(Vec::new()) };
        self.check_uplink(&first.target_port.to_string())?;
        let has = |ipv4: bool| addresses.iter().any(|address| address.is_ipv4() == ipv4);
        let inside = Families { ipv4: has(true), ipv6: has(false) };
        let families = self.inner.uplink.as_ref().map_or_else(Families::default, |on| on.families(inside));
        let (bindings, deferred) = {
            let mut state = self.turn();
            let mut bindings = Vec::new();
            match self.lease_all(&mut state, owner, &Lease { specs: specs.to_vec(), families }, &mut bindings) {
                Ok(deferred) => (bindings, deferred),
                Err(detail) => {
                    self.give_bindings_back(&mut state, owner, &bindings);
                    return Err(refused.with(detail));
                }
            }
        };
        for binding in deferred {
            if let Err(error) = self.ask_for_port(binding).await {
                self.give_bindings_back(&mut self.turn(), owner, &bindings);
                return Err(refused.with(error.to_string()));
            }
        }
        Ok(bindings)
    }

    /// Gives back what [`Controller::lease_for`] leased.
    pub(super) fn give_bindings_back(&self, state: &mut State, owner: &Id, bindings: &[Binding]) {
        state.ports.release(owner);
        if let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink {
            sockets.release(bindings);
        }
    }

    /// Gives back what a container has leased; whether that was anything.
    fn give_back(&self, state: &mut State, id: &Id) -> bool {
        state.ports.release(id);
        let Ok(one) = state.container_mut(id) else { return false };
        let ports = std::mem::take(&mut one.container.ports);
        if let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink {
            sockets.release(&ports);
        }
        !ports.is_empty()
    }
}

/// What is to be published: what was asked for, and with `-P` every other port that is exposed.
pub(super) fn all_specs(publish: &[PublishSpec], spec: &ContainerSpec) -> Vec<PublishSpec> {
    let mut specs = publish.to_vec();
    if spec.publish_all {
        for &Exposed { transport, port } in &spec.expose {
            if !specs.iter().any(|one| (one.transport, one.target_port) == (transport, port)) {
                specs.push(PublishSpec { transport, host: None, host_ports: None, target_port: port });
            }
        }
    }
    specs
}

/// Where ports are published that name no address of the host: where the network of the way in says, or the settings.
/// `None`: on all.
fn default_host(state: &State, way: Option<&Endpoint>) -> Option<IpAddr> {
    let network = way.and_then(|endpoint| state.networks.get(&endpoint.network));
    let named = network.and_then(|on| on.network.options.host_binding);
    named.or(state.defaults.publish_host).filter(|host| !host.is_unspecified())
}

/// Between two tries for ports that were lost.
const BETWEEN_TRIES: std::time::Duration = std::time::Duration::from_secs(2);

/// What a container's ports are leased by.
struct Lease {
    specs: Vec<PublishSpec>,
    families: Families,
}

/// Whose ports they are, for a refusal.
struct Refused {
    name: String,
    endpoint: String,
}

impl Refused {
    fn with(self, detail: String) -> ControlError {
        ControlError::PortUnavailable { name: self.name, endpoint: self.endpoint, detail }
    }
}

/// What is said when a port of the host's own loopback is published by a packet uplink: it is leased, and nobody comes
/// there.
pub(super) fn loopback_warnings(uplink: Option<&UplinkState>, specs: &[PublishSpec]) -> Vec<String> {
    if !matches!(uplink, Some(UplinkState::Packet(_))) {
        return Vec::new();
    }
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

pub(super) fn host_text(host: IpAddr, spec: &PublishSpec) -> String {
    let port = spec.host_ports.map(|ports| ports.to_string()).unwrap_or_default();
    format!("{}:{port}/{}", bare(host), spec.transport.protocol())
}

/// An address as it stands before a port.
fn bare(host: IpAddr) -> String {
    if host.is_ipv4() { host.to_string() } else { format!("[{host}]") }
}
