//! The stack's device: one packet in, one packet out, both of them borrowed.

use std::num::NonZeroUsize;

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use vswitch_frame::ethernet;

/// Longest packet either way: what an IPv4 header can say.
pub(super) const MAX_PACKET: usize = 65_535;

/// Longest packet that the stack may leave to be segmented. Linux segments in software what is not shorter, as a frame, than
/// 65,536 bytes (`gso_max_size`), which costs more than the packet saves.
pub(super) const MAX_SUPER_PACKET: usize = 65_535 - ethernet::HEADER_LEN;

/// Hands the stack `incoming`, if there is one, and takes at most one packet for `out`.
#[derive(Debug)]
pub(super) struct OnePacket<'a> {
    incoming: Option<&'a [u8]>,
    out: Slot<'a>,
}

/// Where a packet goes, and what was put there.
#[derive(Debug)]
struct Slot<'a> {
    out: Option<&'a mut [u8]>,
    emitted: Option<Emitted>,
}

/// A packet. What smoltcp 0.14 says of its segments is not heard, as it says so
/// of IPv4 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Emitted {
    /// Bytes of the packet.
    pub(super) length: usize,
}

impl<'a> OnePacket<'a> {
    /// There is room for [`MAX_PACKET`] bytes in `out`.
    pub(super) const fn new(incoming: Option<&'a [u8]>, out: Option<&'a mut [u8]>) -> Self {
        OnePacket { incoming, out: Slot { out, emitted: None } }
    }

    /// What the stack sent.
    pub(super) const fn emitted(&self) -> Option<Emitted> {
        self.out.emitted
    }
}

impl Device for OnePacket<'_> {
    type RxToken<'t>
        = Incoming<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outgoing<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let out = self.out.token()?;
        self.incoming.take().map(|packet| (Incoming(packet), out))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        self.out.token()
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MAX_PACKET;
        // The router has checked IP headers; checksums of segments are checked before, and left to the offload behind.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(MAX_SUPER_PACKET);
        capabilities.segmentation.tcpv6 = NonZeroUsize::new(MAX_SUPER_PACKET);
        capabilities
    }
}

impl Slot<'_> {
    fn token(&mut self) -> Option<Outgoing<'_>> {
        let out = self.out.as_deref_mut().filter(|_| self.emitted.is_none())?;
        Some(Outgoing { out, emitted: &mut self.emitted })
    }
}

/// The packet that comes in.
#[derive(Debug)]
pub(super) struct Incoming<'t>(&'t [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a packet that goes out.
#[derive(Debug)]
pub(super) struct Outgoing<'t> {
    out: &'t mut [u8],
    emitted: &'t mut Option<Emitted>,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let result = f(&mut self.out[..length]);
        *self.emitted = Some(Emitted { length });
        result
    }
}
