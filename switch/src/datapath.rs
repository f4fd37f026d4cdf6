//! What all workers share, and how control changes it.
//!
//! Readers (the workers) load the current [`Snapshot`] between bursts. Writers (control) take one mutex, copy the tables,
//! change the copy and publish it. An index is given away again only after [`Datapath::release_port`], which control
//! calls when no worker can hold the port any more: thus an FDB entry never leads to a port that took an old one's place.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use vswitch_frame::{Generation, MacAddr, NetworkIndex, PortId};

use crate::clock::Clock;
use crate::fdb::{FIRST_VLAN, Fdb};
use vswitch_nat::Rebound;
use vswitch_nat::route::{Announcement, Probed, Sources};
use vswitch_nat::table::{FlowFilter, FlowRecord, Restored};
use vswitch_nat::translate::{CutOff, ServedBy};

use crate::l2::{Features, GroupMember, LldpNeighbour, LldpNeighbours, PortFeatures, Violation};
use crate::lab::Wires;
use crate::overlay;
use crate::port::Port;
use crate::router::{self, Plan, Router, RouterConfig};
use crate::shared::{lock, wide};
use crate::snapshot::{Network, Snapshot, put};
use crate::{
    Counters, FdbEntry, NetworkConfig, NetworkStats, Opening, Openings, PortConfig, PortDevice, PortStats, Settings,
    Stats, SwitchError,
};

/// The shared state of a switch.
#[derive(Debug)]
pub struct Datapath {
    /// The settings it was made with.
    pub settings: Settings,
    /// How many workers it serves.
    pub workers: usize,
    /// The forwarding database.
    pub fdb: Fdb,
    /// The router's state.
    pub router: Router,
    /// Who announces itself by LLDP.
    pub(crate) lldp: LldpNeighbours,
    clock: Clock,
    snapshot: ArcSwap<Snapshot>,
    control: Mutex<Control>,
    /// What the ticker is to tell other stations.
    announcements: Mutex<VecDeque<(Weak<Port>, Announcement)>>,
    wires: Arc<Wires>,
    /// What it is to tell clients of connections that were cut.
    cut_off: Mutex<VecDeque<CutOff>>,
}

/// The stream of [`Settings::rng`] that the router's seed comes from; the workers' are their indices.
const ROUTER: u64 = u64::MAX;
/// The stream that the wires' seed comes from.
const WIRES: u64 = u64::MAX - 1;

/// Most announcements that wait: about as many as the ticker sends in a moment.
const MOST_ANNOUNCEMENTS: usize = 4096;

/// Most clients that wait to be told: who is not finds out with the next segment.
const MOST_CUT_OFF: usize = 65_536;

/// Most ports of one switch.
const MAX_PORTS: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Indices that may be given away.
    free_networks: Vec<NetworkIndex>,
    free_ports: Vec<PortId>,
    /// How many ports each worker receives from.
    pub(crate) load: Vec<usize>,
    /// What ports and networks counted that are gone.
    retired: Counters,
    /// Ports that were taken out of the snapshot and still count, in workers' hands.
    leaving: Vec<Arc<Port>>,
}

impl Datapath {
    /// An empty switch for `workers` workers.
    #[must_use]
    pub fn new(settings: Settings, workers: usize) -> Arc<Self> {
        let clock = Clock::start();
        Arc::new(Datapath {
            wires: Arc::new(Wires::new(clock, settings.rng(WIRES).next_u32().into())),
            fdb: Fdb::new(&settings),
            router: Router::new(settings.flows, settings.rng(ROUTER).next_u64()),
            settings,
            workers,
            lldp: LldpNeighbours::default(),
            clock,
            snapshot: ArcSwap::default(),
            control: Mutex::new(Control { load: vec![0; workers], ..Control::default() }),
            announcements: Mutex::default(),
            cut_off: Mutex::default(),
        })
    }

    /// The current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Replaces `snapshot` if a newer one was published.
    #[inline]
    pub fn refresh(&self, snapshot: &mut Arc<Snapshot>) {
        let current = self.snapshot.load();
        if !Arc::ptr_eq(&current, snapshot) {
            *snapshot = arc_swap::Guard::into_inner(current);
        }
    }

    /// The switch's clock.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// What the wires between endpoints and ports have in common.
    #[must_use]
    pub const fn wires(&self) -> &Arc<Wires> {
        &self.wires
    }

    /// Adds a network.
    ///
    /// # Errors
    /// When every index is taken.
    pub fn add_network(&self, config: NetworkConfig) -> Result<NetworkIndex, SwitchError> {
        let mut control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let fresh =
            || u16::try_from(next.networks.len()).ok().filter(|index| *index < FIRST_VLAN).map(NetworkIndex::new);
        let index = control.free_networks.pop().or_else(fresh).ok_or(SwitchError::TooManyNetworks)?;
        let network = Network::new(index, next.generation.next(), config);
        put(&mut next.networks, index.index(), Some(Arc::new(network)));
        self.publish(next);
        Ok(index)
    }

    /// Changes a network.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn update_network(&self, index: NetworkIndex, config: NetworkConfig) -> Result<(), SwitchError> {
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let mut network = Network::clone(next.network(index).ok_or(SwitchError::UnknownNetwork(index))?);
        network.interface = router::interface(config.gateway.as_ref(), network.interface.sources);
        if let Some(leg) = &network.leg {
            leg.leg.set_gateway(config.gateway.as_ref().map(|gateway| gateway.mac));
        }
        network.config = config;
        put(&mut next.networks, index.index(), Some(Arc::new(network)));
        self.publish(next);
        Ok(())
    }

    /// Replaces what passes between stations of a network that are isolated from each other.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn set_openings(&self, index: NetworkIndex, openings: Vec<Opening>) -> Result<(), SwitchError> {
        let openings = Openings::new(openings);
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let network = next.network(index).ok_or(SwitchError::UnknownNetwork(index))?;
        if *network.openings == openings {
            return Ok(());
        }
        let network = Network { openings: Arc::new(openings), ..Network::clone(network) };
        put(&mut next.networks, index.index(), Some(Arc::new(network)));
        self.publish(next);
        Ok(())
    }

    /// Replaces what the router does, while traffic runs; `None` switches it off.
    ///
    /// # Errors
    /// When the rules contradict each other, or the uplink does not exist; the old ones stay.
    pub fn set_router(&self, config: Option<RouterConfig>) -> Result<(), SwitchError> {
        let mut plan = config.map(Plan::try_from).transpose()?;
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let unknown = plan.iter().flat_map(Plan::uplinks).find(|index| next.network(*index).is_none());
        if let Some(index) = unknown {
            return Err(SwitchError::UnknownNetwork(index));
        }
        for network in next.networks.iter_mut().flatten() {
            let sources = if plan.as_ref().is_some_and(|plan| plan.is_uplink(network.index)) {
                Sources::Any
            } else {
                Sources::OwnSubnets
            };
            if network.interface.sources != sources {
                Arc::make_mut(network).interface.sources = sources;
            }
            let policed = plan.as_ref().is_some_and(|plan| plan.rules.polices(network.index));
            let balanced = plan.as_ref().is_some_and(|plan| plan.rules.balances(network.index));
            if (network.policed, network.balanced) != (policed, balanced) {
                let network = Arc::make_mut(network);
                (network.policed, network.balanced) = (policed, balanced);
            }
        }
        if let (Some(plan), Some(earlier)) = (&mut plan, &next.router) {
            plan.rules.succeed(&earlier.rules);
        }
        let earlier = std::mem::replace(&mut next.router, plan.map(Arc::new));
        let now_ours = next.router.clone();
        self.publish(next);
        self.router.neighbours_changed();
        self.router.follow(now_ours.as_deref(), earlier.as_deref(), self.clock.now());
        Ok(())
    }

    /// Asks a next hop of a network whether it is there, and says what is known so far; to be called again and again. `None`: there
    /// is no such network.
    #[must_use]
    pub fn probe(&self, network: NetworkIndex, address: IpAddr) -> Option<Probed> {
        let snapshot = self.snapshot();
        let network = snapshot.network(network)?;
        Some(lock(&network.neighbours).probe(address, self.clock.now()))
    }

    /// Ends a network's flows by an uplink that it has left.
    pub fn end_flows_by(&self, uplink: NetworkIndex, network: NetworkIndex) -> usize {
        let snapshot = self.snapshot();
        let leg = snapshot.router.as_ref().map(|plan| plan.leg(uplink)).filter(|leg| leg.is_uplink());
        leg.map_or(0, |leg| self.router.nat.end_by(leg, network, self.clock.now()))
    }

    /// Gives the masqueraded flows that match another external port each; without a router there are none.
    #[must_use]
    pub fn rebind_flows(&self, filter: &FlowFilter) -> Rebound {
        let Some(plan) = self.snapshot().router.clone() else { return Rebound::default() };
        self.router.nat.rebind(&plan.rules, filter, self.clock.now(), &mut StdRng::from_os_rng())
    }

    /// Lets the flows of a former run go on, as far as today's rules allow it.
    #[must_use]
    pub fn restore_flows(&self, records: &[FlowRecord]) -> Option<Restored> {
        let plan = self.snapshot().router.clone()?;
        Some(self.router.restore(records, &plan, self.clock.now()))
    }

    /// Removes a network without ports, and its FDB entries.
    ///
    /// # Errors
    /// When there is no such network, or ports are on it.
    pub fn remove_network(&self, index: NetworkIndex) -> Result<(), SwitchError> {
        let mut control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let network = next.network(index).ok_or(SwitchError::UnknownNetwork(index))?;
        if !network.members.is_empty() {
            return Err(SwitchError::NetworkBusy(index));
        }
        control.retired.add(&lock(&network.retired));
        next.networks[index.index()] = None;
        let gone = next.retain_taps(|tap| tap.on.without_network(index));
        self.publish(next);
        gone.iter().for_each(|tap| tap.close());
        self.fdb.forget_network(index);
        self.router.forget_network(index, self.clock.now());
        control.free_networks.push(index);
        Ok(())
    }

    /// Adds a port, received from by the worker that has fewest.
    ///
    /// # Errors
    /// When there is no such network, or every index is taken.
    pub fn add_port(&self, config: PortConfig, device: PortDevice) -> Result<Arc<Port>, SwitchError> {
        self.add_port_since(config, device, None)
    }

    /// As [`Datapath::add_port`], if the network came with the generation `since`.
    pub(crate) fn add_port_since(
        &self,
        config: PortConfig,
        device: PortDevice,
        since: Option<Generation>,
    ) -> Result<Arc<Port>, SwitchError> {
        let mut control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let network = next.network(config.network).filter(|network| since.is_none_or(|since| network.since == since));
        let mut network = Network::clone(network.ok_or(SwitchError::UnknownNetwork(config.network))?);
        overlay::check_leg(&next, &network, &device)?;
        let fresh = || Some(next.ports.len()).filter(|&len| len < MAX_PORTS).and_then(|len| u32::try_from(len).ok());
        let id = control.free_ports.pop().or_else(|| fresh().map(PortId::new)).ok_or(SwitchError::TooManyPorts)?;
        // An overlay's frames come in by its VTEP.
        let worker = match &device {
            PortDevice::Overlay(leg) => leg.vtep().worker,
            _ => control.least_loaded(),
        };
        let features = config.features.clone();
        self.secure(id, &features, config.mac_limit);
        // The workers, the ticker, control and the wires count.
        let port = Arc::new(Port::new(id, config, device, worker, self.workers + 3));
        network.members.push(id);
        network.features = Features::with(network.features.as_ref(), id, features);
        if port.service().is_some() {
            next.service = Some(id);
        }
        if port.lan().is_some() {
            network.lan = Some(id);
        }
        let domain = self.domain_at(&network, id);
        for mac in &port.config.features.statics {
            // A full table floods what is for them.
            self.fdb.add_static(domain, *mac, id);
        }
        overlay::join(&mut next, &mut network, &port);
        put(&mut next.networks, network.index.index(), Some(Arc::new(network)));
        put(&mut next.ports, id.index(), Some(Arc::clone(&port)));
        self.publish_features(next, port.config.network);
        Ok(port)
    }

    /// Changes what a port asks for, while traffic runs.
    ///
    /// # Errors
    /// When there is no such port, or a static address is none that a station can have or finds no room.
    pub fn set_features(&self, id: PortId, features: PortFeatures) -> Result<(), SwitchError> {
        if let Some(mac) = features.statics.iter().find(|mac| !mac.is_station()) {
            return Err(SwitchError::NotUnicast(*mac));
        }
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let port = next.port(id).ok_or(SwitchError::UnknownPort(id))?;
        let (index, limit) = (port.config.network, port.config.mac_limit);
        let mut network = Network::clone(next.network(index).ok_or(SwitchError::UnknownNetwork(index))?);
        let before = network.features.as_ref().map(|before| before.statics(id)).unwrap_or_default();
        for mac in &before {
            self.fdb.remove(index, *mac);
        }
        self.secure(id, &features, limit);
        let statics = features.statics.clone();
        let vlans_before = network.features.as_ref().map(|features| (features.untagged(id), features.dresses()));
        network.features = Features::with(network.features.as_ref(), id, features);
        if vlans_before != network.features.as_ref().map(|features| (features.untagged(id), features.dresses())) {
            self.fdb.flush_port(id);
        }
        let domain = self.domain_at(&network, id);
        let full = statics.iter().filter(|mac| !self.fdb.add_static(domain, **mac, id)).count() > 0;
        put(&mut next.networks, index.index(), Some(Arc::new(network)));
        self.publish_features(next, index);
        if full { Err(SwitchError::FdbFull) } else { Ok(()) }
    }

    /// Which addresses were refused at a port, the latest first.
    #[must_use]
    pub fn violations(&self, id: PortId) -> Vec<Violation> {
        let snapshot = self.snapshot();
        let network = snapshot.port(id).and_then(|port| snapshot.network(port.config.network));
        let features = network.and_then(|network| network.features.as_ref());
        features.map(|features| features.violations(id, self.clock.now())).unwrap_or_default()
    }

    /// Who asked for which group of a network that snoops.
    #[must_use]
    pub fn groups(&self, network: NetworkIndex) -> Vec<GroupMember> {
        let snapshot = self.snapshot();
        let features = snapshot.network(network).and_then(|network| network.features.as_ref());
        features.map(|features| features.groups(self.clock.now())).unwrap_or_default()
    }

    /// Who announces itself by LLDP.
    #[must_use]
    pub fn lldp(&self) -> Vec<LldpNeighbour> {
        self.lldp.list(self.clock.now())
    }

    /// Where the addresses of what comes into a port without a tag are known.
    fn domain_at(&self, network: &Network, port: PortId) -> NetworkIndex {
        let vlan = network.features.as_ref().and_then(|features| features.untagged(port));
        vlan.and_then(|vlan| self.fdb.domain(network.index, vlan)).unwrap_or(network.index)
    }

    fn secure(&self, id: PortId, features: &PortFeatures, limit: Option<usize>) {
        self.fdb.limit_port(id, features.sticky.or(features.mac_limit).or(limit));
        self.fdb.stick_port(id, features.sticky.is_some());
    }

    /// Has the ticker tell the other stations of a port's network that these addresses are at `mac`, behind it. Of more than
    /// it can keep up with the oldest are left out.
    pub(crate) fn announce(&self, port: &Arc<Port>, mac: MacAddr, addresses: impl Iterator<Item = IpAddr>) {
        let mut due = lock(&self.announcements);
        due.extend(addresses.map(|address| (Arc::downgrade(port), Announcement { mac, address })));
        let surplus = due.len().saturating_sub(MOST_ANNOUNCEMENTS);
        due.drain(..surplus);
    }

    /// Ends the flows by which a service leads to a backend, and has the ticker tell their clients; how many are told.
    pub(crate) fn cut_off(&self, served: &ServedBy<'_>) -> usize {
        let cut = self.router.nat.cut(served, self.clock.now());
        let mut due = lock(&self.cut_off);
        let room = MOST_CUT_OFF.saturating_sub(due.len());
        let told = cut.len().min(room);
        due.extend(cut.into_iter().take(room));
        told
    }

    /// Who is to be told that a connection was cut now.
    pub(crate) fn take_cut_off(&self) -> VecDeque<CutOff> {
        std::mem::take(&mut *lock(&self.cut_off))
    }

    /// What is to be announced now.
    pub(crate) fn take_announcements(&self) -> VecDeque<(Weak<Port>, Announcement)> {
        std::mem::take(&mut *lock(&self.announcements))
    }

    /// Takes a port out of the snapshot. Workers may hold it for the rest of a burst; when none does,
    /// [`Datapath::release_port`] must follow.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn take_port(&self, id: PortId) -> Result<Arc<Port>, SwitchError> {
        let mut control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let slot = next.ports.get_mut(id.index());
        let port = slot.and_then(Option::take).ok_or(SwitchError::UnknownPort(id))?;
        next.service = next.service.filter(|service| *service != id);
        let gone = next.retain_taps(|tap| tap.on.without_port(id));
        self.forget_wire(&mut next, id);
        if let Some(mut network) = next.network(port.config.network).map(|network| Network::clone(network)) {
            network.members.retain(|&member| member != id);
            network.features = Features::without(network.features.as_ref(), id);
            network.lan = network.lan.filter(|&leg| leg != id);
            overlay::part(&mut next, &mut network, &port);
            put(&mut next.networks, network.index.index(), Some(Arc::new(network)));
        }
        for network in next.networks.iter_mut().flatten() {
            if let Some(left) = network.features.as_ref().and_then(|features| features.without_mirrors_to(id)) {
                Arc::make_mut(network).features = left;
            }
        }
        if port.overlay().is_none() {
            control.load[port.worker] -= 1;
        }
        control.leaving.push(Arc::clone(&port));
        self.publish_features(next, port.config.network);
        gone.iter().for_each(|tap| tap.close());
        Ok(port)
    }

    /// Gives a taken port's index back, keeps its counts in its network's sums and forgets its FDB entries.
    pub fn release_port(&self, port: &Port) {
        let mut control = self.control();
        control.leaving.retain(|leaving| leaving.id != port.id);
        let sum = port.counters.sum();
        match self.snapshot().network(port.config.network) {
            Some(network) => lock(&network.retired).add(&sum),
            None => control.retired.add(&sum),
        }
        self.fdb.forget_port(port.id);
        self.lldp.forget(port.id);
        control.free_ports.push(port.id);
    }

    /// Binds a station to a port.
    ///
    /// # Errors
    /// When the address is no station's, the port is not on the network, or the table is full of static entries.
    pub fn fdb_add_static(&self, network: NetworkIndex, mac: MacAddr, port: PortId) -> Result<(), SwitchError> {
        if !mac.is_station() {
            return Err(SwitchError::NotUnicast(mac));
        }
        // Held, so that the port cannot be removed meanwhile.
        let _control = self.control();
        let snapshot = self.snapshot();
        let known = snapshot.port(port).is_some_and(|port| port.config.network == network);
        if !known {
            return Err(SwitchError::UnknownPort(port));
        }
        if self.fdb.add_static(network, mac, port) { Ok(()) } else { Err(SwitchError::FdbFull) }
    }

    /// The FDB entries of a network.
    #[must_use]
    pub fn fdb_entries(&self, network: NetworkIndex) -> Vec<FdbEntry> {
        self.fdb.entries(network, self.clock.now())
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        // Held to the end, so that what a port counted is in its own counters or in those of the gone, and never in both.
        let control = self.control();
        let snapshot = self.snapshot();
        let mut total = control.retired;
        let mut by_network: Vec<Option<Counters>> = Vec::new();
        for network in snapshot.networks.iter().flatten() {
            put(&mut by_network, network.index.index(), Some(*lock(&network.retired)));
        }
        for port in &control.leaving {
            match by_network.get_mut(port.config.network.index()) {
                Some(Some(sum)) => sum.add(&port.counters.sum()),
                _ => total.add(&port.counters.sum()),
            }
        }
        let mut ports = Vec::new();
        for port in snapshot.ports.iter().flatten() {
            let counters = port.counters.sum();
            if let Some(Some(sum)) = by_network.get_mut(port.config.network.index()) {
                sum.add(&counters);
            }
            ports.push(PortStats {
                port: port.id,
                name: port.config.name.clone(),
                network: port.config.network,
                kind: port.kind(),
                worker: port.worker,
                fdb_entries: wide(self.fdb.count_of(port.id)),
                counters,
            });
        }
        let networks = snapshot.networks.iter().flatten().map(|network| {
            let counters = by_network[network.index.index()].unwrap_or_default();
            total.add(&counters);
            NetworkStats { index: network.index, name: network.config.name.clone(), counters }
        });
        let (vteps, overlays) = overlay::stats(self, &snapshot);
        Stats {
            networks: networks.collect(),
            uptime_ms: self.clock.now().as_millis(),
            workers: self.workers,
            generation: snapshot.generation.value(),
            total,
            ports,
            fdb: self.fdb.stats(),
            router: snapshot.router.as_ref().map(|plan| self.router.stats(plan)),
            vteps,
            overlays,
        }
    }

    /// Ports whose interface is gone for good.
    #[must_use]
    pub fn lost_ports(&self) -> Vec<PortId> {
        let snapshot = self.snapshot();
        let suspects = snapshot.ports.iter().flatten().filter(|port| port.suspect.load(Relaxed));
        suspects.filter(|port| port.is_gone()).map(|port| port.id).collect()
    }

    /// Publishes a snapshot in which the features of a network may be others.
    fn publish_features(&self, next: Snapshot, index: NetworkIndex) {
        if let Some(network) = next.network(index) {
            let dresses = network.features.as_ref().is_some_and(|features| features.dresses());
            let members = network.members.iter().filter_map(|&member| next.port(member));
            members.for_each(|port| port.dresses.store(dresses, Relaxed));
        }
        self.publish(next);
    }

    pub(crate) fn publish(&self, mut next: Snapshot) {
        next.generation = next.generation.next();
        self.snapshot.store(Arc::new(next));
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }
}

impl Control {
    /// The worker with fewest sources of frames, which now has one more.
    pub(crate) fn least_loaded(&mut self) -> usize {
        let worker = (0..self.load.len()).min_by_key(|&worker| self.load[worker]).unwrap_or(0);
        self.load[worker] += 1;
        worker
    }
}
