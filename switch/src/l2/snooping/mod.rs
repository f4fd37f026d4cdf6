//! IGMP and MLD snooping: a group goes to the ports that asked for it, and to routers. Read first: RFC 4541.
//!
//! Pure, but for the lock around the table: every worker hears and asks. Memberships are those of ports, whatever sources a
//! station wants; it gets those of others, too, and drops them itself.

mod message;
mod table;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use message::{Message, QUERY_LEN, write_query};
pub use table::{Manner, RouterPort};
use table::{Question, Table, is_link_local};
use vswitch_frame::{L3, MacAddr, Packet, PortId, Timestamp, VlanId};

use crate::shared::lock;
use crate::snapshot::Network;

/// Whether and how a network snoops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnoopingConfig {
    /// The switch asks, where nobody else does, so that memberships do not run out.
    pub querier: bool,
}

/// A membership, as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMember {
    /// The VLAN; `None`: that of frames without a tag.
    pub vlan: Option<VlanId>,
    /// The group.
    pub group: IpAddr,
    /// Where it is wanted.
    pub port: PortId,
    /// Seconds until that is forgotten, unless it is said again.
    pub seconds: u64,
}

/// Where a frame to a group comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) vlan: u16,
    pub(super) port: PortId,
    pub(super) manner: Manner,
}

/// To whom a frame to a group goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// As any flood.
    All,
    /// To those who asked for it.
    Group,
    /// To routers alone: it is who asks.
    Report,
}

/// The memberships of a network.
#[derive(Debug)]
pub(super) struct Snooping {
    pub(super) config: SnoopingConfig,
    table: Mutex<Table>,
}

impl Snooping {
    pub(super) fn new(config: SnoopingConfig) -> Snooping {
        Snooping { config, table: Mutex::default() }
    }

    /// Hears what a frame to a group says, and puts the ports that it is for, if not all, behind what `out` holds.
    pub(super) fn spread(&self, packet: &Packet<'_>, origin: Origin, now: Timestamp, out: &mut Vec<PortId>) -> Spread {
        if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) {
            return Spread::All;
        }
        let mut table = lock(&self.table);
        if let Some(message) = Message::read(packet) {
            table.hear(&message, origin.vlan, origin.port, origin.manner, now);
            if !matches!(message, Message::Report(_)) {
                return Spread::All;
            }
            // Others that heard it would not answer themselves (RFC 4541 section 2.1.1).
            table.routers(origin.vlan, now, out);
            return Spread::Report;
        }
        let group = packet.ip_addresses().1;
        let known = group.is_multicast() && !is_link_local(group) && table.audience(origin.vlan, group, now, out);
        if known { Spread::Group } else { Spread::All }
    }

    /// Forgets a port that is gone.
    pub(super) fn forget(&self, port: PortId) {
        lock(&self.table).forget(port);
    }

    /// The memberships.
    pub(super) fn groups(&self, now: Timestamp) -> Vec<GroupMember> {
        let table = lock(&self.table);
        let member = |(vlan, group, port, seconds)| GroupMember { vlan: VlanId::new(vlan).ok(), group, port, seconds };
        table.groups(now).map(member).collect()
    }

    /// Forgets what is over; the questions that are due, each a frame for a VLAN.
    pub(super) fn tick(&self, network: &Network, vlans: &[u16], now: Timestamp) -> Vec<(u16, Box<[u8]>)> {
        let gateway = network.config.gateway.as_ref();
        let mac = gateway.map_or_else(|| nobody(network), |gateway| gateway.mac);
        let v4 = gateway.and_then(|gateway| gateway.ipv4).map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| address);
        let own = [Some(IpAddr::V4(v4)), Some(IpAddr::V6(mac.link_local_ipv6()))];
        let own = if self.config.querier { own } else { [None, None] };
        let questions = lock(&self.table).tick(vlans, own, now);
        let frame = |question: Question| {
            let mut frame = [0; QUERY_LEN];
            let length =
                write_query(&mut frame, mac, own[usize::from(!question.ipv4)]?, question.group, question.response);
            Some((question.vlan, frame[..length].into()))
        };
        questions.into_iter().filter_map(frame).collect()
    }
}

/// Who asks on a network without a gateway.
fn nobody(network: &Network) -> MacAddr {
    let [high, low] = network.index.value().to_be_bytes();
    MacAddr::new([0x02, 0x76, 0x73, 0, high, low])
}
