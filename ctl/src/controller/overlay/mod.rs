//! Overlay networks: their VTEPs, their tunnels on the switch, and what the control planes say of them.
//!
//! The planes are asked and the switch is told with the state locked, so what [`NetworkState::tunnel`] says was applied
//! is what the switch has.

mod directory;
mod file;
mod plan;
mod underlay;
mod view;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use vswitch_frame::{PortId, Vni};
use vswitch_switch::overlay::{VtepConfig, VtepId};
use vswitch_switch::tunnel::{self, EntrySpec, OuterChecksum, OverlaySpec};
use vswitch_switch::{PortConfig, Switch, SwitchError};

use super::Controller;
use super::state::{NetworkState, State};
use crate::error::ControlError;
use crate::model::Endpoint;
use crate::overlay::underlay::Underlay;
use crate::overlay::{ControlPlane, Directory, Entry, OpenVtep, Origin, PORT_NAME, StaticPlane, Station, VtepSpec};

/// What overlay networks share.
#[derive(Debug)]
pub(super) struct Overlays {
    vteps: Vec<Vtep>,
    operator: StaticPlane,
    file: StaticPlane,
}

/// This host's end of tunnels.
#[derive(Debug)]
pub(super) struct Vtep {
    pub(super) spec: VtepSpec,
    id: VtepId,
    underlay: Mutex<Sight>,
}

/// What was seen of a VTEP's interface.
#[derive(Debug, Clone, Default)]
struct Sight {
    /// Now.
    now: Option<Underlay>,
    /// The last one that was there.
    last: Option<Underlay>,
}

/// The tunnel of a network on the switch.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) port: PortId,
    /// What the switch was told last.
    applied: Directory,
}

impl Overlays {
    /// Hands the VTEPs' sockets to the switch.
    pub(super) fn new(switch: &Switch, vteps: Vec<OpenVtep>) -> Result<Overlays, ControlError> {
        let vteps = vteps.into_iter().map(|OpenVtep { spec, socket }| {
            let config = VtepConfig { address: SocketAddr::new(spec.address, spec.port) };
            let id = switch.add_vtep(config, socket)?;
            Ok(Vtep { spec, id, underlay: Mutex::default() })
        });
        Ok(Overlays {
            vteps: vteps.collect::<Result<_, ControlError>>()?,
            operator: StaticPlane::new(Origin::Operator),
            file: StaticPlane::new(Origin::File),
        })
    }

    /// All planes; of two that bind one address the first wins.
    fn planes(&self) -> [&dyn ControlPlane; 2] {
        [&self.operator, &self.file]
    }

    /// What all planes say of a network.
    fn directory(&self, vni: Vni) -> Directory {
        let all = self.planes().map(|plane| plane.directory(vni));
        Directory::merge(&all)
    }

    /// The VTEP that a user named, or the first.
    fn vtep(&self, wanted: Option<IpAddr>) -> Option<&Vtep> {
        match wanted {
            None => self.vteps.first(),
            Some(address) => self.vteps.iter().find(|vtep| vtep.spec.address == address),
        }
    }
}

impl Vtep {
    fn sight(&self) -> Sight {
        self.underlay.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Controller {
    /// Gives an overlay network its tunnel and tells the switch what is known of the network. Without its VTEP, it goes
    /// on as a network of this host alone.
    pub(super) fn plug_tunnel(&self, on: &mut NetworkState) -> Result<(), ControlError> {
        let (Some(overlay), Some(index)) = (&on.network.overlay, on.index) else { return Ok(()) };
        let name = &on.network.name;
        let Some(vtep) = self.inner.overlays.vtep(overlay.vtep) else {
            let wanted = overlay.vtep.map_or_else(|| "ADDRESS".to_owned(), |address| address.to_string());
            tracing::warn!("overlay network {name} reaches no other host without --vtep {wanted}");
            return Ok(());
        };
        let config = PortConfig::new(PORT_NAME, index);
        let checksum = if overlay.checksum { OuterChecksum::Computed } else { OuterChecksum::Zero };
        let spec = OverlaySpec { checksum, ..OverlaySpec::new(overlay.vni) };
        let port = self.inner.switch.add_overlay(config, vtep.id, spec)?;
        on.tunnel = Some(Tunnel { port, applied: Directory::default() });
        self.inner.overlays.operator.set(overlay.vni, overlay.directory.clone());
        self.apply_directory(on);
        Ok(())
    }

    /// Takes the tunnel of a network that goes away.
    pub(super) fn unplug_tunnel(&self, on: &mut NetworkState) {
        let Some(tunnel) = on.tunnel.take() else { return };
        if let Some(overlay) = &on.network.overlay {
            self.inner.overlays.operator.set(overlay.vni, Directory::default());
        }
        if let Err(error) = self.inner.switch.remove_port(tunnel.port) {
            tracing::warn!("the switch could not remove {}: {error}", tunnel.port);
        }
    }

    /// Makes the switch's remotes and entries what the planes say. What it refuses is logged, and the rest goes on.
    fn apply_directory(&self, on: &mut NetworkState) {
        let (Some(overlay), Some(tunnel)) = (&on.network.overlay, &mut on.tunnel) else { return };
        let wanted = self.inner.overlays.directory(overlay.vni);
        if wanted == tunnel.applied {
            return;
        }
        let (switch, port) = (&self.inner.switch, tunnel.port);
        let refused = |error: SwitchError| {
            tracing::warn!("the tunnel of network {} does not take what is known of it: {error}", on.network.name);
        };
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (tunnel.applied.remotes().collect(), wanted.remotes().collect());
        for &remote in new.difference(&old) {
            let _ = switch.add_remote(port, remote).map_err(refused);
        }
        // What changes goes first: an IP address may pass from one station to another.
        for entry in tunnel.applied.entries().iter().filter(|entry| !wanted.entries().contains(entry)) {
            let _ = switch.remove_overlay_entry(port, entry.mac).map_err(refused);
        }
        for entry in wanted.entries().iter().filter(|entry| !tunnel.applied.entries().contains(entry)) {
            let _ = switch.put_overlay_entry(port, &entry_spec(entry)).map_err(refused);
        }
        for &remote in old.difference(&new) {
            let _ = switch.remove_remote(port, remote).map_err(refused);
        }
        tunnel.applied = wanted;
    }

    /// Tells all planes of a station that came up here. The switch then knows that its addresses are nobody else's.
    pub(super) fn announce(&self, state: &State, endpoint: &Endpoint, station: PortId) {
        self.tell_switch(state, endpoint, |tunnel, addresses| {
            self.inner.switch.watch_station(tunnel, station, endpoint.mac, addresses)
        });
        self.tell_planes(state, endpoint, |plane, vni, vtep| {
            let addresses = endpoint.addresses().collect();
            plane.announce(vni, &Station { mac: endpoint.mac, addresses, vtep });
        });
    }

    /// Tells all planes of a station that left.
    pub(super) fn withdraw(&self, state: &State, endpoint: &Endpoint) {
        self.tell_switch(state, endpoint, |tunnel, addresses| {
            self.inner.switch.unwatch_station(tunnel, endpoint.mac, addresses)
        });
        self.tell_planes(state, endpoint, |plane, vni, _| plane.withdraw(vni, endpoint.mac));
    }

    fn tell_switch(
        &self,
        state: &State,
        endpoint: &Endpoint,
        tell: impl FnOnce(PortId, &[IpAddr]) -> Result<(), SwitchError>,
    ) {
        let Some(on) = state.networks.get(&endpoint.network) else { return };
        // Without anti-spoofing, many stations may be behind one port, and any of them may be elsewhere tomorrow.
        let Some(tunnel) = on.tunnel.as_ref().filter(|_| on.network.options.anti_spoof) else { return };
        let addresses: Vec<IpAddr> = endpoint.addresses().collect();
        if let Err(error) = tell(tunnel.port, &addresses) {
            tracing::warn!("duplicates of endpoint {} may go unnoticed: {error}", endpoint.name);
        }
    }

    fn tell_planes(&self, state: &State, endpoint: &Endpoint, tell: impl Fn(&dyn ControlPlane, Vni, IpAddr)) {
        let network = state.networks.get(&endpoint.network).map(|on| &on.network);
        let Some(overlay) = network.and_then(|network| network.overlay.as_ref()) else { return };
        let Some(vtep) = self.inner.overlays.vtep(overlay.vtep) else { return };
        for plane in self.inner.overlays.planes() {
            tell(plane, overlay.vni, vtep.spec.address);
        }
    }

    /// Follows the planes for as long as the agent lives.
    pub(super) async fn keep_overlays(self) {
        let changes = self.inner.overlays.planes().map(ControlPlane::changes);
        let [operator, file] = &changes;
        loop {
            tokio::select! {
                () = operator.notified() => {}
                () = file.notified() => {}
                () = self.agent_closed() => return,
            }
            for on in self.turn().networks.values_mut() {
                self.apply_directory(on);
            }
        }
    }
}

/// An entry in the words of the switch.
fn entry_spec(entry: &Entry) -> EntrySpec {
    EntrySpec {
        mac: entry.mac,
        addresses: entry.addresses.iter().copied().collect(),
        remote: entry.remote,
        origin: tunnel::Origin::Static,
    }
}
