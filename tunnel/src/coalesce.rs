//! Coalescing: TCP segments that arrive one behind the other become one super-frame again, which then crosses the switch
//! and the container's interface in one piece.
//!
//! The rules, so that cutting the super-frame again gives exactly the segments that came:
//!
//! - both are whole TCP packets, without VLAN tag, IPv4 options or IPv6 extension headers, with right checksums, and
//!   nothing behind the packet in the frame;
//! - all of the Ethernet and IP headers is equal, but for the length, the checksum and the identification; that counts up
//!   by one, or DF says that it means nothing (RFC 6864 section 4.1);
//! - all of the TCP header is equal (ports, acknowledgment, window, every option, timestamps too), but for the checksum,
//!   PSH and the sequence number, which goes on where the segment before ended;
//! - no control bit but ACK and PSH is set; PSH ends the super-frame;
//! - both have payload, the first as much as segments of a super-frame must have, the second no more than the first; a shorter
//!   one ends the super-frame, as does the number of segments that one may have.
//!
//! UDP is left alone: two datagrams are two messages.

use vswitch_frame::ipv4::protocol;
use vswitch_frame::offload::{Gso, GsoKind, MAX_SEGMENTS, MIN_TCP_SEGMENT, PartialChecksum};
use vswitch_frame::tcp::{self, flag};
use vswitch_frame::{EtherType, FrameBuf, Offload, checksum, ethernet, ipv4, ipv6};

/// Longest packet of a super-frame.
const MAX_PACKET: usize = 65_535;

/// The super-frame that is being collected, in a buffer that the caller keeps.
#[derive(Debug, Default)]
pub struct Coalescer {
    collected: Option<Collected>,
}

#[derive(Debug, Clone, Copy)]
struct Collected {
    segment: Segment,
    /// Sequence number that the next segment must have.
    next: u32,
    /// Segments so far.
    count: u64,
    open: bool,
}

/// Where a TCP packet's parts lie in its frame.
#[derive(Debug, Clone, Copy)]
struct Segment {
    l4: usize,
    payload: usize,
    size: usize,
    v4: bool,
}

impl Coalescer {
    /// Joins `frame` to the frame in `buffer`, the last one that went through [`Coalescer::begin`]; `false` when it does
    /// not fit there.
    #[inline]
    pub fn join(&mut self, buffer: &mut FrameBuf, frame: &[u8]) -> bool {
        let Some(collected) = &mut self.collected else { return false };
        if !collected.open {
            return false;
        }
        let Some(segment) = Segment::find(frame) else { return false };
        if !collected.takes(buffer.frame(), frame, &segment) || !segment.checksums_are_right(frame) {
            return false;
        }
        if collected.count == 1 && !collected.segment.checksums_are_right(buffer.frame()) {
            self.collected = None;
            return false;
        }
        if !buffer.append(&frame[segment.payload..]) {
            return false;
        }
        let push = frame[segment.l4 + 13] & flag::PSH;
        buffer.frame_mut()[segment.l4 + 13] |= push;
        collected.count += 1;
        collected.next = collected.next.wrapping_add(u32::try_from(segment.size).unwrap_or(0));
        collected.open = push == 0 && segment.size == collected.segment.size;
        true
    }

    /// Takes note of the frame in `buffer`, to which the next may be joined.
    #[inline]
    pub fn begin(&mut self, buffer: &FrameBuf) {
        let frame = buffer.frame();
        self.collected = Segment::find(frame).map(|segment| {
            let sequence = word(frame, segment.l4 + 4);
            Collected {
                segment,
                next: sequence.wrapping_add(u32::try_from(segment.size).unwrap_or(0)),
                count: 1,
                open: frame[segment.l4 + 13] & flag::PSH == 0,
            }
        });
    }

    /// Ends the super-frame in `buffer`: its lengths and checksums become those of a whole. Returns how many segments were
    /// joined to its first.
    #[inline]
    pub fn finish(&mut self, buffer: &mut FrameBuf) -> u64 {
        match self.collected.take() {
            Some(collected) if collected.count > 1 => {
                collected.finish(buffer);
                collected.count - 1
            }
            _ => 0,
        }
    }
}

impl Collected {
    /// Whether `frame` follows the one that is collected in `first`.
    fn takes(&self, first: &[u8], frame: &[u8], segment: &Segment) -> bool {
        let own = &self.segment;
        let (l3, l4) = (ethernet::HEADER_LEN, own.l4);
        if (segment.v4, segment.l4, segment.payload) != (own.v4, own.l4, own.payload)
            || segment.size > own.size
            || own.size < usize::from(MIN_TCP_SEGMENT)
            || self.count >= u64::from(MAX_SEGMENTS)
            || first.len() - l3 + segment.size > MAX_PACKET
            || word(frame, l4 + 4) != self.next
        {
            return false;
        }
        let same = |from: usize, to: usize| first[from..to] == frame[from..to];
        let ip = if own.v4 {
            let dont_fragment = frame[l3 + 6] & 0x40 != 0;
            let number = |frame: &[u8]| u16::from_be_bytes([frame[l3 + 4], frame[l3 + 5]]);
            let counted = number(first).wrapping_add(u16::try_from(self.count).unwrap_or(0)) == number(frame);
            (dont_fragment || counted) && same(l3, l3 + 2) && same(l3 + 6, l3 + 10) && same(l3 + 12, l4)
        } else {
            same(l3, l3 + 4) && same(l3 + 6, l4)
        };
        // Flags are ACK and perhaps PSH in both, which Segment::find saw to.
        let tcp = same(l4, l4 + 4) && same(l4 + 8, l4 + 13) && same(l4 + 14, l4 + 16) && same(l4 + 18, own.payload);
        ip && tcp && same(0, l3)
    }

    fn finish(&self, buffer: &mut FrameBuf) {
        let Segment { l4, payload, size, v4 } = self.segment;
        let l3 = ethernet::HEADER_LEN;
        let narrow = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        let frame = buffer.frame_mut();
        let length = frame.len();
        let (kind, pseudo) = if v4 {
            frame[l3 + 2..l3 + 4].copy_from_slice(&narrow(length - l3).to_be_bytes());
            frame[l3 + 10..l3 + 12].copy_from_slice(&[0, 0]);
            let value = checksum::checksum(&frame[l3..l4]);
            frame[l3 + 10..l3 + 12].copy_from_slice(&value.to_be_bytes());
            (GsoKind::TcpV4, checksum::sum(&frame[l3 + 12..l3 + 20]))
        } else {
            frame[l3 + 4..l3 + 6].copy_from_slice(&narrow(length - l4).to_be_bytes());
            (GsoKind::TcpV6, checksum::sum(&frame[l3 + 8..l3 + 40]))
        };
        let length = u64::try_from(length - l4).unwrap_or(0);
        let partial = checksum::fold(pseudo + u64::from(protocol::TCP) + length);
        frame[l4 + tcp::CHECKSUM_OFFSET..l4 + tcp::CHECKSUM_OFFSET + 2].copy_from_slice(&partial.to_be_bytes());
        let offset = narrow(tcp::CHECKSUM_OFFSET);
        buffer.offload = Offload {
            checksum: Some(PartialChecksum { start: narrow(l4), offset }),
            gso: Some(Gso { kind, size: narrow(size), header_len: narrow(payload), ecn: false }),
        };
    }
}

impl Segment {
    /// The TCP packet in a frame, if it may be joined to others.
    #[inline]
    fn find(frame: &[u8]) -> Option<Segment> {
        let l3 = ethernet::HEADER_LEN;
        let ether_type = EtherType(u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]));
        let packet = &frame[l3..];
        let (l4, v4) = match ether_type {
            EtherType::IPV4 if packet.len() >= ipv4::MIN_HEADER_LEN + tcp::MIN_HEADER_LEN => {
                let whole = packet[0] == 0x45 && packet[6] & 0x3f == 0 && packet[7] == 0;
                let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                (whole && packet[9] == protocol::TCP && length == packet.len()).then_some((l3 + 20, true))?
            }
            EtherType::IPV6 if packet.len() >= ipv6::HEADER_LEN + tcp::MIN_HEADER_LEN => {
                let length = usize::from(u16::from_be_bytes([packet[4], packet[5]])) + ipv6::HEADER_LEN;
                let plain = packet[0] >> 4 == 6 && packet[6] == protocol::TCP;
                (plain && length == packet.len()).then_some((l3 + 40, false))?
            }
            _ => return None,
        };
        let header_len = usize::from(frame[l4 + 12] >> 4) * 4;
        let payload = l4 + header_len;
        let flags = frame[l4 + 13] & !flag::PSH == flag::ACK && frame[l4 + 12] & 0x0f == 0;
        let fits = header_len >= tcp::MIN_HEADER_LEN && payload < frame.len();
        (flags && fits).then(|| Segment { l4, payload, size: frame.len() - payload, v4 })
    }

    /// Whether the IPv4 header and the segment are as they were sent.
    fn checksums_are_right(&self, frame: &[u8]) -> bool {
        let l3 = ethernet::HEADER_LEN;
        let addresses = if self.v4 { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 };
        let length = u64::try_from(frame.len() - self.l4).unwrap_or(0);
        let pseudo = checksum::sum(&frame[addresses]) + u64::from(protocol::TCP) + length;
        (!self.v4 || checksum::checksum(&frame[l3..self.l4]) == 0)
            && checksum::fold(pseudo + checksum::sum(&frame[self.l4..])) == 0xffff
    }
}

fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}
