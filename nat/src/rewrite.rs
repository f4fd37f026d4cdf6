//! Rewriting packets in place. Read first: RFC 1624; the module documentation of `vswitch_frame::offload`.

use vswitch_frame::checksum::Update;
use vswitch_frame::crc32c::crc32c;
use vswitch_frame::icmp::{self, Icmp};
use vswitch_frame::tcp::replace_word;
use vswitch_frame::{Fragment, PacketMut};

use crate::classify::{SCTP_HEADER_LEN, checksum_offset};
use crate::quotation::rewrite_addresses;
use crate::tuple::{Protocol, Tuple};

/// What kind of L4 header is being rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoted {
    /// One quoted in an ICMP error: it may be cut short anywhere.
    Yes,
    /// The packet's own, with a finished checksum.
    Finished,
    /// The packet's own, with a partial checksum, which covers the addresses only.
    Partial,
    /// The packet's own, in a first fragment: a checksum over the whole datagram, of which only this part is here.
    FirstFragment,
}

/// Rewrites a packet from tuple `from`, which it has, to tuple `to`. Only what differs is touched.
#[inline]
pub(crate) fn rewrite(packet: &mut PacketMut<'_>, from: &Tuple, to: &Tuple) {
    let update = rewrite_addresses(packet.ip_packet_mut(), from, to);
    let kind = match packet.fragment() {
        Fragment::Later => return,
        Fragment::First => Quoted::FirstFragment,
        Fragment::None if packet.view().offload().checksum.is_some() => Quoted::Partial,
        Fragment::None => Quoted::Finished,
    };
    rewrite_l4(packet.l4_mut(), from.protocol(), from, to, update, kind);
}

/// Rewrites ports or identifier and corrects the checksum, of whatever is there of the L4 header. `addresses` is the
/// change of the addresses, which all checksums but ICMPv4's and SCTP's cover.
#[inline]
pub(crate) fn rewrite_l4(l4: &mut [u8], protocol: Protocol, from: &Tuple, to: &Tuple, addresses: Update, kind: Quoted) {
    let mut ids = Update::new();
    let mut changed = false;
    if protocol.has_ports() {
        if l4.len() < 4 {
            return;
        }
        if from.source_port() != to.source_port() {
            ids = ids.and(replace_word(l4, 0, to.source_port()));
            changed = true;
        }
        if from.destination_port() != to.destination_port() {
            ids = ids.and(replace_word(l4, 2, to.destination_port()));
            changed = true;
        }
    } else if protocol.is_icmp() {
        if l4.len() < icmp::HEADER_LEN {
            return;
        }
        if from.source_port() != to.source_port() {
            ids = ids.and(replace_word(l4, 4, to.source_port()));
        }
    }
    let Some(at) = checksum_offset(protocol) else { return };
    if l4.len() < at + 2 {
        return;
    }
    let field = u16::from_be_bytes([l4[at], l4[at + 1]]);
    let value = match (protocol, kind) {
        (Protocol::SCTP, Quoted::Finished) if changed => return finish_sctp(l4),
        (Protocol::SCTP, _) => return,
        (Protocol::ICMP, _) => ids.finished(field),
        (_, Quoted::Partial) => addresses.partial(field),
        // RFC 768: no checksum was made, and none is made here (U22, C9).
        (Protocol::UDP, _) if field == 0 => return,
        (Protocol::UDP, _) => match addresses.and(ids).finished(field) {
            0 => 0xffff,
            value => value,
        },
        _ => addresses.and(ids).finished(field),
    };
    l4[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// CRC32c has no incremental form; classification has verified the old one.
fn finish_sctp(l4: &mut [u8]) {
    if l4.len() >= SCTP_HEADER_LEN {
        let value = crc32c(&[&l4[..8], &[0; 4], &l4[SCTP_HEADER_LEN..]]);
        l4[8..SCTP_HEADER_LEN].copy_from_slice(&value.to_le_bytes());
    }
}

/// Computes an ICMP message's checksum anew, after the packet it quotes was rewritten.
pub(crate) fn finish_icmp(packet: &mut PacketMut<'_>) {
    use vswitch_frame::{L3, checksum};
    let view = packet.view();
    let pseudo = match view.l3() {
        L3::Ipv6 => {
            checksum::pseudo_header_v6(view.source_v6(), view.destination_v6(), view.protocol(), view.l4().len())
        }
        _ => 0,
    };
    let message = packet.l4_mut();
    let sum = |message: &[u8]| !checksum::fold(pseudo + checksum::sum(message));
    if let Ok(mut view) = Icmp::parse(&mut message[..]) {
        view.set_checksum(0);
        let value = sum(message);
        message[icmp::CHECKSUM_OFFSET..icmp::CHECKSUM_OFFSET + 2].copy_from_slice(&value.to_be_bytes());
    }
}
