//! The decision: where does a frame go? IEEE 802.1Q clause 8.6, and what containers need on top.
//!
//! Pure: it reads the frame, the snapshot and the FDB and says what to do. (Of the frame it completes checksums that nobody
//! else could, before it reads what they lie in.) The order of its questions is the order of
//! the drop reasons that a frame can meet:
//!
//! 1. Is it a frame, with nothing left undone but what a later stage can do, from a station, and not from the gateway's own
//!    address?
//! 2. Is it from whom it says (anti-spoofing)?
//! 3. Learn the source; a static entry or the loop guard may object.
//! 4. Is the destination reserved, a group, the gateway, or a station? Is that station known, elsewhere, and allowed?

use vswitch_frame::{DropReason, Headers, L3, Offload, PortId, Timestamp, addresses, admit};

use crate::anti_spoof;
use crate::fdb::{Cache, Fdb, FdbKey};
use crate::port::Port;
use crate::snapshot::Network;

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To one port.
    Unicast(PortId),
    /// To every other port of the network.
    Flood,
    /// To the network's gateway.
    Gateway,
    /// Back to its sender, with an ICMP error: it is longer than this MTU of an overlay.
    TooBig(u32),
    /// Nowhere.
    Drop(DropReason),
}

/// Decides for one frame that `ingress` received at `now`.
#[inline]
pub fn decide(
    (frame, offload): (&mut [u8], &mut Offload),
    ingress: &Port,
    network: &Network,
    (fdb, cache): (&Fdb, &mut Cache),
    now: Timestamp,
) -> Decision {
    let Ok(headers) = Headers::parse(frame) else {
        return Decision::Drop(if frame.is_empty() { DropReason::BadOffload } else { DropReason::Runt });
    };
    if let Err(reason) = admit(frame, &headers, offload) {
        return Decision::Drop(reason);
    }
    let (frame, offload) = (&*frame, *offload);
    let (destination, source) = addresses(frame);
    if !source.is_station() {
        return Decision::Drop(DropReason::InvalidSource);
    }
    let gateway = network.config.gateway.as_ref();
    if gateway.is_some_and(|gateway| gateway.mac == source) {
        return Decision::Drop(DropReason::SpoofedGateway);
    }
    if let Some(identity) = &ingress.config.identity
        && let Err(reason) = anti_spoof::check(frame, &headers, source, identity)
    {
        return Decision::Drop(reason);
    }
    if let Err(reason) = cache.learn(fdb, FdbKey::new(network.index, source), ingress.id, now) {
        return Decision::Drop(reason);
    }
    let decision = if destination.is_multicast() {
        if destination.is_reserved_multicast() {
            return Decision::Drop(DropReason::ReservedMulticast);
        }
        if gateway.is_some_and(|gateway| gateway.is_asked_for(frame, &headers)) {
            return to_gateway(ingress);
        }
        Decision::Flood
    } else if gateway.is_some_and(|gateway| gateway.mac == destination) {
        return to_gateway(ingress);
    } else {
        match cache.lookup(fdb, FdbKey::new(network.index, destination), now) {
            Some(port) if port == ingress.id => return Decision::Drop(DropReason::Reflection),
            Some(port) => Decision::Unicast(port),
            None => Decision::Flood,
        }
    };
    if !network.config.inter_port {
        return Decision::Drop(DropReason::Isolated);
    }
    match &network.leg {
        None if over_mtu(frame, &headers, offload, network.config.mtu) => Decision::Drop(DropReason::OverMtu),
        Some(leg) => leg.fit((frame, &headers, offload), (ingress.id, decision), network.config.mtu),
        None => decision,
    }
}

/// Each host of an overlay network has a gateway of its own with the same addresses, which nobody meets behind a tunnel.
#[inline]
fn to_gateway(ingress: &Port) -> Decision {
    if ingress.overlay().is_some() { Decision::Drop(DropReason::RemoteGateway) } else { Decision::Gateway }
}

/// Whether a packet, or each of a super-frame's segments, is longer than `mtu`.
#[inline]
pub(crate) fn over_mtu(frame: &[u8], headers: &Headers, offload: Offload, mtu: u32) -> bool {
    /// The least L4 header a segment has: UDP's.
    const MIN_L4_HEADER: usize = 8;
    let length = match (offload.gso, headers.l3()) {
        (Some(gso), L3::Ipv4 | L3::Ipv6) => {
            headers.l4_offset() - headers.l3_offset() + MIN_L4_HEADER + usize::from(gso.size)
        }
        (_, L3::Ipv4 | L3::Ipv6) => headers.l3_end() - headers.l3_offset(),
        _ => frame.len() - headers.l3_offset(),
    };
    u32::try_from(length).is_ok_and(|length| length > mtu)
}
