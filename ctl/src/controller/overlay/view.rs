//! Tunnels in the words of the API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vswitch_api::stats;
use vswitch_api::tunnel::{Duplicate, Entry, EntryKind, Remote, Tunnel};
use vswitch_frame::PortId;
use vswitch_switch::overlay::{Claimed, OverlayPortStats, VtepStats};
use vswitch_switch::tunnel::{Origin, OverlayEntry, RemoteStats, TunnelDrop};

use super::super::Controller;
use super::super::state::{NetworkState, State};
use crate::error::ControlError;
use crate::overlay::mtu;

impl Controller {
    /// The tunnels of all overlay networks, by network.
    #[must_use]
    pub fn tunnels(&self) -> Vec<Tunnel> {
        let counted = self.inner.switch.stats().overlays;
        let state = self.state();
        let mut found: Vec<_> =
            state.networks.values().filter_map(|on| self.tunnel_view(&state, on, &counted)).collect();
        found.sort_by(|a, b| a.network.cmp(&b.network));
        found
    }

    /// The tunnel of one overlay network.
    ///
    /// # Errors
    /// When the network is unknown, or has none.
    pub fn tunnel(&self, network: &str) -> Result<Tunnel, ControlError> {
        let counted = self.inner.switch.stats().overlays;
        let state = self.state();
        self.place(&state, network)?;
        let on = state.network(network)?;
        let gone = || ControlError::TunnelNotFound(format!("network {network} has no tunnel any more"));
        self.tunnel_view(&state, on, &counted).ok_or_else(gone)
    }

    fn tunnel_view(&self, state: &State, on: &NetworkState, counted: &[OverlayPortStats]) -> Option<Tunnel> {
        let (overlay, tunnel) = (on.network.overlay.as_ref()?, on.tunnel.as_ref()?);
        let vtep = self.inner.overlays.vtep(overlay.vtep)?;
        let sight = vtep.sight();
        let counted = counted.iter().find(|one| one.port == tunnel.port).map(|one| &one.overlay)?;
        let origin = |address: &IpAddr| {
            let planes = self.inner.overlays.planes();
            let names = planes.iter().filter(|plane| plane.directory(overlay.vni).remotes().any(|one| one == *address));
            names.map(|plane| plane.origin().word()).next().unwrap_or_default().to_owned()
        };
        let mut entries = self.inner.switch.overlay_entries(tunnel.port).unwrap_or_default();
        entries.sort_by_key(|entry| entry.mac);
        let longest = |underlay| mtu::longest(underlay, vtep.spec.address);
        Some(Tunnel {
            network: on.network.name.clone(),
            network_id: on.network.id.to_string(),
            vni: overlay.vni.value(),
            vtep: vtep.spec.address.to_string(),
            port: vtep.spec.port,
            up: sight.now.is_some(),
            mtu: sight.last.as_ref().map_or(on.network.options.mtu, longest),
            interface: sight.now.map(|underlay| underlay.interface),
            checksum: overlay.checksum,
            remotes: counted.remotes.iter().map(|one| remote(one, origin(&one.address))).collect(),
            duplicates: self.duplicates(state, on, tunnel.port, &entries),
            entries: entries.iter().map(entry).collect(),
            drops: drops(&counted.drops),
        })
    }

    fn duplicates(&self, state: &State, on: &NetworkState, tunnel: PortId, known: &[OverlayEntry]) -> Vec<Duplicate> {
        let found = self.inner.switch.duplicates(tunnel).unwrap_or_default();
        let endpoints = || on.endpoints.iter().filter_map(|id| state.endpoints.get(id)).map(|one| &one.endpoint);
        let owner = |claimed| match claimed {
            Claimed::Mac(mac) => endpoints().find(|endpoint| endpoint.mac == mac),
            Claimed::Ip(address) => endpoints().find(|endpoint| endpoint.addresses().any(|own| own == address)),
        };
        let duplicates = found.iter().map(|one| Duplicate {
            address: match one.claimed {
                Claimed::Mac(mac) => mac.to_string(),
                Claimed::Ip(address) => address.to_string(),
            },
            endpoint: owner(one.claimed).map(|endpoint| endpoint.name.clone()).unwrap_or_default(),
            mac_address: one.by.to_string(),
            remote: known.iter().find(|entry| entry.mac == one.by).map(|entry| entry.remote.to_string()),
            count: one.count,
            age_seconds: one.age_seconds,
        });
        duplicates.collect()
    }

    /// The VTEPs' counters.
    pub(in crate::controller) fn vtep_stats(&self, counted: &[VtepStats]) -> Vec<stats::VtepStats> {
        let vteps = self.inner.overlays.vteps.iter();
        let with = vteps.filter_map(|vtep| Some((vtep, counted.iter().find(|one| one.id == vtep.id)?)));
        with.map(|(vtep, one)| stats::VtepStats {
            address: vtep.spec.address.to_string(),
            port: vtep.spec.port,
            up: vtep.sight().now.is_some(),
            networks: one.networks,
            in_packets: one.in_packets,
            in_trains: one.in_trains,
            out_packets: one.out_packets,
            out_trains: one.out_trains,
            drops: drops(&one.drops),
        })
        .collect()
    }
}

fn remote(counted: &RemoteStats, origin: String) -> Remote {
    Remote {
        address: counted.address.to_string(),
        origin,
        in_packets: counted.in_packets,
        in_bytes: counted.in_bytes,
        out_packets: counted.out_packets,
        out_bytes: counted.out_bytes,
        heard_seconds: counted.heard_seconds,
        path_mtu: counted.path_mtu,
    }
}

fn entry(known: &OverlayEntry) -> Entry {
    Entry {
        mac_address: known.mac.to_string(),
        ip_addresses: known.addresses.iter().map(IpAddr::to_string).collect(),
        remote: known.remote.to_string(),
        kind: match known.origin {
            Origin::Learned => EntryKind::Learned,
            Origin::Static => EntryKind::Static,
            Origin::ControlPlane => EntryKind::ControlPlane,
        },
        age_seconds: known.age_seconds,
    }
}

/// By reason.
pub(in crate::controller) fn drops(counted: &[(TunnelDrop, u64)]) -> BTreeMap<String, u64> {
    counted.iter().map(|(reason, count)| (reason.to_string(), *count)).collect()
}
