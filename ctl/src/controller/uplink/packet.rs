//! An interface as the way out, kept open.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vswitch_frame::{NetworkIndex, PortId};
use vswitch_switch::nat::route::Probed;
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::{PortConfig, PortDevice, Switch};

use super::super::{Controller, unexpected};
use super::Health;
use crate::agent::client::AgentClient;
use crate::agent::protocol::{Reply, Request};
use crate::error::ControlError;
use crate::overlay::underlay::Monitor;
use crate::uplink::{PacketUplink, router};

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
    /// Its place among all.
    number: usize,
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
    health: Health,
}

impl PacketState {
    /// Makes the uplink a network of the switch. Nothing passes before it has its port.
    pub(super) fn new(switch: &Switch, number: usize, open: OpenPacket) -> Result<PacketState, ControlError> {
        let OpenPacket { uplink, settings, interface } = open;
        let index = switch.add_network(router::network(number, &uplink, mtu_of(&uplink, interface.mtu)))?;
        let (waiting, health) = (Some(interface), Health::Usable);
        let link = Mutex::new(Link { index, port: None, waiting, lost: 0, recovered: 0, health });
        Ok(PacketState { number, uplink, settings, link })
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The uplink as a network of the switch.
    pub(super) fn index(&self) -> NetworkIndex {
        self.link().index
    }

    /// What the user calls it.
    pub(super) fn name(&self) -> &str {
        &self.uplink.name
    }

    /// How it was when somebody looked last.
    pub(super) fn health(&self) -> Health {
        self.link().health
    }

    /// Whether it has a port.
    pub(super) fn is_there(&self) -> bool {
        self.link().port.is_some()
    }

    /// Looks whether anything goes by it, asks its next routers whether they are there, and says whether something has changed.
    pub(super) fn look(&self, switch: &Switch, monitor: &Monitor) -> bool {
        let carries = monitor.carries(&self.uplink.interface).unwrap_or(None);
        let routers = self.uplink.families().filter_map(|family| family.gateway);
        let mut link = self.link();
        let probed: Vec<_> = routers.filter_map(|router| switch.probe(link.index, router)).collect();
        let before = link.health;
        let health = match () {
            () if link.port.is_none() => Health::Gone,
            () if carries == Some(false) => Health::NoCarrier,
            () if probed.contains(&Probed::Silent) => Health::Silent,
            // It is so until they have answered.
            () if before != Health::Usable && probed.iter().any(|probed| *probed != Probed::Answers) => Health::Silent,
            () => Health::Usable,
        };
        link.health = health;
        drop(link);
        if before != health {
            match health {
                Health::Usable => tracing::info!(uplink = self.name(), "the uplink is usable again"),
                _ => tracing::warn!(uplink = self.name(), "nothing goes by the uplink: {health}"),
            }
        }
        before != health
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
            name: self.uplink.name.clone(),
            interface: self.uplink.interface.clone(),
            up: link.port.is_some() && !down && link.health != Health::Silent,
            down,
            silent: link.health == Health::Silent,
            addresses: self.uplink.own().map(|own| own.to_string()).collect(),
            networks: Vec::new(),
            lost: link.lost,
            recovered: link.recovered,
        }
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
    pub(super) fn notice_loss(&self, on: &PacketState) {
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

    pub(super) async fn recover(&self, on: &PacketState) {
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
        let index = self.inner.switch.add_network(router::network(on.number, &on.uplink, mtu))?;
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
