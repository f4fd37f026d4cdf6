//! The buffer that a frame lives in from ingress to egress.

use crate::admit::admit;
use crate::offload::{Offload, VNET_HEADER_LEN};
use crate::vlan::{TAG_LEN, VlanTag};
use crate::{DropReason, EtherType, Headers, Malformed, NetworkRef, Packet, PacketMut};

/// Bytes kept free in front of a received frame: room for a VLAN tag or the outer headers of a tunnel (outer IPv6,
/// UDP, VXLAN and Ethernet need 70) without moving the frame.
pub const HEADROOM: usize = 128;

/// The longest TCP super-packet that endpoints are told to make, in bytes (Linux's `gso_ipv4_max_size`): three times what an
/// IPv4 header can say, see docs/decisions/0012-larger-super-frames.md.
pub const MAX_SUPER_PACKET: u32 = 196_608;

/// The longest frame that a buffer takes: the longest super-packet behind an Ethernet header with two tags.
pub const MAX_FRAME_LEN: usize = MAX_SUPER_PACKET as usize + crate::ethernet::HEADER_LEN + 2 * TAG_LEN;

/// Bytes of one buffer. Not a power of two, so that neighbouring buffers' first lines fall into different cache sets.
const BUFFER_LEN: usize = (HEADROOM + MAX_FRAME_LEN).next_multiple_of(64) + 64;

/// A reusable frame buffer with headroom, and the [`Offload`] of the frame in it.
///
/// A buffer is allocated once (zeroed memory that the kernel maps when first touched) and never grows.
pub struct FrameBuf {
    storage: Box<[u8]>,
    start: usize,
    len: usize,
    /// The work that the sender left undone.
    pub offload: Offload,
    /// The network that the frame is of, where the port that it goes through does not say it.
    pub network: Option<NetworkRef>,
    /// Those of the frame, once it was checked.
    headers: Option<Headers>,
    /// The L4 checksum is right.
    verified: bool,
}

impl FrameBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        let storage = vec![0; BUFFER_LEN].into_boxed_slice();
        FrameBuf {
            storage,
            start: HEADROOM,
            len: 0,
            offload: Offload::NONE,
            network: None,
            headers: None,
            verified: false,
        }
    }

    /// A buffer that holds a copy of `frame`.
    ///
    /// # Panics
    /// When `frame` is longer than [`MAX_FRAME_LEN`].
    #[must_use]
    pub fn from_frame(frame: &[u8], offload: Offload) -> Self {
        let mut buffer = FrameBuf::new();
        buffer.fill(frame, offload);
        buffer
    }

    /// Replaces the content by a copy of `frame`.
    ///
    /// # Panics
    /// When `frame` is longer than [`MAX_FRAME_LEN`].
    #[inline]
    pub fn fill(&mut self, frame: &[u8], offload: Offload) {
        self.receive_area()[..frame.len()].copy_from_slice(frame);
        self.received(frame.len(), offload);
    }

    /// Replaces the content by a copy of a checked frame.
    ///
    /// # Panics
    /// When it is longer than [`MAX_FRAME_LEN`].
    #[inline]
    pub fn fill_with(&mut self, packet: &Packet<'_>) {
        self.fill(packet.frame, packet.offload);
        self.headers = Some(packet.headers);
        self.verified = packet.verified;
    }

    /// Checks the frame that came in, once: behind it, [`FrameBuf::packet`] says what was found.
    ///
    /// # Errors
    /// The reason to drop the frame.
    #[inline]
    pub fn admit(&mut self) -> Result<Packet<'_>, DropReason> {
        let frame = &mut self.storage[self.start..self.start + self.len];
        let headers = admit(frame, &mut self.offload)?;
        self.headers = Some(headers);
        self.verified = false;
        Ok(Packet { frame, headers, offload: self.offload, verified: false })
    }

    /// The frame as it was checked. One that was not is of the switch's own making, and looked at here.
    #[inline]
    #[must_use]
    pub fn packet(&self) -> Packet<'_> {
        let frame = self.frame();
        let headers = self.headers.unwrap_or_else(|| Headers::of_any(frame));
        Packet { frame, headers, offload: self.offload, verified: self.verified }
    }

    /// The frame as it was checked, to rewrite in place.
    #[inline]
    #[must_use]
    pub fn packet_mut(&mut self) -> PacketMut<'_> {
        let frame = &mut self.storage[self.start..self.start + self.len];
        let headers = self.headers.unwrap_or_else(|| Headers::of_any(frame));
        PacketMut { frame, headers, offload: self.offload, verified: self.verified }
    }

    /// Takes note that the L4 checksum is right, so that nobody has to look again.
    #[inline]
    pub const fn mark_verified(&mut self) {
        self.verified = true;
    }

    /// The content is another one, or of another length.
    #[inline]
    const fn forget(&mut self) {
        self.headers = None;
        self.verified = false;
        self.network = None;
    }

    /// Empties the buffer and returns the [`MAX_FRAME_LEN`] bytes into which a frame is received.
    #[inline]
    pub fn receive_area(&mut self) -> &mut [u8] {
        self.start = HEADROOM;
        self.len = 0;
        self.forget();
        &mut self.storage[HEADROOM..HEADROOM + MAX_FRAME_LEN]
    }

    /// Says that the first `len` bytes of [`FrameBuf::receive_area`] now hold a frame; more than fit are cut.
    #[inline]
    pub fn received(&mut self, len: usize, offload: Offload) {
        self.start = HEADROOM;
        self.len = len.min(MAX_FRAME_LEN);
        self.offload = offload;
        self.forget();
    }

    /// Empties the buffer and returns the bytes into which a virtio-net header and the frame behind it are received.
    #[inline]
    pub fn vnet_receive_area(&mut self) -> &mut [u8] {
        self.start = HEADROOM;
        self.len = 0;
        self.forget();
        &mut self.storage[HEADROOM - VNET_HEADER_LEN..HEADROOM + MAX_FRAME_LEN]
    }

    /// Says that the first `len` bytes of [`FrameBuf::vnet_receive_area`] now hold a virtio-net header and a frame.
    ///
    /// # Errors
    /// When they are fewer than a header, or the header contradicts the frame; the buffer then holds no offload.
    #[inline]
    pub fn vnet_received(&mut self, len: usize) -> Result<(), Malformed> {
        self.start = HEADROOM;
        self.offload = Offload::NONE;
        self.forget();
        let Some(frame_len) = len.checked_sub(VNET_HEADER_LEN) else {
            self.len = 0;
            return Err(Malformed::Truncated("virtio-net"));
        };
        self.len = frame_len.min(MAX_FRAME_LEN);
        let header = crate::array::<VNET_HEADER_LEN>(&self.storage, HEADROOM - VNET_HEADER_LEN);
        self.offload = Offload::decode(header, self.len)?;
        Ok(())
    }

    /// Writes the offload as a virtio-net header in front of the frame and returns both in one piece.
    #[inline]
    pub fn vnet_frame(&mut self) -> &[u8] {
        let at = self.start - VNET_HEADER_LEN;
        self.storage[at..self.start].copy_from_slice(&self.offload.encode());
        &self.storage[at..self.start + self.len]
    }

    /// The frame.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    /// The frame, to rewrite in place.
    #[inline]
    pub fn frame_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }

    /// Frame length in bytes.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer holds no frame.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes behind the frame; `false`, and nothing added, when they do not fit.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.start + self.len;
        let Some(room) =
            self.storage.get_mut(end..end + bytes.len()).filter(|_| self.len + bytes.len() <= MAX_FRAME_LEN)
        else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        self.forget();
        true
    }

    /// Cuts the frame to `len` bytes; a shorter frame stays as it is.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.forget();
    }

    /// Puts a VLAN tag behind the addresses, using four bytes of headroom, and moves the offload's offsets with the
    /// bytes they name. A runt, and a frame with no headroom left, stays as it is and `false` is returned.
    pub fn insert_vlan(&mut self, tag: VlanTag) -> bool {
        if self.len < crate::ethernet::HEADER_LEN || self.start < TAG_LEN + VNET_HEADER_LEN {
            return false;
        }
        let old = self.start;
        self.start -= TAG_LEN;
        self.len += TAG_LEN;
        self.storage.copy_within(old..old + 12, self.start);
        self.storage[self.start + 12..self.start + 16].copy_from_slice(&tag.to_bytes());
        self.offload = self.offload.moved_back(TAG_LEN);
        self.forget();
        true
    }

    /// Takes the outermost VLAN tag out, as if [`FrameBuf::insert_vlan`] had put it there.
    pub fn remove_vlan(&mut self) -> Option<VlanTag> {
        let bytes = self.frame().get(12..16)?;
        let tpid = EtherType(u16::from_be_bytes([bytes[0], bytes[1]]));
        let tci = u16::from_be_bytes([bytes[2], bytes[3]]);
        if !matches!(tpid, EtherType::VLAN | EtherType::SERVICE_VLAN) {
            return None;
        }
        let old = self.start;
        self.start += TAG_LEN;
        self.len -= TAG_LEN;
        self.storage.copy_within(old..old + 12, self.start);
        self.offload = self.offload.moved_forward(TAG_LEN);
        self.forget();
        Some(VlanTag { tpid, tci })
    }
}

impl Default for FrameBuf {
    fn default() -> Self {
        FrameBuf::new()
    }
}

impl std::fmt::Debug for FrameBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameBuf").field("frame", &self.frame()).field("offload", &self.offload).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::{Gso, GsoKind, PartialChecksum};

    /// C30-C33: a tag put back lies behind the addresses, and csum_start and hdr_len move by its four bytes.
    #[test]
    fn vlan_tag_is_put_back() {
        let frame: Vec<u8> = (0..60).collect();
        let offload = Offload {
            checksum: Some(PartialChecksum { start: 34, offset: 16 }),
            gso: Some(Gso { kind: GsoKind::TcpV4, size: 1448, header_len: 66, ecn: false }),
        };
        let mut buffer = FrameBuf::from_frame(&frame, offload);
        assert!(buffer.insert_vlan(VlanTag { tpid: EtherType::VLAN, tci: 0xa064 }));
        assert_eq!(buffer.frame()[..12], frame[..12]);
        assert_eq!(buffer.frame()[12..16], [0x81, 0x00, 0xa0, 0x64]);
        assert_eq!(buffer.frame()[16..], frame[12..]);
        assert_eq!(buffer.offload.checksum.unwrap().start, 38);
        assert_eq!(buffer.offload.gso.unwrap().header_len, 70);
        assert_eq!(buffer.remove_vlan(), Some(VlanTag { tpid: EtherType::VLAN, tci: 0xa064 }));
        assert_eq!((buffer.frame(), buffer.offload), (&frame[..], offload));
        assert_eq!(buffer.remove_vlan(), None);
    }

    /// What goes out with a virtio-net header comes in again as it was; a lone header or half of one is no frame.
    #[test]
    fn vnet_round_trip() {
        let offload = Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso: None };
        let mut out = FrameBuf::from_frame(&[7; 60], offload);
        let bytes = out.vnet_frame().to_vec();
        let mut back = FrameBuf::new();
        back.vnet_receive_area()[..bytes.len()].copy_from_slice(&bytes);
        back.vnet_received(bytes.len()).unwrap();
        assert_eq!((back.frame(), back.offload), (&[7; 60][..], offload));
        assert!(back.vnet_received(9).is_err());
        assert!(back.vnet_received(10).is_err(), "a checksum beyond the frame");
    }

    /// Bytes are added up to the longest frame, and not one more.
    #[test]
    fn append_limits() {
        let mut buffer = FrameBuf::from_frame(&vec![1; MAX_FRAME_LEN - 2], Offload::NONE);
        assert!(!buffer.append(&[2; 3]) && buffer.append(&[2; 2]) && !buffer.append(&[2]) && buffer.append(&[]));
        assert_eq!((buffer.len(), &buffer.frame()[MAX_FRAME_LEN - 3..]), (MAX_FRAME_LEN, &[1, 2, 2][..]));
    }

    /// A runt takes no tag; the longest frame takes one.
    #[test]
    fn tag_limits() {
        let tag = VlanTag { tpid: EtherType::VLAN, tci: 0 };
        assert!(!FrameBuf::from_frame(&[0; 13], Offload::NONE).insert_vlan(tag));
        let mut longest = FrameBuf::from_frame(&vec![1; MAX_FRAME_LEN], Offload::NONE);
        assert!(longest.insert_vlan(tag));
        assert_eq!(longest.len(), MAX_FRAME_LEN + 4);
    }
}
