//! What the operator says of remotes and entries.

use std::net::IpAddr;

use vswitch_frame::MacAddr;

use super::super::Controller;
use super::super::state::{NetworkState, State};
use crate::error::ControlError;
use crate::ids::Id;
use crate::ipam::check_station;
use crate::model::Network;
use crate::overlay::directory::check_remote;
use crate::overlay::{ControlPlane, Directory, DirectoryError};
use crate::store::Change;

/// The directory's refusals in Docker's classes.
fn refused(error: &DirectoryError) -> ControlError {
    use DirectoryError as E;
    match error {
        E::NotARemote(_) | E::NoEntry(_) => ControlError::TunnelNotFound(error.to_string()),
        E::RemoteExists(_) | E::RemoteInUse { .. } | E::AddressBound { .. } | E::TooManyRemotes => {
            ControlError::Conflict(error.to_string())
        }
        _ => ControlError::invalid(error.to_string()),
    }
}

impl Controller {
    /// Adds a remote to an overlay network.
    ///
    /// # Errors
    /// When the network has no tunnel, the address cannot be a remote or is one already, or the store refuses.
    pub fn add_remote(&self, network: &str, remote: IpAddr) -> Result<(), ControlError> {
        self.change(network, |directory, place| {
            for own in &place.own {
                check_remote(remote, *own).or_else(|error| match error {
                    // Another VTEP of this host may be of the other family; the network's own decides about that.
                    DirectoryError::Family(..) => Ok(()),
                    error => Err(error),
                })?;
            }
            if place.given.remotes().any(|other| other == remote) {
                return Err(DirectoryError::RemoteExists(remote));
            }
            directory.add_remote(remote, place.vtep)
        })
    }

    /// Removes a remote from an overlay network.
    ///
    /// # Errors
    /// When it is none, entries lead to it, or the file of `--config` names it.
    pub fn remove_remote(&self, network: &str, remote: IpAddr) -> Result<(), ControlError> {
        self.not_in_file(network, &remote.to_string(), |given| given.remotes().any(|other| other == remote))?;
        self.change(network, |directory, _| directory.remove_remote(remote))
    }

    /// Binds a station of an overlay network to a remote.
    ///
    /// # Errors
    /// When the network has no tunnel, the remote is none, an address makes no sense or is a local endpoint's, or the
    /// store refuses.
    pub fn add_entry(
        &self,
        network: &str,
        mac: MacAddr,
        address: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<(), ControlError> {
        let mac = check_station(mac).map_err(|fault| ControlError::invalid(fault.to_string()))?;
        self.not_in_file(network, &mac.to_string(), |given| given.entries().iter().any(|entry| entry.mac == mac))?;
        {
            let state = self.state();
            let on = state.network(network)?;
            on.check_mac(mac, |id| state.endpoints.get(id).map(|one| one.endpoint.name.clone()))?;
            if let Some(address) = address {
                check_free(&state, on, address)?;
            }
        }
        self.change(network, |directory, place| {
            let known: Vec<IpAddr> = place.given.remotes().collect();
            directory.add_entry(mac, address, remote, &known)
        })
    }

    /// Removes the entry of a station.
    ///
    /// # Errors
    /// When there is none, or the file of `--config` names it.
    pub fn remove_entry(&self, network: &str, mac: MacAddr) -> Result<(), ControlError> {
        self.not_in_file(network, &mac.to_string(), |given| given.entries().iter().any(|entry| entry.mac == mac))?;
        self.change(network, |directory, _| directory.remove_entry(mac))
    }

    /// Changes the operator's directory of a network: in the store, in memory and on the switch.
    fn change(
        &self,
        text: &str,
        change: impl FnOnce(&mut Directory, &Place) -> Result<(), DirectoryError>,
    ) -> Result<(), ControlError> {
        let mut state = self.turn();
        let (id, place) = self.place(&state, text)?;
        let mut network: Network = state.networks[&id].network.clone();
        let Some(overlay) = &mut network.overlay else { return Err(no_overlay(text)) };
        change(&mut overlay.directory, &place).map_err(|error| refused(&error))?;
        let (vni, directory) = (overlay.vni, overlay.directory.clone());
        state.commit(&Change::new().put_network(&network))?;
        self.inner.overlays.operator.set(vni, directory);
        if let Some(on) = state.networks.get_mut(&id) {
            on.network = network;
            self.apply_directory(on);
        }
        Ok(())
    }

    pub(super) fn place(&self, state: &State, text: &str) -> Result<(Id, Place), ControlError> {
        let network = &state.network(text)?.network;
        let overlay = network.overlay.as_ref().ok_or_else(|| no_overlay(&network.name))?;
        let overlays = &self.inner.overlays;
        let none = || {
            let name = &network.name;
            ControlError::Conflict(format!(
                "network {name} has no tunnel; start vswitchd with the --vtep that it needs"
            ))
        };
        let vtep = overlays.vtep(overlay.vtep).ok_or_else(none)?.spec.address;
        let own = overlays.vteps.iter().map(|vtep| vtep.spec.address).collect();
        Ok((network.id.clone(), Place { vtep, own, given: overlays.file.directory(overlay.vni) }))
    }

    /// What the file says, the file must change.
    fn not_in_file(
        &self,
        network: &str,
        what: &str,
        named: impl FnOnce(&Directory) -> bool,
    ) -> Result<(), ControlError> {
        let state = self.state();
        let (_, place) = self.place(&state, network)?;
        if named(&place.given) {
            return Err(ControlError::Conflict(format!(
                "{what} is in the file of --config; change it there and start vswitchd again"
            )));
        }
        Ok(())
    }
}

/// Where a network's tunnel begins.
pub(super) struct Place {
    /// Its VTEP.
    vtep: IpAddr,
    /// All VTEPs of this host.
    own: Vec<IpAddr>,
    /// What the file says of it.
    given: Directory,
}

fn no_overlay(network: &str) -> ControlError {
    ControlError::invalid(format!(
        "network {network} is no overlay network; see 'vswitchctl network ls --filter driver=overlay'"
    ))
}

/// An address that an entry names must be nobody's here.
fn check_free(state: &State, on: &NetworkState, address: IpAddr) -> Result<(), ControlError> {
    let in_use = || ControlError::AddressInUse { address: address.to_string(), network: on.network.name.clone() };
    if on.network.subnets().any(|plan| plan.gateway == address) {
        return Err(in_use());
    }
    let mut here = on.endpoints.iter().filter_map(|id| state.endpoints.get(id));
    match here.any(|one| one.endpoint.addresses().any(|own| own == address)) {
        true => Err(in_use()),
        false => Ok(()),
    }
}
