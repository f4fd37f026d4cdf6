//! The decision: where does a frame go? IEEE 802.1Q clause 8.6, and what containers need on top.
//!
//! Pure: it reads the frame, which ingress has checked, the snapshot and the FDB and says what to do. The order of its questions
//! is the order of the drop reasons that a frame can meet:
//!
//! 1. Is it from a station, and not from the gateway's own address?
//! 2. Is it from whom it says (anti-spoofing)?
//! 3. Learn the source; a static entry or the loop guard may object.
//! 4. Is the destination reserved, a group, the gateway, or a station? Is that station known, elsewhere, and allowed?

use vswitch_frame::{DropReason, L3, MacAddr, Packet, Timestamp, VlanId};

use crate::anti_spoof;
use crate::config::Gateway;
use crate::fdb::{Cache, Fdb, FdbKey};
use crate::lan::{self, LanMode};
use crate::port::Port;
use crate::snapshot::Network;
use crate::trace::{Step, Trace, Untraced};
use crate::verdict::Verdict;

/// Where stations are.
#[derive(Debug)]
pub struct Database<'d> {
    /// What all workers know.
    pub fdb: &'d Fdb,
    /// What this one remembers of it.
    pub cache: &'d mut Cache,
}

/// Decides for one frame that `ingress` received at `now`; `None`: it is for the network's gateway, which decides.
#[inline]
pub fn decide(
    packet: &Packet<'_>,
    ingress: &Port,
    network: &Network,
    database: Database<'_>,
    now: Timestamp,
) -> Option<Verdict> {
    decide_told(packet, ingress, network, database, now, Untraced)
}

/// As [`decide`], with its steps told.
#[inline]
pub(crate) fn decide_told<T: Trace>(
    packet: &Packet<'_>,
    ingress: &Port,
    network: &Network,
    database: Database<'_>,
    now: Timestamp,
    mut trace: T,
) -> Option<Verdict> {
    let Database { fdb, cache } = database;
    let (destination, source) = packet.addresses();
    let gateway = network.config.gateway.as_ref();
    let checked = check_source(packet, source, ingress, gateway);
    trace.step(|| source_step(source, ingress, checked));
    if let Err(reason) = checked {
        return Some(reason.into());
    }
    if let Some(mode) = network.config.lan.filter(|mode| *mode != LanMode::Learning) {
        return Some(lan::decide(packet, ingress, network, mode, Database { fdb, cache }, now));
    }
    let key = FdbKey::new(network.index, source);
    let before = if T::LISTENS { fdb.lookup(key, now) } else { None };
    let learned = cache.learn(fdb, key, ingress.id, now);
    trace.step(|| Step::Learn { mac: source, before, after: fdb.lookup(key, now).filter(|_| learned.is_ok()) });
    if let Err(reason) = learned {
        return Some(reason.into());
    }
    let verdict = if destination.is_multicast() {
        let passes = network.config.forward_bpdus && destination == MacAddr::BRIDGE_GROUP;
        if destination.is_reserved_multicast() && !passes {
            return Some(DropReason::ReservedMulticast.into());
        }
        if let Some(gateway) = gateway.filter(|gateway| gateway.is_asked_for(packet)) {
            trace.step(|| Step::Gateway);
            return to_gateway(ingress, gateway, packet);
        }
        trace.step(|| Step::Group(destination));
        Verdict::Flood
    } else if let Some(gateway) = gateway.filter(|gateway| gateway.is_at(destination)) {
        trace.step(|| Step::Gateway);
        return to_gateway(ingress, gateway, packet);
    } else {
        let found = cache.lookup(fdb, FdbKey::new(network.index, destination), now);
        trace.step(|| Step::Lookup { mac: destination, found });
        match found {
            Some(port) if port == ingress.id => return Some(DropReason::Reflection.into()),
            Some(port) => Verdict::Forward(port),
            None => Verdict::Flood,
        }
    };
    let verdict = if network.config.inter_port {
        verdict
    } else {
        let isolated = isolate(packet, ingress, network, verdict);
        trace.step(|| Step::Isolation(isolated));
        match isolated {
            Verdict::Drop(reason) => return Some(reason.into()),
            verdict => verdict,
        }
    };
    match &network.leg {
        None if over_mtu(packet, network.config.mtu) => Some(DropReason::OverMtu.into()),
        Some(leg) => Some(leg.fit(packet, ingress.id, verdict, network.config.mtu)),
        None => Some(verdict),
    }
}

/// Decides for a frame of a VLAN that is not the network's default one: stations there are known by VLAN and address, and the gateway
/// is not among them.
#[cold]
#[inline(never)]
pub(crate) fn decide_in_vlan(
    packet: &Packet<'_>,
    ingress: &Port,
    network: &Network,
    vlan: VlanId,
    database: Database<'_>,
    now: Timestamp,
) -> Verdict {
    let Database { fdb, cache } = database;
    let (destination, source) = packet.addresses();
    if let Err(reason) = check_source(packet, source, ingress, network.config.gateway.as_ref()) {
        return reason.into();
    }
    // Without a number for the VLAN nothing is learned there, and all is flooded.
    let domain = fdb.domain(network.index, vlan);
    let key = |mac| domain.map(|domain| FdbKey::new(domain, mac));
    if let Some(key) = key(source)
        && let Err(reason) = cache.learn(fdb, key, ingress.id, now)
    {
        return reason.into();
    }
    if destination.is_reserved_multicast() {
        return DropReason::ReservedMulticast.into();
    }
    let known = key(destination).filter(|_| !destination.is_multicast()).and_then(|key| cache.lookup(fdb, key, now));
    match known {
        _ if !network.config.inter_port => DropReason::Isolated.into(),
        _ if over_mtu(packet, network.config.mtu) => DropReason::OverMtu.into(),
        Some(port) if port == ingress.id => DropReason::Reflection.into(),
        Some(port) => Verdict::Forward(port),
        None => Verdict::Flood,
    }
}

#[cold]
fn source_step(mac: MacAddr, ingress: &Port, checked: Result<(), DropReason>) -> Step {
    let owner = ingress.config.identity.map(|identity| (identity.mac, ingress.label.addresses()));
    Step::Source { mac, owner, refused: checked.err() }
}

/// Whether a frame is from a station, not in the gateway's name, and from whom it says.
#[inline(always)]
fn check_source(
    packet: &Packet<'_>,
    source: MacAddr,
    ingress: &Port,
    gateway: Option<&Gateway>,
) -> Result<(), DropReason> {
    if !source.is_station() {
        return Err(DropReason::InvalidSource);
    }
    if gateway.is_some_and(|gateway| gateway.is_at(source)) {
        return Err(DropReason::SpoofedGateway);
    }
    match &ingress.config.identity {
        Some(identity) => anti_spoof::check(packet, source, identity, &ingress.config.allowed),
        None => Ok(()),
    }
}

/// What becomes of a frame where the members of a network do not reach each other. By an opening it goes to whom it is for, also a
/// question that was meant for all.
#[inline(never)]
fn isolate(packet: &Packet<'_>, ingress: &Port, network: &Network, verdict: Verdict) -> Verdict {
    match network.openings.passes_to(packet) {
        Some(port) => Verdict::Forward(port),
        None => lan::isolate(verdict, ingress.id, network.lan),
    }
}

/// Each host of an overlay network has a gateway of its own with the same addresses, which nobody meets behind a tunnel but at those that
/// are one host's alone.
#[inline]
fn to_gateway(ingress: &Port, gateway: &Gateway, packet: &Packet<'_>) -> Option<Verdict> {
    ingress.overlay().filter(|_| !gateway.is_met_by(packet)).map(|_| DropReason::RemoteGateway.into())
}

/// Whether a packet, or each of a super-frame's segments, is longer than `mtu`.
#[inline(always)]
pub(crate) fn over_mtu(packet: &Packet<'_>, mtu: u32) -> bool {
    /// The least L4 header a segment has: UDP's.
    const MIN_L4_HEADER: usize = 8;
    let length = match (packet.offload().gso, packet.l3()) {
        (Some(gso), L3::Ipv4 | L3::Ipv6) => {
            packet.l4_offset() - packet.l3_offset() + MIN_L4_HEADER + usize::from(gso.size)
        }
        (_, L3::Ipv4 | L3::Ipv6) => packet.l3_end() - packet.l3_offset(),
        _ => packet.frame().len() - packet.l3_offset(),
    };
    u32::try_from(length).is_ok_and(|length| length > mtu)
}
