//! A port whose other end is a program with a socket: a virtual machine, mostly. Read first: QEMU's documentation of
//! `-netdev stream` and `-netdev dgram`.
//!
//! Over a stream socket each frame comes behind its length in four bytes, in network order; other sockets carry one frame in each
//! message. Neither has room for unfinished work, so what leaves is finished here, and a super-frame cut up.
//!
//! The program is a stranger. One that sends a length that is no frame's loses its connection, since nothing behind it makes sense;
//! one that does not read loses frames, of which a bounded number waits for it; and it never holds anybody up.

mod bytes;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType, recv, send, sockopt};
use vswitch_frame::{DropReason, FrameBuf, Offload};

use super::{Exit, Left, Received};
use crate::shared::lock;
use crate::sys::burst::Burst;
use bytes::{Incoming, Outgoing};

/// Bytes that may wait for a program that does not read, beside what the kernel keeps; a frame may lie across the end.
const MOST_WAITING: usize = 1 << 18;

/// Errors of a datagram socket that a receive steps over before others have their turn.
const MOST_ERRORS: usize = 8;

/// The switch's end of the socket.
#[derive(Debug)]
pub struct MachineDevice {
    socket: OwnedFd,
    carries: Carries,
    /// The socket alone, so that whichever worker finds no room in it can ask to be told of some.
    poll: Poll,
    ended: AtomicBool,
    parting: Arc<OnceLock<Parting>>,
    /// Closed when the machine is gone.
    line: UnixStream,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Something waits until the socket has room.
    blocked: AtomicBool,
}

/// Tells when a machine is gone: it becomes readable then.
#[derive(Debug)]
pub struct MachineEnd {
    line: UnixStream,
    parting: Arc<OnceLock<Parting>>,
}

/// Why a machine is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It closed its socket.
    Closed,
    /// It sent a length that is no frame's.
    Nonsense,
}

/// How a socket carries frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// As bytes, each behind its length.
    Stream,
    /// As messages of a connection, whose end is an empty one.
    Messages,
    /// As datagrams of a peer on this host, who is gone when its socket is.
    Local,
    /// As datagrams of a peer that may come and go.
    Network,
}

impl MachineDevice {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// `InvalidInput` for anything else; otherwise what the kernel says.
    pub fn new(socket: OwnedFd) -> io::Result<(MachineDevice, MachineEnd)> {
        let carries = carries(&socket)?;
        let poll = Poll::new()?;
        let fd = socket.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), SOCKET, Interest::READABLE)?;
        let (line, other) = UnixStream::pair()?;
        other.set_nonblocking(true)?;
        let parting = Arc::new(OnceLock::new());
        let end = MachineEnd { line: other, parting: Arc::clone(&parting) };
        let device = MachineDevice {
            socket,
            carries,
            poll,
            ended: AtomicBool::new(false),
            parting,
            line,
            incoming: Mutex::default(),
            outgoing: Mutex::default(),
            blocked: AtomicBool::new(false),
        };
        Ok((device, end))
    }

    /// What becomes readable when a frame has come, or when there is room for those that wait.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Makes frames of what has come. What waits to be sent goes first: the socket may have room again.
    pub(super) fn receive(&self, burst: &mut Burst, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        if self.ended.load(Relaxed) {
            return Ok(NOTHING);
        }
        if self.blocked.load(Relaxed) {
            self.flush(burst, &mut lock(&self.outgoing));
        }
        match self.carries {
            Carries::Stream => Ok(self.receive_bytes(buffers)),
            Carries::Messages | Carries::Local | Carries::Network => self.receive_messages(burst, buffers),
        }
    }

    fn receive_bytes(&self, buffers: &mut [FrameBuf]) -> Received {
        let mut incoming = lock(&self.incoming);
        let mut frames = 0;
        while let Some(buffer) = buffers.get_mut(frames) {
            match incoming.next() {
                Ok(Some(frame)) => {
                    buffer.fill(frame, Offload::NONE);
                    frames += 1;
                    continue;
                }
                Ok(None) => {}
                Err(_) => return self.part(Parting::Nonsense, frames),
            }
            match recv(&self.socket, incoming.room(), RecvFlags::DONTWAIT) {
                Ok((came, _)) if came > 0 => incoming.came(came),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received { frames, left: Left::Nothing },
                Ok(_) | Err(_) => return self.part(Parting::Closed, frames),
            }
        }
        Received { frames, left: Left::More }
    }

    fn receive_messages(&self, burst: &mut Burst, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        for _ in 0..MOST_ERRORS {
            match burst.receive_messages(self.socket.as_fd(), buffers) {
                Ok(received) if self.carries == Carries::Messages => {
                    let whole = buffers[..received.frames].iter().position(FrameBuf::is_empty);
                    return Ok(whole.map_or(received, |frames| self.part(Parting::Closed, frames)));
                }
                Ok(received) => return Ok(received),
                // What became of an earlier datagram.
                Err(_) if self.carries == Carries::Network => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(self.part(Parting::Closed, 0)),
            }
        }
        Ok(Received { frames: 0, left: Left::Unknown })
    }

    /// Sends the frames that `indices` names, in order.
    pub(super) fn send(&self, burst: &mut Burst, buffers: &[FrameBuf], indices: &[u16], exit: &mut Exit<'_>) {
        let mut outgoing = lock(&self.outgoing);
        for &index in indices {
            let buffer = &buffers[usize::from(index)];
            if outgoing.waiting() >= MOST_WAITING {
                self.flush(burst, &mut outgoing);
            }
            if self.ended.load(Relaxed) {
                exit.refuse(DropReason::EgressError, buffer, index);
            } else if outgoing.waiting() >= MOST_WAITING {
                exit.refuse(DropReason::EgressFull, buffer, index);
            } else if outgoing.append(buffer, self.carries == Carries::Stream).is_err() {
                exit.refuse(DropReason::EgressError, buffer, index);
            }
        }
        self.flush(burst, &mut outgoing);
    }

    /// Gives the kernel what it takes, and asks to be told when it takes more.
    fn flush(&self, burst: &mut Burst, outgoing: &mut Outgoing) {
        let mut full = false;
        while !full && !outgoing.is_empty() && !self.ended.load(Relaxed) {
            let result = match self.carries {
                Carries::Stream => {
                    let sent = send(&self.socket, outgoing.bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                    sent.map(|sent| outgoing.went(sent))
                }
                Carries::Messages | Carries::Local | Carries::Network => {
                    let sent = burst.send_messages(self.socket.as_fd(), outgoing.messages());
                    let sent = sent.map(|sent| outgoing.messages_went(sent));
                    sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
                }
            };
            match result {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => full = true,
                // One that the kernel does not take at all, or has no memory for; the next may be another matter.
                Err(Errno::MSGSIZE | Errno::NOBUFS | Errno::NOMEM) if self.carries != Carries::Stream => {
                    outgoing.messages_went(1);
                }
                // Nobody is there now, so nothing waits for anybody.
                Err(_) if self.carries == Carries::Network => outgoing.clear(),
                Err(_) => {
                    self.part(Parting::Closed, 0);
                }
            }
        }
        if full != self.blocked.load(Relaxed) {
            let interest = if full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let fd = self.socket.as_raw_fd();
            match self.poll.registry().reregister(&mut SourceFd(&fd), SOCKET, interest) {
                Ok(()) => self.blocked.store(full, Relaxed),
                Err(error) => tracing::warn!(%error, "cannot watch the socket of a machine"),
            }
        }
    }

    /// Nothing more comes or goes, which the other side sees, too.
    fn part(&self, parting: Parting, frames: usize) -> Received {
        self.ended.store(true, Relaxed);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        // Who came first has said why.
        let _ = self.parting.set(parting);
        let _ = rustix::net::shutdown(&self.line, Shutdown::Both);
        Received { frames, left: Left::Nothing }
    }
}

impl MachineEnd {
    /// Why the machine is gone, if it is.
    #[must_use]
    pub fn parting(&self) -> Option<Parting> {
        self.parting.get().copied()
    }

    /// A copy to wait with, which does not block.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn line(&self) -> io::Result<UnixStream> {
        self.line.try_clone()
    }
}

impl AsFd for MachineEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

fn carries(socket: &OwnedFd) -> io::Result<Carries> {
    let unsuited = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let kind = sockopt::socket_type(socket).map_err(|error| match error {
        Errno::NOTSOCK => unsuited("it is no socket"),
        error => error.into(),
    })?;
    let local = match sockopt::socket_domain(socket)? {
        AddressFamily::UNIX => true,
        AddressFamily::INET | AddressFamily::INET6 => false,
        _ => return Err(unsuited("it is neither a Unix nor an Internet socket")),
    };
    rustix::net::getpeername(socket).map_err(|_| unsuited("it is not connected"))?;
    match (kind, local) {
        (SocketType::STREAM, _) => Ok(Carries::Stream),
        (SocketType::SEQPACKET, true) => Ok(Carries::Messages),
        (SocketType::DGRAM, true) => Ok(Carries::Local),
        (SocketType::DGRAM, false) => Ok(Carries::Network),
        _ => Err(unsuited("it carries neither a stream nor messages")),
    }
}

const SOCKET: Token = Token(0);
const NOTHING: Received = Received { frames: 0, left: Left::Nothing };
