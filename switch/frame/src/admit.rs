//! Which of a sender's claims about its own frame are believed: the one place where an [`Offload`] is held against the frame
//! that it came with.
//!
//! Read first: `skb_checksum_setup` in Linux (net/core/skbuff.c), which does the same for frames of guests; RFC 9260 section
//! 6.8 (SCTP's checksum).
//!
//! Whoever completes a partial checksum later writes two bytes where the offload says, and it is the sender that says it: left
//! alone, a container could have its own source address rewritten behind every check. So a partial checksum that goes on is
//! that of this packet's own TCP or UDP header. What else a kernel leaves undone (SCTP's, those of packets inside a tunnel that
//! a container has) is completed here, before anything of the frame but the place of its headers is looked at.

use crate::crc32c::crc32c;
use crate::ipv4::protocol;
use crate::offload::{GsoKind, MAX_SEGMENTS, MIN_TCP_SEGMENT, PartialChecksum};
use crate::{DropReason, Fragment, Gso, Headers, L3, Offload, checksum, put16, tcp, udp};

/// Checks a frame that came in: finds its headers, verifies the work that its sender left undone, and does what no later stage can.
/// Behind it, a partial checksum is the
/// one of the packet's own TCP or UDP header, and a super-frame is what its type says and becomes at most [`MAX_SEGMENTS`]
/// segments.
///
/// # Errors
/// The reason to drop the frame.
#[inline(never)]
pub(crate) fn admit(frame: &mut [u8], offload: &mut Offload) -> Result<Headers, DropReason> {
    let Ok(headers) = Headers::parse(frame) else {
        // An ingress that could make no sense of a frame leaves it empty.
        return Err(if frame.is_empty() { DropReason::BadOffload } else { DropReason::Runt });
    };
    verify(frame, &headers, offload).map(|()| headers)
}

/// The headers stay right: nothing in front of the L4 header is written.
#[inline]
fn verify(frame: &mut [u8], headers: &Headers, offload: &mut Offload) -> Result<(), DropReason> {
    let Some(partial) = offload.checksum else {
        return if offload.gso.is_none() { Ok(()) } else { Err(DropReason::BadOffload) };
    };
    if !is_own(headers, partial) {
        return complete(frame, headers, offload).ok_or(DropReason::BadOffload);
    }
    match offload.gso {
        Some(gso) if !is_sound(frame, headers, gso) => Err(DropReason::BadOffload),
        _ => Ok(()),
    }
}

/// Whether this is the checksum of the packet's TCP or UDP header.
#[inline]
fn is_own(headers: &Headers, partial: PartialChecksum) -> bool {
    let field = match headers.protocol() {
        protocol::TCP => tcp::CHECKSUM_OFFSET,
        protocol::UDP => udp::CHECKSUM_OFFSET,
        _ => return false,
    };
    usize::from(partial.offset) == field
        && usize::from(partial.start) == headers.l4_offset()
        && headers.l4_offset() + field + 2 <= headers.l3_end()
        && headers.fragment() == Fragment::None
}

/// Whether a super-frame with its own TCP or UDP checksum is of its type, and of no more segments than Linux would make.
#[inline]
fn is_sound(frame: &[u8], headers: &Headers, gso: Gso) -> bool {
    let l4 = headers.l4(frame);
    let (is_kind, header_len) = match gso.kind {
        GsoKind::Udp => (headers.protocol() == protocol::UDP, udp::HEADER_LEN),
        GsoKind::TcpV4 | GsoKind::TcpV6 => {
            let family = if gso.kind == GsoKind::TcpV4 { L3::Ipv4 } else { L3::Ipv6 };
            let is_tcp = headers.protocol() == protocol::TCP && headers.l3() == family && gso.size >= MIN_TCP_SEGMENT;
            (is_tcp, usize::from(l4.get(tcp::DATA_OFFSET).copied().unwrap_or(0) >> 4) * 4)
        }
    };
    is_kind && l4.len().saturating_sub(header_len) <= usize::from(gso.size) * MAX_SEGMENTS as usize
}

/// Completes a checksum that is not the packet's own, if it lies in what the packet carries; `None` when it does not.
#[cold]
fn complete(frame: &mut [u8], headers: &Headers, offload: &mut Offload) -> Option<()> {
    let PartialChecksum { start, offset } = offload.checksum.filter(|_| offload.gso.is_none())?;
    let carried = match headers.l3() {
        L3::Ipv4 | L3::Ipv6 if headers.fragment() == Fragment::None => headers.l4_offset(),
        // Opaque to the switch, MPLS for instance.
        L3::Other => headers.l3_offset(),
        L3::Ipv4 | L3::Ipv6 | L3::Arp | L3::Malformed => return None,
    };
    let (start, offset, end) = (usize::from(start), usize::from(offset), headers.l3_end());
    let field = start + offset;
    if headers.protocol() == protocol::SCTP && start == carried && offset == SCTP_CHECKSUM_OFFSET {
        let (before, after) = frame.get(start..end)?.split_at_checked(SCTP_CHECKSUM_OFFSET)?;
        let value = crc32c(&[before, &[0; 4], after.get(4..)?]).to_le_bytes();
        frame[field..field + 4].copy_from_slice(&value);
    } else {
        if start < carried || field + 2 > end {
            return None;
        }
        let value = !checksum::fold(checksum::sum(&frame[start..end]));
        let is_udp = offset == udp::CHECKSUM_OFFSET;
        put16(frame, field, if value == 0 && is_udp { 0xffff } else { value });
    }
    offload.checksum = None;
    Some(())
}

/// RFC 9260 section 3.1: behind the ports and the verification tag.
const SCTP_CHECKSUM_OFFSET: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const SOURCE: [u8; 4] = [10, 0, 0, 2];
    const DESTINATION: [u8; 4] = [10, 0, 0, 3];

    fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3])
    }

    fn udp_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        ethernet().ipv4(SOURCE, DESTINATION, 64).udp(1, 4789).write(&mut frame, payload).unwrap();
        frame
    }

    fn tcp_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        ethernet().ipv4(SOURCE, DESTINATION, 64).tcp(1, 2, 3, 4).write(&mut frame, payload).unwrap();
        frame
    }

    fn raw_frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        ethernet().ipv4(SOURCE, DESTINATION, 64).write(&mut frame, etherparse::IpNumber(protocol), payload).unwrap();
        frame
    }

    fn partial(start: usize, offset: usize) -> Offload {
        let field = |value: usize| u16::try_from(value).unwrap();
        Offload { checksum: Some(PartialChecksum { start: field(start), offset: field(offset) }), gso: None }
    }

    fn admitted(frame: &mut [u8], mut offload: Offload) -> Result<Offload, DropReason> {
        let headers = Headers::parse(frame).unwrap();
        verify(frame, &headers, &mut offload).map(|()| offload)
    }

    /// What Linux leaves undone of TCP and UDP stays undone, and the frame as it is.
    #[test]
    fn own_checksums_pass() {
        for (mut frame, offload) in [(udp_frame(b"x"), partial(34, 6)), (tcp_frame(b"x"), partial(34, 16))] {
            let before = frame.clone();
            assert_eq!(admitted(&mut frame, offload), Ok(offload));
            assert_eq!(frame, before);
        }
        assert_eq!(admitted(&mut udp_frame(b"x"), Offload::NONE), Ok(Offload::NONE));
    }

    /// A checksum over addresses, or in front of them, in ARP, in a fragment or behind the packet is not completed.
    #[test]
    fn forgeries_are_refused() {
        // The lower half of the source address; the TTL; the Ethernet header.
        for (start, offset) in [(20, 8), (20, 2), (0, 6), (26, 0), (14, 12), (33, 16)] {
            for mut frame in [udp_frame(&[7; 40]), tcp_frame(&[7; 40])] {
                let before = frame.clone();
                assert_eq!(admitted(&mut frame, partial(start, offset)), Err(DropReason::BadOffload));
                assert_eq!(frame, before, "{start} {offset}");
            }
        }
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(admitted(&mut arp, partial(20, 10)), Err(DropReason::BadOffload));
        let mut fragment = udp_frame(&[7; 40]);
        fragment[20] = 0x20;
        assert_eq!(admitted(&mut fragment, partial(34, 6)), Err(DropReason::BadOffload));
        let mut padded = udp_frame(b"x");
        padded.resize(60, 0);
        assert_eq!(admitted(&mut padded, partial(34, 10)), Err(DropReason::BadOffload));
        // A datagram too short for its own checksum.
        let mut short = raw_frame(17, &[0; 6]);
        short.resize(60, 0);
        assert_eq!(admitted(&mut short, partial(34, 6)), Err(DropReason::BadOffload));
    }

    /// SCTP's checksum, which the kernel leaves undone where an interface says that it makes it, is a CRC: here that of the INIT
    /// chunk of a Linux host.
    #[test]
    fn sctp_is_completed() {
        let mut packet = vec![0x1f, 0x40, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        packet.extend([1, 0, 0, 20, 0x11, 0x22, 0x33, 0x44, 0, 0, 0xff, 0xff, 0, 10, 0, 10, 0, 0, 0x10, 0]);
        let expected = crc32c(&[&packet]);
        let mut frame = raw_frame(132, &packet);
        frame.resize(80, 0);
        assert_eq!(admitted(&mut frame, partial(34, 8)), Ok(Offload::NONE));
        assert_eq!(frame[42..46], expected.to_le_bytes());
        assert_eq!(frame[46..66], packet[12..]);
        let mut short = raw_frame(132, &packet[..10]);
        short.resize(60, 0);
        assert_eq!(admitted(&mut short, partial(34, 8)), Err(DropReason::BadOffload));
    }

    /// The checksum of a packet inside a tunnel of the container's own is completed, and the outer one then is right, as Linux
    /// makes it on the assumption that it will be.
    #[test]
    fn inside_a_tunnel() {
        let mut inner = udp_frame(b"inside");
        let whole = inner.clone();
        let headers = Headers::parse(&inner).unwrap();
        let pseudo = checksum::pseudo_header_v4(SOURCE.into(), DESTINATION.into(), 17, headers.l4(&inner).len());
        put16(&mut inner, 40, checksum::fold(pseudo));
        let vxlan = [&[8, 0, 0, 0, 0, 0, 9, 0][..], &inner].concat();
        let finished = udp_frame(&[&[8, 0, 0, 0, 0, 0, 9, 0][..], &whole].concat());
        let mut frame = udp_frame(&vxlan);
        frame[40..42].copy_from_slice(&finished[40..42]);
        assert_eq!(admitted(&mut frame, partial(50 + 34, 6)), Ok(Offload::NONE));
        assert_eq!(frame, finished);
        let gre = [&[0, 0, 8, 0][..], &inner[14..]].concat();
        let mut frame = raw_frame(47, &gre);
        assert_eq!(admitted(&mut frame, partial(38 + 20, 6)), Ok(Offload::NONE));
        assert_eq!(frame[38..], whole[14..]);
    }

    /// A super-frame has its own checksum, the type of its packet, and no more segments than 64 KiB of Linux's shortest.
    #[test]
    fn super_frames() {
        let gso = |kind, size| Some(Gso { kind, size, header_len: 0, ecn: false });
        let with = |offload: Offload, gso| Offload { gso, ..offload };
        let good = with(partial(34, 16), gso(GsoKind::TcpV4, 1448));
        assert_eq!(admitted(&mut tcp_frame(&[0; 9000]), good), Ok(good));
        let good = with(partial(34, 6), gso(GsoKind::Udp, 1));
        assert_eq!(admitted(&mut udp_frame(&[0; 128]), good), Ok(good));
        for (mut frame, offload) in [
            (tcp_frame(&[0; 9000]), with(partial(34, 16), gso(GsoKind::TcpV6, 1448))),
            (tcp_frame(&[0; 9000]), with(partial(34, 16), gso(GsoKind::Udp, 1448))),
            (udp_frame(&[0; 9000]), with(partial(34, 6), gso(GsoKind::TcpV4, 1448))),
            (tcp_frame(&[0; 9000]), with(partial(54, 6), gso(GsoKind::TcpV4, 1448))),
            (tcp_frame(&[0; 9000]), with(Offload::NONE, gso(GsoKind::TcpV4, 1448))),
            (tcp_frame(&[0; 40]), with(partial(34, 16), gso(GsoKind::TcpV4, 7))),
            (tcp_frame(&[0; 65_000]), with(partial(34, 16), gso(GsoKind::TcpV4, 47))),
            (udp_frame(&[0; 1400]), with(partial(34, 6), gso(GsoKind::Udp, 1))),
        ] {
            assert_eq!(admitted(&mut frame, offload), Err(DropReason::BadOffload), "{offload:?}");
        }
        let least = with(partial(34, 16), gso(GsoKind::TcpV4, 48));
        assert_eq!(admitted(&mut tcp_frame(&[0; 65_000]), least), Ok(least));
    }

    proptest! {
        /// Whatever a sender claims: no byte in front of the L4 header changes, of ARP none at all, and a checksum that is left
        /// to others is the packet's own.
        #[test]
        fn nothing_else_is_written(
            mut bytes in proptest::collection::vec(any::<u8>(), 14..200), kind in 0usize..5, start in 0u16..220,
            offset in 0u16..40, size in proptest::option::of(1u16..100), tcp: bool, own: bool,
        ) {
            let template = match kind {
                0 => udp_frame(&bytes),
                1 => tcp_frame(&bytes),
                2 => raw_frame(132, &bytes),
                3 => { bytes[12..14].copy_from_slice(&[8, 6]); bytes }
                _ => bytes,
            };
            let headers = Headers::parse(&template).unwrap();
            let kind = if tcp { GsoKind::TcpV4 } else { GsoKind::Udp };
            let start = if own { u16::try_from(headers.l4_offset()).unwrap() } else { start };
            let gso = size.map(|size| Gso { kind, size, header_len: 0, ecn: false });
            let mut offload = Offload { checksum: Some(PartialChecksum { start, offset }), gso };
            let mut frame = template.clone();
            let outcome = verify(&mut frame, &headers, &mut offload);
            let untouched = match headers.l3() {
                L3::Other => headers.l3_offset(),
                _ => headers.l4_offset(),
            };
            prop_assert_eq!(&frame[..untouched], &template[..untouched]);
            prop_assert_eq!(&frame[headers.l3_end()..], &template[headers.l3_end()..]);
            match (outcome, offload.checksum) {
                (Ok(()), None) => prop_assert!(offload.gso.is_none()),
                (Ok(()), Some(partial)) => {
                    prop_assert!(frame == template && usize::from(partial.start) == headers.l4_offset());
                    prop_assert!(matches!((headers.protocol(), partial.offset), (6, 16) | (17, 6)));
                }
                (Err(_), _) => prop_assert_eq!(frame, template),
            }
        }
    }
}
