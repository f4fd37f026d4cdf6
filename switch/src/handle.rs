//! The switch as control sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use vswitch_frame::{MacAddr, NetworkIndex, NetworkRef, PortId, Vni};

use vswitch_nat::Rebound;
use vswitch_nat::Zone;
use vswitch_nat::proxy::stream::StreamLimits;
use vswitch_nat::route::Probed;
use vswitch_nat::table::{FlowEvent, FlowFilter, FlowRecord, Leg, Restored};
use vswitch_nat::translate::ServedBy;
use vswitch_wire::Change;

use crate::datapath::Datapath;
use crate::l2::{GroupMember, LldpNeighbour, PortFeatures, Violation};
use crate::lab::departures::DeparturesThread;
use crate::lab::{Capture, CaptureSpec, Direction, MOST_CAPTURES, WireReport};
use crate::lan::Hearing;
use crate::overlay::VtepId;
use crate::port::{Port, Service, ServicePort};
use crate::router::RouterConfig;
use crate::shared::lock;
use crate::supervise::OnEnd;
use crate::ticker::Ticker;
use crate::worker::{Command, Handle};
use crate::{FdbEntry, Identity, NetworkConfig, Opening, PortConfig, PortDevice, Settings, Stats};

/// Why the switch refused.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A descriptor, thread or poll could not be made.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No such network.
    #[error("{0:?} does not exist")]
    UnknownNetwork(NetworkIndex),
    /// No such port.
    #[error("port {0} does not exist")]
    UnknownPort(PortId),
    /// Ports are on the network.
    #[error("{0:?} still has ports")]
    NetworkBusy(NetworkIndex),
    /// All indices are taken.
    #[error("the switch has no room for another network")]
    TooManyNetworks,
    /// All indices are taken.
    #[error("the switch has no room for another port")]
    TooManyPorts,
    /// The address cannot be an entry.
    #[error("{0} is no unicast address, so it cannot be a static entry")]
    NotUnicast(MacAddr),
    /// The FDB is full of static entries.
    #[error("the forwarding database is full of static entries; remove some")]
    FdbFull,
    /// A worker thread ended.
    #[error("a worker thread of the switch ended; see the log and restart vswitchd")]
    WorkerGone,
    /// A worker thread did not answer in time.
    #[error("a worker thread of the switch is busy; what was to be removed goes as soon as it answers")]
    WorkerBusy,
    /// No such VTEP.
    #[error("{0} does not exist")]
    UnknownVtep(VtepId),
    /// Networks are on the VTEP.
    #[error("{0} still has networks")]
    VtepBusy(VtepId),
    /// All indices are taken.
    #[error("the switch has no room for another VTEP")]
    TooManyVteps,
    /// Another network of the VTEP has this VNI.
    #[error("VNI {0} is used by another network; choose another one")]
    VniTaken(Vni),
    /// The network has a leg already.
    #[error("{0:?} is an overlay network already")]
    HasOverlay(NetworkIndex),
    /// The port is no leg of an overlay network.
    #[error("{0} does not lead to other hosts")]
    NotOverlay(PortId),
    /// A specification, remote or entry of an overlay breaks a rule.
    #[error(transparent)]
    Overlay(#[from] vswitch_tunnel::OverlayError),
    /// There are as many as there may be.
    #[error("as many captures run as can at a time ({MOST_CAPTURES}); end one of them")]
    TooManyCaptures,
    /// There are as many as there may be.
    #[error("too many changes of wires wait to be taken back; try again later, or without a time")]
    TooManyChanges,
    /// There are as many as there may be.
    #[error("as many replays run as can at a time; wait for one of them, or end it")]
    TooManyReplays,
    /// Something that decides on the frame has no copy.
    #[error("what would become of this frame cannot be foreseen: {0}; trace it without a dry run")]
    NoDryRun(&'static str),
    /// What the router is to do contradicts itself.
    #[error(transparent)]
    Rules(#[from] vswitch_nat::RulesError),
}

/// A running switch: a [`Datapath`] with its worker threads. Dropping it ends them.
#[derive(Debug)]
pub struct Switch {
    pub(crate) datapath: Arc<Datapath>,
    pub(crate) workers: Vec<Handle>,
    ticker: Option<Ticker>,
    on_end: OnEnd,
    /// What delivers what waits on wires, from the first one on.
    departures: Mutex<Option<DeparturesThread>>,
    /// Ports that a worker has not let go in time.
    late: Mutex<Vec<Late>>,
}

/// A port that was taken from the workers, some of which have not answered.
#[derive(Debug)]
struct Late {
    port: Arc<Port>,
    answers: Answers,
}

/// What comes from workers that were asked to let something go.
#[derive(Debug)]
pub(crate) struct Answers {
    receiver: Receiver<()>,
    missing: usize,
    /// What found no room in the mailbox of the worker with this index, which still holds what it was to let go.
    unposted: Vec<(usize, Command)>,
}

/// How long a worker may take to answer, which it does between two bursts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Workers when the settings do not say.
const DEFAULT_MAX_WORKERS: usize = 4;

impl Switch {
    /// Starts the workers; the end of one that nobody asked to end is only logged.
    ///
    /// # Errors
    /// When the kernel has no thread or poll left.
    pub fn start(settings: Settings) -> Result<Switch, SwitchError> {
        Switch::start_supervised(settings, &OnEnd::log())
    }

    /// Starts the workers and says who is told when one of the switch's threads ends that nobody asked to.
    ///
    /// # Errors
    /// As [`Switch::start`].
    pub fn start_supervised(settings: Settings, on_end: &OnEnd) -> Result<Switch, SwitchError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = settings.workers.unwrap_or(cores.min(DEFAULT_MAX_WORKERS)).max(1);
        let datapath = Datapath::new(settings, count);
        let mut switch = Switch {
            workers: Vec::new(),
            ticker: None,
            on_end: on_end.clone(),
            departures: Mutex::default(),
            datapath,
            late: Mutex::default(),
        };
        for index in 0..count {
            let worker = Handle::start(&switch.datapath, index, on_end);
            switch.workers.push(worker.map_err(|source| SwitchError::Io { action: "start a worker", source })?);
        }
        let ticker = Ticker::start(Arc::clone(&switch.datapath), on_end);
        switch.ticker = Some(ticker.map_err(|source| SwitchError::Io { action: "start the ticker", source })?);
        Ok(switch)
    }

    /// Adds a network.
    ///
    /// # Errors
    /// When every index is taken.
    pub fn add_network(&self, config: NetworkConfig) -> Result<NetworkIndex, SwitchError> {
        self.datapath.add_network(config)
    }

    /// Changes a network while traffic runs.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn update_network(&self, network: NetworkIndex, config: NetworkConfig) -> Result<(), SwitchError> {
        self.datapath.update_network(network, config)
    }

    /// Replaces what passes between stations of a network that are isolated from each other.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn set_openings(&self, network: NetworkIndex, openings: Vec<Opening>) -> Result<(), SwitchError> {
        self.datapath.set_openings(network, openings)
    }

    /// Removes a network, which must have no ports any more.
    ///
    /// # Errors
    /// When there is no such network, or ports are on it.
    pub fn remove_network(&self, network: NetworkIndex) -> Result<(), SwitchError> {
        self.datapath.remove_network(network)
    }

    /// Adds a port while traffic runs.
    ///
    /// # Errors
    /// When there is no such network, every index is taken, or the device cannot be polled.
    pub fn add_port(&self, config: PortConfig, device: PortDevice) -> Result<PortId, SwitchError> {
        self.release_late();
        self.watch(&self.datapath.add_port(config, device)?)
    }

    /// Tells the other stations of a port's network that `identity` is there now, so that whoever knew its addresses elsewhere
    /// sends here at once.
    pub fn announce(&self, port: PortId, identity: &Identity) {
        let Some(port) = self.datapath.snapshot().port(port).map(Arc::clone) else { return };
        let addresses = identity.ipv4.map(IpAddr::V4).into_iter().chain(identity.ipv6.map(IpAddr::V6));
        self.datapath.announce(&port, identity.mac, addresses);
        if let Some(ticker) = &self.ticker {
            ticker.wake();
        }
    }

    /// Says what a leg on a LAN hears from now on, while traffic runs, and which addresses its network has where.
    ///
    /// # Errors
    /// When there is no such port or it is no such leg, its parent is gone, or what the kernel says.
    pub fn hear(
        &self,
        port: PortId,
        hearing: &Hearing,
        stations: BTreeMap<IpAddr, MacAddr>,
    ) -> Result<(), SwitchError> {
        let snapshot = self.datapath.snapshot();
        let leg = snapshot.port(port).and_then(|port| port.lan()).ok_or(SwitchError::UnknownPort(port))?;
        leg.hear(hearing, stations).map_err(|source| SwitchError::Io { action: "hear of the LAN", source })
    }

    /// The network that has an index now.
    #[must_use]
    pub fn network(&self, index: NetworkIndex) -> Option<NetworkRef> {
        self.datapath.snapshot().network(index).map(|network| network.to_ref())
    }

    /// As [`Switch::add_port`], on that very network: never on another one that has its index by now.
    ///
    /// # Errors
    /// As there, and when `config` names another network.
    pub fn add_port_on(
        &self,
        network: NetworkRef,
        config: PortConfig,
        device: PortDevice,
    ) -> Result<PortId, SwitchError> {
        if config.network != network.index {
            return Err(SwitchError::UnknownNetwork(config.network));
        }
        self.watch(&self.datapath.add_port_since(config, device, Some(network.since))?)
    }

    /// Lets a port's worker receive from it.
    pub(crate) fn watch(&self, port: &Arc<Port>) -> Result<PortId, SwitchError> {
        let (done, watched) = bounded(1);
        let posted = self.workers[port.worker].post(Command::Watch(Arc::clone(port), done), PATIENCE);
        let error = match posted.map(|()| watched.recv_timeout(PATIENCE)) {
            Ok(Ok(Ok(()))) => return Ok(port.id),
            Ok(Ok(Err(source))) => SwitchError::Io { action: "watch a port", source },
            Ok(Err(error)) => no_answer(error),
            Err(_) => SwitchError::WorkerBusy,
        };
        self.remove_port(port.id)?;
        Err(error)
    }

    /// Lets `service` answer at port `number` of every network's gateway address, over UDP and TCP, from now on. Its port is
    /// in a network of its own, called `name`.
    ///
    /// # Errors
    /// When the kernel has no descriptor left, or every index is taken.
    pub fn serve(
        &self,
        name: &str,
        number: u16,
        service: Arc<dyn Service>,
        limits: StreamLimits,
    ) -> Result<ServicePort, SwitchError> {
        let port = ServicePort::new(number, service, limits, StdRng::from_os_rng().next_u64());
        let port = port.map_err(|source| SwitchError::Io { action: "serve the gateways' addresses", source })?;
        let config = NetworkConfig { mtu: u32::from(u16::MAX), ..NetworkConfig::new(name) };
        let network = self.add_network(config)?;
        let config = PortConfig::new(name, network);
        self.add_port(config, PortDevice::Service(port.clone()))?;
        Ok(port)
    }

    /// Removes a port while traffic runs. When this returns, no worker uses it, its FDB entries are gone and its counts are
    /// in its network's sums. Its descriptor is closed with the last snapshot that has it, which a reader of statistics or the
    /// ticker may hold for a moment.
    ///
    /// # Errors
    /// When there is no such port, or a worker does not answer for five seconds: then no frame takes the port any more, and
    /// the rest follows when the worker answers.
    pub fn remove_port(&self, port: PortId) -> Result<(), SwitchError> {
        self.release_late();
        let port = self.datapath.take_port(port)?;
        let mut answers = self.ask_all(|done| Command::LetGo(Arc::clone(&port), done));
        if let Err(error) = answers.wait(PATIENCE) {
            lock(&self.late).push(Late { port, answers });
            return Err(error);
        }
        self.datapath.release_port(&port);
        Ok(())
    }

    /// Asks every worker to let something go.
    pub(crate) fn ask_all(&self, command: impl Fn(Sender<()>) -> Command) -> Answers {
        let (done, receiver) = bounded(self.workers.len());
        let unposted = self.workers.iter().enumerate().filter_map(|(index, worker)| {
            let command = worker.post(command(done.clone()), PATIENCE).err()?;
            Some((index, command))
        });
        let unposted = unposted.collect();
        Answers { receiver, missing: self.workers.len(), unposted }
    }

    /// Ends the removal of ports whose workers have answered at last.
    fn release_late(&self) {
        lock(&self.late).retain_mut(|late| {
            let held = late.answers.is_missing(&self.workers);
            if !held {
                self.datapath.release_port(&late.port);
            }
            held
        });
    }

    /// The FDB entries of a network, by MAC address.
    #[must_use]
    pub fn fdb_entries(&self, network: NetworkIndex) -> Vec<FdbEntry> {
        self.datapath.fdb_entries(network)
    }

    /// Binds a station to a port until it is removed.
    ///
    /// # Errors
    /// When the address is no station's, the port is not on the network, or the table is full of static entries.
    pub fn fdb_add_static(&self, network: NetworkIndex, mac: MacAddr, port: PortId) -> Result<(), SwitchError> {
        self.datapath.fdb_add_static(network, mac, port)
    }

    /// Removes one FDB entry; `false` when there is none.
    #[must_use]
    pub fn fdb_remove(&self, network: NetworkIndex, mac: MacAddr) -> bool {
        self.datapath.fdb.remove(network, mac)
    }

    /// Removes the learned FDB entries of a network and returns how many there were.
    #[must_use]
    pub fn fdb_flush(&self, network: NetworkIndex) -> usize {
        self.datapath.fdb.flush_network(network)
    }

    /// Changes what a port asks for, while traffic runs.
    ///
    /// # Errors
    /// When there is no such port, or a static address is none that a station can have or finds no room.
    pub fn set_features(&self, port: PortId, features: PortFeatures) -> Result<(), SwitchError> {
        self.datapath.set_features(port, features)
    }

    /// Who asked for which group of a network that snoops.
    #[must_use]
    pub fn groups(&self, network: NetworkIndex) -> Vec<GroupMember> {
        self.datapath.groups(network)
    }

    /// Who announces itself by LLDP.
    #[must_use]
    pub fn lldp(&self) -> Vec<LldpNeighbour> {
        self.datapath.lldp()
    }

    /// Which addresses were refused at a port, the latest first.
    #[must_use]
    pub fn violations(&self, port: PortId) -> Vec<Violation> {
        self.datapath.violations(port)
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.datapath.stats()
    }

    /// How many workers there are.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Replaces what the router does, while traffic runs; `None` switches it off.
    ///
    /// # Errors
    /// When the rules contradict each other, or the uplink does not exist; the old ones stay.
    pub fn set_router(&self, config: Option<RouterConfig>) -> Result<(), SwitchError> {
        self.datapath.set_router(config)
    }

    /// Asks a next hop of an uplink whether it is there, and says what is known so far; to be called again and again, about once a
    /// second. `None`: there is no such network.
    #[must_use]
    pub fn probe(&self, network: NetworkIndex, address: IpAddr) -> Option<Probed> {
        let probed = self.datapath.probe(network, address);
        if let Some(ticker) = &self.ticker {
            ticker.wake();
        }
        probed
    }

    /// Ends a network's flows by an uplink that it has left because nothing goes by it, and says how many there were: they have
    /// that one's addresses, which are of no use elsewhere.
    pub fn end_flows_by(&self, uplink: NetworkIndex, network: NetworkIndex) -> usize {
        self.datapath.end_flows_by(uplink, network)
    }

    /// The flows that match.
    #[must_use]
    pub fn flows(&self, filter: &FlowFilter) -> Vec<FlowRecord> {
        self.datapath.router.nat.table().list(filter, self.datapath.clock().now())
    }

    /// How many flows there are.
    #[must_use]
    pub fn flow_count(&self) -> u64 {
        self.datapath.router.nat.table().len() as u64
    }

    /// How many flows the endpoint with this address in a network holds.
    #[must_use]
    pub fn flows_of(&self, network: NetworkIndex, address: std::net::IpAddr) -> u64 {
        let snapshot = self.datapath.snapshot();
        let zone = snapshot.router.as_ref().map_or(Zone::Shared, |plan| plan.rules.zone(Leg::Inside(network)));
        self.datapath.router.nat.table().flows_of(zone, address) as u64
    }

    /// Ends the flows that match and returns how many there were.
    #[must_use]
    pub fn flush_flows(&self, filter: &FlowFilter) -> usize {
        self.datapath.router.nat.table().flush(filter, self.datapath.clock().now())
    }

    /// Gives the masqueraded flows that match another external port each.
    #[must_use]
    pub fn rebind_flows(&self, filter: &FlowFilter) -> Rebound {
        self.datapath.rebind_flows(filter)
    }

    /// Ends the flows by which a service leads to a backend that does not serve any more. Clients of TCP connections are told.
    pub fn cut_off(&self, served: &ServedBy<'_>) {
        if self.datapath.cut_off(served) > 0
            && let Some(ticker) = &self.ticker
        {
            ticker.wake();
        }
    }

    /// Starts or stops collecting flow events for [`Switch::take_flow_events`].
    pub fn listen_to_flows(&self, listen: bool) {
        let table = self.datapath.router.nat.table();
        if listen { table.listen() } else { table.stop_listening() }
    }

    /// The flow events since the last call, and how many were lost because nobody took them in time.
    #[must_use]
    pub fn take_flow_events(&self) -> (Vec<FlowEvent>, u64) {
        self.datapath.router.nat.table().take_events()
    }

    /// Lets the flows of a former run go on, as far as today's rules allow it; nothing without a router.
    #[must_use]
    pub fn restore_flows(&self, records: &[FlowRecord]) -> Option<Restored> {
        self.datapath.restore_flows(records)
    }

    /// Begins a capture. When this returns, every worker lets it see what it wants.
    ///
    /// # Errors
    /// When there are too many, or a worker does not answer.
    pub fn capture(&self, spec: CaptureSpec) -> Result<Capture, SwitchError> {
        let capture = self.datapath.capture(spec)?;
        self.ask_all(Command::Refresh).wait(PATIENCE)?;
        Ok(capture)
    }

    /// Changes what happens on the wires of ports, all at once, and takes it back after a time. When this returns, it is in force.
    ///
    /// # Errors
    /// When there is no such port, too much is to be taken back, no thread or timer is left, or a worker does not answer.
    pub fn change_wires(
        &self,
        ports: &[PortId],
        directions: &[Direction],
        change: &Change,
        time: Option<Duration>,
    ) -> Result<(), SwitchError> {
        self.start_departures()?;
        let time = time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.datapath.change_wires(ports, directions, change, time)?;
        self.ask_all(Command::Refresh).wait(PATIENCE)
    }

    /// Lets the endpoints of some ports not hear those of others. When this returns, it is in force.
    ///
    /// # Errors
    /// As [`Switch::change_wires`].
    pub fn cut(&self, senders: &[PortId], receivers: &[PortId]) -> Result<(), SwitchError> {
        self.start_departures()?;
        self.datapath.cut(senders, receivers)?;
        self.ask_all(Command::Refresh).wait(PATIENCE)
    }

    /// Lets all hear each other again, or those of these ports. When this returns, it is in force.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn heal(&self, ports: Option<&[PortId]>) -> Result<(), SwitchError> {
        self.datapath.heal(ports);
        self.ask_all(Command::Refresh).wait(PATIENCE)
    }

    /// What happens and happened on wires.
    #[must_use]
    pub fn wire_reports(&self) -> Vec<WireReport> {
        self.datapath.wire_reports()
    }

    /// What everything that happens by chance comes from; given another one, it begins again.
    #[must_use]
    pub fn lab_seed(&self, again: Option<u64>) -> u64 {
        if let Some(seed) = again {
            self.datapath.reseed_wires(seed);
        }
        self.datapath.wires().seed()
    }

    pub(crate) fn start_departures(&self) -> Result<(), SwitchError> {
        let mut departures = lock(&self.departures);
        if departures.is_none() {
            let started = DeparturesThread::start(&self.datapath, &self.on_end);
            *departures = Some(started.map_err(|source| SwitchError::Io { action: "start the wires", source })?);
        }
        Ok(())
    }

    /// Ports whose interface is gone for good; control should remove them.
    #[must_use]
    pub fn lost_ports(&self) -> Vec<PortId> {
        self.datapath.lost_ports()
    }

    /// Ends the workers and closes every port.
    pub fn stop(self) {
        drop(self);
    }
}

impl Answers {
    /// Waits until everybody has answered.
    ///
    /// # Errors
    /// When one does not answer in time, or has ended.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<(), SwitchError> {
        if !self.unposted.is_empty() {
            return Err(SwitchError::WorkerBusy);
        }
        while self.missing > 0 {
            self.receiver.recv_timeout(patience).map_err(no_answer)?;
            self.missing -= 1;
        }
        Ok(())
    }

    /// Whether somebody still has not answered. A worker that ended holds nothing any more.
    fn is_missing(&mut self, workers: &[Handle]) -> bool {
        let again = |(index, command): (usize, Command)| {
            let command = workers[index].post(command, Duration::ZERO).err()?;
            Some((index, command))
        };
        self.unposted = std::mem::take(&mut self.unposted).into_iter().filter_map(again).collect();
        while self.missing > 0 {
            match self.receiver.try_recv() {
                Ok(()) => self.missing -= 1,
                Err(error) => return error == TryRecvError::Empty,
            }
        }
        false
    }
}

/// Why a worker did not answer.
pub(crate) fn no_answer(error: RecvTimeoutError) -> SwitchError {
    match error {
        RecvTimeoutError::Timeout => SwitchError::WorkerBusy,
        RecvTimeoutError::Disconnected => SwitchError::WorkerGone,
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop();
        }
        if let Some(departures) = lock(&self.departures).take() {
            departures.stop();
        }
        if let Some(ticker) = self.ticker.take() {
            ticker.stop();
        }
    }
}
