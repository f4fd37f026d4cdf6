//! One hop: the hop count, and the length of what leaves.

use vswitch_frame::ipv4::{self, Ipv4};
use vswitch_frame::ipv6::Ipv6;
use vswitch_frame::tcp::Tcp;
use vswitch_frame::{Headers, L3, Packet, PacketMut, offload, udp};

use super::RouteDrop;

/// Takes one from the time to live or the hop limit.
///
/// # Errors
/// When it is one or zero: [`RouteDrop::HopsExceeded`], and the frame is as it was (G1).
#[inline]
pub fn decrement_hops(packet: &mut PacketMut<'_>) -> Result<(), RouteDrop> {
    let family = packet.l3();
    let bytes = packet.ip_packet_mut();
    if family == L3::Ipv4 {
        let mut packet = Ipv4::parse(bytes).map_err(|_| RouteDrop::Malformed)?;
        if packet.ttl() <= 1 {
            return Err(RouteDrop::HopsExceeded);
        }
        packet.decrement_ttl();
    } else {
        let mut packet = Ipv6::parse(bytes).map_err(|_| RouteDrop::Malformed)?;
        let hops = packet.hop_limit();
        if hops <= 1 {
            return Err(RouteDrop::HopsExceeded);
        }
        packet.set_hop_limit(hops - 1);
    }
    Ok(())
}

/// Whether a packet fits through an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Fits,
    /// It may be fragmented: IPv4 without DF (G5).
    Fragment,
    /// Its sender is to be told the MTU (G4).
    TooBig,
}

/// Judges a packet's length by an MTU in bytes. A super-frame is judged by the segments that become of it (C26).
#[must_use]
pub fn fit(packet: &Packet<'_>, mtu: u16) -> Fit {
    let length = match packet.offload().gso {
        None => packet.l3_end() - packet.l3_offset(),
        Some(gso) => {
            let l4 = packet.l4();
            let l4_header = if packet.protocol() == ipv4::protocol::TCP {
                Tcp::parse(l4).map_or(0, |tcp| tcp.header_len())
            } else {
                udp::HEADER_LEN
            };
            packet.l4_offset() - packet.l3_offset() + l4_header + usize::from(gso.size).min(l4.len())
        }
    };
    if length <= usize::from(mtu) {
        return Fit::Fits;
    }
    let may_fragment = packet.l3() == L3::Ipv4
        && packet.offload().gso.is_none()
        && Ipv4::parse(packet.ip_packet()).is_ok_and(|packet| !packet.dont_fragment());
    if may_fragment { Fit::Fragment } else { Fit::TooBig }
}

/// Cuts an IPv4 packet into fragments that fit through `mtu`, in order (RFC 791 section 3.2). A fragment is cut further.
/// A partial checksum is finished first. Empty when nothing fits.
#[must_use]
pub fn fragment(packet: &Packet<'_>, mtu: u16) -> Vec<Vec<u8>> {
    let mut frame = packet.frame()[..packet.l3_end()].to_vec();
    let (headers, mut offload) = (packet.headers(), packet.offload());
    offload::complete_checksum(&mut frame, &mut offload);
    let Ok(header) = Ipv4::parse(&frame[packet.l3_offset()..]) else { return Vec::new() };
    let (start, more) = (header.fragment_offset(), header.more_fragments());
    let first_header = frame[..packet.l4_offset()].to_vec();
    let later_header = without_first_only_options(&frame, headers);
    let payload = &frame[packet.l4_offset()..];

    let mut fragments = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let header = if at == 0 { &first_header } else { &later_header };
        let room = usize::from(mtu).saturating_sub(header.len() - packet.l3_offset());
        let is_last = payload.len() - at <= room;
        let length = if is_last { payload.len() - at } else { room / 8 * 8 };
        if length == 0 {
            return Vec::new();
        }
        let mut bytes = header.clone();
        bytes.extend_from_slice(&payload[at..at + length]);
        let total = bytes.len() - packet.l3_offset();
        let (Ok(total), Ok(offset)) = (u16::try_from(total), u16::try_from(start + at)) else { return Vec::new() };
        bytes[packet.l3_offset() + 2..packet.l3_offset() + 4].copy_from_slice(&total.to_be_bytes());
        if let Ok(mut packet) = Ipv4::parse(&mut bytes[packet.l3_offset()..]) {
            packet.set_fragment(false, more || !is_last, offset);
            packet.fill_checksum();
        }
        fragments.push(bytes);
        at += length;
    }
    fragments
}

/// The headers that later fragments have: only options with the copied bit go along (RFC 791 section 3.1).
fn without_first_only_options(frame: &[u8], headers: &Headers) -> Vec<u8> {
    const COPIED: u8 = 0x80;
    let fixed = headers.l3_offset() + ipv4::MIN_HEADER_LEN;
    let mut out = frame[..fixed].to_vec();
    for option in vswitch_frame::tcp::options(&frame[fixed..headers.l4_offset()]) {
        if option.kind & COPIED != 0 {
            let start = fixed + option.at;
            out.extend_from_slice(&frame[start..start + 2 + option.data.len()]);
        }
    }
    while !(out.len() - fixed).is_multiple_of(4) {
        out.push(0);
    }
    let words = u8::try_from((out.len() - headers.l3_offset()) / 4).unwrap_or(5);
    out[headers.l3_offset()] = 0x40 | words;
    out
}
