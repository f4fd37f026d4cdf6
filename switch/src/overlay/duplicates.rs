//! Addresses that are in use here and behind the tunnel at once.
//!
//! Control says which addresses local stations have. A frame out of the tunnel that claims one of them (by its source
//! MAC address, or as the sender of an ARP or Neighbor Discovery message) is noted. Only frames that claim something are
//! looked at, so ordinary traffic pays for two comparisons. Pure: `now` is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, RwLock};

use foldhash::fast::RandomState;
use vswitch_frame::arp::Arp;
use vswitch_frame::ipv4::protocol;
use vswitch_frame::ndp::Neighbor;
use vswitch_frame::{DropReason, Fragment, L3, MacAddr, Packet, Timestamp};

use crate::shared::lock;
use crate::verdict::Verdict;

/// Most duplicates that are remembered; the one that was silent longest makes room.
const CAPACITY: usize = 64;

/// An address that two stations claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claimed {
    /// A MAC address.
    Mac(MacAddr),
    /// An IP address.
    Ip(IpAddr),
}

/// An address of a local station that another one claims, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    /// The address.
    pub claimed: Claimed,
    /// The other station.
    pub by: MacAddr,
    /// How often it did.
    pub count: u64,
    /// Seconds since it did last.
    pub age_seconds: u64,
}

/// The duplicates of one overlay network.
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    local: RwLock<HashMap<IpAddr, MacAddr, RandomState>>,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug)]
struct Seen {
    claimed: Claimed,
    by: MacAddr,
    count: u64,
    last: Timestamp,
}

impl Duplicates {
    /// A local station has this address.
    pub(crate) fn watch(&self, address: IpAddr, mac: MacAddr) {
        self.local.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(address, mac);
    }

    /// No local station has it any more; what was seen of it is forgotten.
    pub(crate) fn unwatch(&self, address: IpAddr, mac: MacAddr) {
        self.local.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&address);
        lock(&self.seen).retain(|one| one.claimed != Claimed::Ip(address) && one.claimed != Claimed::Mac(mac));
    }

    /// Looks at a frame that came out of the tunnel, and at what was decided about it. `true`: a duplicate that was not
    /// known.
    #[inline]
    pub(crate) fn look(&self, packet: &Packet<'_>, verdict: Option<Verdict>, now: Timestamp) -> bool {
        let taken = verdict == Some(DropReason::StaticEntry.into());
        (taken || may_claim(packet.frame())) && self.examine(packet, taken, now)
    }

    #[cold]
    fn examine(&self, packet: &Packet<'_>, taken: bool, now: Timestamp) -> bool {
        let (_, source) = packet.addresses();
        if taken {
            return self.note(Claimed::Mac(source), source, now);
        }
        let Some((address, mac)) = claim(packet) else { return false };
        let local = self.local.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let other = local.get(&address).is_some_and(|own| *own != mac);
        drop(local);
        other && self.note(Claimed::Ip(address), mac, now)
    }

    /// What was seen, newest first.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<Duplicate> {
        let mut found: Vec<Duplicate> = lock(&self.seen).iter().map(|one| one.at(now)).collect();
        found.sort_by_key(|one| one.age_seconds);
        found
    }

    fn note(&self, claimed: Claimed, by: MacAddr, now: Timestamp) -> bool {
        let mut seen = lock(&self.seen);
        if let Some(one) = seen.iter_mut().find(|one| one.claimed == claimed && one.by == by) {
            one.count += 1;
            one.last = now;
            return false;
        }
        if seen.len() >= CAPACITY
            && let Some(oldest) = (0..seen.len()).min_by_key(|&at| seen[at].last)
        {
            seen.swap_remove(oldest);
        }
        seen.push(Seen { claimed, by, count: 1, last: now });
        true
    }
}

impl Seen {
    fn at(&self, now: Timestamp) -> Duplicate {
        let age_seconds = u64::from(now.as_secs().saturating_sub(self.last.as_secs()));
        Duplicate { claimed: self.claimed, by: self.by, count: self.count, age_seconds }
    }
}

/// Whether this may be ARP or ICMPv6: the only frames that say whose an IP address is.
#[inline]
fn may_claim(frame: &[u8]) -> bool {
    const NEXT_HEADER: usize = 14 + 6;
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => frame.get(NEXT_HEADER) == Some(&protocol::ICMPV6),
        _ => false,
    }
}

/// The IP address that the frame's sender says is its own.
fn claim(packet: &Packet<'_>) -> Option<(IpAddr, MacAddr)> {
    let (_, source) = packet.addresses();
    match packet.l3() {
        L3::Arp => {
            let arp = Arp::parse(packet.ip_packet()).ok()?;
            // A question before the sender has an address (RFC 5227) claims nothing.
            let address = Some(arp.sender_ip()).filter(|address| !address.is_unspecified())?;
            Some((address.into(), arp.sender_mac()))
        }
        L3::Ipv6 if packet.protocol() == protocol::ICMPV6 && packet.fragment() == Fragment::None => {
            let message = Neighbor::parse(packet.l4()).ok()?;
            let sender = packet.source_v6();
            let own = match message.is_solicitation() {
                // Duplicate address detection asks for the address that it wants to have (RFC 4862 section 5.4).
                true if sender.is_unspecified() => message.target(),
                true => sender,
                false => message.target(),
            };
            Some((own.into(), source))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);

    fn arp(sender: MacAddr, address: [u8; 4]) -> Vec<u8> {
        let mut frame = [[0xff; 6], sender.octets()].concat();
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(sender.octets());
        frame.extend(address);
        frame.extend([0; 6]);
        frame.extend([10, 0, 0, 9]);
        frame
    }

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// An ARP question from a station with a local station's address is noted once and counted from then on, until the
    /// local station is gone.
    #[test]
    fn addresses_of_two() {
        let duplicates = Duplicates::default();
        duplicates.watch([10, 0, 0, 1].into(), LOCAL);
        assert!(!duplicates.look(&Packet::finished(&arp(OTHER, [10, 0, 0, 2])), Some(Verdict::Flood), seconds(1)));
        assert!(!duplicates.look(&Packet::finished(&arp(LOCAL, [10, 0, 0, 1])), Some(Verdict::Flood), seconds(1)));
        assert!(duplicates.look(&Packet::finished(&arp(OTHER, [10, 0, 0, 1])), Some(Verdict::Flood), seconds(2)));
        assert!(!duplicates.look(&Packet::finished(&arp(OTHER, [10, 0, 0, 1])), Some(Verdict::Flood), seconds(3)));
        let one = Duplicate { claimed: Claimed::Ip([10, 0, 0, 1].into()), by: OTHER, count: 2, age_seconds: 4 };
        assert_eq!(duplicates.list(seconds(7)), [one]);
        duplicates.unwatch([10, 0, 0, 1].into(), LOCAL);
        assert_eq!(duplicates.list(seconds(7)), []);
        assert!(!duplicates.look(&Packet::finished(&arp(OTHER, [10, 0, 0, 1])), Some(Verdict::Flood), seconds(8)));
    }

    /// A frame that was dropped because its source is a local station's shows a MAC address that two have.
    #[test]
    fn one_mac_address() {
        let duplicates = Duplicates::default();
        let frame = [[2; 6].as_slice(), &LOCAL.octets(), &[8, 0], &[0; 20]].concat();
        assert!(!duplicates.look(&Packet::finished(&frame), Some(Verdict::Flood), seconds(1)));
        assert!(duplicates.look(&Packet::finished(&frame), Some(DropReason::StaticEntry.into()), seconds(1)));
        assert_eq!(duplicates.list(seconds(1))[0].claimed, Claimed::Mac(LOCAL));
    }

    /// However many there are, memory is bounded, and the newest are kept.
    #[test]
    fn bounded() {
        let duplicates = Duplicates::default();
        duplicates.watch([10, 0, 0, 1].into(), LOCAL);
        for last in 0..200 {
            let other = MacAddr::new([2, 9, 0, 0, 0, last]);
            duplicates.look(
                &Packet::finished(&arp(other, [10, 0, 0, 1])),
                Some(Verdict::Flood),
                seconds(u64::from(last)),
            );
        }
        let all = duplicates.list(seconds(200));
        assert_eq!((all.len(), all[0].by), (CAPACITY, MacAddr::new([2, 9, 0, 0, 0, 199])));
    }
}
