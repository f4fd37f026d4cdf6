//! What is on the wire, and what the switch says about it.
//!
//! This crate answers one question: *given these bytes, what are they, and how are they changed without breaking them?*
//! It does no I/O, keeps no state, reads no clock, and every other crate of the data plane is written in its words.
//!
//! # Nouns
//! - [`MacAddr`], [`PortId`], [`NetworkIndex`], [`NetworkRef`], [`Vni`], [`Generation`], [`Timestamp`]: newtypes used as units.
//! - [`Headers`]: one parse of a frame into header offsets.
//! - [`Packet`], [`PacketMut`]: a frame that was checked, with its headers. That happens once, at ingress ([`FrameBuf::admit`]);
//!   what follows cannot fail.
//! - Views ([`ethernet`], [`arp`], [`ipv4`], [`ipv6`], [`tcp`], [`udp`], [`icmp`], [`ndp`]): a byte slice whose length
//!   has been checked, with accessors that cannot fail and, over `&mut [u8]`, setters that keep checksums right.
//! - [`Offload`]: the work that the sender left undone (checksum, segmentation), carried with every frame as the
//!   virtio-net header carries it. Ingress holds it against the frame;
//!   [`offload::complete_checksum`] and [`segment::segment`] do that work in software.
//! - [`FrameBuf`]: a reusable buffer with headroom, so that a tag or an outer header is put in front without a copy.
//! - [`DropReason`]: why a frame goes nowhere; [`reason`] is how such sets are made and counted.
//!
//! # Life of a frame here
//! `FrameBuf` is filled by a port → [`FrameBuf::admit`] → engines take a [`Packet`], read views and rewrite them in place, adjusting
//! checksums by RFC 1624 for a finished checksum and by plain one's complement addition for a *partial* one (the field
//! then holds only the pseudo-header sum; see [`offload`]) → the frame leaves with its `Offload`, or is finished in
//! software where the egress cannot take it.
//!
//! # Limits
//! Ethernet II only (a length field instead of an EtherType is opaque payload). At most two VLAN tags are looked
//! through. IPv6 extension headers are walked up to [`ipv6::MAX_EXTENSION_HEADERS`]; beyond that there is no L4.
//!
//! # Deliberately absent
//! Parsing of application protocols, and building packets for tests (etherparse does that well).

mod admit;
pub mod arp;
pub mod buffer;
pub mod checksum;
pub mod crc32c;
mod drop;
pub mod ethernet;
mod headers;
pub mod icmp;
mod ids;
pub mod ipv4;
pub mod ipv6;
mod mac;
pub mod ndp;
pub mod offload;
mod packet;
pub mod reason;
pub mod segment;
pub mod tcp;
mod time;
pub mod train;
pub mod udp;
pub mod vlan;

pub use buffer::FrameBuf;
pub use drop::DropReason;
pub use ethernet::EtherType;
pub use headers::{Fragment, Headers, L3, addresses};
pub use ids::{Generation, InvalidVni, NetworkIndex, NetworkRef, PortId, Vni};
pub use mac::{MacAddr, MacParseError};
pub use offload::{Gso, Offload};
pub use packet::{OwnedPacket, Packet, PacketMut};
pub use time::Timestamp;
pub use vlan::{VlanId, VlanIdFault};

/// Why bytes could not be viewed as a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The slice ends before the header does.
    #[error("the {0} header is cut short")]
    Truncated(&'static str),
    /// A field contradicts the standard or the slice (a length beyond the frame, an unknown version).
    #[error("the {0} header has an impossible {1}")]
    Field(&'static str, &'static str),
}

/// Reads two bytes at `at` in network order. The caller has checked that they exist.
#[inline]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads four bytes at `at` in network order. The caller has checked that they exist.
#[inline]
fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes `value` at `at` in network order. The caller has checked that the bytes exist.
#[inline]
fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Copies `N` bytes from `at` into an array. The caller has checked that they exist.
#[inline]
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
