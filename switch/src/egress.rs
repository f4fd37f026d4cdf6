//! The exit: whoever has a frame to send, a worker's pipeline, the router, its timers, a service or an overlay's control, puts its
//! buffer on the list of a port here, and the lists leave by [`Egress::flush`] and in no other way. What is to be done to frames
//! on their way out, or to be told of them, belongs there.

use std::sync::atomic::Ordering::Relaxed;

use vswitch_frame::{DropReason, FrameBuf, PortId, Timestamp};

use crate::counters::Cells;
use crate::l2::{Edit, tag};
use crate::lab::{Numbers, Watch};
use crate::overlay::Outbound;
use crate::port::Port;
use crate::snapshot::Snapshot;
use crate::sys::burst::Burst;

/// Frames to send, by egress port: the indices of their buffers, so that a flood needs no copy.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    lists: Vec<Vec<u16>>,
    /// Ports whose list is not empty.
    dirty: Vec<PortId>,
    /// What sending through tunnels needs.
    outbound: Outbound,
    /// While somebody looks.
    pub(crate) numbers: Numbers,
    /// Copies for mirrors, which are sent as they are.
    mirrored: Vec<(PortId, u16)>,
    /// When the burst came whose frames these are.
    pub(crate) now: Timestamp,
}

impl Egress {
    /// Lets `port` send the frame in buffer `index`.
    #[inline]
    pub(crate) fn push(&mut self, port: PortId, index: u16) {
        if self.lists.len() <= port.index() {
            self.lists.resize_with(port.index() + 1, Vec::new);
        }
        let list = &mut self.lists[port.index()];
        if list.is_empty() {
            self.dirty.push(port);
        }
        list.push(index);
    }

    /// Lets `port` see the frame in buffer `index`, of whatever VLAN.
    pub(crate) fn mirror(&mut self, port: PortId, index: u16) {
        self.mirrored.push((port, index));
    }

    /// Sends every list. `sender` is the caller's index among those who count on a port. What is for a port that is gone goes
    /// nowhere.
    #[inline]
    pub(crate) fn flush(&mut self, snapshot: &Snapshot, sender: usize, burst: &mut Burst, buffers: &mut [FrameBuf]) {
        while let Some(port) = self.dirty.pop() {
            let list = &mut self.lists[port.index()];
            if let Some(port) = snapshot.port(port) {
                let cells = port.counters.of(sender);
                let mut watch = snapshot.lab.as_deref().map(|lab| Watch { lab, numbers: &mut self.numbers });
                let dressed = port.dresses.load(Relaxed).then(|| {
                    dress(Exit { snapshot, port, cells, now: self.now }, buffers, list, &mut watch, &mut self.mirrored)
                });
                if let Some(watch) = &mut watch {
                    watch.lab.leave(port, buffers, list, watch.numbers);
                    watch.down(port, buffers, list);
                }
                port.send(burst, &mut self.outbound, buffers, list, cells, watch);
                dressed.into_iter().flatten().for_each(|(index, undo)| edit(&mut buffers[usize::from(index)], undo));
            }
            list.clear();
        }
        if !self.mirrored.is_empty() {
            self.flush_mirrored(snapshot, sender, burst, buffers);
        }
        if snapshot.lab.is_some() {
            self.numbers.clear();
        }
    }

    /// Sends all `buffers`, which come from the wire of `port`.
    pub(crate) fn send_past_wire(
        &mut self,
        snapshot: &Snapshot,
        port: &Port,
        sender: usize,
        burst: &mut Burst,
        buffers: &mut [FrameBuf],
    ) {
        let all: Vec<u16> = (0..).zip(&*buffers).map(|(index, _)| index).collect();
        let watch = snapshot.lab.as_deref().map(|lab| {
            let mut watch = Watch { lab, numbers: &mut self.numbers };
            watch.down(port, buffers, &all);
            watch
        });
        port.send(burst, &mut self.outbound, buffers, &all, port.counters.of(sender), watch);
        self.numbers.clear();
    }

    #[cold]
    fn flush_mirrored(&mut self, snapshot: &Snapshot, sender: usize, burst: &mut Burst, buffers: &mut [FrameBuf]) {
        // Those of one port stay in their order.
        self.mirrored.sort_by_key(|(port, _)| *port);
        for copies in self.mirrored.chunk_by(|(one, _), (other, _)| one == other) {
            if let Some(port) = snapshot.port(copies[0].0) {
                let list: Vec<u16> = copies.iter().map(|(_, index)| *index).collect();
                port.send(burst, &mut self.outbound, buffers, &list, port.counters.of(sender), None);
            }
        }
        self.mirrored.clear();
    }
}

/// Makes the frames of a list what they are on their port's wire, in buffers that other ports may send, too, and takes those out that do
/// not belong there. What comes back makes them what they were.
#[cold]
fn dress(
    exit: Exit<'_>,
    buffers: &mut [FrameBuf],
    list: &mut Vec<u16>,
    watch: &mut Option<Watch<'_>>,
    mirrored: &mut Vec<(PortId, u16)>,
) -> Vec<(u16, Edit)> {
    let Exit { snapshot, port, cells, now } = exit;
    let mut undo = Vec::new();
    let network = snapshot.network(port.config.network);
    let Some(features) = network.and_then(|network| network.features.as_deref()) else { return undo };
    list.retain(|&index| {
        let buffer = &mut buffers[usize::from(index)];
        let reason = match features.dress(port.id, buffer, now) {
            Ok(Edit::Keep) => return true,
            Ok(Edit::Untag) => match tag(buffer) {
                Some(tag) => {
                    edit(buffer, Edit::Untag);
                    undo.push((index, Edit::Tag(tag)));
                    return true;
                }
                None => DropReason::VlanFiltered,
            },
            Ok(Edit::Tag(tag)) if buffer.insert_vlan(tag) => {
                undo.push((index, Edit::Untag));
                return true;
            }
            Ok(Edit::Tag(_)) => DropReason::VlanFiltered,
            Err(reason) => reason,
        };
        cells.dropped(reason, 1);
        if let Some(watch) = watch {
            watch.refused(port, reason, buffers, &[index]);
        }
        false
    });
    if let Some(mirror) = features.mirror_of_sent(port.id) {
        mirrored.extend(list.iter().map(|&index| (mirror, index)));
    }
    undo
}

/// Where a list leaves, and when.
#[derive(Clone, Copy)]
struct Exit<'e> {
    snapshot: &'e Snapshot,
    port: &'e Port,
    cells: &'e Cells,
    now: Timestamp,
}

/// What was possible in one direction is so in the other: the room is there.
fn edit(buffer: &mut FrameBuf, edit: Edit) {
    match edit {
        Edit::Keep => {}
        Edit::Untag => _ = buffer.remove_vlan(),
        Edit::Tag(tag) => _ = buffer.insert_vlan(tag),
    }
}

/// The means to send frames one by one, for those who are no worker.
pub(crate) struct Outlet {
    egress: Egress,
    burst: Burst,
    buffers: [FrameBuf; 1],
    sender: usize,
}

impl Outlet {
    /// `sender` is the caller's index among those who count on a port.
    pub(crate) fn new(sender: usize) -> Self {
        Outlet { egress: Egress::default(), burst: Burst::new(1), buffers: [FrameBuf::new()], sender }
    }

    /// The buffer, to make a frame in.
    pub(crate) const fn buffer(&mut self) -> &mut FrameBuf {
        &mut self.buffers[0]
    }

    /// Sends the frame in the buffer to each of `ports`.
    pub(crate) fn send(&mut self, snapshot: &Snapshot, ports: impl IntoIterator<Item = PortId>) {
        ports.into_iter().for_each(|port| self.egress.push(port, 0));
        self.egress.flush(snapshot, self.sender, &mut self.burst, &mut self.buffers);
    }
}
