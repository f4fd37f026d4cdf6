//! What control does with VTEPs and overlay networks.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vswitch_frame::{MacAddr, PortId};
use vswitch_tunnel::{EntrySpec, Overlay, OverlayEntry, OverlaySpec};

use super::{Duplicate, NetworkLeg, OverlayLeg, OverlayPortStats, Vtep, VtepConfig, VtepId, VtepPlan, VtepStats, tick};
use crate::datapath::Datapath;
use crate::port::Port;
use crate::snapshot::{Network, Snapshot, put};
use crate::{PortConfig, PortDevice, SwitchError};

/// Most VTEPs of one switch.
const MAX_VTEPS: u16 = 256;

impl Datapath {
    /// Adds a VTEP, received from by the worker that has fewest sources.
    ///
    /// # Errors
    /// When every index is taken.
    pub fn add_vtep(&self, config: VtepConfig, socket: OwnedFd) -> Result<Arc<Vtep>, SwitchError> {
        let mut control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let free = (0..MAX_VTEPS).find(|&index| next.vteps.get(usize::from(index)).is_none_or(Option::is_none));
        let id = VtepId::new(free.ok_or(SwitchError::TooManyVteps)?);
        let vtep = Arc::new(Vtep::new(id, config, control.least_loaded(), socket));
        let plan = VtepPlan { vtep: Arc::clone(&vtep), networks: Default::default() };
        put(&mut next.vteps, id.index(), Some(Arc::new(plan)));
        self.publish(next);
        Ok(vtep)
    }

    /// Gives a VTEP another socket and address, while traffic runs; its networks stay. Returns the old one.
    ///
    /// # Errors
    /// When there is no such VTEP, or one of its networks has the new address as a remote.
    pub fn replace_vtep(&self, id: VtepId, config: VtepConfig, socket: OwnedFd) -> Result<[Arc<Vtep>; 2], SwitchError> {
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let plan = next.vtep(id).ok_or(SwitchError::UnknownVtep(id))?;
        let legs: Vec<_> = next.legs().filter(|(_, leg)| leg.vtep().id == id).map(|(_, leg)| Arc::clone(leg)).collect();
        legs.iter().try_for_each(|leg| leg.overlay.check_local(config.address.ip()))?;
        let old = Arc::clone(&plan.vtep);
        let vtep = Arc::new(Vtep::new(id, config, old.worker, socket));
        let plan = VtepPlan { vtep: Arc::clone(&vtep), networks: plan.networks.clone() };
        put(&mut next.vteps, id.index(), Some(Arc::new(plan)));
        self.publish(next);
        for leg in legs {
            leg.vtep.store(Arc::clone(&vtep));
            tick::learn_paths(&leg);
        }
        Ok([old, vtep])
    }

    /// Removes a VTEP that no network is on.
    ///
    /// # Errors
    /// When there is no such VTEP, or networks are on it.
    pub fn take_vtep(&self, id: VtepId) -> Result<Arc<Vtep>, SwitchError> {
        let mut control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let plan = next.vtep(id).ok_or(SwitchError::UnknownVtep(id))?;
        if !plan.networks.is_empty() {
            return Err(SwitchError::VtepBusy(id));
        }
        let vtep = Arc::clone(&plan.vtep);
        control.load[vtep.worker] -= 1;
        next.vteps[id.index()] = None;
        self.publish(next);
        Ok(vtep)
    }

    /// Adds the leg of an overlay network.
    ///
    /// # Errors
    /// When there is no such network or VTEP, the VNI is taken, or the specification breaks a rule.
    pub fn add_overlay(&self, config: PortConfig, vtep: VtepId, spec: OverlaySpec) -> Result<Arc<Port>, SwitchError> {
        let snapshot = self.snapshot();
        let plan = snapshot.vtep(vtep).ok_or(SwitchError::UnknownVtep(vtep))?;
        let overlay = Overlay::new(spec, plan.vtep.config.address.ip())?;
        let leg = Arc::new(OverlayLeg::new(overlay, Arc::clone(&plan.vtep)));
        self.add_port(config, PortDevice::Overlay(leg))
    }

    /// Puts a remote on the flood list of a leg; `false` when it is there already.
    ///
    /// # Errors
    /// When the port is no leg, or the address cannot be a remote.
    pub fn add_remote(&self, port: PortId, address: IpAddr) -> Result<bool, SwitchError> {
        let leg = self.leg(port)?;
        let added = leg.overlay.add_remote(address, leg.vtep().config.address.ip())?;
        leg.learn_path(&leg.vtep(), address);
        Ok(added)
    }

    /// Takes a remote off the flood list of a leg, with what was learned from it; `false` when it is not there.
    ///
    /// # Errors
    /// When the port is no leg.
    pub fn remove_remote(&self, port: PortId, address: IpAddr) -> Result<bool, SwitchError> {
        Ok(self.leg(port)?.overlay.remove_remote(address))
    }

    /// Says where a station of a leg's network is.
    ///
    /// # Errors
    /// When the port is no leg, the entry breaks a rule, or a table is full of entries from control.
    pub fn put_overlay_entry(&self, port: PortId, entry: &EntrySpec) -> Result<(), SwitchError> {
        let leg = self.leg(port)?;
        let network = self.snapshot().port(port).map(|port| port.config.network);
        let network = network.ok_or(SwitchError::UnknownPort(port))?;
        let rebounds = leg.overlay.put_entry(entry, leg.vtep().config.address.ip())?;
        if let Err(error) = self.fdb_add_static(network, entry.mac, port) {
            leg.overlay.remove_entry(entry.mac);
            return Err(error);
        }
        leg.learn_path(&leg.vtep(), entry.remote);
        if !rebounds.is_empty() {
            // Held, as only one thread may count in control's cells.
            let _control = self.control();
            tick::announce(self, port, &rebounds, self.workers + 1);
        }
        Ok(())
    }

    /// Removes an entry of any kind; `false` when there is none.
    ///
    /// # Errors
    /// When the port is no leg.
    pub fn remove_overlay_entry(&self, port: PortId, mac: MacAddr) -> Result<bool, SwitchError> {
        let removed = self.leg(port)?.overlay.remove_entry(mac);
        let snapshot = self.snapshot();
        if removed && let Some(port) = snapshot.port(port) {
            self.fdb.remove(port.config.network, mac);
        }
        Ok(removed)
    }

    /// Where the stations of a leg's network are, by MAC address.
    ///
    /// # Errors
    /// When the port is no leg.
    pub fn overlay_entries(&self, port: PortId) -> Result<Vec<OverlayEntry>, SwitchError> {
        Ok(self.leg(port)?.overlay.entries(self.clock().now()))
    }

    /// Forgets what a leg learned and returns how many entries there were.
    ///
    /// # Errors
    /// When the port is no leg.
    pub fn flush_overlay(&self, port: PortId) -> Result<usize, SwitchError> {
        Ok(self.leg(port)?.overlay.flush())
    }

    /// Says that a local station of a leg's network has this address, so that others that claim it are noticed. Nobody
    /// behind the tunnel is believed to have its MAC address.
    ///
    /// # Errors
    /// When the port is no leg, or `station` is not on its network.
    pub fn watch_station(
        &self,
        port: PortId,
        station: PortId,
        mac: MacAddr,
        addresses: &[IpAddr],
    ) -> Result<(), SwitchError> {
        let leg = self.leg(port)?;
        let network = self.snapshot().port(port).map(|port| port.config.network);
        self.fdb_add_static(network.ok_or(SwitchError::UnknownPort(port))?, mac, station)?;
        addresses.iter().for_each(|address| leg.duplicates.watch(*address, mac));
        Ok(())
    }

    /// Undoes [`Datapath::watch_station`], but for the FDB entry, which goes with the station's port.
    ///
    /// # Errors
    /// When the port is no leg.
    pub fn unwatch_station(&self, port: PortId, mac: MacAddr, addresses: &[IpAddr]) -> Result<(), SwitchError> {
        let leg = self.leg(port)?;
        addresses.iter().for_each(|address| leg.duplicates.unwatch(*address, mac));
        Ok(())
    }

    /// Addresses of local stations that stations behind the tunnel claim, newest first.
    ///
    /// # Errors
    /// When the port is no leg.
    pub fn duplicates(&self, port: PortId) -> Result<Vec<Duplicate>, SwitchError> {
        Ok(self.leg(port)?.duplicates.list(self.clock().now()))
    }

    fn leg(&self, port: PortId) -> Result<Arc<OverlayLeg>, SwitchError> {
        let snapshot = self.snapshot();
        let port = snapshot.port(port).ok_or(SwitchError::UnknownPort(port))?;
        port.overlay().cloned().ok_or(SwitchError::NotOverlay(port.id))
    }
}

/// Whether a port with this device may join `network`.
pub(crate) fn check_leg(snapshot: &Snapshot, network: &Network, device: &PortDevice) -> Result<(), SwitchError> {
    let PortDevice::Overlay(leg) = device else { return Ok(()) };
    if network.leg.is_some() {
        return Err(SwitchError::HasOverlay(network.index));
    }
    let (vtep, vni) = (leg.vtep().id, leg.overlay.spec().vni);
    let plan = snapshot.vtep(vtep).ok_or(SwitchError::UnknownVtep(vtep))?;
    if plan.networks.contains_key(&vni) { Err(SwitchError::VniTaken(vni)) } else { Ok(()) }
}

/// Joins a leg to its VTEP and network in the next snapshot.
pub(crate) fn join(next: &mut Snapshot, network: &mut Network, port: &Port) {
    let Some(leg) = port.overlay() else { return };
    leg.set_gateway(network.config.gateway.as_ref().map(|gateway| gateway.mac));
    network.leg = Some(NetworkLeg { port: port.id, leg: Arc::clone(leg) });
    change_plan(next, leg, |plan| {
        plan.networks.insert(leg.overlay.spec().vni, port.id);
    });
}

/// The reverse of [`join`].
pub(crate) fn part(next: &mut Snapshot, network: &mut Network, port: &Port) {
    let Some(leg) = port.overlay() else { return };
    network.leg = None;
    change_plan(next, leg, |plan| {
        plan.networks.remove(&leg.overlay.spec().vni);
    });
}

fn change_plan(next: &mut Snapshot, leg: &OverlayLeg, change: impl FnOnce(&mut VtepPlan)) {
    if let Some(Some(plan)) = next.vteps.get_mut(leg.vtep().id.index()) {
        change(Arc::make_mut(plan));
    }
}

/// What all VTEPs and legs counted.
pub(crate) fn stats(datapath: &Datapath, snapshot: &Snapshot) -> (Vec<VtepStats>, Vec<OverlayPortStats>) {
    let now = datapath.clock().now();
    let vteps = snapshot.vteps.iter().flatten().map(|plan| plan.vtep.stats(plan.networks.len()));
    let legs = snapshot.legs().map(|(port, leg)| OverlayPortStats {
        port: port.id,
        network: port.config.network,
        vtep: leg.vtep().id,
        overlay: leg.overlay.stats(now),
    });
    (vteps.collect(), legs.collect())
}
