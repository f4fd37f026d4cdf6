//! Trains: a run of UDP datagrams of one flow that leave as one super-frame, for an egress that cuts it up again.
//!
//! Read first: Linux `Documentation/networking/segmentation-offloads.rst` (UDP_SEGMENT); `net/ipv4/udp_offload.c`.
//!
//! A [`Train`] takes a datagram only if segmentation gives back every byte of it: the same headers but for lengths,
//! identification and checksums, equal payload lengths (the last may be shorter), consecutive identifications, a right IPv4
//! header checksum, and the partial UDP checksum that the kernel made. Whatever else comes is no part of a train.

use crate::offload::{Gso, GsoKind, Offload, PartialChecksum};
use crate::{EtherType, Fragment, L3, Packet, be16, checksum, ethernet, ipv4, ipv6, put16, udp};

/// The longest headers of a train: Ethernet, IPv6 and UDP.
pub const MAX_HEADER_LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN;

/// Most datagrams of a train; what every kernel with UDP_SEGMENT takes.
pub const MAX_DATAGRAMS: usize = 64;

/// Most bytes of a train's packet.
const MAX_PACKET_LEN: usize = 65_535;

const L3_OFFSET: usize = ethernet::HEADER_LEN;

/// A train under construction; the datagrams themselves stay where they are.
#[derive(Debug, Clone, Copy)]
pub struct Train {
    /// Where the UDP header starts.
    l4: usize,
    /// Payload bytes of each datagram but the last.
    size: usize,
    /// How many datagrams it has.
    count: usize,
    /// Payload bytes of all datagrams.
    payload: usize,
    /// A shorter datagram came: it was the last.
    ended: bool,
}

impl Train {
    /// A train that begins with this frame, if it may.
    #[inline]
    #[must_use]
    pub fn begin(packet: &Packet<'_>) -> Option<Train> {
        let (frame, headers) = (packet.frame(), packet.headers());
        let l4 = plain_udp(frame, &packet.offload())?;
        let whole =
            headers.fragment() == Fragment::None && headers.l3_end() == frame.len() && headers.l4_offset() == l4;
        let size = frame.len().checked_sub(l4 + udp::HEADER_LEN).filter(|&size| size > 0)?;
        let right = matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) && is_consistent(frame, l4);
        (whole && right).then_some(Train { l4, size, count: 1, payload: size, ended: false })
    }

    /// Adds a frame behind the last one; `false` when it is no part of this train, which then stays as it is. `last` is the
    /// train's last datagram so far.
    #[inline]
    #[must_use]
    pub fn add(&mut self, last: &[u8], frame: &[u8], offload: &Offload) -> bool {
        let Some(l4) = plain_udp(frame, offload) else { return false };
        let end = l4 + udp::HEADER_LEN;
        let Some(size) = frame.len().checked_sub(end).filter(|&size| size > 0) else { return false };
        let fits = !self.ended
            && self.count < MAX_DATAGRAMS
            && size <= self.size
            && l4 == self.l4
            && end - L3_OFFSET + self.payload + size <= MAX_PACKET_LEN;
        if !fits || !follows(last, frame, l4) || !is_consistent(frame, l4) {
            return false;
        }
        self.ended = size < self.size;
        self.count += 1;
        self.payload += size;
        true
    }

    /// How many datagrams it has.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Bytes of headers in front of each datagram's payload, at most [`MAX_HEADER_LEN`].
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.l4 + udp::HEADER_LEN
    }

    /// What the super-frame leaves to be done.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "lengths within a packet are below 2^16")]
    pub const fn offload(&self) -> Offload {
        let checksum = PartialChecksum { start: self.l4 as u16, offset: udp::CHECKSUM_OFFSET as u16 };
        let gso = Gso { kind: GsoKind::Udp, size: self.size as u16, header_len: self.header_len() as u16, ecn: false };
        Offload { checksum: Some(checksum), gso: Some(gso) }
    }

    /// Writes the super-frame's headers into `out`, made of those of its first datagram.
    ///
    /// # Panics
    /// When `out` is shorter than [`Train::header_len`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a train's packet is below 2^16 bytes")]
    pub fn write_headers(&self, first: &[u8], out: &mut [u8]) {
        let out = &mut out[..self.header_len()];
        out.copy_from_slice(&first[..self.header_len()]);
        let length = udp::HEADER_LEN + self.payload;
        if is_v4(out) {
            put16(out, L3_OFFSET + 2, (self.l4 - L3_OFFSET + length) as u16);
            put16(out, L3_OFFSET + 10, 0);
            let value = checksum::checksum(&out[L3_OFFSET..self.l4]);
            put16(out, L3_OFFSET + 10, value);
        } else {
            put16(out, L3_OFFSET + 4, length as u16);
        }
        put16(out, self.l4 + 4, length as u16);
        let pseudo = checksum::fold(pseudo_header(out, self.l4, length));
        put16(out, self.l4 + udp::CHECKSUM_OFFSET, pseudo);
    }
}

/// Where the UDP header of a frame lies that may be part of a train by its offload and its first bytes.
#[inline]
fn plain_udp(frame: &[u8], offload: &Offload) -> Option<usize> {
    let PartialChecksum { start, offset } = offload.checksum?;
    let l4 = usize::from(start);
    let header_len = l4.checked_sub(L3_OFFSET)?;
    if offload.gso.is_some() || usize::from(offset) != udp::CHECKSUM_OFFSET || frame.len() < l4 + udp::HEADER_LEN {
        return None;
    }
    let plain = match (header_len, EtherType(be16(frame, 12))) {
        // No options; neither a fragment nor the bit that is reserved.
        (ipv4::MIN_HEADER_LEN, EtherType::IPV4) => {
            frame[L3_OFFSET] == 0x45
                && frame[L3_OFFSET + 9] == ipv4::protocol::UDP
                && be16(frame, L3_OFFSET + 6) & !DONT_FRAGMENT == 0
        }
        // No extension headers.
        (ipv6::HEADER_LEN, EtherType::IPV6) => frame[L3_OFFSET + 6] == ipv4::protocol::UDP,
        _ => false,
    };
    plain.then_some(l4)
}

const DONT_FRAGMENT: u16 = 0x4000;

#[inline]
fn is_v4(frame: &[u8]) -> bool {
    EtherType(be16(frame, 12)) == EtherType::IPV4
}

/// Whether two frames' headers are the same but for lengths and checksums, and the identification goes up by one.
#[inline]
fn follows(last: &[u8], frame: &[u8], l4: usize) -> bool {
    let same = |from: usize, to: usize| last[from..to] == frame[from..to];
    let l3 = if is_v4(frame) {
        // All but total length, identification and header checksum.
        same(0, L3_OFFSET + 2)
            && be16(frame, L3_OFFSET + 4) == be16(last, L3_OFFSET + 4).wrapping_add(1)
            && same(L3_OFFSET + 6, L3_OFFSET + 10)
            && same(L3_OFFSET + 12, l4)
    } else {
        same(0, L3_OFFSET + 4) && same(L3_OFFSET + 6, l4)
    };
    l3 && same(l4, l4 + 4)
}

/// Whether lengths and checksums are those that segmentation writes.
#[inline]
fn is_consistent(frame: &[u8], l4: usize) -> bool {
    let length = frame.len() - l4;
    let l3 = if is_v4(frame) {
        usize::from(be16(frame, L3_OFFSET + 2)) == frame.len() - L3_OFFSET
            && checksum::checksum(&frame[L3_OFFSET..l4]) == 0
    } else {
        usize::from(be16(frame, L3_OFFSET + 4)) == length
    };
    l3 && usize::from(be16(frame, l4 + 4)) == length
        && be16(frame, l4 + udp::CHECKSUM_OFFSET) == checksum::fold(pseudo_header(frame, l4, length))
}

/// The unfolded sum of the pseudo-header; the addresses lie right in front of the UDP header in both families.
#[inline]
fn pseudo_header(frame: &[u8], l4: usize, length: usize) -> u64 {
    let addresses = if is_v4(frame) { 8 } else { 32 };
    checksum::sum(&frame[l4 - addresses..l4]) + u64::from(ipv4::protocol::UDP) + length as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::complete_checksum;
    use crate::segment::segment;
    use proptest::prelude::*;

    /// A datagram as Linux makes it: a partial checksum, and `identification` if it is IPv4.
    fn datagram(v6: bool, identification: u16, payload: &[u8]) -> (Vec<u8>, Offload) {
        let ethernet = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut frame = Vec::new();
        if v6 {
            ethernet.ipv6([0xfd; 16], [0xfc; 16], 64).udp(5, 6).write(&mut frame, payload).unwrap();
        } else {
            let mut header =
                etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
            header.identification = identification;
            header.dont_fragment = true;
            let ip = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
            ethernet.ip(ip).udp(5, 6).write(&mut frame, payload).unwrap();
        }
        let l4 = if v6 { 54 } else { 34 };
        let length = frame.len() - l4;
        let pseudo = checksum::fold(pseudo_header(&frame, l4, length));
        put16(&mut frame, l4 + 6, pseudo);
        let start = u16::try_from(l4).unwrap();
        (frame, Offload { checksum: Some(PartialChecksum { start, offset: 6 }), gso: None })
    }

    fn finished((frame, offload): &(Vec<u8>, Offload)) -> Vec<u8> {
        let (mut frame, mut offload) = (frame.clone(), *offload);
        complete_checksum(&mut frame, &mut offload);
        frame
    }

    /// The super-frame of all datagrams, if they are one train.
    fn joined(datagrams: &[(Vec<u8>, Offload)]) -> Option<(Vec<u8>, Offload)> {
        let mut train = Train::begin(&Packet::unchecked(&datagrams[0].0, datagrams[0].1))?;
        for pair in datagrams.windows(2) {
            if !train.add(&pair[0].0, &pair[1].0, &pair[1].1) {
                return None;
            }
        }
        let mut frame = vec![0; train.header_len()];
        train.write_headers(&datagrams[0].0, &mut frame);
        for (datagram, _) in datagrams {
            frame.extend_from_slice(&datagram[train.header_len()..]);
        }
        Some((frame, train.offload()))
    }

    proptest! {
        /// Cut up again, a train gives back its datagrams, byte for byte.
        #[test]
        fn segmentation_gives_back_the_datagrams(
            v6: bool, first: u16, size in 1usize..1000, count in 1usize..=64, last in 1usize..1000, fill: u8,
        ) {
            let payload = |index: usize| {
                let length = if index + 1 == count { last.min(size) } else { size };
                vec![fill.wrapping_add(u8::try_from(index).unwrap()); length]
            };
            let identification = |index: usize| first.wrapping_add(u16::try_from(index).unwrap());
            let datagrams: Vec<_> =
                (0..count).map(|index| datagram(v6, identification(index), &payload(index))).collect();
            let (frame, offload) = joined(&datagrams).expect("one train");
            let segments = segment(&Packet::unchecked(&frame, offload)).unwrap();
            prop_assert_eq!(segments.count(), count);
            for (index, datagram) in datagrams.iter().enumerate() {
                let mut out = vec![0; segments.max_len()];
                let length = segments.write(index, &mut out);
                prop_assert_eq!(&out[..length], &finished(datagram)[..]);
            }
        }

        /// One changed byte in the headers of the second datagram, and it is no part of the train or comes back as it was.
        #[test]
        fn other_headers_end_a_train(v6: bool, at in 0usize..62, bits in 1u8..) {
            let first = datagram(v6, 7, &[1; 30]);
            let mut second = datagram(v6, 8, &[2; 30]);
            let end = usize::from(first.1.checksum.unwrap().start) + 8;
            prop_assume!(at < end);
            second.0[at] ^= bits;
            prop_assert_eq!(joined(&[first, second]), None);
        }

        /// Noise is no train, and nothing panics.
        #[test]
        fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..100), start in 0u16..120, offset in 0u16..8) {
            let offload = Offload { checksum: Some(PartialChecksum { start, offset }), gso: None };
            if let Some(mut train) = Train::begin(&Packet::unchecked(&bytes, offload)) {
                let _ = train.add(&bytes, &bytes, &offload);
            }
        }
    }

    /// What does not belong together: a finished checksum, a super-frame, another size after the short one, a longer one, a gap
    /// in the identifications, more than fit, an empty datagram, padding.
    #[test]
    fn strangers() {
        let one = datagram(false, 1, &[1; 100]);
        let two = datagram(false, 2, &[2; 100]);
        assert!(joined(&[one.clone(), two.clone()]).is_some());
        let finished = (two.0.clone(), Offload::NONE);
        assert_eq!(joined(&[one.clone(), finished.clone()]), None);
        assert!(Train::begin(&Packet::unchecked(&finished.0, finished.1)).is_none());
        let gso = Offload { gso: Train::begin(&Packet::unchecked(&one.0, one.1)).unwrap().offload().gso, ..one.1 };
        assert!(Train::begin(&Packet::unchecked(&one.0, gso)).is_none());
        let short = datagram(false, 2, &[2; 99]);
        assert!(joined(&[one.clone(), short.clone()]).is_some());
        assert_eq!(joined(&[one.clone(), short.clone(), datagram(false, 3, &[3; 99])]), None);
        assert_eq!(joined(&[short, datagram(false, 3, &[3; 100])]), None);
        assert_eq!(joined(&[one.clone(), datagram(false, 3, &[3; 100])]), None);
        assert!(Train::begin(&Packet::unchecked(&datagram(false, 1, &[]).0, one.1)).is_none());
        let many: Vec<_> = (1..=65).map(|index| datagram(true, index, &[1; 10])).collect();
        assert!(joined(&many[..64]).is_some() && joined(&many).is_none());
        let large: Vec<_> = (1..=50).map(|index| datagram(true, index, &[1; 1400])).collect();
        assert!(joined(&large[..46]).is_some() && joined(&large[..47]).is_none());
        let mut padded = two;
        padded.0.extend_from_slice(&[0; 4]);
        assert_eq!(joined(&[one, padded]), None);
    }
}
