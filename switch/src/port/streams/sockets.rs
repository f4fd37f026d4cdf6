//! The host sockets of connections.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use ipnet::IpNet;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use vswitch_nat::proxy::destinations::Destinations;
use vswitch_nat::proxy::stream::{Ending, Ends, HostSide, Slot};

use super::super::budget::{Budget, Permit};
use super::FIRST_TOKEN;
use crate::sys::datagram as sys;

/// Sockets by the number of their connection.
#[derive(Debug)]
pub(in crate::port) struct HostSockets {
    registry: Registry,
    budget: Option<Budget>,
    sockets: Vec<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    socket: Socket,
    /// The right to have it, where that is bounded.
    _permit: Option<Permit>,
}

/// Sockets, and what makes one that leads to where a connection leads.
pub(in crate::port) struct HostSocketOpener<'a, O> {
    sockets: &'a mut HostSockets,
    open: O,
}

/// Silence after which the kernel asks whether a peer is still there, how often, and until when.
const KEEP_ALIVE: Duration = Duration::from_secs(300);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(75);
const KEEP_ALIVE_RETRIES: u32 = 9;

impl HostSockets {
    pub(in crate::port) const fn new(registry: Registry, budget: Option<Budget>) -> Self {
        HostSockets { registry, budget, sockets: Vec::new() }
    }

    /// The same, able to connect.
    pub(in crate::port) const fn opening<O: FnMut(&Ends) -> io::Result<Socket>>(
        &mut self,
        open: O,
    ) -> HostSocketOpener<'_, O> {
        HostSocketOpener { sockets: self, open }
    }

    /// Keeps a connected socket for a connection.
    pub(in crate::port) fn insert(&mut self, slot: Slot, socket: Socket) -> io::Result<()> {
        let permit = self.budget.as_ref().map(Budget::take).transpose()?;
        let token = Token(FIRST_TOKEN + slot.index());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, both)?;
        if self.sockets.len() <= slot.index() {
            self.sockets.resize_with(slot.index() + 1, || None);
        }
        self.sockets[slot.index()] = Some(Held { socket, _permit: permit });
        Ok(())
    }

    /// Keeps room for those that are there.
    pub(in crate::port) fn shrink(&mut self) {
        let used = self.sockets.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.sockets.truncate(used);
        self.sockets.shrink_to_fit();
    }

    fn socket(&self, slot: Slot) -> io::Result<&Socket> {
        let socket = self.sockets.get(slot.index()).and_then(Option::as_ref);
        socket.map(|held| &held.socket).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What every TCP socket of a connection is told: latency first, since the endpoint's own stack has waited already.
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keep_alive.with_retries(KEEP_ALIVE_RETRIES))?;
    socket.set_tcp_nodelay(true)
}

/// A socket that connects to where a connection leads, outside.
pub(super) fn open(ends: &Ends, inside: &[IpNet], destinations: Destinations) -> io::Result<Socket> {
    let asked = ends.outside.ip();
    if destinations.is_closed(asked) {
        return Err(io::ErrorKind::NetworkUnreachable.into());
    }
    // The router sends none of them here; the host may have such addresses of its own.
    if inside.iter().any(|net| net.contains(&asked)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let address = destinations.outside(asked).ok_or(io::ErrorKind::PermissionDenied)?;
    let to = SocketAddr::new(address, ends.outside.port());
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    prepare(&socket)?;
    if let Some(source) = destinations.source(address) {
        // Its port is chosen with the destination in mind, so that there are enough for all of them.
        sys::choose_port_late(socket.as_fd())?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

impl<O: FnMut(&Ends) -> io::Result<Socket>> HostSide for HostSocketOpener<'_, O> {
    fn connect(&mut self, slot: Slot, ends: &Ends) -> io::Result<()> {
        let socket = (self.open)(ends)?;
        self.sockets.insert(slot, socket)
    }

    fn connected(&mut self, slot: Slot) -> Option<io::Result<()>> {
        self.sockets.connected(slot)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<usize> {
        self.sockets.write(slot, bytes)
    }

    fn read(&mut self, slot: Slot, area: &mut [u8]) -> io::Result<usize> {
        self.sockets.read(slot, area)
    }

    fn finish(&mut self, slot: Slot) {
        self.sockets.finish(slot);
    }

    fn close(&mut self, slot: Slot, ending: Ending) {
        self.sockets.close(slot, ending);
    }
}

/// Without the means to connect: for what starts none.
impl HostSide for HostSockets {
    fn connect(&mut self, _: Slot, _: &Ends) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn connected(&mut self, slot: Slot) -> Option<io::Result<()>> {
        let outcome = self.socket(slot).and_then(|socket| match socket.take_error()? {
            Some(error) => Err(error),
            None => socket.peer_addr().map(|_| ()),
        });
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            outcome => Some(outcome),
        }
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<usize> {
        self.socket(slot)?.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }

    fn read(&mut self, slot: Slot, area: &mut [u8]) -> io::Result<usize> {
        self.socket(slot)?.read(area)
    }

    fn finish(&mut self, slot: Slot) {
        // A socket that is no longer connected says so at the next read.
        let _ = self.socket(slot).and_then(|socket| socket.shutdown(Shutdown::Write));
    }

    fn close(&mut self, slot: Slot, ending: Ending) {
        let Some(Held { socket, .. }) = self.sockets.get_mut(slot.index()).and_then(Option::take) else { return };
        if ending == Ending::Reset
            && let Err(error) = socket.set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a connection ends without a reset");
        }
    }
}
