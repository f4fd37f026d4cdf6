//! recvmmsg and sendmmsg: many frames with one system call. Read first: recvmmsg(2), packet(7).
//!
//! One [`Burst`] belongs to one worker. It holds the arrays that the kernel wants, allocated once; the pointers in them
//! are set right before each call, to buffers that are borrowed for that call.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use vswitch_frame::offload::VNET_HEADER_LEN;
use vswitch_frame::train::{MAX_HEADER_LEN, Train};
use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{EtherType, FrameBuf, Offload};

use crate::port::Received;

/// Room for the one control message (tpacket_auxdata) that a packet socket adds to a frame, in 8-byte words.
const CONTROL_WORDS: usize = 8;

/// Status bits of tpacket_auxdata: the frame had a tag, and its TPID is given.
const VLAN_VALID: u32 = 0x10;
const VLAN_TPID_VALID: u32 = 0x40;

/// The arrays for one worker's calls.
pub struct Burst {
    messages: Box<[libc::mmsghdr]>,
    /// One for each frame, and one more for each train's headers.
    pieces: Box<[libc::iovec]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
    /// The headers of trains, each behind its virtio-net header.
    headers: Box<[[u8; VNET_HEADER_LEN + MAX_HEADER_LEN]]>,
    /// How many frames each message to send carries.
    frames: Box<[usize]>,
}

/// How runs of UDP datagrams are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trains {
    /// Each for itself.
    Apart,
    /// In one piece, which the kernel cuts up (see [`super::packet::let_kernel_segment`]).
    Joined,
}

/// Why the first frames of a call were not taken.
#[derive(Debug)]
pub struct Refused {
    /// How many there are: one, or those of a train.
    pub frames: usize,
    /// What the kernel says.
    pub error: io::Error,
}

// SAFETY: the raw pointers inside are only used during a call that borrows the burst and the buffers they lead to.
unsafe impl Send for Burst {}

impl Burst {
    /// Arrays for up to `size` frames a call.
    #[must_use]
    pub fn new(size: usize) -> Self {
        // SAFETY: mmsghdr and iovec are plain data for which zero (null, no length) is valid.
        let (message, piece) = unsafe { (mem::zeroed::<libc::mmsghdr>(), mem::zeroed::<libc::iovec>()) };
        Burst {
            messages: vec![message; size].into_boxed_slice(),
            pieces: vec![piece; 2 * size].into_boxed_slice(),
            control: vec![[0; CONTROL_WORDS]; size].into_boxed_slice(),
            headers: vec![[0; VNET_HEADER_LEN + MAX_HEADER_LEN]; size].into_boxed_slice(),
            frames: vec![0; size].into_boxed_slice(),
        }
    }

    /// Receives up to `buffers.len()` frames from a packet socket without waiting, and puts stripped VLAN tags back.
    /// A buffer whose frame made no sense is left empty.
    ///
    /// # Errors
    /// What the kernel says; "nothing there" is none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        let (received, asked) = self.receive_into(socket, buffers, FrameBuf::vnet_receive_area)?;
        for (message, buffer) in self.messages[..received].iter().zip(buffers) {
            let length = usize::try_from(message.msg_len).expect("a frame's length");
            let whole = message.msg_hdr.msg_flags & libc::MSG_TRUNC == 0 && buffer.vnet_received(length).is_ok();
            if !whole {
                buffer.truncate(0);
            } else if let Some(tag) = stripped_tag(&message.msg_hdr) {
                buffer.insert_vlan(tag);
            }
        }
        Ok(Received::from_kernel(received, asked))
    }

    /// Receives up to `buffers.len()` frames from a socket whose messages are finished frames and nothing else. One that is longer than a
    /// buffer leaves it empty.
    ///
    /// # Errors
    /// What the kernel says; "nothing there" is none.
    pub fn receive_messages(&mut self, socket: BorrowedFd<'_>, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        let (received, asked) = self.receive_into(socket, buffers, FrameBuf::receive_area)?;
        for (message, buffer) in self.messages[..received].iter().zip(buffers) {
            let whole = message.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let length = if whole { usize::try_from(message.msg_len).expect("a frame's length") } else { 0 };
            buffer.received(length, Offload::NONE);
        }
        Ok(Received::from_kernel(received, asked))
    }

    /// Lets the kernel fill areas of buffers. Answers how many it filled, and how many it was given.
    #[inline]
    fn receive_into(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: &mut [FrameBuf],
        area: impl Fn(&mut FrameBuf) -> &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let count = buffers.len().min(self.messages.len());
        for (((message, piece), control), buffer) in
            self.messages.iter_mut().zip(&mut self.pieces).zip(&mut self.control).zip(&mut buffers[..count])
        {
            let area = area(buffer);
            *piece = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
            message.msg_hdr.msg_name = ptr::null_mut();
            message.msg_hdr.msg_namelen = 0;
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = mem::size_of_val(control);
            message.msg_hdr.msg_flags = 0;
        }
        let length = libc::c_uint::try_from(count).expect("a burst is small");
        // SAFETY: the first `count` headers lead to pieces and control words of this burst and to buffers borrowed for
        // this call, with their true lengths (set just above); no timeout is passed.
        let received = unsafe {
            let messages = self.messages.as_mut_ptr();
            libc::recvmmsg(socket.as_raw_fd(), messages, length, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        match usize::try_from(received) {
            Ok(received) => Ok((received, count)),
            Err(_) => {
                let error = io::Error::last_os_error();
                // Only this says that the socket was emptied.
                if error.kind() == io::ErrorKind::WouldBlock { Ok((0, count)) } else { Err(error) }
            }
        }
    }

    /// Sends the frames that `indices` names, in order, with their virtio-net headers. Returns how many the kernel took;
    /// when fewer than all, the next call starts with the one that failed and tells why.
    ///
    /// # Errors
    /// Why the first frame, or the train that it begins, was not taken.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        buffers: &mut [FrameBuf],
        indices: &[u16],
        trains: Trains,
    ) -> Result<usize, Refused> {
        let mut rest = &indices[..indices.len().min(self.messages.len())];
        let (mut count, mut pieces) = (0, 0);
        while let Some((&first, others)) = rest.split_first() {
            let train = if trains == Trains::Joined { train(buffers, first, others) } else { None };
            let start = pieces;
            self.frames[count] = 1;
            if let Some(train) = train {
                let headers = &mut self.headers[count];
                headers[..VNET_HEADER_LEN].copy_from_slice(&train.offload().encode());
                train.write_headers(buffers[usize::from(first)].frame(), &mut headers[VNET_HEADER_LEN..]);
                self.pieces[pieces] = piece(&headers[..VNET_HEADER_LEN + train.header_len()]);
                for (to, &index) in self.pieces[pieces + 1..].iter_mut().zip(&rest[..train.count()]) {
                    *to = piece(&buffers[usize::from(index)].frame()[train.header_len()..]);
                }
                self.frames[count] = train.count();
                pieces += 1 + train.count();
            } else {
                self.pieces[pieces] = piece(buffers[usize::from(first)].vnet_frame());
                pieces += 1;
            }
            rest = &rest[self.frames[count]..];
            let message = &mut self.messages[count].msg_hdr;
            message.msg_name = ptr::null_mut();
            message.msg_namelen = 0;
            message.msg_iov = &raw mut self.pieces[start];
            message.msg_iovlen = pieces - start;
            message.msg_control = ptr::null_mut();
            message.msg_controllen = 0;
            message.msg_flags = 0;
            count += 1;
        }
        let length = libc::c_uint::try_from(count).expect("a burst is small");
        // SAFETY: the first `count` headers lead to pieces of this burst (one for each frame and one for each train of at
        // least two, so that twice the frames suffice), and those to headers of this burst and to buffers borrowed for this
        // call, with their true lengths (set just above); the kernel only reads them.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), length, libc::MSG_DONTWAIT) };
        match usize::try_from(sent) {
            Ok(sent) => Ok(self.frames[..sent].iter().sum()),
            Err(_) => Err(Refused { frames: self.frames[0], error: io::Error::last_os_error() }),
        }
    }
}

impl Burst {
    /// Sends messages, each a frame and nothing else, in order. Returns how many the kernel took; when fewer than all, the next call
    /// starts with the one that failed and tells why.
    ///
    /// # Errors
    /// Why the first was not taken.
    pub fn send_messages<'m>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = &'m [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for ((message, piece), bytes) in self.messages.iter_mut().zip(&mut self.pieces).zip(messages) {
            *piece = self::piece(bytes);
            message.msg_hdr.msg_name = ptr::null_mut();
            message.msg_hdr.msg_namelen = 0;
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = ptr::null_mut();
            message.msg_hdr.msg_controllen = 0;
            message.msg_hdr.msg_flags = 0;
            count += 1;
        }
        let length = libc::c_uint::try_from(count).expect("a burst is small");
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the first `count` headers lead to pieces of this burst, and those to bytes that `'m` keeps borrowed beyond this call,
        // with their true lengths (set just above); the kernel only reads them.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), length, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// The train of at least two frames that `first` begins, if it does.
#[inline]
fn train(buffers: &[FrameBuf], first: u16, others: &[u16]) -> Option<Train> {
    let mut last = &buffers[usize::from(first)];
    let next = &buffers[usize::from(*others.first()?)];
    // Nearly all traffic ends here: at most one datagram, or no datagrams.
    if last.offload.checksum != next.offload.checksum {
        return None;
    }
    let mut train = Train::begin(&last.packet())?;
    for &index in others {
        let next = &buffers[usize::from(index)];
        if !train.add(last.frame(), next.frame(), &next.offload) {
            break;
        }
        last = next;
    }
    (train.count() > 1).then_some(train)
}

/// Bytes for the kernel to read.
fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// The VLAN tag that the kernel took out of a frame, from the frame's PACKET_AUXDATA.
fn stripped_tag(header: &libc::msghdr) -> Option<VlanTag> {
    // SAFETY: the kernel filled the control area that the header names, whose memory the burst still owns; the macros
    // stay within msg_controllen. The payload is read unaligned after its length was checked.
    let aux = unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        if control.is_null()
            || (*control).cmsg_level != libc::SOL_PACKET
            || (*control).cmsg_type != libc::PACKET_AUXDATA
            || (*control).cmsg_len < mem::size_of::<libc::cmsghdr>() + mem::size_of::<libc::tpacket_auxdata>()
        {
            return None;
        }
        ptr::read_unaligned(libc::CMSG_DATA(control).cast::<libc::tpacket_auxdata>())
    };
    (aux.tp_status & VLAN_VALID != 0).then_some(VlanTag {
        tpid: if aux.tp_status & VLAN_TPID_VALID != 0 { EtherType(aux.tp_vlan_tpid) } else { EtherType::VLAN },
        tci: aux.tp_vlan_tci,
    })
}

impl std::fmt::Debug for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Burst").field("size", &self.messages.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use vswitch_frame::offload::PartialChecksum;
    use vswitch_frame::segment::segment;

    /// A 5-byte datagram as Linux makes it, numbered by its identification and payload.
    fn datagram(number: u8, port: u16) -> FrameBuf {
        let payload = [number; 5];
        let mut header =
            etherparse::Ipv4Header::new(13, 64, etherparse::IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.identification = number.into();
        let headers = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(headers)
            .udp(7, port)
            .write(&mut frame, &payload)
            .unwrap();
        let pseudo = vswitch_frame::checksum::pseudo_header_v4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 17, 13);
        frame[40..42].copy_from_slice(&vswitch_frame::checksum::fold(pseudo).to_be_bytes());
        let offload = Offload { checksum: Some(PartialChecksum { start: 34, offset: 6 }), gso: None };
        FrameBuf::from_frame(&frame, offload)
    }

    /// What arrives at the other end of a socket pair: each message's frame, and its offload.
    fn sent(buffers: &mut [FrameBuf], trains: Trains) -> Vec<FrameBuf> {
        let (from, to) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let indices: Vec<u16> = (0..).take(buffers.len()).collect();
        let mut burst = Burst::new(64);
        assert_eq!(burst.send(from.as_fd(), buffers, &indices, trains).unwrap(), buffers.len());
        to.set_nonblocking(true).unwrap();
        let receive = || {
            let mut buffer = FrameBuf::new();
            let length = to.recv(buffer.vnet_receive_area()).ok()?;
            buffer.vnet_received(length).unwrap();
            Some(buffer)
        };
        std::iter::from_fn(receive).collect()
    }

    /// Datagrams of one flow leave in one message, from which software makes the same datagrams again; others leave as they
    /// are, in order.
    #[test]
    fn trains_leave_in_one_message() {
        let burst = || -> Vec<FrameBuf> {
            let train = (1..=5).map(|number| datagram(number, 9));
            [datagram(1, 8)].into_iter().chain(train).chain([datagram(1, 8), datagram(7, 9)]).collect()
        };
        let apart = sent(&mut burst(), Trains::Apart);
        assert_eq!(apart.len(), 8);
        let joined = sent(&mut burst(), Trains::Joined);
        assert_eq!(joined.len(), 4);
        let segments = segment(&joined[1].packet()).unwrap();
        assert_eq!(segments.count(), 5);
        for (index, single) in apart[1..6].iter().enumerate() {
            let mut out = vec![0; segments.max_len()];
            segments.write(index, &mut out);
            let (mut whole, mut offload) = (single.frame().to_vec(), single.offload);
            vswitch_frame::offload::complete_checksum(&mut whole, &mut offload);
            assert_eq!(out, whole, "datagram {index}");
        }
        for (one, other) in [(0, 0), (2, 6), (3, 7)] {
            assert_eq!(joined[one].frame(), apart[other].frame());
        }
    }

    /// A train that the kernel refuses is named with all its frames.
    #[test]
    fn a_refused_train_is_counted_whole() {
        let (from, to) = std::os::unix::net::UnixDatagram::pair().unwrap();
        drop(to);
        let mut buffers: Vec<FrameBuf> = (1..=3).map(|number| datagram(number, 9)).collect();
        let refused = Burst::new(64).send(from.as_fd(), &mut buffers, &[0, 1, 2], Trains::Joined).unwrap_err();
        assert_eq!((refused.frames, refused.error.kind()), (3, io::ErrorKind::ConnectionRefused));
    }
}
