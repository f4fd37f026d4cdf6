//! The work that a sender left undone, and the software that does it.
//!
//! Read first: the virtio 1.2 specification, section 5.1.6 (network device header); Linux
//! `Documentation/networking/segmentation-offloads.rst` and `checksum-offloads.rst`.
//!
//! A frame that a container's stack made arrives with a *partial* checksum (the field holds only the folded,
//! uncomplemented sum of the pseudo-header, over the whole super-frame's length) and, in bulk TCP, as one frame of up to
//! 64 KiB. Both facts travel in the 10-byte virtio-net header, decoded here into [`Offload`]. An egress that takes the
//! header gets the frame as it is; for others [`complete_checksum`] and [`crate::segment`] finish the work.

use crate::{Malformed, checksum, put16};

/// Bytes of the virtio-net header in front of a frame on AF_PACKET (PACKET_VNET_HDR) and TAP (IFF_VNET_HDR) ports.
pub const VNET_HEADER_LEN: usize = 10;

const FLAG_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Set on top of the type when the super-frame's first segment carries CWR.
const GSO_ECN: u8 = 0x80;

/// The most segments that a super-frame may become: Linux's longest super-frame of a card in its shortest segments, 64 KiB by
/// 48 bytes (`TCP_MIN_SND_MSS`). One frame of a sender must not be work for a thousand times its cost.
pub const MAX_SEGMENTS: u32 = 65_536u32.div_ceil(48);

/// The least payload of a TCP super-frame's segments (Linux's `TCP_MIN_GSO_SIZE`).
pub const MIN_TCP_SEGMENT: u16 = 8;

/// A checksum that is still to be finished: sum from `start` to the frame's end, complement, store at
/// `start + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the summed bytes start (the L4 header), from the frame's first byte.
    pub start: u16,
    /// Where the field lies, from `start`: 16 for TCP, 6 for UDP.
    pub offset: u16,
}

/// What kind of super-frame this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams of one size, over either family (UDP_SEGMENT).
    Udp,
}

/// Segmentation that is still to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// What is segmented.
    pub kind: GsoKind,
    /// Payload bytes of each segment but the last; never zero.
    pub size: u16,
    /// The sender's hint of how long all headers together are; software does not rely on it.
    pub header_len: u16,
    /// CWR is set and belongs to the first segment only.
    pub ecn: bool,
}

/// The work that a frame's sender left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// The checksum to finish, if any.
    pub checksum: Option<PartialChecksum>,
    /// The segmentation to do, if any.
    pub gso: Option<Gso>,
}

impl Offload {
    /// Nothing left to do.
    pub const NONE: Offload = Offload { checksum: None, gso: None };

    /// Reads a virtio-net header that came with a frame of `frame_len` bytes.
    ///
    /// # Errors
    /// When an offset points out of the frame, a size is zero, or the segmentation type is unknown (UFO included, which
    /// Linux no longer makes).
    #[inline]
    pub fn decode(header: [u8; VNET_HEADER_LEN], frame_len: usize) -> Result<Offload, Malformed> {
        if header[0] & FLAG_NEEDS_CSUM == 0 && header[1] == GSO_NONE {
            return Ok(Offload::NONE);
        }
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let checksum = (header[0] & FLAG_NEEDS_CSUM != 0).then(|| PartialChecksum { start: word(6), offset: word(8) });
        if let Some(PartialChecksum { start, offset }) = checksum
            && usize::from(start) + usize::from(offset) + 2 > frame_len
        {
            return Err(Malformed::Field("virtio-net", "checksum offset"));
        }
        let kind = match header[1] & !GSO_ECN {
            GSO_NONE => return Ok(Offload { checksum, gso: None }),
            GSO_TCPV4 => GsoKind::TcpV4,
            GSO_TCPV6 => GsoKind::TcpV6,
            GSO_UDP_L4 => GsoKind::Udp,
            _ => return Err(Malformed::Field("virtio-net", "segmentation type")),
        };
        let (header_len, size, ecn) = (word(2), word(4), header[1] & GSO_ECN != 0);
        if size == 0 || checksum.is_none() {
            return Err(Malformed::Field("virtio-net", "segment size"));
        }
        Ok(Offload { checksum, gso: Some(Gso { kind, size, header_len, ecn }) })
    }

    /// The virtio-net header that says this.
    #[inline]
    #[must_use]
    pub fn encode(self) -> [u8; VNET_HEADER_LEN] {
        let mut header = [0; VNET_HEADER_LEN];
        if let Some(PartialChecksum { start, offset }) = self.checksum {
            header[0] = FLAG_NEEDS_CSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
        if let Some(gso) = self.gso {
            header[1] = match gso.kind {
                GsoKind::TcpV4 => GSO_TCPV4,
                GsoKind::TcpV6 => GSO_TCPV6,
                GsoKind::Udp => GSO_UDP_L4,
            } | if gso.ecn { GSO_ECN } else { 0 };
            header[2..4].copy_from_slice(&gso.header_len.to_ne_bytes());
            header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
        }
        header
    }

    /// The same work after `bytes` were taken out in front of the L4 header; what was said of them is not.
    #[must_use]
    pub fn moved_forward(self, bytes: usize) -> Offload {
        let by = u16::try_from(bytes).unwrap_or(u16::MAX);
        Offload {
            checksum: self.checksum.map(|c| PartialChecksum { start: c.start.saturating_sub(by), ..c }),
            gso: self.gso.map(|g| Gso { header_len: g.header_len.saturating_sub(by), ..g }),
        }
    }

    /// The same work after `bytes` were inserted in front of the L4 header.
    #[must_use]
    pub fn moved_back(self, bytes: usize) -> Offload {
        let by = u16::try_from(bytes).unwrap_or(u16::MAX);
        Offload {
            checksum: self.checksum.map(|c| PartialChecksum { start: c.start.saturating_add(by), ..c }),
            gso: self.gso.map(|g| Gso { header_len: g.header_len.saturating_add(by), ..g }),
        }
    }
}

/// Finishes a partial checksum of a frame that is not a super-frame, in place, and clears it from the offload. The sum
/// runs to the end of the frame, as the kernel's does; a UDP result of zero is sent as 0xffff (RFC 768).
pub fn complete_checksum(frame: &mut [u8], offload: &mut Offload) {
    debug_assert!(offload.gso.is_none(), "a super-frame has a checksum per segment");
    let Some(PartialChecksum { start, offset }) = offload.checksum.take() else { return };
    let field = usize::from(start) + usize::from(offset);
    if field + 2 > frame.len() {
        return;
    }
    let value = !checksum::fold(checksum::sum(&frame[usize::from(start)..]));
    let is_udp = usize::from(offset) == crate::udp::CHECKSUM_OFFSET;
    put16(frame, field, if value == 0 && is_udp { 0xffff } else { value });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_offload() -> impl Strategy<Value = Offload> {
        let checksum = (0u16..1000, 0u16..100).prop_map(|(start, offset)| PartialChecksum { start, offset });
        let kind = prop_oneof![Just(GsoKind::TcpV4), Just(GsoKind::TcpV6), Just(GsoKind::Udp)];
        let gso = (kind, 1u16.., any::<u16>(), any::<bool>()).prop_map(|(kind, size, header_len, ecn)| Gso {
            kind,
            size,
            header_len,
            ecn,
        });
        (proptest::option::of(checksum), proptest::option::of(gso))
            .prop_map(|(checksum, gso)| Offload { checksum, gso: gso.filter(|_| checksum.is_some()) })
    }

    /// C1, C20: the header that Linux puts in front of a bulk TCP frame of 7,306 bytes.
    #[test]
    fn c20_fixture() {
        let mut header = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&66u16.to_ne_bytes());
        header[4..6].copy_from_slice(&1448u16.to_ne_bytes());
        header[6..8].copy_from_slice(&34u16.to_ne_bytes());
        header[8..10].copy_from_slice(&16u16.to_ne_bytes());
        let offload = Offload::decode(header, 7306).unwrap();
        assert_eq!(offload.checksum, Some(PartialChecksum { start: 34, offset: 16 }));
        assert_eq!(offload.gso, Some(Gso { kind: GsoKind::TcpV4, size: 1448, header_len: 66, ecn: false }));
    }

    /// C5: offsets beyond the frame, a zero size and unknown types are refused.
    #[test]
    fn impossible_headers() {
        let good = Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso: None }.encode();
        assert!(Offload::decode(good, 52).is_ok());
        assert!(Offload::decode(good, 51).is_err());
        for kind in [2u8, 3, 6, 0x7f, 0x83] {
            let mut header = good;
            header[1] = kind;
            assert!(Offload::decode(header, 60).is_err(), "type {kind}");
        }
        let mut zero = good;
        zero[1] = GSO_TCPV4;
        assert!(Offload::decode(zero, 60).is_err());
    }

    proptest! {
        /// Encoding and decoding round-trip.
        #[test]
        fn round_trip(offload in any_offload()) {
            prop_assert_eq!(Offload::decode(offload.encode(), 2000), Ok(offload));
        }

        /// Any ten bytes decode to offsets within the frame, or are refused.
        #[test]
        fn noise(header: [u8; 10], frame_len in 0usize..70_000) {
            if let Ok(Offload { checksum: Some(c), .. }) = Offload::decode(header, frame_len) {
                prop_assert!(usize::from(c.start) + usize::from(c.offset) + 2 <= frame_len);
            }
        }

        /// Completing a partial checksum gives what etherparse, an independent implementation, computes.
        #[test]
        fn completion_verifies(payload in proptest::collection::vec(any::<u8>(), 0..1000), source: [u8; 4], tcp: bool) {
            let ip = etherparse::PacketBuilder::ipv4(source, [10, 0, 0, 2], 64);
            let mut frame = Vec::new();
            if tcp { ip.tcp(1, 2, 3, 4).write(&mut frame, &payload) } else { ip.udp(1, 2).write(&mut frame, &payload) }
                .unwrap();
            let expected = frame.clone();
            let offset = if tcp { 16u16 } else { 6 };
            let pseudo = checksum::pseudo_header_v4(source.into(), [10, 0, 0, 2].into(), frame[9], frame.len() - 20);
            put16(&mut frame, 20 + usize::from(offset), checksum::fold(pseudo));
            let mut offload = Offload { checksum: Some(PartialChecksum { start: 20, offset }), gso: None };
            complete_checksum(&mut frame, &mut offload);
            prop_assert_eq!(offload, Offload::NONE);
            prop_assert_eq!(frame, expected);
        }
    }
}
