//! The inside's half of an open connection: smoltcp's socket, and what smoltcp 0.14 is kept from.
//!
//! Three of its habits would lose bytes or leave a connection hanging. Each is met by what it is given to hear:
//!
//! - It takes the FIN of a segment whose last bytes find no room. So bytes and the FIN behind them are heard one after the
//!   other, and the FIN only when all bytes were taken.
//! - It takes three acknowledgments of all but its FIN for a loss, stops its retransmission timer, and finds nothing to send.
//!   So such a one is heard once.
//! - It waits for a window to open instead of sending again what is under way when the window is shut (Linux shuts it so when
//!   memory is short), and forgets that those bytes may be lost. So a window that is shut on them is heard as the least one.
//!
//! And when it sends again what three equal acknowledgments show to be lost, it sends one segment as the endpoint's SYN bounds it, where
//! a whole super-frame was lost; the rest would wait for the timer, a second. So it hears of a larger bound than the endpoint's, which is
//! kept to behind it ([`wire::finish`]).
//!
//! In LAST-ACK it hears of no wider window: see [`may_close`].

use std::time::Duration;

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use vswitch_frame::tcp::flag;
use vswitch_frame::{FrameBuf, Packet, Timestamp, ethernet};

use super::StreamLimits;
use super::device::{Emitted, OnePacket};
use super::wire::{self, Arrived, Ends, endpoint};

/// What only an open connection has.
#[derive(Debug)]
pub(super) struct Open {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// Bytes of each ring.
    pub(super) ring: usize,
    /// The inside has sent all that it will.
    pub(super) inside_ended: bool,
    /// The outside was told so.
    pub(super) told_outside: bool,
    /// The outside has sent all that it will, and the inside will be told.
    pub(super) outside_ended: bool,
    /// The sequence number of the inside's next byte for the host.
    pub(super) next: u32,
    /// The highest that the inside acknowledged.
    acknowledged: Option<u32>,
    /// The sequence number behind what was sent to the inside.
    sent: u32,
    /// The inside takes nothing just now.
    shut: bool,
    /// Something was sent again.
    pub(super) loses: bool,
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
            next: 0,
            acknowledged: None,
            sent: 0,
            shut: false,
            loses: false,
        }
    }

    /// Takes a packet from inside; the answer that cannot wait, if there is one, is put into `out`.
    pub(super) fn ingress(
        &mut self,
        interface: &mut Interface,
        packet: &Packet<'_>,
        arrived: &Arrived,
        out: &mut FrameBuf,
        now: Timestamp,
    ) -> Option<Emitted> {
        let opens = arrived.flags & flag::SYN != 0;
        if opens && matches!(self.socket().state(), State::Listen | State::SynSent) {
            self.next = wire::advanced(arrived.sequence, 1);
        }
        let repeated = self.acknowledged == arrived.acknowledgment;
        if repeated && arrived.is_pure_acknowledgment() && owes_fin(self.socket()) {
            return None;
        }
        let packet = packet.ip_packet();
        let raised = opens.then(|| arrived.with_largest_mss(packet));
        let packet = raised.as_deref().unwrap_or(packet);
        let under_way = arrived.acknowledgment.is_some_and(|number| wire::is_before(number, self.sent));
        if arrived.window == 0 && under_way && !opens {
            self.heard(arrived, false);
            return self.take(interface, &arrived.with_least_window(packet), arrived, out, now);
        }
        self.heard(arrived, arrived.window == 0);
        self.take(interface, packet, arrived, out, now)
    }

    /// Notes what a packet acknowledges, and whether it shuts the window, unless it is late.
    fn heard(&mut self, arrived: &Arrived, shut: bool) {
        if let Some(number) = arrived.acknowledgment
            && !self.acknowledged.is_some_and(|last| wire::is_before(number, last))
        {
            (self.acknowledged, self.shut) = (Some(number), shut);
        }
    }

    /// Lets the stack have a packet: bytes first, and the FIN behind them when it took them all.
    fn take(
        &mut self,
        interface: &mut Interface,
        packet: &[u8],
        arrived: &Arrived,
        out: &mut FrameBuf,
        now: Timestamp,
    ) -> Option<Emitted> {
        if self.inside_ended || arrived.flags & flag::FIN == 0 || arrived.length == 0 {
            return self.feed(interface, packet, out, now);
        }
        let answer = self.feed(interface, &arrived.without_fin(packet), out, now);
        if wire::advanced(self.next, self.socket().recv_queue()) != arrived.end() {
            return answer;
        }
        self.feed(interface, &arrived.fin_alone(packet), out, now).or(answer)
    }

    /// Gives the stack a packet, and takes its answer.
    fn feed(
        &mut self,
        interface: &mut Interface,
        packet: &[u8],
        out: &mut FrameBuf,
        now: Timestamp,
    ) -> Option<Emitted> {
        let area = packet_area(out);
        let mut device = OnePacket::new(Some(packet), Some(area));
        interface.poll_ingress_single(instant(now), &mut device, &mut self.sockets);
        let emitted = device.emitted()?;
        self.emits(&area[..emitted.length]);
        Some(emitted)
    }

    /// Puts the next packet for the inside into `out`, if there is one.
    pub(super) fn egress(&mut self, interface: &mut Interface, out: &mut FrameBuf, now: Timestamp) -> Option<Emitted> {
        self.emit(interface, packet_area(out), now)
    }

    /// Puts the next packet for the inside at the beginning of `area`, if there is one.
    pub(super) fn emit(&mut self, interface: &mut Interface, area: &mut [u8], now: Timestamp) -> Option<Emitted> {
        let mut device = OnePacket::new(None, Some(area));
        interface.poll_egress(instant(now), &mut device, &mut self.sockets);
        let emitted = device.emitted()?;
        self.emits(&area[..emitted.length]);
        Some(emitted)
    }

    /// Notes how far the stack has sent, and whether it repeats itself. What it sends into a shut window is but a probe.
    fn emits(&mut self, packet: &[u8]) {
        let Some((flags, begin, end)) = wire::extent(packet).filter(|_| !self.shut) else { return };
        if flags & flag::SYN != 0 || (flags & flag::RST == 0 && wire::is_before(self.sent, end)) {
            self.sent = end;
        } else if begin != end && flags & flag::RST == 0 {
            // A keep-alive repeats what was acknowledged.
            self.loses |= !self.acknowledged.is_some_and(|number| wire::is_before(begin, number));
        }
    }

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Lets the next packet be a reset.
    pub(super) fn abort(&mut self) {
        self.socket_mut().abort();
    }

    /// Where it stands; to be asked when [`Open::egress`] has no more.
    pub(super) fn standing(&mut self, interface: &mut Interface, now: Timestamp) -> Standing {
        let socket = self.socket();
        let both_ended = self.inside_ended && self.outside_ended && socket.send_queue() == 0;
        match socket.state() {
            // What the inside sent last may still wait for the host's socket.
            State::Closed | State::TimeWait if both_ended && socket.recv_queue() > 0 => Standing::Open(None),
            State::TimeWait => Standing::Closed,
            State::Closed if both_ended => Standing::Closed,
            // One that listens again was reset before it was open.
            State::Closed | State::Listen => Standing::Reset,
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

    /// Whether the inside was asked for a connection and has not answered.
    pub(super) fn is_unanswered(&self) -> bool {
        self.socket().state() == State::SynSent
    }

    /// The socket's state towards the inside, in RFC 9293's words.
    pub(super) fn state(&self) -> &'static str {
        match self.socket().state() {
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

/// Where a frame's packet goes.
pub(super) fn packet_area(out: &mut FrameBuf) -> &mut [u8] {
    &mut out.receive_area()[ethernet::HEADER_LEN..]
}

/// A fresh socket with rings of `ring` bytes, whose pages the kernel gives when they are first touched.
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

/// Whether our FIN may follow now. An inside that has ended first must have acknowledged all bytes before: smoltcp 0.14 in
/// LAST-ACK hears of no wider window, and would leave what did not fit unsent.
pub(super) fn may_close(socket: &Socket<'_>) -> bool {
    socket.state() != State::CloseWait || socket.send_queue() == 0
}

/// Whether the inside has sent its FIN.
pub(super) const fn has_ended(state: State) -> bool {
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
