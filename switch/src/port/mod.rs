//! Ports: where frames come from and go to.

mod budget;
mod datagrams;
mod host_gateway;
mod host_gateways;
mod machine;
mod memory;
mod pieces;
mod reactor;
pub(crate) mod services;
mod streams;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use rustix::io::Errno;
use vswitch_frame::{DropReason, FrameBuf, NetworkIndex, PortId};

pub use budget::Budget;
pub use datagrams::{DatagramStats, ShellCounters, SpareSockets};
pub use host_gateway::{
    Clients, HostGateway, HostGatewaySettings, HostGatewayStats, HostPort, HostPortId, InsideNetwork,
};
pub use host_gateways::HostGateways;
pub use machine::{MachineDevice, MachineEnd, Parting};
pub use memory::{MemoryDevice, MemoryFrame, MemoryPeer, Offloads, memory_link};
pub use services::{Service, ServiceDatagram, ServicePort, ServiceStats, ServiceStream};
pub use streams::StreamStats;

use crate::counters::{Cells, PortCounters};
use crate::lab::Watch;
use crate::lan::LanDevice;
use crate::overlay::{Outbound, OverlayLeg};
use crate::shared::wide;
use crate::sys::burst::{Burst, Refused, Trains};
use crate::sys::{packet, tap};
use crate::verdict::Cause;
use crate::{Identity, PortConfig, PortDevice};

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many frames came, in the first of the buffers. One whose frame made no sense is empty.
    pub frames: usize,
    /// What is known of further ones.
    pub left: Left,
}

/// Whether more frames wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// None: the next one makes an event of the poll.
    Nothing,
    /// Fewer came than were asked for, for want of them or because of an error that is told by the next receive.
    Unknown,
    /// There are more, or as many came as were asked for.
    More,
}

impl Received {
    /// So many of `asked` frames came, as all that there were.
    pub(crate) const fn all(frames: usize, asked: usize) -> Received {
        Received { frames, left: if frames < asked { Left::Nothing } else { Left::More } }
    }

    /// So many of `asked` frames came from the kernel, which says why it stopped only if that is the first that it says.
    pub(crate) const fn from_kernel(frames: usize, asked: usize) -> Received {
        let left = match frames {
            0 => Left::Nothing,
            _ if frames < asked => Left::Unknown,
            _ => Left::More,
        };
        Received { frames, left }
    }
}

/// A port in a snapshot.
#[derive(Debug)]
pub struct Port {
    /// Its index in the snapshot.
    pub id: PortId,
    /// What control said.
    pub config: PortConfig,
    /// The worker that receives from it.
    pub worker: usize,
    /// What it is called where it is not held.
    pub(crate) label: Arc<Label>,
    /// What all workers counted on it.
    pub counters: PortCounters,
    /// Receiving or sending failed in a way that may mean that the interface is gone.
    pub suspect: AtomicBool,
    /// Whether what leaves here is looked at for its network's features.
    pub(crate) dresses: AtomicBool,
    /// Whether the kernel cuts up trains of datagrams that leave by this port.
    trains: TrainsTaken,
    /// Whether the interface takes TCP super-frames of over 64 KiB as they are.
    takes_long: bool,
    device: PortDevice,
}

/// What a port is called, for those who speak of it when it may be gone.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) network: NetworkIndex,
    pub(crate) identity: Option<Identity>,
}

impl Label {
    /// The addresses of the station behind it.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.identity.and_then(|identity| identity.ipv4).map(IpAddr::V4);
        let v6 = self.identity.and_then(|identity| identity.ipv6).map(IpAddr::V6);
        v4.into_iter().chain(v6).collect()
    }
}

impl Port {
    /// A port whose frames `worker` receives and that `senders` threads count on.
    #[must_use]
    pub fn new(id: PortId, config: PortConfig, device: PortDevice, worker: usize, senders: usize) -> Self {
        let suspect = AtomicBool::new(false);
        // Of the switch's own veth, not of an interface of somebody else's.
        let own = match &device {
            PortDevice::Packet(socket) => packet::segments_udp(socket.as_fd()),
            _ => false,
        };
        let counters = PortCounters::new(senders);
        let label = Label { name: config.name.clone(), network: config.network, identity: config.identity };
        let label = Arc::new(label);
        let dresses = AtomicBool::new(false);
        Port {
            id,
            label,
            config,
            worker,
            counters,
            suspect,
            dresses,
            trains: TrainsTaken::new(own),
            takes_long: own,
            device,
        }
    }

    /// `packet`, `lan`, `tap`, `machine`, `memory`, `overlay`, `host` or `service`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.device {
            PortDevice::Packet(_) => "packet",
            PortDevice::Lan(_) => "lan",
            PortDevice::Tap(_) => "tap",
            PortDevice::Machine(_) => "machine",
            PortDevice::Memory(_) => "memory",
            PortDevice::Overlay(_) => "overlay",
            PortDevice::Host(_) => "host",
            PortDevice::Service(_) => "service",
        }
    }

    /// Whether the interface behind the port is gone for good.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match &self.device {
            PortDevice::Packet(socket) => packet::is_gone(socket.as_fd()),
            PortDevice::Lan(lan) => packet::is_gone(lan.socket()),
            PortDevice::Tap(_) => self.suspect.load(Relaxed),
            // Of a machine's, who plugged it in is told.
            PortDevice::Machine(_)
            | PortDevice::Memory(_)
            | PortDevice::Overlay(_)
            | PortDevice::Host(_)
            | PortDevice::Service(_) => false,
        }
    }

    /// The leg of an overlay network.
    #[inline]
    #[must_use]
    pub const fn overlay(&self) -> Option<&Arc<OverlayLeg>> {
        match &self.device {
            PortDevice::Overlay(leg) => Some(leg),
            _ => None,
        }
    }

    /// The leg on a LAN.
    #[must_use]
    pub const fn lan(&self) -> Option<&LanDevice> {
        match &self.device {
            PortDevice::Lan(lan) => Some(lan),
            _ => None,
        }
    }

    /// What serves the gateways' addresses.
    #[inline]
    #[must_use]
    pub const fn service(&self) -> Option<&ServicePort> {
        match &self.device {
            PortDevice::Service(service) => Some(service),
            _ => None,
        }
    }

    /// What serves networks with sockets of the host.
    #[inline]
    #[must_use]
    pub const fn host_gateway(&self) -> Option<&HostGateway> {
        match &self.device {
            PortDevice::Host(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// What becomes readable when a frame waits; nothing for an overlay, whose frames come by its VTEP.
    #[must_use]
    pub fn raw_fd(&self) -> Option<RawFd> {
        match &self.device {
            PortDevice::Packet(fd) | PortDevice::Tap(fd) => Some(fd.as_raw_fd()),
            PortDevice::Lan(lan) => Some(lan.raw_fd()),
            PortDevice::Machine(machine) => Some(machine.raw_fd()),
            PortDevice::Memory(device) => Some(device.fd().as_raw_fd()),
            PortDevice::Host(gateway) => Some(gateway.raw_fd()),
            PortDevice::Service(service) => Some(service.raw_fd()),
            PortDevice::Overlay(_) => None,
        }
    }

    /// Receives up to `buffers.len()` frames without waiting.
    ///
    /// # Errors
    /// What the kernel says; "nothing there" is none. Behind an error, frames may wait.
    #[inline]
    pub fn receive(&self, burst: &mut Burst, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        match &self.device {
            PortDevice::Packet(socket) => burst.receive(socket.as_fd(), buffers),
            PortDevice::Lan(lan) => lan.receive(burst, buffers),
            PortDevice::Tap(fd) => receive_each(buffers, |buffer| tap::receive(fd.as_fd(), buffer)),
            PortDevice::Machine(machine) => machine.receive(burst, buffers),
            PortDevice::Memory(device) => Ok(Received::all(device.receive(buffers), buffers.len())),
            PortDevice::Host(gateway) => gateway.receive(buffers),
            PortDevice::Service(service) => service.receive(buffers),
            PortDevice::Overlay(_) => Ok(Received { frames: 0, left: Left::Nothing }),
        }
    }

    /// Sends the frames that `indices` names, in order, and counts them on `cells`. Nobody but [`crate::egress`] calls it.
    #[inline]
    pub(crate) fn send(
        &self,
        burst: &mut Burst,
        outbound: &mut Outbound,
        buffers: &mut [FrameBuf],
        indices: &[u16],
        cells: &Cells,
        watch: Option<Watch<'_>>,
    ) {
        match &self.device {
            PortDevice::Packet(socket) => self.send_rest(indices, buffers, cells, watch, |rest, buffers| {
                self.send_packets(socket.as_fd(), burst, buffers, rest)
            }),
            PortDevice::Lan(lan) => {
                let dressed = lan.dress(buffers, indices);
                self.send_rest(indices, buffers, cells, watch, |rest, buffers| {
                    self.send_packets(lan.socket(), burst, buffers, rest)
                });
                lan.undress(buffers, indices, dressed);
            }
            PortDevice::Tap(fd) => self.send_rest(indices, buffers, cells, watch, |rest, buffers| {
                let sent = tap::send(fd.as_fd(), &mut buffers[usize::from(rest[0])]);
                sent.map(|()| 1).map_err(|error| Refused { frames: 1, error })
            }),
            PortDevice::Memory(device) => self.send_rest(indices, buffers, cells, watch, |rest, buffers| {
                let sent = device.send(&mut buffers[usize::from(rest[0])]);
                sent.map(|()| 1).map_err(|error| Refused { frames: 1, error })
            }),
            PortDevice::Machine(machine) => {
                let mut exit = Exit::new(self, cells, watch);
                machine.send(burst, buffers, indices, &mut exit);
                exit.sent(buffers, indices);
            }
            PortDevice::Host(gateway) => {
                let mut exit = Exit::new(self, cells, watch);
                gateway.send(buffers, indices, &mut exit);
                exit.sent(buffers, indices);
            }
            PortDevice::Service(service) => {
                let mut exit = Exit::new(self, cells, watch);
                service.send(buffers, indices, &mut exit);
                exit.sent(buffers, indices);
            }
            PortDevice::Overlay(leg) => leg.send(outbound, buffers, indices, &mut Exit::new(self, cells, watch)),
        }
    }

    /// Sends the first frames of `rest` and returns how many.
    #[inline]
    fn send_packets(
        &self,
        socket: BorrowedFd<'_>,
        burst: &mut Burst,
        buffers: &mut [FrameBuf],
        rest: &[u16],
    ) -> Result<usize, Refused> {
        let trains = self.trains.now();
        let sent = self.send_burst(socket, burst, buffers, rest, trains);
        if sent.is_ok() && trains == Trains::Joined {
            self.trains.taken();
        }
        sent
    }

    #[inline]
    fn send_burst(
        &self,
        socket: BorrowedFd<'_>,
        burst: &mut Burst,
        buffers: &mut [FrameBuf],
        rest: &[u16],
        trains: Trains,
    ) -> Result<usize, Refused> {
        if self.takes_long {
            return burst.send(socket, buffers, rest, trains);
        }
        let fits = |index: &u16| buffers[usize::from(*index)].len() <= packet::LONGEST_ELSEWHERE;
        match rest.iter().position(|index| !fits(index)) {
            None => burst.send(socket, buffers, rest, trains),
            Some(0) => {
                let sent = packet::send_in_pieces(socket, &mut buffers[usize::from(rest[0])]);
                sent.map(|()| 1).map_err(|error| Refused { frames: 1, error })
            }
            Some(fitting) => burst.send(socket, buffers, &rest[..fitting], trains),
        }
    }

    /// Calls `send` until every frame is sent or dropped with a reason.
    fn send_rest(
        &self,
        indices: &[u16],
        buffers: &mut [FrameBuf],
        cells: &Cells,
        mut watch: Option<Watch<'_>>,
        mut send: impl FnMut(&[u16], &mut [FrameBuf]) -> Result<usize, Refused>,
    ) {
        let mut rest = indices;
        while !rest.is_empty() {
            let (done, dropped) = match send(rest, buffers) {
                Ok(sent) => {
                    let bytes: usize = rest[..sent].iter().map(|&index| buffers[usize::from(index)].len()).sum();
                    cells.sent(wide(sent), wide(bytes));
                    (sent, None)
                }
                Err(Refused { frames, error }) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(Errno::INTR) => (0, None),
                    // The queue has no room: neither has it for what follows.
                    Some(Errno::AGAIN) => (rest.len(), Some(DropReason::EgressFull)),
                    Some(Errno::NOBUFS) => (frames, Some(DropReason::EgressFull)),
                    // The interface is not there, or not up: it takes none of the others either.
                    Some(Errno::NXIO | Errno::NODEV | Errno::NETDOWN | Errno::BADFD | Errno::BADF | Errno::PIPE)
                    | None => {
                        self.suspect.store(true, Relaxed);
                        (rest.len(), Some(DropReason::EgressError))
                    }
                    // This train is refused: the same frames once more, one by one.
                    Some(_) if frames > 1 => {
                        self.trains.refused();
                        (0, None)
                    }
                    // This frame is refused, whose sender may have made it so; the next may be taken.
                    Some(_) => (frames, Some(DropReason::EgressError)),
                },
            };
            if let Some(reason) = dropped {
                cells.dropped(reason, wide(done));
                if let Some(watch) = &mut watch {
                    watch.refused(self, reason, buffers, &rest[..done]);
                }
            }
            rest = &rest[done..];
        }
    }
}

/// Whether trains are tried. After a refusal the next bursts go frame by frame, twice as many after each further refusal and
/// one less after each burst that is taken: a kernel that takes none is hardly asked, and an odd train slows its port down for a
/// moment only.
#[derive(Debug)]
struct TrainsTaken {
    /// Bursts that go frame by frame before the next try; [`NEVER`] for a port that cannot have any.
    pause: AtomicU32,
    /// How many there are after the next refusal.
    next: AtomicU32,
}

/// No trains at all.
const NEVER: u32 = u32::MAX;
/// The longest pause, in bursts.
const LONGEST_PAUSE: u32 = 1 << 14;
/// The shortest.
const SHORTEST_PAUSE: u32 = 16;

impl TrainsTaken {
    const fn new(possible: bool) -> Self {
        let pause = AtomicU32::new(if possible { 0 } else { NEVER });
        TrainsTaken { pause, next: AtomicU32::new(SHORTEST_PAUSE) }
    }

    /// How the next burst goes. Workers that count down at the same time may lose one.
    #[inline]
    fn now(&self) -> Trains {
        match self.pause.load(Relaxed) {
            0 => Trains::Joined,
            NEVER => Trains::Apart,
            pause => {
                self.pause.store(pause - 1, Relaxed);
                Trains::Apart
            }
        }
    }

    /// A burst was taken, perhaps with trains in it.
    #[inline]
    fn taken(&self) {
        let pause = self.next.load(Relaxed);
        if pause > SHORTEST_PAUSE {
            self.next.store(pause - 1, Relaxed);
        }
    }

    fn refused(&self) {
        let pause = self.next.load(Relaxed);
        self.pause.store(pause, Relaxed);
        self.next.store((2 * pause).min(LONGEST_PAUSE), Relaxed);
    }
}

/// The way out by a port behind which is an engine, which looks at frames once more.
pub(crate) struct Exit<'e> {
    port: &'e Port,
    pub(crate) cells: &'e Cells,
    watch: Option<Watch<'e>>,
    refused: usize,
    refused_bytes: usize,
}

impl<'e> Exit<'e> {
    fn new(port: &'e Port, cells: &'e Cells, watch: Option<Watch<'e>>) -> Exit<'e> {
        Exit { port, cells, watch, refused: 0, refused_bytes: 0 }
    }

    /// The engine does not take the frame in buffer `index`. Among its own reasons it has counted that itself.
    pub(crate) fn refuse(&mut self, cause: impl Into<Cause>, buffer: &FrameBuf, index: u16) {
        let cause = cause.into();
        self.cells.dropped(cause.reason(), 1);
        self.refused += 1;
        self.refused_bytes += buffer.len();
        if let Some(watch) = &mut self.watch {
            watch.refused_one(self.port, cause, buffer, index);
        }
    }

    /// It took all others of these.
    fn sent(self, buffers: &[FrameBuf], indices: &[u16]) {
        let bytes: usize = indices.iter().map(|&index| buffers[usize::from(index)].len()).sum();
        self.cells.sent(wide(indices.len() - self.refused), wide(bytes - self.refused_bytes));
    }
}

/// Receives frame by frame; `receive` says whether the frame made sense.
fn receive_each(
    buffers: &mut [FrameBuf],
    mut receive: impl FnMut(&mut FrameBuf) -> io::Result<bool>,
) -> io::Result<Received> {
    for (frames, buffer) in buffers.iter_mut().enumerate() {
        match receive(buffer) {
            Ok(true) => {}
            Ok(false) => buffer.truncate(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received { frames, left: Left::Nothing });
            }
            Err(error) if frames == 0 => return Err(error),
            // If it lasts, the next receive begins with it.
            Err(_) => return Ok(Received { frames, left: Left::More }),
        }
    }
    Ok(Received { frames: buffers.len(), left: Left::More })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refused train makes a pause, further ones longer ones; what is taken makes them shorter again; a port that cannot have
    /// trains never tries.
    #[test]
    fn trains_pause() {
        let pause = |trains: &TrainsTaken| (0..).take_while(|_| trains.now() == Trains::Apart).count();
        let trains = TrainsTaken::new(true);
        assert_eq!(pause(&trains), 0);
        let mut pauses = (0..12).map(|_| {
            trains.refused();
            pause(&trains)
        });
        assert_eq!(pauses.by_ref().take(3).collect::<Vec<_>>(), [16, 32, 64]);
        assert_eq!(pauses.last(), Some(1 << 14));
        (0..20_000).for_each(|_| trains.taken());
        trains.refused();
        assert_eq!(pause(&trains), 16);
        let never = TrainsTaken::new(false);
        assert!((0..100).all(|_| never.now() == Trains::Apart));
    }
}
