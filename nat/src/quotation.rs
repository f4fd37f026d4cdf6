//! The packet quoted in an ICMP error: reading and rewriting it. Read first: RFC 5508 section 4, RFC 4884.

use std::net::IpAddr;

use vswitch_frame::checksum::Update;
use vswitch_frame::ipv4::Ipv4;
use vswitch_frame::ipv6::{self, Ipv6, Walk};

use crate::NatDrop;
use crate::rewrite::{Quoted, rewrite_l4};
use crate::tuple::{Protocol, Tuple, is_mapped, is_query, is_query_reply};

/// What an error quotes.
#[derive(Debug, Clone)]
pub(crate) struct Quotation {
    /// The quoted packet's tuple.
    pub(crate) tuple: Tuple,
    /// Where its L4 header starts, in bytes behind the ICMP header.
    l4_at: usize,
}

impl Quotation {
    /// Reads a quoted IPv4 packet.
    pub(crate) fn read_v4(quoted: &[u8]) -> Result<Quotation, NatDrop> {
        let packet = Ipv4::parse_quoted(quoted).map_err(|_| NatDrop::BadQuotation)?;
        // RFC 5508 REQ-3a. (A router has changed the TTL and corrected the checksum, or left both as they were.)
        if !packet.checksum_ok() || packet.fragment_offset() != 0 {
            return Err(NatDrop::BadQuotation);
        }
        let l4_at = packet.header_len();
        read_l4(Protocol(packet.protocol()), packet.source().into(), packet.destination().into(), quoted, l4_at)
    }

    /// Reads a quoted IPv6 packet.
    pub(crate) fn read_v6(quoted: &[u8]) -> Result<Quotation, NatDrop> {
        let packet = Ipv6::parse_quoted(quoted).map_err(|_| NatDrop::BadQuotation)?;
        let Walk::Upper { protocol, offset, fragment } = packet.upper_layer() else {
            return Err(NatDrop::BadQuotation);
        };
        if fragment.is_some_and(|fragment| fragment.offset != 0)
            || is_mapped(packet.source())
            || is_mapped(packet.destination())
        {
            return Err(NatDrop::BadQuotation);
        }
        let l4_at = ipv6::HEADER_LEN + offset;
        read_l4(Protocol(protocol), packet.source().into(), packet.destination().into(), quoted, l4_at)
    }

    /// Rewrites the quoted packet from its tuple to `to`: addresses, ports or identifier, and the checksums that are
    /// within the quotation.
    pub(crate) fn rewrite(&self, quoted: &mut [u8], to: &Tuple) {
        let (from, protocol) = (&self.tuple, self.tuple.protocol());
        let addresses = rewrite_addresses(quoted, from, to);
        let l4 = quoted.get_mut(self.l4_at..).unwrap_or_default();
        rewrite_l4(l4, protocol, from, to, addresses, Quoted::Yes);
    }
}

fn read_l4(
    protocol: Protocol,
    source: IpAddr,
    destination: IpAddr,
    quoted: &[u8],
    l4_at: usize,
) -> Result<Quotation, NatDrop> {
    let l4 = quoted.get(l4_at..).unwrap_or_default();
    let tuple = if protocol.has_ports() {
        let &[a, b, c, d, ..] = l4 else { return Err(NatDrop::BadQuotation) };
        let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Tuple::addresses(protocol, source, destination).with_source(source, from).with_destination(destination, to)
    } else if protocol.is_icmp() {
        let &[kind, _, _, _, a, b, ..] = l4 else { return Err(NatDrop::BadQuotation) };
        if !is_query(protocol, kind) && !is_query_reply(protocol, kind) {
            return Err(NatDrop::BadQuotation);
        }
        Tuple::query(source, destination, kind, u16::from_be_bytes([a, b]))
    } else {
        Tuple::addresses(protocol, source, destination)
    };
    Ok(Quotation { tuple, l4_at })
}

/// Rewrites the addresses of an IP packet that starts at `packet`, where they differ, and returns the change for the L4
/// checksum.
#[inline]
pub(crate) fn rewrite_addresses(packet: &mut [u8], from: &Tuple, to: &Tuple) -> Update {
    let mut update = Update::new();
    if to.is_ipv4() {
        let Ok(mut packet) = Ipv4::parse_quoted(packet) else { return update };
        if let (IpAddr::V4(address), true) = (to.source(), from.source_key() != to.source_key()) {
            update = update.and(packet.set_source(address));
        }
        if let (IpAddr::V4(address), true) = (to.destination(), from.destination_key() != to.destination_key()) {
            update = update.and(packet.set_destination(address));
        }
    } else {
        let Ok(mut packet) = Ipv6::parse_quoted(packet) else { return update };
        if let (IpAddr::V6(address), true) = (to.source(), from.source_key() != to.source_key()) {
            update = update.and(packet.set_source(address));
        }
        if let (IpAddr::V6(address), true) = (to.destination(), from.destination_key() != to.destination_key()) {
            update = update.and(packet.set_destination(address));
        }
    }
    update
}
