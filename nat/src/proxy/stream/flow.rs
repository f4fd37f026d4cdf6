//! One connection: smoltcp's socket towards the inside, the host's towards the outside, and what flows between them.

use std::io;
use std::time::Duration;

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use vswitch_frame::{FrameBuf, Timestamp};

use super::device::{Emitted, OnePacket};
use super::table::Slot;
use super::wire::{Ends, endpoint};
use super::{Outside, StreamLimits};

/// A connection.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) ends: Ends,
    pub(super) phase: Phase,
    /// Who opened it.
    pub(super) opener: Opener,
    /// The most payload of a segment that the endpoint takes.
    pub(super) mss: u16,
    /// The host's socket may have bytes, or its end.
    pub(super) readable: bool,
    /// The host's socket may take bytes.
    pub(super) writable: bool,
    /// It waits in the list of those that may have something to send.
    pub(super) listed: bool,
    /// When the table's timer names it.
    pub(super) due: Option<Timestamp>,
    /// When bytes moved last.
    pub(super) active: Timestamp,
    /// Bytes out and in.
    pub(super) bytes: [u64; 2],
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// An endpoint inside.
    Inside,
    /// A client of a published port.
    Outside,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The host connects; the frame that asked for it waits.
    Connecting(Box<[u8]>),
    /// Both sides have a socket.
    Open(Open),
}

/// What only an open connection has.
#[derive(Debug)]
pub(super) struct Open {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// Bytes of each ring.
    pub(super) ring: usize,
    /// The inside has sent all that it will.
    inside_ended: bool,
    /// The outside was told so.
    told_outside: bool,
    /// The outside has sent all that it will, and the inside will be told.
    outside_ended: bool,
    /// What the inside acknowledged last.
    acknowledged: Option<u32>,
}

/// What became of a connection's outside while bytes were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// It goes on.
    On,
    /// The host's socket is broken.
    Broken,
}

/// Where a connection stands when there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It goes on, and is to be looked at by this time.
    Open(Option<Timestamp>),
    /// Both sides have closed.
    Closed,
    /// One side has reset it, or did not answer.
    Reset,
}

impl Flow {
    /// `mss` is that of the endpoint's SYN; without one yet, nothing is sent that it could bound.
    pub(super) const fn new(ends: Ends, mss: u16, phase: Phase, opener: Opener, now: Timestamp) -> Self {
        let (readable, writable) = (true, true);
        Flow { ends, phase, opener, mss, readable, writable, listed: false, due: None, active: now, bytes: [0; 2] }
    }

    pub(super) const fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            Phase::Connecting(_) => None,
        }
    }

    /// Moves what can be moved between the two sockets.
    pub(super) fn pump(&mut self, slot: Slot, outside: &mut impl Outside, now: Timestamp) -> Pumped {
        let Phase::Open(open) = &mut self.phase else { return Pumped::On };
        let before = self.bytes;
        let socket = open.sockets.get_mut::<Socket<'_>>(open.handle);
        open.inside_ended |= has_ended(socket.state());
        while self.writable && socket.can_recv() {
            let written = socket.recv(|bytes| match outside.write(slot, bytes) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(count)) => self.bytes[0] += count as u64,
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return Pumped::Broken,
                Err(_) => break,
            }
        }
        if open.inside_ended && !open.told_outside && socket.recv_queue() == 0 {
            open.told_outside = true;
            outside.finish(slot);
        }
        while self.readable && !open.outside_ended && socket.may_send() && socket.send_queue() < socket.send_capacity()
        {
            let read = socket.send(|area| match outside.read(slot, area) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    open.outside_ended = true;
                    socket.close();
                }
                Ok(Ok(count)) => self.bytes[1] += count as u64,
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return Pumped::Broken,
                Err(_) => break,
            }
        }
        if self.bytes != before {
            self.active = now;
        }
        Pumped::On
    }
}

impl Open {
    /// A socket that waits for the SYN from inside.
    pub(super) fn listening(ends: Ends, ring: usize, limits: &StreamLimits) -> Option<Open> {
        let mut socket = socket(ring, limits);
        socket.listen(endpoint(ends.outside)).ok()?;
        Some(Open::new(socket, ring))
    }

    /// A socket that opens a connection to the inside.
    pub(super) fn connecting(
        ends: Ends,
        ring: usize,
        limits: &StreamLimits,
        interface: &mut Interface,
    ) -> Option<Open> {
        let mut socket = socket(ring, limits);
        socket.connect(interface.context(), endpoint(ends.inside), endpoint(ends.outside)).ok()?;
        Some(Open::new(socket, ring))
    }

    fn new(socket: Socket<'static>, ring: usize) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Open {
            sockets,
            handle,
            ring,
            inside_ended: false,
            told_outside: false,
            outside_ended: false,
            acknowledged: None,
        }
    }

    /// Whether a packet that does nothing but acknowledge this says nothing new, while the inside owes an acknowledgment of
    /// our FIN alone.
    ///
    /// smoltcp 0.14 takes three of them for a loss, stops its retransmission timer, and finds nothing to send: a FIN that
    /// was lost would stay lost.
    pub(super) fn repeats(&mut self, acknowledged: u32) -> bool {
        let again = self.acknowledged.replace(acknowledged) == Some(acknowledged);
        again && owes_fin(self.sockets.get::<Socket<'_>>(self.handle))
    }

    /// Takes a packet from inside; the answer that cannot wait, if there is one, is put into `out`.
    pub(super) fn ingress(
        &mut self,
        interface: &mut Interface,
        packet: &[u8],
        out: &mut FrameBuf,
        now: Timestamp,
    ) -> Option<Emitted> {
        let mut device = OnePacket::new(Some(packet), Some(out));
        interface.poll_ingress_single(instant(now), &mut device, &mut self.sockets);
        device.emitted()
    }

    /// Puts the next packet for the inside into `out`, if there is one.
    pub(super) fn egress(&mut self, interface: &mut Interface, out: &mut FrameBuf, now: Timestamp) -> Option<Emitted> {
        let mut device = OnePacket::new(None, Some(out));
        interface.poll_egress(instant(now), &mut device, &mut self.sockets);
        device.emitted()
    }

    /// Lets the next packet be a reset.
    pub(super) fn abort(&mut self) {
        self.sockets.get_mut::<Socket<'_>>(self.handle).abort();
    }

    /// Where it stands; to be asked when [`Open::egress`] has no more.
    pub(super) fn standing(&mut self, interface: &mut Interface, now: Timestamp) -> Standing {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let both_ended = self.inside_ended && self.outside_ended;
        match socket.state() {
            // What the inside sent last may still wait for the host's socket.
            State::Closed | State::TimeWait if both_ended && socket.recv_queue() > 0 => Standing::Open(None),
            State::TimeWait => Standing::Closed,
            State::Closed if both_ended => Standing::Closed,
            State::Closed => Standing::Reset,
            _ => {
                let at = interface.poll_at(instant(now), &self.sockets);
                Standing::Open(at.map(|at| timestamp(at).max(now + SOON)))
            }
        }
    }

    /// Whether one side has closed.
    pub(super) const fn is_half_closed(&self) -> bool {
        self.inside_ended || self.outside_ended
    }

    /// The socket's state towards the inside, in RFC 9293's words.
    pub(super) fn state(&self) -> &'static str {
        match self.sockets.get::<Socket<'_>>(self.handle).state() {
            State::Closed => "closed",
            State::Listen => "listen",
            State::SynSent => "syn-sent",
            State::SynReceived => "syn-received",
            State::Established => "established",
            State::FinWait1 => "fin-wait-1",
            State::FinWait2 => "fin-wait-2",
            State::CloseWait => "close-wait",
            State::Closing => "closing",
            State::LastAck => "last-ack",
            State::TimeWait => "time-wait",
        }
    }
}

/// A fresh socket with rings of `ring` bytes, which the kernel maps when they are first touched.
fn socket(ring: usize, limits: &StreamLimits) -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; ring]);
    let mut socket = Socket::new(buffer(), buffer());
    // Both sides of the proxy batch already: what is there is sent, and every burst is acknowledged at once.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    let seconds = |seconds: u32| smoltcp::time::Duration::from_secs(u64::from(seconds));
    socket.set_keep_alive(Some(seconds(limits.keep_alive.0)));
    socket.set_timeout(Some(seconds(limits.unanswered.0)));
    socket
}

/// Whether nothing but our FIN is to be acknowledged.
pub(super) fn owes_fin(socket: &Socket<'_>) -> bool {
    socket.send_queue() == 0 && matches!(socket.state(), State::FinWait1 | State::Closing | State::LastAck)
}

/// Whether the inside has sent its FIN.
const fn has_ended(state: State) -> bool {
    matches!(state, State::CloseWait | State::Closing | State::LastAck | State::TimeWait)
}

fn instant(now: Timestamp) -> Instant {
    Instant::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// Rounded up: earlier would be too early.
fn timestamp(instant: Instant) -> Timestamp {
    let micros = u64::try_from(instant.total_micros()).unwrap_or(0);
    Timestamp::from_millis(micros.div_ceil(1000))
}

/// The soonest that a connection is looked at again.
const SOON: Duration = Duration::from_millis(1);
