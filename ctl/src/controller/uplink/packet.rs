//! An interface as the way out, kept open.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vswitch_frame::{NetworkIndex, PortId};
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::{PortConfig, PortDevice, Switch};

use super::super::{Controller, ports, unexpected};
use crate::agent::client::AgentClient;
use crate::agent::protocol::{Reply, Request};
use crate::error::ControlError;
use crate::overlay::underlay::Monitor;
use crate::publish::PublishSpec;
use crate::uplink::{PacketUplink, router};

/// How often the interface is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An uplink whose interface was opened.
#[derive(Debug)]
pub struct OpenPacket {
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
pub(in crate::controller) struct PacketState {
    pub(super) uplink: PacketUplink,
    pub(super) settings: Settings,
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

impl PacketState {
    /// Makes the uplink a network of the switch. Nothing passes before it has its port.
    pub(super) fn new(switch: &Switch, open: OpenPacket) -> Result<PacketState, ControlError> {
        let OpenPacket { uplink, settings, interface } = open;
        let index = switch.add_network(router::network(&uplink, mtu_of(&uplink, interface.mtu)))?;
        let link = Mutex::new(Link { index, port: None, waiting: Some(interface), lost: 0, recovered: 0 });
        Ok(PacketState { uplink, settings, link })
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The uplink as a network of the switch.
    pub(super) fn index(&self) -> NetworkIndex {
        self.link().index
    }

    /// The uplink in the words of the API.
    pub(super) fn stats(&self, monitor: &Monitor) -> vswitch_api::stats::UplinkStats {
        let carries = monitor.carries(&self.uplink.interface).unwrap_or_else(|error| {
            tracing::warn!("whether the uplink is up: {error}");
            None
        });
        let link = self.link();
        let down = link.port.is_some() && carries == Some(false);
        vswitch_api::stats::UplinkStats {
            interface: self.uplink.interface.clone(),
            up: link.port.is_some() && !down,
            down,
            lost: link.lost,
            recovered: link.recovered,
        }
    }

    /// Whether a host address is one of the uplink's; if not, which those are.
    pub(super) fn check_host(&self, spec: &PublishSpec, host: IpAddr) -> Result<(), String> {
        if host.is_unspecified() || host.is_loopback() || self.uplink.own().any(|own| own == host) {
            return Ok(());
        }
        let own: Vec<_> = self.uplink.own().map(|own| own.to_string()).collect();
        Err(format!(
            "failed to bind host port {}: cannot assign requested address; the uplink has {}",
            ports::host_text(host, spec),
            own.join(", ")
        ))
    }

    /// Lets the interface that was opened at the start take part.
    pub(super) fn plug(&self, switch: &Switch) -> Result<(), ControlError> {
        let mut link = self.link();
        let Some(interface) = link.waiting.take() else { return Ok(()) };
        let config = PortConfig::new(self.uplink.interface.clone(), link.index);
        link.port = Some(switch.add_port(config, PortDevice::Packet(interface.descriptor))?);
        Ok(())
    }
}

/// The user's MTU, if it is lower than the interface's.
fn mtu_of(uplink: &PacketUplink, interface: u32) -> u32 {
    uplink.mtu.map_or(interface, |mtu| mtu.min(interface))
}

impl Controller {
    /// Looks after the interface for as long as the agent lives: one that vanishes is opened again when it is back.
    pub(super) async fn keep_interface(&self, on: &PacketState) {
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

    fn notice_loss(&self, on: &PacketState) {
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

    async fn recover(&self, on: &PacketState) {
        match Interface::open(&self.inner.agent, &on.uplink).await {
            Ok(interface) => {
                let mtu = mtu_of(&on.uplink, interface.mtu);
                if let Err(error) = self.replace_uplink(on, mtu, interface).and_then(|()| on.plug(&self.inner.switch)) {
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
    fn replace_uplink(&self, on: &PacketState, mtu: u32, interface: Interface) -> Result<(), ControlError> {
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
