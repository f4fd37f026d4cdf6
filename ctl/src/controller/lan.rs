//! The legs of networks on LANs: opened when the network is made, kept while their parents come and go, and told who is here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use vswitch_frame::PortId;
use vswitch_switch::lan::{Hearing, LanConfig, LanDevice, Unicast};
use vswitch_switch::{PortConfig, PortDevice};

use super::Controller;
use super::networks::switch_config;
use super::state::{NetworkState, State};
use crate::agent::client::AgentError;
use crate::agent::protocol::{Failure, FailureKind, Reply, Request};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Endpoint, Faults, Meeting, Network, NetworkSpec, Parent};
use crate::overlay::underlay::LinkSight;

/// How often parents are looked after, where there are any.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A network's leg on the LAN of its parent.
#[derive(Debug)]
pub(super) struct Leg {
    /// While the parent is there.
    port: Option<PortId>,
    /// Keeps other vswitchds from this place; open while the port is there.
    held: Option<OwnedFd>,
    /// How the parent was when it was last seen.
    sight: LinkSight,
}

/// A parent that was opened for a network.
#[derive(Debug)]
struct OpenParent {
    socket: OwnedFd,
    held: OwnedFd,
    wireless: bool,
    sight: LinkSight,
}

/// What became of a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noticed {
    /// Nothing that others have to follow.
    Nothing,
    /// Its MTU is another one.
    Mtu,
    /// The leg is to be opened (again).
    Gone,
}

impl Leg {
    /// Its port, and what that is called where endpoints are named. Brackets are in no endpoint's name.
    pub(super) fn name(&self, network: &Network) -> Option<(PortId, String)> {
        let parent = network.options.lan.as_ref()?.parent.as_ref()?;
        Some((self.port?, format!("({parent})")))
    }

    /// The MTU of a network on the parent's LAN.
    pub(super) fn mtu(&self, network: &Network) -> u32 {
        match network.options.mtu_given {
            true => network.options.mtu.min(self.sight.mtu),
            false => self.sight.mtu,
        }
    }
}

impl Controller {
    /// Has the agent believe that a client wants networks on the parent that its order names.
    ///
    /// # Errors
    /// When it does not.
    pub async fn allow_parent(&self, order: u64) -> Result<(), ControlError> {
        self.ask(Request::ParentAllow { order }).await
    }

    /// Makes a network, with its leg if it is to have one. Answers its id, and what the user should know.
    ///
    /// # Errors
    /// As [`Controller::create_network`], and when the parent cannot be had.
    pub async fn create_network_on_lan(&self, mut spec: NetworkSpec) -> Result<(Id, Option<String>), ControlError> {
        let parent = spec.options.lan.as_ref().and_then(|lan| lan.parent.clone());
        let Some(parent) = parent.filter(|_| spec.settings.is_none()) else {
            return Ok((self.create_network_with_host(spec).await?, None));
        };
        check_parent(&self.state(), &spec, &parent)?;
        let open = self.open_parent(&parent).await.map_err(|error| match error {
            AgentError::Failed(failure) if matches!(failure.kind, FailureKind::Gone | FailureKind::Harmful) => {
                ControlError::invalid(failure.message)
            }
            error => error.into(),
        })?;
        let has = open.sight.mtu;
        if spec.options.mtu_given && spec.options.mtu > has {
            let wanted = spec.options.mtu;
            return Err(ControlError::invalid(format!(
                "MTU {wanted} does not fit: parent interface {} has MTU {has}, so use at most that",
                parent.interface
            )));
        }
        if !spec.options.mtu_given {
            spec.options.mtu = has;
        }
        let warning = match (open.wireless, open.sight.carries) {
            (true, _) if !spec.options.lan.as_ref().is_some_and(|lan| lan.one_mac) => Some(format!(
                "{} is a wireless interface, and access points take no frames of other MAC addresses; use the driver ipvlan",
                parent.interface
            )),
            (_, false) => Some(format!(
                "parent interface {0} is down or has no carrier; see 'ip link set {0} up'",
                parent.interface
            )),
            _ => None,
        };
        let id = self.create_network(spec)?;
        let plugged = self.plug_leg(&mut self.turn(), &id, open);
        let plugged = match plugged {
            Ok(()) => self.bring_host_in(&id).await,
            refused => refused,
        };
        if let Err(error) = plugged {
            self.drop_network(&mut self.turn(), &id)?;
            return Err(error);
        }
        Ok((id, warning))
    }

    async fn open_parent(&self, parent: &Parent) -> Result<OpenParent, AgentError> {
        let request = Request::ParentOpen { interface: parent.interface.clone(), place: parent.to_string() };
        let (reply, descriptors) = self.inner.agent.call(request, Vec::new()).await?;
        let sight = self.inner.monitor.link(&parent.interface).ok().flatten();
        match (reply, <[OwnedFd; 2]>::try_from(descriptors), sight) {
            (Reply::Parent { wireless }, Ok([socket, held]), Some(sight)) => {
                Ok(OpenParent { socket, held, wireless, sight })
            }
            (_, _, None) => Err(AgentError::Failed(Failure::new(
                FailureKind::Gone,
                format!(
                    "-o parent interface was not found on the host: {}; name one that 'ip link' shows",
                    parent.interface
                ),
            ))),
            _ => Err(AgentError::Lost),
        }
    }

    fn plug_leg(&self, state: &mut State, id: &Id, open: OpenParent) -> Result<(), ControlError> {
        let on = state.networks.get_mut(id).ok_or_else(|| ControlError::NetworkNotFound(id.to_string()))?;
        if on.leg.as_ref().is_some_and(|leg| leg.port.is_some()) {
            return Ok(());
        }
        let (Some(lan), Some(index)) = (&on.network.options.lan, on.index) else { return Ok(()) };
        let Some(parent) = &lan.parent else { return Ok(()) };
        let OpenParent { socket, held, wireless: _, sight } = open;
        let config = LanConfig { vlan: parent.vlan, one_mac: lan.one_mac.then_some(sight.mac) };
        let port = PortConfig::new(format!("({parent})"), index);
        let port = self.inner.switch.add_port(port, PortDevice::Lan(LanDevice::new(socket, config)))?;
        on.leg = Some(Leg { port: Some(port), held: Some(held), sight });
        self.settle_network(on)?;
        self.tell_leg(state, id)
    }

    /// Takes the leg of a network that goes away.
    pub(super) fn unplug_leg(&self, on: &mut NetworkState) {
        if let Some(Leg { port: Some(port), .. }) = on.leg.take()
            && let Err(error) = self.inner.switch.remove_port(port)
        {
            tracing::warn!("the switch could not remove {port}: {error}");
        }
    }

    /// Lets a leg hear what is for those who are there now.
    fn tell_leg(&self, state: &State, id: &Id) -> Result<(), ControlError> {
        let Some(on) = state.networks.get(id) else { return Ok(()) };
        let Some(port) = on.leg.as_ref().and_then(|leg| leg.port) else { return Ok(()) };
        let here = on.endpoints.iter().filter_map(|id| state.endpoints.get(id)).filter(|one| one.port.is_some());
        let here: Vec<&Endpoint> = here.map(|one| &one.endpoint).collect();
        let meeting = on.network.options.lan.as_ref().map_or(Meeting::Learning, |lan| lan.meeting);
        let unicast = match meeting {
            Meeting::Passthru => Unicast::All,
            // Whoever is behind a port that is not checked.
            Meeting::Learning if here.iter().any(|one| !is_bound(one, &on.network)) => Unicast::All,
            _ => {
                let own = (!on.network.routed_elsewhere()).then(|| on.network.gateway_mac());
                let stations = here.iter().flat_map(|one| one.allowed.macs.iter().chain([&one.mac])).copied();
                Unicast::For(stations.chain(own).collect())
            }
        };
        let addresses = here.iter().flat_map(|one| {
            let local = IpAddr::V6(one.mac.link_local_ipv6());
            one.addresses().chain(one.link_local.iter().copied()).chain([local]).map(|address| (address, one.mac))
        });
        let hearing = Hearing { unicast, bpdus: on.network.options.bpdus };
        Ok(self.inner.switch.hear(port, &hearing, addresses.collect::<BTreeMap<_, _>>())?)
    }

    /// An endpoint of a network on a LAN has got its port, or has lost it.
    pub(super) fn follow_endpoint(&self, state: &State, endpoint: &Endpoint) {
        let Some(on) = state.networks.get(&endpoint.network).filter(|on| on.network.options.lan.is_some()) else {
            return;
        };
        let port = state.endpoints.get(&endpoint.id).and_then(|one| one.port);
        // Nobody on the LAN is believed to be a station of here.
        if let (Some(port), Some(index)) = (port, on.index)
            && is_bound(endpoint, &on.network)
            && let Err(error) = self.inner.switch.fdb_add_static(index, endpoint.mac, port)
        {
            tracing::warn!("endpoint {} is found on its network when it has spoken: {error}", endpoint.name);
        }
        if let Err(error) = self.tell_leg(state, &endpoint.network) {
            tracing::warn!("network {} does not hear all of its LAN: {error}", endpoint.network_name);
        }
    }

    /// The MTU that a new endpoint of a network gets.
    pub(super) fn mtu_on(&self, on: &NetworkState) -> u32 {
        on.leg.as_ref().map_or_else(|| self.endpoint_mtu(&on.network), |leg| leg.mtu(&on.network))
    }

    /// Lets the switch know what a network is now; packets of the length that its parent takes pass.
    pub(super) fn settle_network(&self, on: &NetworkState) -> Result<(), ControlError> {
        let Some(index) = on.index else { return Ok(()) };
        let mut config = switch_config(&on.network);
        if let Some(leg) = &on.leg {
            config.mtu = leg.mtu(&on.network);
        }
        Ok(self.inner.switch.update_network(index, config)?)
    }

    /// Looks after the parents for as long as the agent lives.
    pub(super) async fn keep_parents(self) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.look_at_parents().await,
                () = self.agent_closed() => return,
            }
        }
    }

    /// Notices parents that vanished, came back or changed.
    pub(super) async fn look_at_parents(&self) {
        let legs: Vec<(Id, Parent)> = {
            let state = self.state();
            let legs = state.networks.values().filter(|on| on.index.is_some());
            let parent =
                |on: &NetworkState| Some((on.network.id.clone(), on.network.options.lan.as_ref()?.parent.clone()?));
            legs.filter_map(parent).collect()
        };
        for (id, parent) in legs {
            let sight = match self.inner.monitor.link(&parent.interface) {
                Ok(sight) => sight,
                Err(error) => return tracing::warn!("the parents of networks: {error}"),
            };
            match self.notice(&id, &parent, sight) {
                Noticed::Nothing => {}
                Noticed::Mtu => self.fit_endpoints(&id).await,
                Noticed::Gone if sight.is_none() => {}
                Noticed::Gone => match self.take_up(&id, &parent).await {
                    Ok(()) => self.fit_endpoints(&id).await,
                    Err(error) => tracing::debug!("parent {parent} cannot be opened yet: {error}"),
                },
            }
        }
    }

    /// Gives the interfaces of a network on a LAN the MTU that its parent has now, as the kernel does with those of a macvlan.
    async fn fit_endpoints(&self, id: &Id) {
        let requests: Vec<Request> = {
            let state = self.state();
            let Some(on) = state.networks.get(id) else { return };
            let mtu = self.mtu_on(on);
            let here = on.endpoints.iter().filter_map(|id| state.endpoints.get(id)).filter(|one| one.port.is_some());
            here.map(|one| Request::EndpointMtu { endpoint: one.endpoint.id.to_string(), mtu }).collect()
        };
        for request in requests {
            self.ask_anyway(request).await;
        }
    }

    /// Takes note of what became of a parent.
    fn notice(&self, id: &Id, parent: &Parent, sight: Option<LinkSight>) -> Noticed {
        let mut state = self.turn();
        let lost = self.inner.switch.lost_ports();
        let Some(on) = state.networks.get_mut(id) else { return Noticed::Nothing };
        let name = on.network.name.clone();
        let one_mac = on.network.options.lan.as_ref().is_some_and(|lan| lan.one_mac);
        // Since before this start, or about to have its first one.
        let Some(leg) = &mut on.leg else { return Noticed::Gone };
        let Some(port) = leg.port else { return Noticed::Gone };
        let old = leg.sight;
        let other_mac = one_mac && sight.is_some_and(|sight| sight.mac != old.mac);
        if sight.is_none() || lost.contains(&port) || other_mac {
            (leg.port, leg.held) = (None, None);
            if other_mac {
                tracing::info!(network = name, %parent, "the parent has another MAC address");
            } else {
                tracing::warn!(network = name, %parent, "the parent interface vanished; nobody is reached by it until it is back");
            }
            if let Err(error) = self.inner.switch.remove_port(port) {
                tracing::warn!("the switch could not remove {port}: {error}");
            }
            return Noticed::Gone;
        }
        let Some(new) = sight.filter(|new| *new != old) else { return Noticed::Nothing };
        leg.sight = new;
        if new.mtu != old.mtu {
            tracing::info!(network = name, %parent, mtu = new.mtu, before = old.mtu, "the parent's MTU changed, and that of the network's interfaces with it");
            if let Err(error) = self.settle_network(on) {
                tracing::warn!("network {name} keeps its MTU: {error}");
            }
        }
        match (old.carries, new.carries) {
            (true, false) => tracing::warn!(network = name, %parent, "the parent is down or has no carrier"),
            (false, true) => tracing::info!(network = name, %parent, "the parent carries frames"),
            _ => {}
        }
        match new.mtu == old.mtu {
            true => Noticed::Nothing,
            false => Noticed::Mtu,
        }
    }

    async fn take_up(&self, id: &Id, parent: &Parent) -> Result<(), ControlError> {
        let open = self.open_parent(parent).await?;
        let mut state = self.turn();
        self.plug_leg(&mut state, id, open)?;
        tracing::info!(%parent, "the parent interface is there");
        Ok(())
    }
}

/// Whether frames of nobody else come from an endpoint's port.
fn is_bound(endpoint: &Endpoint, network: &Network) -> bool {
    match network.options.lan.as_ref().map(|lan| lan.meeting) {
        Some(Meeting::Passthru) => false,
        Some(Meeting::Learning) => network.options.anti_spoof && endpoint.addresses().next().is_some(),
        _ => true,
    }
}

/// One network has a place on a parent.
fn check_parent(state: &State, spec: &NetworkSpec, parent: &Parent) -> Result<(), ControlError> {
    if state.networks.values().any(|on| on.network.name == spec.name) {
        return Err(ControlError::NetworkExists(spec.name.clone()));
    }
    let there =
        |on: &&NetworkState| on.network.options.lan.as_ref().is_some_and(|lan| lan.parent.as_ref() == Some(parent));
    match state.networks.values().filter(|on| on.index.is_some()).find(there) {
        None => Ok(()),
        Some(other) => Err(Faults::forbidden_one(format!(
            "network {} is already using parent interface {parent}; connect containers to it, or use a VLAN such as {}.50",
            other.network.name, parent.interface
        ))
        .into()),
    }
}
