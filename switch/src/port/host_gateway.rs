//! The far side of the sockets uplink: what containers send there goes on over ordinary sockets of the host.
//!
//! It is the only port of the uplink's network. A frame that the router sends there is taken apart at once, on the worker
//! that forwards it; what the host's sockets receive is made into frames when the port's own worker is woken. All sockets
//! are in one poll, whose descriptor is what the worker watches: an epoll descriptor is itself readable when there are events.
//! Its watch is edge-triggered, so a receive that comes back short has emptied the poll and every socket.
//!
//! ```text
//!  worker ─ send ──────►┐                     ┌──► TCP, UDP, ping sockets
//!                       │ engines, one lock   │
//!  worker ◄─ receive ◄──┘◄── poll ◄───────────┴──◄ listeners, timer
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::{Fragment, FrameBuf, Headers, L3, MacAddr, Timestamp};
use vswitch_nat::proxy::datagram::wire::Link;
use vswitch_nat::proxy::datagram::{DatagramLimits, Listener};
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::stream::{StreamLimits, StreamRecord};

use super::datagrams::{DatagramShell, DatagramStats, PublishedAs, Setup};
use super::streams::{ServiceStream, StreamShell, StreamStats};
use crate::clock::Clock;
use crate::shared::lock;

/// What a gateway is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostGatewaySettings {
    /// Bounds and timers of datagrams.
    pub datagrams: DatagramLimits,
    /// Bounds and timers of connections.
    pub streams: StreamLimits,
    /// Who may be reached.
    pub destinations: Destinations,
    /// Its own MAC address on the uplink's segment.
    pub mac: MacAddr,
    /// The router's there.
    pub router: MacAddr,
}

/// A port of the host that leads inside.
#[derive(Debug)]
pub struct HostPort {
    /// A bound UDP socket, or a TCP socket that listens.
    pub socket: OwnedFd,
    /// Where it leads.
    pub target: SocketAddr,
    /// The gateway's address in the target's network.
    pub gateway: IpAddr,
    /// As whom its clients are shown.
    pub clients: Clients,
}

/// As whom clients of a published port are shown inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clients {
    /// As themselves, where that is possible: not those on the host's own loopback.
    #[default]
    Themselves,
    /// As the gateway.
    Gateway,
}

/// A published port, to be closed by this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPortId(u32);

/// What a gateway counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostGatewayStats {
    /// UDP and echo requests.
    pub datagrams: DatagramStats,
    /// TCP.
    pub streams: StreamStats,
}

/// The gateway. Clones are the same one: control keeps one, a port has another.
#[derive(Debug, Clone)]
pub struct HostGateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Of the poll in `state`, which lives as long.
    poll_fd: RawFd,
    registry: Registry,
    waker: Waker,
    timer: OwnedFd,
    clock: Clock,
    next_port: AtomicU32,
    /// Protocols and ports of the gateways' addresses that are served here.
    served: ArcSwap<Vec<(u8, u16)>>,
}

#[derive(Debug)]
struct State {
    poll: Poll,
    events: Events,
    datagrams: DatagramShell,
    streams: StreamShell,
    /// When the timer goes off.
    armed: Option<Timestamp>,
}

const WAKER: Token = Token(0);
const TIMER: Token = Token(1);
/// Events taken from the poll at once.
const EVENTS: usize = 256;

impl HostGateway {
    /// A gateway without flows. `seed` makes its hashing unpredictable.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(settings: HostGatewaySettings, seed: u64) -> io::Result<HostGateway> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKER)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let HostGatewaySettings { datagrams: limits, streams, destinations, mac, router } = settings;
        let link = Link { own: mac, peer: router };
        let datagrams = DatagramShell::new(Setup { limits, destinations, link, seed });
        let streams = StreamShell::new((streams, destinations), link, &registry, seed)?;
        let poll_fd = poll.as_raw_fd();
        let events = Events::with_capacity(EVENTS);
        let state = Mutex::new(State { poll, events, datagrams, streams, armed: None });
        let (next_port, served) = (AtomicU32::new(1), ArcSwap::default());
        let inner = Inner { state, poll_fd, registry, waker, timer, clock: Clock::start(), next_port, served };
        Ok(HostGateway(Arc::new(inner)))
    }

    /// Takes a UDP port of the host; what comes to it goes inside from now on.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn publish_datagrams(&self, port: HostPort) -> io::Result<HostPortId> {
        let number = self.0.next_port.fetch_add(1, Relaxed);
        let HostPort { socket, target, gateway, clients } = port;
        let shown = PublishedAs { gateway, always_gateway: clients == Clients::Gateway };
        lock(&self.0.state).datagrams.publish(&self.0.registry, Listener(number), socket, target, shown)?;
        self.wake();
        Ok(HostPortId(number))
    }

    /// Takes a TCP port of the host; who connects to it is connected to the target from now on.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn publish_streams(&self, port: HostPort) -> io::Result<HostPortId> {
        let number = self.0.next_port.fetch_add(1, Relaxed);
        let HostPort { socket, target, gateway, clients } = port;
        let shown = PublishedAs { gateway, always_gateway: clients == Clients::Gateway };
        lock(&self.0.state).streams.publish(number, socket, target, shown)?;
        Ok(HostPortId(number))
    }

    /// Takes connections to `port` of every network's gateway address from now on. Without room in the channel, or when the
    /// receiver is gone, they are refused.
    #[must_use]
    pub fn serve_streams(&self, port: u16) -> Receiver<ServiceStream> {
        let streams = lock(&self.0.state).streams.serve(port);
        self.0.served.rcu(|served| {
            let mut served = Vec::clone(served);
            served.push((protocol::TCP, port));
            served
        });
        streams
    }

    /// Every TCP connection.
    #[must_use]
    pub fn connections(&self) -> Vec<StreamRecord> {
        lock(&self.0.state).streams.records()
    }

    /// Whether a packet to a gateway's address is for a service.
    #[inline]
    pub(crate) fn serves(&self, frame: &[u8], headers: &Headers) -> bool {
        let served = self.0.served.load();
        if served.is_empty() || headers.fragment() != Fragment::None {
            return false;
        }
        let port = headers.l4(frame).get(2..4).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        served.contains(&(headers.protocol(), port))
    }

    /// Closes a published port; `false` when there is none of that number.
    #[must_use]
    pub fn unpublish(&self, port: HostPortId) -> bool {
        let mut state = lock(&self.0.state);
        state.datagrams.unpublish(&self.0.registry, Listener(port.0)) || state.streams.unpublish(port.0)
    }

    /// Ends the flows of an address inside that goes.
    pub fn forget_endpoint(&self, address: IpAddr) {
        let mut state = lock(&self.0.state);
        state.datagrams.forget_endpoint(&self.0.registry, address);
        state.streams.forget_endpoint(address);
    }

    /// Says which networks are inside, and how long packets to each may be.
    pub fn set_mtus(&self, mtus: Vec<(IpNet, u16)>) {
        let mut state = lock(&self.0.state);
        state.streams.set_inside(mtus.iter().map(|(net, _)| *net).collect());
        state.datagrams.set_mtus(mtus);
    }

    /// Everything that is counted.
    #[must_use]
    pub fn stats(&self) -> HostGatewayStats {
        let state = lock(&self.0.state);
        HostGatewayStats { datagrams: state.datagrams.stats(), streams: state.streams.stats() }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.poll_fd
    }

    /// Takes the frames that `indices` names, in order.
    pub(super) fn send(&self, buffers: &[FrameBuf], indices: &[u16]) {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut state = lock(&inner.state);
        for &index in indices {
            let buffer = &buffers[usize::from(index)];
            let Ok(headers) = Headers::parse(buffer.frame()) else { continue };
            if !matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) {
                continue;
            }
            let packet = (buffer.frame(), &headers, &buffer.offload);
            if headers.protocol() == protocol::TCP {
                state.streams.send(packet, now);
            } else {
                state.datagrams.send(&inner.registry, packet, now);
            }
        }
        let output = state.has_output();
        inner.arm(&mut state, now);
        drop(state);
        if output {
            self.wake();
        }
    }

    /// Fills buffers with what came from outside and returns how many; fewer than there are buffers says that nothing
    /// more waits.
    ///
    /// # Errors
    /// When the poll fails.
    pub(super) fn receive(&self, buffers: &mut [FrameBuf]) -> io::Result<usize> {
        let inner = &*self.0;
        let mut state = lock(&inner.state);
        let now = inner.clock.now();
        let mut count = 0;
        while count < buffers.len() {
            let State { poll, events, datagrams, streams, .. } = &mut *state;
            match poll.poll(events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let mut due = false;
            for event in &*events {
                due |= event.token() == TIMER;
                let _ = streams.event(event, now) || datagrams.event(event);
            }
            if due {
                // Only that it went off matters.
                let _ = rustix::io::read(&inner.timer, &mut [0; 8]);
                datagrams.handle_timeout(&inner.registry, now);
                streams.handle_timeout(now);
                state.armed = None;
            } else if events.is_empty() && !state.has_output() {
                break;
            }
            count += state.streams.receive(&mut buffers[count..], now);
            count += state.datagrams.receive(&inner.registry, &mut buffers[count..], now);
        }
        inner.arm(&mut state, now);
        Ok(count)
    }

    fn wake(&self) {
        if let Err(error) = self.0.waker.wake() {
            tracing::error!(%error, "cannot wake the worker of the sockets uplink");
        }
    }
}

impl State {
    /// Whether there may be frames without any socket saying so.
    fn has_output(&self) -> bool {
        self.datagrams.has_output() || self.streams.has_output()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        self.datagrams.next_timeout().into_iter().chain(self.streams.next_timeout()).min()
    }
}

impl Inner {
    /// Sets the timer for what is due next, if it is not set for that or earlier.
    fn arm(&self, state: &mut State, now: Timestamp) {
        let Some(next) = state.next_timeout() else { return };
        if state.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        let wait = next.since(now).max(SOONEST);
        let nanos = i64::from(wait.subsec_nanos());
        let after = Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX), tv_nsec: nanos };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: after };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once) {
            Ok(_) => state.armed = Some(next),
            Err(error) => tracing::error!(%error, "cannot set the timer of the sockets uplink"),
        }
    }
}

/// A timer of nothing would be switched off.
const SOONEST: Duration = Duration::from_millis(1);
