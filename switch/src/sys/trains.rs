//! Trains of UDP datagrams: sendmmsg with UDP_SEGMENT, recvmmsg with UDP_GRO. Read first: udp(7), cmsg(3).

use std::io;
use std::mem::{self, size_of};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use socket2::{SockAddr, SockAddrStorage};
use vswitch_frame::FrameBuf;
use vswitch_tunnel::encap::{Packer, Piece, Train};

use super::udp::{UDP_GRO, UDP_SEGMENT};

/// Most messages of one call.
const MESSAGES: usize = 64;
/// Most pieces of one message (UIO_MAXIOV), and of one call.
const MOST_PIECES: usize = 1024;
const PIECES: usize = 4 * MOST_PIECES;
/// Room for the two control messages of a message (segment size, TOS), in 8-byte words.
const CONTROL_WORDS: usize = 8;
/// Messages received by one call, and bytes of each: the longest train that the kernel joins.
const RECEIVED: usize = 16;
const LONGEST: usize = 65_536;

/// The arrays for sending.
pub struct TrainSender {
    messages: Box<[libc::mmsghdr]>,
    pieces: Box<[libc::iovec]>,
    addresses: Box<[SockAddr]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
    used: usize,
    used_pieces: usize,
}

// SAFETY: the raw pointers inside are only used during a call that borrows the arrays and the buffers they lead to.
unsafe impl Send for TrainSender {}

/// Where and how a message goes.
#[derive(Debug, Clone, Copy)]
struct Envelope {
    to: SocketAddr,
    tos: u8,
    /// Bytes of each packet of a train; `None` for a lone packet.
    segment: Option<usize>,
}

impl TrainSender {
    /// Empty arrays.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: mmsghdr and iovec are plain data for which zero (null, no length) is valid.
        let (message, piece) = unsafe { (mem::zeroed::<libc::mmsghdr>(), mem::zeroed::<libc::iovec>()) };
        let nowhere = SockAddr::from(SocketAddr::from(([0, 0, 0, 0], 0)));
        TrainSender {
            messages: vec![message; MESSAGES].into_boxed_slice(),
            pieces: vec![piece; PIECES].into_boxed_slice(),
            addresses: vec![nowhere; MESSAGES].into_boxed_slice(),
            control: vec![[0; CONTROL_WORDS]; MESSAGES].into_boxed_slice(),
            used: 0,
            used_pieces: 0,
        }
    }

    /// Sends the first of `trains` to their remotes' `port`, as many as one call takes, and returns how many the kernel
    /// took; when fewer than all, the next call starts with the one that failed and tells why.
    ///
    /// # Errors
    /// Why the first train was not taken.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        port: u16,
        packer: &Packer,
        trains: &[Train],
        buffers: &[FrameBuf],
    ) -> io::Result<usize> {
        self.clear();
        for train in trains {
            let segment = (train.amount.packets > 1).then_some(train.size);
            let envelope = Envelope { to: SocketAddr::new(train.remote.address, port), tos: train.tos, segment };
            if !self.add(envelope, packer.arena(), buffers, packer.pieces(train).iter().cloned()) {
                break;
            }
        }
        self.call(socket)
    }

    /// Sends one packet of a train alone.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn send_alone(
        &mut self,
        socket: BorrowedFd<'_>,
        port: u16,
        packer: &Packer,
        train: &Train,
        packet: usize,
        buffers: &[FrameBuf],
    ) -> io::Result<()> {
        self.clear();
        let to = SocketAddr::new(train.remote.address, port);
        let envelope = Envelope { to, tos: train.tos, segment: None };
        self.add(envelope, packer.arena(), buffers, packer.packet(train, packet));
        self.call(socket).map(|_| ())
    }

    fn clear(&mut self) {
        (self.used, self.used_pieces) = (0, 0);
    }

    /// Adds a message; `false` when there is no room for it.
    fn add(
        &mut self,
        envelope: Envelope,
        arena: &[u8],
        buffers: &[FrameBuf],
        pieces: impl Iterator<Item = Piece>,
    ) -> bool {
        let (index, first) = (self.used, self.used_pieces);
        if index == MESSAGES {
            return false;
        }
        for piece in pieces {
            let bytes = match piece {
                Piece::Own(range) => &arena[range],
                Piece::Frame(buffer, range) => &buffers[usize::from(buffer)].frame()[range],
            };
            // The first message always fits: a train has far fewer pieces than the array.
            if self.used_pieces == PIECES {
                self.used_pieces = first;
                return false;
            }
            self.pieces[self.used_pieces] =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            self.used_pieces += 1;
        }
        self.addresses[index] = SockAddr::from(envelope.to);
        let header = &mut self.messages[index].msg_hdr;
        header.msg_name = self.addresses[index].as_ptr().cast_mut().cast();
        header.msg_namelen = self.addresses[index].len();
        header.msg_iov = &raw mut self.pieces[first];
        header.msg_iovlen = self.used_pieces - first;
        header.msg_control = self.control[index].as_mut_ptr().cast();
        header.msg_flags = 0;
        let mut words = 0;
        if let Some(size) = envelope.segment {
            let size = u16::try_from(size).unwrap_or(u16::MAX);
            words += put_control(&mut self.control[index][words..], libc::SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
        }
        if envelope.tos != 0 {
            let tos = libc::c_int::from(envelope.tos).to_ne_bytes();
            let (level, kind) = if envelope.to.is_ipv4() {
                (libc::IPPROTO_IP, libc::IP_TOS)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
            };
            words += put_control(&mut self.control[index][words..], level, kind, &tos);
        }
        header.msg_controllen = words * size_of::<u64>();
        self.used += 1;
        true
    }

    fn call(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let count = libc::c_uint::try_from(self.used).expect("at most MESSAGES");
        // SAFETY: the first `used` headers lead to addresses, pieces and control words of these arrays, and the pieces to
        // bytes that the callers of `add` borrow until this call ends, all with their true lengths; the kernel only reads.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Default for TrainSender {
    fn default() -> Self {
        TrainSender::new()
    }
}

impl std::fmt::Debug for TrainSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainSender").finish_non_exhaustive()
    }
}

/// Writes a control message (cmsg(3)) into `words` and returns how many it takes.
fn put_control(words: &mut [u64], level: libc::c_int, kind: libc::c_int, value: &[u8]) -> usize {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let length = HEADER + value.len();
    let mut bytes = [0u8; HEADER + size_of::<u64>()];
    bytes[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
    bytes[HEADER - 8..HEADER - 4].copy_from_slice(&level.to_ne_bytes());
    bytes[HEADER - 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    bytes[HEADER..length].copy_from_slice(value);
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
        *word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
    }
    length.div_ceil(size_of::<u64>())
}

/// The arrays and buffers for receiving.
pub struct TrainReceiver {
    messages: Box<[libc::mmsghdr]>,
    pieces: Box<[libc::iovec]>,
    addresses: Box<[SockAddrStorage]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
    buffers: Box<[Box<[u8]>]>,
}

// SAFETY: the raw pointers inside are only used during a call that borrows the arrays and buffers they lead to.
unsafe impl Send for TrainReceiver {}

/// What one message brought.
#[derive(Debug)]
pub struct Received<'b> {
    /// The outer source.
    pub source: IpAddr,
    /// The outer TOS or traffic class.
    pub tos: u8,
    /// Length of each packet but the last.
    pub size: usize,
    /// The packets' bytes, one behind the other.
    pub bytes: &'b mut [u8],
}

impl TrainReceiver {
    /// Empty arrays and buffers.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: mmsghdr and iovec are plain data for which zero (null, no length) is valid.
        let (message, piece) = unsafe { (mem::zeroed::<libc::mmsghdr>(), mem::zeroed::<libc::iovec>()) };
        TrainReceiver {
            messages: vec![message; RECEIVED].into_boxed_slice(),
            pieces: vec![piece; RECEIVED].into_boxed_slice(),
            addresses: (0..RECEIVED).map(|_| SockAddrStorage::zeroed()).collect(),
            control: vec![[0; CONTROL_WORDS]; RECEIVED].into_boxed_slice(),
            buffers: (0..RECEIVED).map(|_| vec![0; LONGEST].into_boxed_slice()).collect(),
        }
    }

    /// How many messages one call asks for.
    #[must_use]
    pub const fn capacity() -> usize {
        RECEIVED
    }

    /// Receives up to [`TrainReceiver::capacity`] messages without waiting and returns how many came.
    ///
    /// # Errors
    /// What the kernel says; "nothing there" is `Ok(0)`. Behind an error, messages may wait.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for index in 0..RECEIVED {
            let buffer = &mut self.buffers[index];
            self.pieces[index] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut self.messages[index].msg_hdr;
            header.msg_name = (&raw mut self.addresses[index]).cast();
            header.msg_namelen = self.addresses[index].size_of();
            header.msg_iov = &raw mut self.pieces[index];
            header.msg_iovlen = 1;
            header.msg_control = self.control[index].as_mut_ptr().cast();
            header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
            header.msg_flags = 0;
        }
        let count = libc::c_uint::try_from(RECEIVED).expect("a small number");
        // SAFETY: every header leads to an address, a piece, control words and a buffer of these arrays, with their true
        // lengths (set just above); no timeout is passed.
        let received = unsafe {
            let messages = self.messages.as_mut_ptr();
            libc::recvmmsg(socket.as_raw_fd(), messages, count, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        usize::try_from(received).or_else(|_| {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
        })
    }

    /// What message `index` of the last call brought; `None` for one that makes no sense.
    pub fn message(&mut self, index: usize) -> Option<Received<'_>> {
        let message = &self.messages[index];
        let length = usize::try_from(message.msg_len).ok()?.min(LONGEST);
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let address = mem::replace(&mut self.addresses[index], SockAddrStorage::zeroed());
        // SAFETY: the kernel wrote an address of this length into the storage, which began as zeroes.
        let address = unsafe { SockAddr::new(address, message.msg_hdr.msg_namelen) };
        let source = address.as_socket()?.ip();
        let (mut tos, mut size) = (0, length);
        // SAFETY: the kernel filled the control area that the header names, whose memory these arrays still own.
        for (level, kind, value) in unsafe { controls(&message.msg_hdr) } {
            match (level, kind, value) {
                (libc::IPPROTO_IP, libc::IP_TOS, [byte, ..]) => tos = *byte,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, [a, b, c, d, ..]) => {
                    tos = u8::try_from(i32::from_ne_bytes([*a, *b, *c, *d])).unwrap_or(0);
                }
                (libc::SOL_UDP, UDP_GRO, [a, b, c, d, ..]) => {
                    size = usize::try_from(i32::from_ne_bytes([*a, *b, *c, *d])).unwrap_or(length);
                }
                _ => {}
            }
        }
        Some(Received { source, tos, size: size.max(1), bytes: &mut self.buffers[index][..length] })
    }
}

/// The control messages of a received message.
///
/// # Safety
/// The header's control area must be what the kernel filled, and live and unchanged for as long as the result is used.
unsafe fn controls(header: &libc::msghdr) -> impl Iterator<Item = (libc::c_int, libc::c_int, &[u8])> {
    // SAFETY: by this function's contract; the macros stay within msg_controllen.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: the macros gave a header within the control area, and its length covers the data that follows it.
        unsafe {
            let current = next;
            next = libc::CMSG_NXTHDR(header, current);
            let length = (*current).cmsg_len.saturating_sub(size_of::<libc::cmsghdr>());
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(current), length);
            Some(((*current).cmsg_level, (*current).cmsg_type, data))
        }
    })
}

impl Default for TrainReceiver {
    fn default() -> Self {
        TrainReceiver::new()
    }
}

impl std::fmt::Debug for TrainReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainReceiver").finish_non_exhaustive()
    }
}
