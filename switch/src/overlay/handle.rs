//! VTEPs and overlay networks as control sees them.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::bounded;
use vswitch_frame::{MacAddr, PortId};
use vswitch_tunnel::{EntrySpec, OverlayEntry, OverlaySpec};

use super::{Duplicate, Vtep, VtepConfig, VtepId};
use crate::handle::{PATIENCE, no_answer};
use crate::worker::Command;
use crate::{PortConfig, Switch, SwitchError};

impl Switch {
    /// Adds a VTEP: a socket from [`crate::sys::udp::open`], bound to the configured address.
    ///
    /// # Errors
    /// When every index is taken, or the socket cannot be polled.
    pub fn add_vtep(&self, config: VtepConfig, socket: OwnedFd) -> Result<VtepId, SwitchError> {
        let vtep = self.datapath.add_vtep(config, socket)?;
        let id = vtep.id;
        match self.watch_vtep(vtep) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.remove_vtep(id)?;
                Err(error)
            }
        }
    }

    /// Gives a VTEP another socket and address while traffic runs; its networks, remotes and entries stay.
    ///
    /// # Errors
    /// When there is no such VTEP, the new address is a remote of one of its networks, or the socket cannot be polled.
    pub fn replace_vtep(&self, id: VtepId, config: VtepConfig, socket: OwnedFd) -> Result<(), SwitchError> {
        let [old, new] = self.datapath.replace_vtep(id, config, socket)?;
        self.let_go(&old)?;
        self.watch_vtep(new)
    }

    /// Removes a VTEP, which must have no networks any more.
    ///
    /// # Errors
    /// When there is no such VTEP, or networks are on it.
    pub fn remove_vtep(&self, id: VtepId) -> Result<(), SwitchError> {
        let vtep = self.datapath.take_vtep(id)?;
        self.let_go(&vtep)
    }

    /// Makes a network an overlay: adds the port by which it reaches other hosts. [`Switch::remove_port`] undoes it.
    ///
    /// # Errors
    /// When there is no such network or VTEP, the VNI is taken, or the specification breaks a rule.
    pub fn add_overlay(&self, config: PortConfig, vtep: VtepId, spec: OverlaySpec) -> Result<PortId, SwitchError> {
        self.watch(&self.datapath.add_overlay(config, vtep, spec)?)
    }

    /// Puts a remote on the flood list of an overlay's port; `false` when it is there already.
    ///
    /// # Errors
    /// When the port is no overlay's, or the address cannot be a remote.
    pub fn add_remote(&self, port: PortId, address: IpAddr) -> Result<bool, SwitchError> {
        self.datapath.add_remote(port, address)
    }

    /// Takes a remote off the flood list, and what was learned from it out of the table; `false` when it is not there.
    ///
    /// # Errors
    /// When the port is no overlay's.
    pub fn remove_remote(&self, port: PortId, address: IpAddr) -> Result<bool, SwitchError> {
        self.datapath.remove_remote(port, address)
    }

    /// Says where a station is, in the place of what was known of it. Questions for the entry's IP addresses are answered
    /// here from now on; where one of them changed hands, local stations are told.
    ///
    /// # Errors
    /// When the port is no overlay's, the entry breaks a rule, or a table is full of entries from control.
    pub fn put_overlay_entry(&self, port: PortId, entry: &EntrySpec) -> Result<(), SwitchError> {
        self.datapath.put_overlay_entry(port, entry)
    }

    /// Removes an entry of any kind; `false` when there is none.
    ///
    /// # Errors
    /// When the port is no overlay's.
    pub fn remove_overlay_entry(&self, port: PortId, mac: MacAddr) -> Result<bool, SwitchError> {
        self.datapath.remove_overlay_entry(port, mac)
    }

    /// Where the stations of an overlay are, by MAC address.
    ///
    /// # Errors
    /// When the port is no overlay's.
    pub fn overlay_entries(&self, port: PortId) -> Result<Vec<OverlayEntry>, SwitchError> {
        self.datapath.overlay_entries(port)
    }

    /// Forgets the learned entries of an overlay and returns how many there were.
    ///
    /// # Errors
    /// When the port is no overlay's.
    pub fn flush_overlay(&self, port: PortId) -> Result<usize, SwitchError> {
        self.datapath.flush_overlay(port)
    }

    /// Lets a VTEP's worker receive from it.
    fn watch_vtep(&self, vtep: Arc<Vtep>) -> Result<(), SwitchError> {
        let (done, watched) = bounded(1);
        let posted = self.workers[vtep.worker].post(Command::WatchVtep(vtep, done), PATIENCE);
        posted.map_err(|_| SwitchError::WorkerBusy)?;
        let watched = watched.recv_timeout(PATIENCE).map_err(no_answer)?;
        watched.map_err(|source| SwitchError::Io { action: "watch a VTEP", source })
    }

    /// Lets the workers forget a VTEP; when this returns, none uses it.
    fn let_go(&self, vtep: &Arc<Vtep>) -> Result<(), SwitchError> {
        self.ask_all(|done| Command::LetGoVtep(Arc::clone(vtep), done)).wait(PATIENCE)
    }

    /// Says that the local station behind the port `station` has these addresses: others that claim them are noticed, and
    /// nobody behind the tunnel is believed to have its MAC address.
    ///
    /// # Errors
    /// When the port is no overlay's, or `station` is not on its network.
    pub fn watch_station(
        &self,
        port: PortId,
        station: PortId,
        mac: MacAddr,
        addresses: &[IpAddr],
    ) -> Result<(), SwitchError> {
        self.datapath.watch_station(port, station, mac, addresses)
    }

    /// Undoes [`Switch::watch_station`]; the station's port is removed, too.
    ///
    /// # Errors
    /// When the port is no overlay's.
    pub fn unwatch_station(&self, port: PortId, mac: MacAddr, addresses: &[IpAddr]) -> Result<(), SwitchError> {
        self.datapath.unwatch_station(port, mac, addresses)
    }

    /// Addresses of local stations that stations behind an overlay's tunnel claim, too, newest first.
    ///
    /// # Errors
    /// When the port is no overlay's.
    pub fn duplicates(&self, port: PortId) -> Result<Vec<Duplicate>, SwitchError> {
        self.datapath.duplicates(port)
    }
}
