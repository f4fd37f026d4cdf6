//! A frame that was checked.
//!
//! Ingress makes it, once: where the headers lie, that their lengths are true, and that what the sender left undone is work of
//! this very packet ([`crate::admit`]). Deciders, translators, tunnels and egresses take it and neither parse nor verify again. A
//! frame of the switch's own making is as good: whoever makes it leaves nothing undone but what it says.
//!
//! What is rewritten in place (addresses, ports, hop limits, checksums) moves no header, so the facts stay true; whatever changes
//! lengths or replaces the content of a [`crate::FrameBuf`] makes it forget them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use crate::admit::admit;
use crate::{DropReason, Headers, MacAddr, Offload};

/// A checked frame to read. Its headers are at hand: it derefs to [`Headers`].
#[derive(Debug, Clone, Copy)]
pub struct Packet<'f> {
    pub(crate) frame: &'f [u8],
    pub(crate) headers: Headers,
    pub(crate) offload: Offload,
    pub(crate) verified: bool,
}

/// A checked frame to rewrite in place.
#[derive(Debug)]
pub struct PacketMut<'f> {
    pub(crate) frame: &'f mut [u8],
    pub(crate) headers: Headers,
    pub(crate) offload: Offload,
    pub(crate) verified: bool,
}

/// A checked frame that outlives its burst.
#[derive(Debug, Clone)]
pub struct OwnedPacket {
    frame: Box<[u8]>,
    headers: Headers,
    offload: Offload,
    verified: bool,
}

impl<'f> Packet<'f> {
    /// A frame with nothing left undone, such as the switch makes.
    #[inline]
    #[must_use]
    pub fn finished(frame: &'f [u8]) -> Packet<'f> {
        Packet { frame, headers: Headers::of_any(frame), offload: Offload::NONE, verified: false }
    }

    /// What a sender might have said of any bytes.
    #[cfg(test)]
    pub(crate) fn unchecked(frame: &'f [u8], offload: Offload) -> Packet<'f> {
        Packet { offload, ..Packet::finished(frame) }
    }

    /// All of the frame.
    #[inline]
    #[must_use]
    pub const fn frame(&self) -> &'f [u8] {
        self.frame
    }

    /// Where its headers lie.
    #[inline]
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The work that its sender left undone, which is true of it.
    #[inline]
    #[must_use]
    pub const fn offload(&self) -> Offload {
        self.offload
    }

    /// Whether the checksum of its L4 header is known to be right, or will be made so.
    #[inline]
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.verified || self.offload.checksum.is_some()
    }

    /// Destination and source address; nobody's of a runt.
    #[inline]
    #[must_use]
    pub fn addresses(&self) -> (MacAddr, MacAddr) {
        if self.frame.len() < crate::ethernet::HEADER_LEN {
            return (MacAddr::ZERO, MacAddr::ZERO);
        }
        crate::addresses(self.frame)
    }

    /// The packet that the frame carries, without padding.
    #[inline]
    #[must_use]
    pub fn ip_packet(&self) -> &'f [u8] {
        self.headers.packet(self.frame)
    }

    /// The L4 header and what is behind it; of a later fragment, its payload.
    #[inline]
    #[must_use]
    pub fn l4(&self) -> &'f [u8] {
        self.headers.l4(self.frame)
    }

    /// Source address of an IPv4 packet.
    #[inline]
    #[must_use]
    pub fn source_v4(&self) -> Ipv4Addr {
        self.headers.source_v4(self.frame)
    }

    /// Destination address of an IPv4 packet.
    #[inline]
    #[must_use]
    pub fn destination_v4(&self) -> Ipv4Addr {
        self.headers.destination_v4(self.frame)
    }

    /// Source address of an IPv6 packet.
    #[inline]
    #[must_use]
    pub fn source_v6(&self) -> Ipv6Addr {
        self.headers.source_v6(self.frame)
    }

    /// Destination address of an IPv6 packet.
    #[inline]
    #[must_use]
    pub fn destination_v6(&self) -> Ipv6Addr {
        self.headers.destination_v6(self.frame)
    }

    /// Source and destination address of an IP packet.
    #[inline]
    #[must_use]
    pub fn ip_addresses(&self) -> (IpAddr, IpAddr) {
        self.headers.ip_addresses(self.frame)
    }

    /// A copy that outlives the burst.
    #[must_use]
    pub fn keep(&self) -> OwnedPacket {
        let Packet { frame, headers, offload, verified } = *self;
        OwnedPacket { frame: frame.into(), headers, offload, verified }
    }
}

impl<'f> PacketMut<'f> {
    /// Checks a frame that came in: what [`crate::FrameBuf::admit`] does to the frame in a buffer.
    ///
    /// # Errors
    /// The reason to drop the frame.
    #[inline]
    pub fn admit(frame: &'f mut [u8], mut offload: Offload) -> Result<PacketMut<'f>, DropReason> {
        let headers = admit(frame, &mut offload)?;
        Ok(PacketMut { frame, headers, offload, verified: false })
    }

    /// The same frame, to read.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Packet<'_> {
        let PacketMut { ref frame, headers, offload, verified } = *self;
        Packet { frame, headers, offload, verified }
    }

    /// All of the frame.
    #[inline]
    #[must_use]
    pub fn frame_mut(&mut self) -> &mut [u8] {
        self.frame
    }

    /// The packet that the frame carries, without padding.
    #[inline]
    #[must_use]
    pub fn ip_packet_mut(&mut self) -> &mut [u8] {
        &mut self.frame[self.headers.l3_offset()..self.headers.l3_end()]
    }

    /// The L4 header and what is behind it; of a later fragment, its payload.
    #[inline]
    #[must_use]
    pub fn l4_mut(&mut self) -> &mut [u8] {
        &mut self.frame[self.headers.l4_offset()..self.headers.l3_end()]
    }
}

impl<'f> PacketMut<'f> {
    /// [`PacketMut::ip_packet_mut`], for as long as the frame is lent.
    #[inline]
    #[must_use]
    pub fn into_ip_packet(self) -> &'f mut [u8] {
        &mut self.frame[self.headers.l3_offset()..self.headers.l3_end()]
    }

    /// [`PacketMut::l4_mut`], for as long as the frame is lent.
    #[inline]
    #[must_use]
    pub fn into_l4(self) -> &'f mut [u8] {
        &mut self.frame[self.headers.l4_offset()..self.headers.l3_end()]
    }
}

impl OwnedPacket {
    /// A frame with nothing left undone, such as the switch makes.
    #[must_use]
    pub fn finished(frame: Box<[u8]>) -> OwnedPacket {
        let headers = Headers::of_any(&frame);
        OwnedPacket { frame, headers, offload: Offload::NONE, verified: false }
    }

    /// The frame, to read.
    #[must_use]
    pub fn view(&self) -> Packet<'_> {
        let OwnedPacket { ref frame, headers, offload, verified } = *self;
        Packet { frame, headers, offload, verified }
    }
}

impl Default for OwnedPacket {
    fn default() -> Self {
        OwnedPacket::finished(Box::default())
    }
}

impl Deref for Packet<'_> {
    type Target = Headers;

    #[inline]
    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl Deref for PacketMut<'_> {
    type Target = Headers;

    #[inline]
    fn deref(&self) -> &Headers {
        &self.headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameBuf, L3};

    fn udp() -> Vec<u8> {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(7, 9)
            .write(&mut frame, b"words")
            .unwrap();
        frame
    }

    /// What a buffer knows of its frame goes on with copies of it, and is forgotten when the content or its length changes.
    #[test]
    fn facts_are_those_of_the_content() {
        let mut buffer = FrameBuf::from_frame(&udp(), Offload::NONE);
        assert_eq!(buffer.admit().unwrap().l4()[8..], *b"words");
        buffer.mark_verified();
        let kept = buffer.packet().keep();
        assert!(kept.view().is_verified());
        let mut other = FrameBuf::new();
        other.fill_with(&kept.view());
        assert_eq!((other.packet().l4_offset(), other.packet().is_verified(), other.frame()), (34, true, &udp()[..]));

        buffer.truncate(20);
        assert_eq!((buffer.packet().l3(), buffer.packet().is_verified()), (L3::Malformed, false));
        other.fill(&[7; 60], Offload::NONE);
        assert_eq!((other.packet().l3(), other.packet().is_verified()), (L3::Other, false));
        buffer.fill(&udp(), Offload::NONE);
        assert!(buffer.append(&[0; 4]));
        assert_eq!((buffer.packet().l3_end(), buffer.packet().frame().len()), (47, 51));
        assert!(buffer.insert_vlan(crate::vlan::VlanTag { tpid: crate::EtherType::VLAN, tci: 5 }));
        assert_eq!((buffer.packet().vlan_tci(), buffer.packet().l4_offset()), (Some(5), 38));
    }

    /// Nothing and a runt are packets of nobody with nothing in them; ingress refuses both.
    #[test]
    fn runts() {
        for length in [0, 1, 13] {
            let frame = vec![2; length];
            let packet = Packet::finished(&frame);
            assert_eq!((packet.addresses(), packet.l4().len()), ((MacAddr::ZERO, MacAddr::ZERO), 0));
            let reason = if length == 0 { DropReason::BadOffload } else { DropReason::Runt };
            assert_eq!(FrameBuf::from_frame(&frame, Offload::NONE).admit().map(|_| ()), Err(reason));
        }
    }
}
