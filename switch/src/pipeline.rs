//! What one worker does with a burst: decide for each frame, collect the frames of each egress port, send them.
//!
//! The buffers belong to the burst. An egress list names them by index, so that a flood needs no copy; the next burst may
//! only begin when every list was sent.

use std::sync::Arc;

use vswitch_frame::{DropReason, FrameBuf, PortId, Timestamp};

use crate::Settings;
use crate::bridge::{Decision, decide};
use crate::datapath::Datapath;
use crate::fdb::Cache;
use crate::gateway::Answer;
use crate::port::Port;
use crate::snapshot::{Network, Snapshot};
use crate::sys::burst::Burst;

/// One worker's state.
#[derive(Debug)]
pub struct Pipeline {
    datapath: Arc<Datapath>,
    worker: usize,
    snapshot: Arc<Snapshot>,
    cache: Cache,
    egress: Egress,
}

/// Buffer indices by egress port.
#[derive(Debug, Default)]
struct Egress {
    lists: Vec<Vec<u16>>,
    /// Ports whose list is not empty.
    dirty: Vec<PortId>,
}

impl Egress {
    #[inline]
    fn push(&mut self, port: PortId, index: u16) {
        if self.lists.len() <= port.index() {
            self.lists.resize_with(port.index() + 1, Vec::new);
        }
        let list = &mut self.lists[port.index()];
        if list.is_empty() {
            self.dirty.push(port);
        }
        list.push(index);
    }
}

impl Pipeline {
    /// The pipeline of worker `worker`.
    #[must_use]
    pub fn new(datapath: Arc<Datapath>, worker: usize) -> Self {
        let snapshot = datapath.snapshot();
        Pipeline { datapath, worker, snapshot, cache: Cache::new(), egress: Egress::default() }
    }

    /// The settings of the switch.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.datapath.settings
    }

    /// Takes the newest snapshot. To be called between bursts.
    #[inline]
    pub fn refresh(&mut self) {
        self.datapath.refresh(&mut self.snapshot);
    }

    /// The port with this index in the current snapshot.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<Arc<Port>> {
        self.snapshot.port(id).cloned()
    }

    /// Decides for the frames that `ingress` received into `buffers` at `now`. [`Pipeline::flush`] must follow.
    ///
    /// # Panics
    /// When there are more than 65,536 buffers.
    pub fn process(&mut self, ingress: &Port, buffers: &mut [FrameBuf], now: Timestamp) {
        let snapshot = Arc::clone(&self.snapshot);
        let cells = ingress.counters.of(self.worker);
        cells.received(wide(buffers.len()), wide(buffers.iter().map(FrameBuf::len).sum()));
        // A port whose network is gone is about to be removed.
        let Some(network) = snapshot.network(ingress.config.network) else {
            cells.dropped(DropReason::NoReceiver, wide(buffers.len()));
            return;
        };
        self.cache.begin(&self.datapath.fdb, now);
        let mut forwarded = 0;
        for (index, buffer) in buffers.iter_mut().enumerate() {
            let index = u16::try_from(index).expect("a burst is small");
            let database = (&self.datapath.fdb, &mut self.cache);
            match decide((buffer.frame(), buffer.offload), ingress, network, database, now) {
                Decision::Unicast(port) if snapshot.port(port).is_some() => {
                    forwarded += 1;
                    self.egress.push(port, index);
                }
                // The entry leads to a port that was just removed.
                Decision::Unicast(_) | Decision::Flood => self.flood(ingress, network, index),
                Decision::Gateway => self.serve(ingress, network, buffer, index),
                Decision::Drop(reason) => cells.dropped(reason, 1),
            }
        }
        cells.forwarded(forwarded);
    }

    fn flood(&mut self, ingress: &Port, network: &Network, index: u16) {
        let cells = ingress.counters.of(self.worker);
        let mut others = network.members.iter().filter(|&&member| member != ingress.id).peekable();
        if others.peek().is_none() {
            return cells.dropped(DropReason::NoReceiver, 1);
        }
        for &member in others {
            self.egress.push(member, index);
        }
        cells.forwarded(1);
        cells.flooded();
    }

    fn serve(&mut self, ingress: &Port, network: &Network, buffer: &mut FrameBuf, index: u16) {
        let cells = ingress.counters.of(self.worker);
        let gateway = network.config.gateway.as_ref();
        match gateway.map_or(Answer::Drop(DropReason::NotRouted), |gateway| gateway.answer(buffer)) {
            Answer::Reply => {
                cells.consumed();
                self.egress.push(ingress.id, index);
            }
            Answer::Silent => cells.consumed(),
            Answer::Drop(reason) => cells.dropped(reason, 1),
        }
    }

    /// Sends every egress list.
    pub fn flush(&mut self, burst: &mut Burst, buffers: &mut [FrameBuf]) {
        while let Some(port) = self.egress.dirty.pop() {
            let list = &mut self.egress.lists[port.index()];
            if let Some(port) = self.snapshot.port(port) {
                port.send(burst, buffers, list, port.counters.of(self.worker));
            }
            list.clear();
        }
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
