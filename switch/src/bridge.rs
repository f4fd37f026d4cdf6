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

use vswitch_frame::{DropReason, Headers, L3, Offload, Timestamp, addresses, admit};

use crate::anti_spoof;
use crate::fdb::{Cache, Fdb, FdbKey};
use crate::port::Port;
use crate::snapshot::Network;
use crate::verdict::Verdict;

/// Decides for one frame that `ingress` received at `now`; `None`: it is for the network's gateway, which decides.
#[inline]
pub fn decide(
    (frame, offload): (&mut [u8], &mut Offload),
    ingress: &Port,
    network: &Network,
    (fdb, cache): (&Fdb, &mut Cache),
    now: Timestamp,
) -> Option<Verdict> {
    let Ok(headers) = Headers::parse(frame) else {
        return Some(if frame.is_empty() { DropReason::BadOffload } else { DropReason::Runt }.into());
    };
    if let Err(reason) = admit(frame, &headers, offload) {
        return Some(reason.into());
    }
    let (frame, offload) = (&*frame, *offload);
    let (destination, source) = addresses(frame);
    if !source.is_station() {
        return Some(DropReason::InvalidSource.into());
    }
    let gateway = network.config.gateway.as_ref();
    if gateway.is_some_and(|gateway| gateway.mac == source) {
        return Some(DropReason::SpoofedGateway.into());
    }
    if let Some(identity) = &ingress.config.identity
        && let Err(reason) = anti_spoof::check(frame, &headers, source, identity)
    {
        return Some(reason.into());
    }
    if let Err(reason) = cache.learn(fdb, FdbKey::new(network.index, source), ingress.id, now) {
        return Some(reason.into());
    }
    let verdict = if destination.is_multicast() {
        if destination.is_reserved_multicast() {
            return Some(DropReason::ReservedMulticast.into());
        }
        if gateway.is_some_and(|gateway| gateway.is_asked_for(frame, &headers)) {
            return to_gateway(ingress);
        }
        Verdict::Flood
    } else if gateway.is_some_and(|gateway| gateway.mac == destination) {
        return to_gateway(ingress);
    } else {
        match cache.lookup(fdb, FdbKey::new(network.index, destination), now) {
            Some(port) if port == ingress.id => return Some(DropReason::Reflection.into()),
            Some(port) => Verdict::Forward(port),
            None => Verdict::Flood,
        }
    };
    if !network.config.inter_port {
        return Some(DropReason::Isolated.into());
    }
    match &network.leg {
        None if over_mtu(frame, &headers, offload, network.config.mtu) => Some(DropReason::OverMtu.into()),
        Some(leg) => Some(leg.fit((frame, &headers, offload), (ingress.id, verdict), network.config.mtu)),
        None => Some(verdict),
    }
}

/// Each host of an overlay network has a gateway of its own with the same addresses, which nobody meets behind a tunnel.
#[inline]
fn to_gateway(ingress: &Port) -> Option<Verdict> {
    ingress.overlay().map(|_| DropReason::RemoteGateway.into())
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
