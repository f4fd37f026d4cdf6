//! recvmmsg and sendmmsg: many frames with one system call. Read first: recvmmsg(2), packet(7).
//!
//! One [`Burst`] belongs to one worker. It holds the arrays that the kernel wants, allocated once; the pointers in them
//! are set right before each call, to buffers that are borrowed for that call.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{EtherType, FrameBuf};

/// Room for the one control message (tpacket_auxdata) that a packet socket adds to a frame, in 8-byte words.
const CONTROL_WORDS: usize = 8;

/// Status bits of tpacket_auxdata: the frame had a tag, and its TPID is given.
const VLAN_VALID: u32 = 0x10;
const VLAN_TPID_VALID: u32 = 0x40;

/// The arrays for one worker's calls.
pub struct Burst {
    messages: Box<[libc::mmsghdr]>,
    pieces: Box<[libc::iovec]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
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
            pieces: vec![piece; size].into_boxed_slice(),
            control: vec![[0; CONTROL_WORDS]; size].into_boxed_slice(),
        }
    }

    /// Receives up to `buffers.len()` frames from a packet socket without waiting, and puts stripped VLAN tags back.
    /// Returns how many came; a buffer whose frame made no sense is left empty. Fewer than `buffers.len()` says that
    /// the socket was drained.
    ///
    /// # Errors
    /// What the kernel says; "nothing there" is `Ok(0)`.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, buffers: &mut [FrameBuf]) -> io::Result<usize> {
        let count = buffers.len().min(self.messages.len());
        for (((message, piece), control), buffer) in
            self.messages.iter_mut().zip(&mut self.pieces).zip(&mut self.control).zip(&mut buffers[..count])
        {
            let area = buffer.vnet_receive_area();
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
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                Ok(0)
            } else {
                Err(error)
            };
        };
        for (message, buffer) in self.messages[..received].iter().zip(buffers) {
            let length = usize::try_from(message.msg_len).expect("a frame's length");
            let whole = message.msg_hdr.msg_flags & libc::MSG_TRUNC == 0 && buffer.vnet_received(length).is_ok();
            if !whole {
                buffer.truncate(0);
            } else if let Some(tag) = stripped_tag(&message.msg_hdr) {
                buffer.insert_vlan(tag);
            }
        }
        Ok(received)
    }

    /// Sends the frames that `indices` names, in order, with their virtio-net headers. Returns how many the kernel took;
    /// when fewer than all, the next call starts with the one that failed and tells why.
    ///
    /// # Errors
    /// Why the first frame was not taken.
    pub fn send(&mut self, socket: BorrowedFd<'_>, buffers: &mut [FrameBuf], indices: &[u16]) -> io::Result<usize> {
        let count = indices.len().min(self.messages.len());
        for ((message, piece), &index) in self.messages.iter_mut().zip(&mut self.pieces).zip(&indices[..count]) {
            let bytes = buffers[usize::from(index)].vnet_frame();
            *piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            message.msg_hdr.msg_name = ptr::null_mut();
            message.msg_hdr.msg_namelen = 0;
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = ptr::null_mut();
            message.msg_hdr.msg_controllen = 0;
            message.msg_hdr.msg_flags = 0;
        }
        let length = libc::c_uint::try_from(count).expect("a burst is small");
        // SAFETY: the first `count` headers lead to pieces of this burst and to buffers borrowed for this call, with
        // their true lengths (set just above); the kernel only reads them.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), self.messages.as_mut_ptr(), length, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
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
