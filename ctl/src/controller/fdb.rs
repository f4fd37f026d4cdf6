//! The forwarding database and the counters, in the words of the API.

use std::collections::BTreeMap;

use vswitch_api::fdb::{FdbEntry, FdbKind, FdbRemoved, GroupEntry};
use vswitch_api::stats;
use vswitch_api::topology::LldpNeighbour;
use vswitch_frame::{MacAddr, NetworkIndex, PortId};

use super::{Controller, State};
use crate::error::ControlError;
use crate::ipam::check_station;
use crate::overlay::PORT_NAME;

impl Controller {
    /// The entries of a network, by address.
    ///
    /// # Errors
    /// When the network is unknown or has no FDB.
    pub fn fdb(&self, network: &str) -> Result<Vec<FdbEntry>, ControlError> {
        let state = self.state();
        let index = fdb_index(&state, network)?;
        let names = port_names(&state);
        drop(state);
        let mut entries = self.inner.switch.fdb_entries(index);
        entries.sort_by_key(|entry| entry.mac);
        let entries = entries.into_iter().map(|entry| FdbEntry {
            mac_address: entry.mac.to_string(),
            vlan: entry.vlan.map(Into::into),
            port: entry.port.value(),
            endpoint: names.get(&entry.port).cloned().unwrap_or_default(),
            kind: match entry.kind {
                vswitch_switch::FdbKind::Learned => FdbKind::Learned,
                vswitch_switch::FdbKind::Static => FdbKind::Static,
                vswitch_switch::FdbKind::Sticky => FdbKind::Sticky,
            },
            age_seconds: entry.age_seconds,
        });
        Ok(entries.collect())
    }

    /// Who asked for which group of a network that snoops.
    ///
    /// # Errors
    /// When the network is unknown, or does not snoop.
    pub fn mdb(&self, network: &str) -> Result<Vec<GroupEntry>, ControlError> {
        let state = self.state();
        let index = fdb_index(&state, network)?;
        let on = state.network(network)?;
        if !on.network.options.mcast_snooping {
            return Err(ControlError::invalid(format!(
                "network {} floods what is for groups; make it with --opt mcast-snooping=true to have them followed",
                on.network.name
            )));
        }
        let names = port_names(&state);
        let entry = |member: vswitch_switch::l2::GroupMember| GroupEntry {
            group: member.group.to_string(),
            vlan: member.vlan.map(Into::into),
            port: member.port.value(),
            endpoint: names.get(&member.port).cloned().unwrap_or_default(),
            seconds: member.seconds,
        };
        Ok(self.inner.switch.groups(index).into_iter().map(entry).collect())
    }

    /// Who announces itself by LLDP.
    #[must_use]
    pub fn lldp(&self) -> Vec<LldpNeighbour> {
        let heard = self.inner.switch.lldp();
        let names = port_names(&self.state());
        let shown = heard.into_iter().map(|one| LldpNeighbour {
            port: one.port.value(),
            endpoint: names.get(&one.port).cloned().unwrap_or_default(),
            chassis: one.chassis,
            port_id: one.port_id,
            port_description: one.port_description,
            system: one.system,
            seconds: one.seconds,
        });
        shown.collect()
    }

    /// Binds an address to the port of an endpoint or container.
    ///
    /// # Errors
    /// When the address is no station's, or the endpoint has no port on the network.
    pub fn fdb_add(&self, network: &str, mac: MacAddr, endpoint: &str) -> Result<(), ControlError> {
        let mac = check_station(mac).map_err(|fault| ControlError::invalid(fault.to_string()))?;
        let (index, port) = {
            let state = self.state();
            let index = fdb_index(&state, network)?;
            let on = state.network(network)?;
            let one = match state.container(endpoint) {
                Ok(container) => state.endpoint_of(&container.container.id, &on.network.id),
                Err(_) => state.endpoint(endpoint).ok().filter(|one| one.endpoint.network == on.network.id),
            };
            let not_there =
                || ControlError::NotConnected { container: endpoint.to_owned(), network: on.network.name.clone() };
            let port = one.ok_or_else(not_there)?.port;
            (index, port.ok_or_else(|| ControlError::NotRunning(endpoint.to_owned()))?)
        };
        self.inner.switch.fdb_add_static(index, mac, port).map_err(|error| ControlError::Conflict(error.to_string()))
    }

    /// Removes one entry of a network.
    ///
    /// # Errors
    /// When the network is unknown.
    pub fn fdb_remove(&self, network: &str, mac: MacAddr) -> Result<FdbRemoved, ControlError> {
        let index = fdb_index(&self.state(), network)?;
        Ok(FdbRemoved { removed: u64::from(self.inner.switch.fdb_remove(index, mac)) })
    }

    /// Removes all learned entries of a network.
    ///
    /// # Errors
    /// When the network is unknown.
    pub fn fdb_flush(&self, network: &str) -> Result<FdbRemoved, ControlError> {
        let index = fdb_index(&self.state(), network)?;
        let removed = self.inner.switch.fdb_flush(index);
        Ok(FdbRemoved { removed: u64::try_from(removed).unwrap_or(u64::MAX) })
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self) -> stats::Stats {
        let counted = self.inner.switch.stats();
        let on = self.inner.uplink.as_ref();
        let mut uplinks = on.map(|on| on.stats(&self.inner.monitor)).unwrap_or_default();
        let wires = self.lossy_wires();
        let state = self.state();
        for network in state.networks.values().filter(|network| network.index.is_some()).map(|one| &one.network) {
            if let Some(by) = on.and_then(|on| on.way(network)).and_then(|way| uplinks.get_mut(way)) {
                by.networks.push(network.name.clone());
            }
        }
        uplinks.iter_mut().for_each(|uplink| uplink.networks.sort_unstable());
        let names = port_names(&state);
        let flows_of = |one: &crate::model::Endpoint| {
            let network = state.networks.get(&one.network).and_then(|on| on.index);
            let of = |network| one.addresses().map(|address| self.inner.switch.flows_of(network, address)).sum();
            network.map_or(0, of)
        };
        let flows: BTreeMap<PortId, u64> =
            state.endpoints.values().filter_map(|one| Some((one.port?, flows_of(&one.endpoint)))).collect();
        // The gateways' service is there when somebody has used it.
        let unused = |one: &vswitch_switch::PortStats| one.kind == "service" && one.counters.out_frames == 0;
        let hidden: Vec<NetworkIndex> = counted.ports.iter().filter(|one| unused(one)).map(|one| one.network).collect();
        let by_index: BTreeMap<NetworkIndex, String> =
            counted.networks.iter().map(|one| (one.index, one.name.clone())).collect();
        let is_shown = |network: NetworkIndex| !hidden.contains(&network);
        stats::Stats {
            uptime_ms: counted.uptime_ms,
            workers: counted.workers,
            generation: counted.generation,
            total: counters(&counted.total),
            networks: counted
                .networks
                .into_iter()
                .filter(|one| is_shown(one.index))
                .map(|one| stats::NetworkStats { network: one.name, counters: counters(&one.counters) })
                .collect(),
            ports: counted
                .ports
                .into_iter()
                .filter(|one| is_shown(one.network))
                .map(|one| stats::PortStats {
                    port: one.port.value(),
                    endpoint: names.get(&one.port).cloned().unwrap_or(one.name),
                    network: by_index.get(&one.network).cloned().unwrap_or_default(),
                    kind: one.kind.to_owned(),
                    worker: one.worker,
                    flows: flows.get(&one.port).copied().unwrap_or_default(),
                    fdb_entries: one.fdb_entries,
                    counters: counters(&one.counters),
                })
                .collect(),
            fdb: stats::FdbStats {
                entries: counted.fdb.entries,
                capacity: counted.fdb.capacity,
                learned: counted.fdb.learned,
                moved: counted.fdb.moved,
                aged: counted.fdb.aged,
                evicted: counted.fdb.evicted,
                limited: counted.fdb.limited,
                damped: counted.fdb.damped,
            },
            dns: self.dns_stats(),
            wires,
            vteps: self.vtep_stats(&counted.vteps),
            router: counted.router.as_ref().map(|router| {
                let services = self.backend_stats(&state, router);
                stats::RouterStats { services, ..super::flows::stats(router, on, uplinks, &by_index) }
            }),
        }
    }
}

fn fdb_index(state: &State, network: &str) -> Result<NetworkIndex, ControlError> {
    let on = state.network(network)?;
    let sentence = || format!("network {} is not on the switch, so it has no forwarding database", on.network.name);
    on.index.ok_or_else(|| ControlError::invalid(sentence()))
}

fn port_names(state: &State) -> BTreeMap<PortId, String> {
    let tunnels = state.networks.values().filter_map(|on| Some((on.tunnel.as_ref()?.port, PORT_NAME.to_owned())));
    let endpoints = state.endpoints.values().filter_map(|one| Some((one.port?, one.endpoint.name.clone())));
    let legs = state.networks.values().filter_map(|on| on.leg.as_ref()?.name(&on.network));
    endpoints.chain(tunnels).chain(legs).collect()
}

fn counters(counted: &vswitch_switch::Counters) -> stats::Counters {
    stats::Counters {
        in_frames: counted.in_frames,
        in_bytes: counted.in_bytes,
        out_frames: counted.out_frames,
        out_bytes: counted.out_bytes,
        forwarded: counted.forwarded,
        flooded: counted.flooded,
        consumed: counted.consumed,
        drops: counted.drops.happened().map(|(reason, count)| (reason.to_string(), count)).collect(),
    }
}
