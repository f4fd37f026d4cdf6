//! Segmentation of GSO frames in software, for egresses that cannot take them, or not as long as they are.
//!
//! Read first: Linux `Documentation/networking/segmentation-offloads.rst`. Per segment: IP length, IPv4 identification
//! plus one, TCP sequence number advanced, FIN and PSH only on the last, CWR only on the first, and a finished checksum.

use std::ops::Range;

use crate::offload::{Gso, GsoKind, Offload};
use crate::tcp::{Tcp, flag};
use crate::udp;
use crate::{Headers, L3, Malformed, Packet, PacketMut, checksum, ipv4, ipv6, put16, tcp};

/// A super-frame that has been checked and can be written out segment by segment.
#[derive(Debug)]
pub struct Segments<'f> {
    frame: &'f [u8],
    headers: Headers,
    kind: GsoKind,
    header_len: usize,
    size: usize,
    count: usize,
}

/// Checks a super-frame.
///
/// # Errors
/// When its offload names no segmentation, or the frame does not carry what its segmentation type says.
pub fn segment<'f>(packet: &Packet<'f>) -> Result<Segments<'f>, Malformed> {
    let (frame, headers) = (packet.frame, packet.headers);
    let Some(Gso { kind, size, .. }) = packet.offload.gso else {
        return Err(Malformed::Field("virtio-net", "segmentation type"));
    };
    let (family, protocol) = match kind {
        GsoKind::TcpV4 => (headers.l3() == L3::Ipv4, ipv4::protocol::TCP),
        GsoKind::TcpV6 => (headers.l3() == L3::Ipv6, ipv4::protocol::TCP),
        GsoKind::Udp => (matches!(headers.l3(), L3::Ipv4 | L3::Ipv6), ipv4::protocol::UDP),
    };
    if !family || headers.protocol() != protocol || headers.fragment() != crate::Fragment::None {
        return Err(Malformed::Field("super-frame", "protocol"));
    }
    let l4 = headers.l4(frame);
    let header_len = headers.l4_offset()
        + match kind {
            GsoKind::TcpV4 | GsoKind::TcpV6 => Tcp::parse(l4)?.header_len(),
            GsoKind::Udp if l4.len() >= udp::HEADER_LEN => udp::HEADER_LEN,
            GsoKind::Udp => return Err(Malformed::Truncated("UDP")),
        };
    let size = usize::from(size);
    let count = (headers.l3_end() - header_len).div_ceil(size).max(1);
    Ok(Segments { frame, headers, kind, header_len, size, count })
}

/// Bytes of the longest headers of a TCP segment over IPv4 behind two tags.
const MAX_HEADERS: usize = crate::ethernet::HEADER_LEN + 2 * crate::vlan::TAG_LEN + 60 + 60;

/// Cuts a TCP super-frame with a partial checksum into shorter super-frames, whose packets have at most `longest` bytes, and
/// hands them to `each` in order. They are made in place, each one's headers over the end of the one before; afterwards the
/// frame is as it was.
///
/// # Errors
/// As [`segment`]; when the frame's checksum is not partial, its headers are longer than IPv4's can be, or not one segment
/// fits.
pub fn shorten(packet: &mut PacketMut<'_>, longest: usize, mut each: impl FnMut(&Packet<'_>)) -> Result<(), Malformed> {
    let whole = segment(&packet.view())?;
    let Segments { headers, kind, header_len, size, .. } = whole;
    let end = headers.l3_end();
    let (offload, verified) = (packet.offload, packet.verified);
    let frame = &mut *packet.frame;
    if kind == GsoKind::Udp || offload.checksum.is_none() || header_len > MAX_HEADERS {
        return Err(Malformed::Field("super-frame", "kind"));
    }
    let fitting = longest.saturating_sub(header_len - headers.l3_offset()) / size;
    if fitting == 0 {
        return Err(Malformed::Field("super-frame", "segment size"));
    }
    let mut saved = [0; MAX_HEADERS];
    let saved = &mut saved[..header_len];
    saved.copy_from_slice(&frame[..header_len]);
    let count = (end - header_len).div_ceil(fitting * size).max(1);
    let pieces = Segments { frame: saved, headers, kind, header_len, size: fitting * size, count };
    for index in 0..count {
        let start = index * fitting * size;
        let payload = (fitting * size).min(end - header_len - start);
        let piece = &mut frame[start..start + header_len + payload];
        let mut covered = [0; MAX_HEADERS];
        covered[..header_len].copy_from_slice(&piece[..header_len]);
        piece[..header_len].copy_from_slice(saved);
        pieces.finish_l3(index * fitting, payload, &mut piece[..header_len]);
        pieces.number(index, &mut piece[headers.l4_offset()..header_len]);
        let pseudo = pieces.pseudo(ipv4::protocol::TCP, header_len - headers.l4_offset() + payload);
        put16(piece, headers.l4_offset() + tcp::CHECKSUM_OFFSET, checksum::fold(pseudo));
        let left = Offload { gso: offload.gso.filter(|_| payload > size), ..offload };
        let headers = headers.ending_at(header_len + payload);
        each(&Packet { frame: piece, headers, offload: left, verified });
        piece[..header_len].copy_from_slice(&covered[..header_len]);
    }
    Ok(())
}

impl Segments<'_> {
    /// How many segments there are; at least one.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The longest segment's length in bytes, headers included.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.header_len + self.size.min(self.headers.l3_end() - self.header_len)
    }

    /// Bytes of the headers of each segment.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Writes segment `index`, finished, into `out` and returns its length in bytes.
    ///
    /// # Panics
    /// When `index` is not below [`Segments::count`], or `out` is shorter than the segment.
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        let payload = self.write_headers(index, out);
        let length = self.header_len + payload.len();
        out[self.header_len..length].copy_from_slice(&self.frame[payload]);
        length
    }

    /// Writes some segments, of which there is at least one, into `out` as the one shorter super-frame that they are; returns its length in
    /// bytes, and what is left undone of it. Segments of UDP are written one by one.
    ///
    /// # Panics
    /// When there are no such segments, or `out` is shorter than they.
    pub fn write_run(&self, run: Range<usize>, offload: Offload, out: &mut [u8]) -> (usize, Offload) {
        if run.len() == 1 {
            return (self.write(run.start, out), Offload::NONE);
        }
        assert!(self.kind != GsoKind::Udp && run.end <= self.count, "a run of segments of TCP");
        let from = self.header_len + run.start * self.size;
        let payload = from..(self.header_len + run.end * self.size).min(self.headers.l3_end());
        let length = self.header_len + payload.len();
        let header = &mut out[..self.header_len];
        header.copy_from_slice(&self.frame[..self.header_len]);
        self.finish_l3(run.start, payload.len(), header);
        // The end of the whole keeps its flags.
        let count = run.start + if run.end == self.count { 1 } else { 2 };
        let l4 = self.headers.l4_offset();
        Segments { count, ..*self }.number(run.start, &mut header[l4..]);
        let pseudo = self.pseudo(ipv4::protocol::TCP, length - l4);
        put16(header, l4 + tcp::CHECKSUM_OFFSET, checksum::fold(pseudo));
        out[self.header_len..length].copy_from_slice(&self.frame[payload]);
        (length, offload)
    }

    /// Bytes of payload of segment `index`.
    #[must_use]
    pub fn payload_len(&self, index: usize) -> usize {
        (self.headers.l3_end() - self.header_len).saturating_sub(index * self.size).min(self.size)
    }

    /// Whether several segments may stay one shorter super-frame.
    #[must_use]
    pub fn can_run(&self, offload: Offload) -> bool {
        self.kind != GsoKind::Udp && offload.checksum.is_some()
    }

    /// Writes only the finished headers of segment `index`, [`Segments::header_len`] bytes, into `out` and returns where
    /// in the super-frame its payload lies: for egresses that gather a segment from two places.
    ///
    /// # Panics
    /// When `index` is not below [`Segments::count`], or `out` is shorter than the headers.
    pub fn write_headers(&self, index: usize, out: &mut [u8]) -> Range<usize> {
        assert!(index < self.count);
        let start = self.header_len + index * self.size;
        let range = start..(start + self.size).min(self.headers.l3_end());
        let out = &mut out[..self.header_len];
        out.copy_from_slice(&self.frame[..self.header_len]);
        self.finish_l3(index, range.len(), out);
        self.finish_l4(index, &self.frame[range.clone()], out);
        range
    }

    /// `before`: how many segments come before.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a packet that is made is shorter than 2^16; identification and index wrap as the field does"
    )]
    fn finish_l3(&self, before: usize, payload: usize, out: &mut [u8]) {
        let packet = &mut out[self.headers.l3_offset()..];
        let length = packet.len() + payload;
        if self.headers.l3() == L3::Ipv4 {
            let identification = crate::be16(packet, 4).wrapping_add(before as u16);
            put16(packet, 2, length as u16);
            put16(packet, 4, identification);
            put16(packet, 10, 0);
            let header_len = self.headers.l4_offset() - self.headers.l3_offset();
            let value = checksum::checksum(&packet[..header_len]);
            put16(packet, 10, value);
        } else {
            put16(packet, 4, (length - ipv6::HEADER_LEN) as u16);
        }
    }

    fn finish_l4(&self, index: usize, payload: &[u8], out: &mut [u8]) {
        let l4 = &mut out[self.headers.l4_offset()..];
        let length = l4.len() + payload.len();
        // An L4 header has an even length, so the two sums may be added.
        let finish = |l4: &[u8], protocol| {
            !checksum::fold(self.pseudo(protocol, length) + checksum::sum(l4) + checksum::sum(payload))
        };
        match self.kind {
            GsoKind::TcpV4 | GsoKind::TcpV6 => {
                self.number(index, l4);
                put16(l4, tcp::CHECKSUM_OFFSET, 0);
                let value = finish(l4, ipv4::protocol::TCP);
                put16(l4, tcp::CHECKSUM_OFFSET, value);
            }
            GsoKind::Udp => {
                put16(l4, 4, u16::try_from(length).unwrap_or(0));
                put16(l4, udp::CHECKSUM_OFFSET, 0);
                let value = finish(l4, ipv4::protocol::UDP);
                put16(l4, udp::CHECKSUM_OFFSET, if value == 0 { 0xffff } else { value });
            }
        }
    }

    /// Gives the TCP header of segment `index` its sequence number and flags.
    #[expect(clippy::cast_possible_truncation, reason = "offsets within a super-frame are below 2^32")]
    fn number(&self, index: usize, l4: &mut [u8]) {
        let mut header = Tcp::parse(l4).expect("segment() has parsed this header");
        let mut flags = header.flags();
        if index + 1 < self.count {
            flags &= !(flag::FIN | flag::PSH);
        }
        if index > 0 {
            flags &= !flag::CWR;
        }
        header.set_sequence(header.sequence().wrapping_add((index * self.size) as u32));
        header.set_flags(flags);
    }

    /// The unfolded sum of the pseudo-header over `length` bytes.
    fn pseudo(&self, protocol: u8, length: usize) -> u64 {
        let (headers, frame) = (&self.headers, self.frame);
        match headers.l3() {
            L3::Ipv4 => {
                checksum::pseudo_header_v4(headers.source_v4(frame), headers.destination_v4(frame), protocol, length)
            }
            _ => checksum::pseudo_header_v6(headers.source_v6(frame), headers.destination_v6(frame), protocol, length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::PartialChecksum;
    use proptest::prelude::*;

    /// Builds a super-frame with etherparse: `tags` VLAN tags are not needed here, as offsets are tested in headers.rs.
    fn super_frame(v6: bool, udp: bool, flags: u8, payload: &[u8], size: u16) -> (Vec<u8>, Offload) {
        use etherparse::{PacketBuilder, TcpOptionElement::Timestamp};
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = if v6 {
            ethernet.ipv6([0xfd; 16], [0xfc; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut frame = Vec::new();
        let start = if v6 { 54 } else { 34 };
        if udp {
            ip.udp(5, 6).write(&mut frame, payload).unwrap();
        } else {
            ip.tcp(5, 6, u32::MAX - 1000, 100)
                .ack(77)
                .options(&[Timestamp(1, 2)])
                .unwrap()
                .write(&mut frame, payload)
                .unwrap();
            frame[start + 13] = flags;
        }
        let kind = match (udp, v6) {
            (true, _) => GsoKind::Udp,
            (false, false) => GsoKind::TcpV4,
            (false, true) => GsoKind::TcpV6,
        };
        let offset = if udp { 6 } else { 16 };
        let checksum = Some(PartialChecksum { start: u16::try_from(start).unwrap(), offset });
        (frame, Offload { checksum, gso: Some(Gso { kind, size, header_len: 0, ecn: false }) })
    }

    /// What Linux makes of 150,000 bytes: an IPv4 packet whose length field says zero.
    #[test]
    fn longer_than_a_packet() {
        let payload: Vec<u8> = (0..150_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let (mut frame, offload) = super_frame(false, false, flag::ACK | flag::PSH | flag::FIN, &payload[..100], 1448);
        frame.truncate(66);
        frame.extend_from_slice(&payload);
        frame[16..18].copy_from_slice(&[0, 0]);
        assert_eq!(segment(&Packet::unchecked(&frame, offload)).unwrap().count(), 104);
        let mut joined = Vec::new();
        let mut packet = PacketMut::admit(&mut frame, offload).unwrap();
        shorten(&mut packet, 65_535, |packet| {
            let (piece, offload) = (packet.frame(), packet.offload());
            let headers = Headers::parse(piece).unwrap();
            assert_eq!((headers.l3(), headers.l3_end()), (L3::Ipv4, piece.len()));
            assert_eq!(
                (packet.l3(), packet.l4_offset(), packet.l3_end()),
                (L3::Ipv4, headers.l4_offset(), piece.len())
            );
            let packet = crate::ipv4::Ipv4::parse(headers.packet(piece)).unwrap();
            assert!(packet.checksum_ok());
            let segment = Tcp::parse(headers.l4(piece)).unwrap();
            assert_eq!(segment.sequence(), (u32::MAX - 1000).wrapping_add(u32::try_from(joined.len()).unwrap()));
            joined.extend_from_slice(segment.payload());
            let last = joined.len() == payload.len();
            assert_eq!(segment.flags() & (flag::PSH | flag::FIN) != 0, last);
            assert_eq!(offload.gso.unwrap().size, 1448);
        })
        .unwrap();
        assert_eq!(joined, payload);
    }

    proptest! {
        /// C24: the segments are finished packets by etherparse's judgment, their payloads joined are the original, and
        /// sequence numbers, flags and identifications run as the kernel's do.
        #[test]
        fn segments_are_finished(
            v6: bool, udp: bool, flags: u8,
            payload in proptest::collection::vec(any::<u8>(), 1..20_000), size in 1u16..3000,
        ) {
            prop_assume!(payload.len() / usize::from(size) < 200);
            let (frame, offload) = super_frame(v6, udp, flags, &payload, size);
            let segments = segment(&Packet::unchecked(&frame, offload)).unwrap();
            let mut joined = Vec::new();
            for index in 0..segments.count() {
                let mut out = vec![0u8; segments.max_len()];
                let length = segments.write(index, &mut out);
                out.truncate(length);
                let sliced = etherparse::SlicedPacket::from_ethernet(&out).unwrap();
                if let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net {
                    prop_assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
                    prop_assert_eq!(usize::from(ip.header().identification()), index);
                }
                let net = sliced.net.as_ref().unwrap();
                match sliced.transport.as_ref().unwrap() {
                    etherparse::TransportSlice::Tcp(tcp) => {
                        let header = tcp.to_header();
                        let advance = u32::try_from(index * usize::from(size)).unwrap();
                        prop_assert_eq!(header.sequence_number, (u32::MAX - 1000).wrapping_add(advance));
                        let last = index + 1 == segments.count();
                        prop_assert_eq!(header.fin, last && flags & flag::FIN != 0);
                        prop_assert_eq!(header.psh, last && flags & flag::PSH != 0);
                        prop_assert_eq!(header.cwr, index == 0 && flags & flag::CWR != 0);
                        let expected = match net {
                            etherparse::NetSlice::Ipv4(ip) => tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap(),
                            etherparse::NetSlice::Ipv6(ip) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap(),
                            etherparse::NetSlice::Arp(_) => unreachable!(),
                        };
                        prop_assert_eq!(header.checksum, expected);
                        joined.extend_from_slice(tcp.payload());
                    }
                    etherparse::TransportSlice::Udp(datagram) => {
                        let header = datagram.to_header();
                        let expected = match net {
                            etherparse::NetSlice::Ipv4(ip) => header.calc_checksum_ipv4_raw(ip.header().source(), ip.header().destination(), datagram.payload()).unwrap(),
                            etherparse::NetSlice::Ipv6(ip) => header.calc_checksum_ipv6_raw(ip.header().source(), ip.header().destination(), datagram.payload()).unwrap(),
                            etherparse::NetSlice::Arp(_) => unreachable!(),
                        };
                        prop_assert_eq!(header.checksum, expected);
                        joined.extend_from_slice(datagram.payload());
                    }
                    _ => unreachable!(),
                }
            }
            prop_assert_eq!(joined, payload);
        }

        /// Shorter super-frames, cut up further, are the segments of the long one.
        #[test]
        fn shorter_super_frames(
            v6: bool, flags: u8, payload in proptest::collection::vec(any::<u8>(), 1..60_000),
            size in 100u16..3000, longest in 200usize..20_000,
        ) {
            let (frame, offload) = super_frame(v6, false, flags, &payload, size);
            let header_len = if v6 { 72 } else { 52 };
            let finished = |frame: &[u8], offload| {
                let segments = segment(&Packet::unchecked(frame, offload)).unwrap();
                let mut out = vec![0; segments.max_len()];
                (0..segments.count()).map(|index| { let length = segments.write(index, &mut out); out[..length].to_vec() })
                    .collect::<Vec<_>>()
            };
            let mut pieces = Vec::new();
            let mut cut = frame.clone();
            let headers = Headers::parse(&frame).unwrap();
            let mut packet = PacketMut { frame: &mut cut, headers, offload, verified: false };
            let shortened = shorten(&mut packet, longest, |packet| {
                let (piece, offload) = (packet.frame(), packet.offload());
                assert_eq!(packet.l4(), Headers::parse(piece).unwrap().l4(piece));
                assert!(piece.len() - 14 <= longest);
                if offload.gso.is_some() {
                    pieces.extend(finished(piece, offload));
                } else {
                    let (mut piece, mut offload) = (piece.to_vec(), offload);
                    crate::offload::complete_checksum(&mut piece, &mut offload);
                    pieces.push(piece);
                }
            });
            prop_assert_eq!(&cut, &frame);
            if header_len + usize::from(size) > longest {
                prop_assert!(shortened.is_err() && pieces.is_empty());
            } else {
                prop_assert!(shortened.is_ok());
                prop_assert_eq!(pieces, finished(&frame, offload));
            }
        }

        /// A super-frame that is not what its type says is refused and nothing panics.
        #[test]
        fn noise(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..3, size in 1u16..100) {
            if bytes.len() > 14 { bytes[12..15].copy_from_slice(&[8, 0, 0x45]); }
            let kind = [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp][kind];
            let offload = Offload { checksum: None, gso: Some(Gso { kind, size, header_len: 0, ecn: false }) };
            if let Ok(segments) = segment(&Packet::unchecked(&bytes, offload)) {
                let mut out = vec![0u8; segments.max_len()];
                for index in 0..segments.count() {
                    segments.write(index, &mut out);
                }
            }
        }
    }
}
