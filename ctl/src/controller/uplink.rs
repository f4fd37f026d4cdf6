//! The way out: the interface, kept open, and the router's rules, kept as the state says.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vswitch_frame::{NetworkIndex, PortId};
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::nat::table::FlowFilter;
use vswitch_switch::{PortConfig, PortDevice, Switch};

use super::state::State;
use super::{Controller, ports, unexpected};
use crate::agent::client::AgentClient;
use crate::agent::protocol::{Reply, Request};
use crate::error::ControlError;
use crate::ipam::SubnetPlan;
use crate::uplink::{PacketUplink, router};

/// How often the interface is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An uplink whose interface was opened.
#[derive(Debug)]
pub struct OpenUplink {
    /// What it should be like.
    pub uplink: PacketUplink,
    /// How the translator behaves.
    pub settings: Settings,
    /// The interface.
    pub interface: Interface,
}

/// An open interface.
#[derive(Debug)]
pub struct Interface {
    descriptor: OwnedFd,
    mtu: u32,
}

impl Interface {
    /// Asks the agent for it.
    ///
    /// # Errors
    /// When there is none of that name, it must not be opened, or the host has one of the uplink's addresses on it.
    pub async fn open(agent: &AgentClient, uplink: &PacketUplink) -> Result<Interface, ControlError> {
        let request = Request::UplinkOpen { interface: uplink.interface.clone() };
        match agent.call(request, Vec::new()).await? {
            (Reply::Uplink { mtu, addresses }, mut descriptors) => {
                // The host would answer for it, too, and end connections that it does not know.
                if let Some(shared) = uplink.own().find(|own| addresses.contains(own)) {
                    return Err(ControlError::Conflict(format!(
                        "{shared} is the host's own address on {0}; give the uplink another one, or take it off with 'ip \
                         address flush dev {0}'",
                        uplink.interface
                    )));
                }
                let none = || ControlError::Internal("the agent sent no descriptor; restart vswitchd".to_owned());
                Ok(Interface { descriptor: descriptors.pop().ok_or_else(none)?, mtu })
            }
            (reply, _) => Err(unexpected(&reply)),
        }
    }
}

/// The controller's part of the uplink.
#[derive(Debug)]
pub(super) struct UplinkState {
    pub(super) uplink: PacketUplink,
    settings: Settings,
    link: Mutex<Link>,
}

#[derive(Debug)]
struct Link {
    /// The uplink as a network of the switch.
    index: NetworkIndex,
    port: Option<PortId>,
    /// Opened, but no port yet.
    waiting: Option<Interface>,
    /// How often it vanished.
    lost: u64,
    /// How often it came back.
    recovered: u64,
}

impl UplinkState {
    /// Makes the uplink a network of the switch. Nothing passes before it has its port.
    pub(super) fn new(switch: &Switch, open: OpenUplink) -> Result<UplinkState, ControlError> {
        let OpenUplink { uplink, settings, interface } = open;
        let index = switch.add_network(router::network(&uplink, mtu_of(&uplink, interface.mtu)))?;
        let link = Mutex::new(Link { index, port: None, waiting: Some(interface), lost: 0, recovered: 0 });
        Ok(UplinkState { uplink, settings, link })
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The uplink as a network of the switch.
    pub(super) fn index(&self) -> NetworkIndex {
        self.link().index
    }

    /// The uplink in the words of the API.
    pub(super) fn stats(&self) -> vswitch_api::stats::UplinkStats {
        let link = self.link();
        vswitch_api::stats::UplinkStats {
            interface: self.uplink.interface.clone(),
            up: link.port.is_some(),
            lost: link.lost,
            recovered: link.recovered,
        }
    }

    /// Whether a subnet would share addresses with the uplink, and which of the uplink's.
    pub(super) fn meets(&self, plan: &SubnetPlan) -> Option<ipnet::IpNet> {
        let meets = |net: &ipnet::IpNet| net.contains(&plan.net) || plan.net.contains(net);
        self.uplink.families().map(|family| family.net).find(meets)
    }
}

/// The user's MTU, if it is lower than the interface's.
fn mtu_of(uplink: &PacketUplink, interface: u32) -> u32 {
    uplink.mtu.map_or(interface, |mtu| mtu.min(interface))
}

impl Controller {
    /// Makes the router do what the state says. Without an uplink there is no router.
    pub(super) fn refresh_router(&self, state: &State) -> Result<(), ControlError> {
        let Some(on) = &self.inner.uplink else { return Ok(()) };
        let inside = state.networks.values().filter_map(|one| Some((one.index?, &one.network)));
        let config = router::plan((&on.uplink, on.index()), inside, &ports::published(state), &on.settings);
        Ok(self.inner.switch.set_router(Some(config))?)
    }

    /// Says so when running containers had an uplink before this start and have none now.
    pub(super) fn warn_of_closed_ports(&self) {
        let state = self.state();
        let running = state.containers.values().map(|one| &one.container).filter(|container| container.running());
        for container in running.filter(|container| self.inner.uplink.is_none() && !container.ports.is_empty()) {
            tracing::warn!("nobody reaches the published ports of container {} without --uplink", container.name);
        }
    }

    /// As [`Controller::refresh_router`], where there is nobody to tell: the old rules stay, and the log says so.
    pub(super) fn refresh_router_anyway(&self, state: &State) {
        if let Err(error) = self.refresh_router(state) {
            tracing::error!("the router keeps its old rules: {error}");
        }
    }

    /// Ends the flows of an address inside, as Docker does when an endpoint goes.
    pub(super) fn flush_address(&self, address: IpAddr) {
        if self.inner.uplink.is_some() {
            let filter = FlowFilter { endpoint: Some(address), ..FlowFilter::default() };
            let ended = self.inner.switch.flush_flows(&filter);
            tracing::debug!(%address, ended, "flows flushed");
        }
    }

    /// Ends the flows of a network that goes.
    pub(super) fn flush_network(&self, network: NetworkIndex) {
        if self.inner.uplink.is_some() {
            let filter = FlowFilter { network: Some(network), ..FlowFilter::default() };
            let _ = self.inner.switch.flush_flows(&filter);
        }
    }

    /// Lets the interface that was opened at the start take part.
    pub(super) fn plug_uplink(&self) -> Result<(), ControlError> {
        let Some(on) = &self.inner.uplink else { return Ok(()) };
        let mut link = on.link();
        let Some(interface) = link.waiting.take() else { return Ok(()) };
        let config =
            PortConfig { name: on.uplink.interface.clone(), network: link.index, identity: None, mac_limit: None };
        link.port = Some(self.inner.switch.add_port(config, PortDevice::Packet(interface.descriptor))?);
        Ok(())
    }

    /// Looks after the interface for as long as the agent lives: one that vanishes is opened again when it is back.
    pub(super) async fn keep_uplink(self) {
        let Some(on) = &self.inner.uplink else { return };
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.agent_closed() => return,
            }
            self.notice_loss(on);
            if on.link().port.is_none() {
                self.recover(on).await;
            }
        }
    }

    fn notice_loss(&self, on: &UplinkState) {
        let mut link = on.link();
        let Some(port) = link.port.filter(|port| self.inner.switch.lost_ports().contains(port)) else { return };
        link.port = None;
        link.lost += 1;
        tracing::warn!(
            interface = on.uplink.interface,
            "the uplink's interface vanished; nothing leaves until it is back"
        );
        if let Err(error) = self.inner.switch.remove_port(port) {
            tracing::warn!("the switch could not remove {port}: {error}");
        }
    }

    async fn recover(&self, on: &UplinkState) {
        match Interface::open(&self.inner.agent, &on.uplink).await {
            Ok(interface) => {
                let mtu = mtu_of(&on.uplink, interface.mtu);
                if let Err(error) = self.replace_uplink(on, mtu, interface).and_then(|()| self.plug_uplink()) {
                    tracing::warn!("the uplink's interface is back but cannot be used yet: {error}");
                    return;
                }
                on.link().recovered += 1;
                tracing::info!(interface = on.uplink.interface, mtu, "the uplink's interface is back");
            }
            Err(error) => tracing::debug!("the uplink's interface is not back yet: {error}"),
        }
    }

    /// Makes the uplink a new network: what was known of neighbours belongs to the link that is gone.
    fn replace_uplink(&self, on: &UplinkState, mtu: u32, interface: Interface) -> Result<(), ControlError> {
        let index = self.inner.switch.add_network(router::network(&on.uplink, mtu))?;
        let state = self.state();
        let old = {
            let mut link = on.link();
            link.waiting = Some(interface);
            std::mem::replace(&mut link.index, index)
        };
        self.refresh_router(&state)?;
        drop(state);
        Ok(self.inner.switch.remove_network(old)?)
    }
}
