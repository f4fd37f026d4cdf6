//! What passes between stations that are isolated from each other: Docker's links.
//!
//! An opening is a client, a server, and a port of the server's. As with the rules that Docker gives the kernel, nothing is remembered:
//! what the client sends to the port passes, and what comes from the port to the client, and the questions by which each finds the
//! other. Such a frame goes to the one port where the other one is, never to several.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use vswitch_frame::arp::Arp;
use vswitch_frame::{Fragment, L3, MacAddr, Packet, PortId, ipv4};

/// One station, as both others and control know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Station {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Where it is. Control takes its openings away before the port goes.
    pub port: PortId,
}

/// A port of a server that a client may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    /// Who may reach it.
    pub client: Station,
    /// Whose it is.
    pub server: Station,
    /// Number of its protocol: TCP's, UDP's or SCTP's.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

/// All openings of a network, to be looked up by who speaks with whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings {
    ways: BTreeMap<(Ipv4Addr, Ipv4Addr), Way>,
}

/// What passes from one station to another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    from: MacAddr,
    to: Station,
    /// Ports of the other one's, with their protocol.
    towards: BTreeSet<(u8, u16)>,
    /// Its own.
    back: BTreeSet<(u8, u16)>,
}

impl Openings {
    /// These.
    #[must_use]
    pub fn new(openings: impl IntoIterator<Item = Opening>) -> Openings {
        let mut all = Openings::default();
        for Opening { client, server, protocol, port } in openings {
            all.way(client, server).towards.insert((protocol, port));
            all.way(server, client).back.insert((protocol, port));
        }
        all
    }

    fn way(&mut self, from: Station, to: Station) -> &mut Way {
        let way = || Way { from: from.mac, to, towards: BTreeSet::new(), back: BTreeSet::new() };
        self.ways.entry((from.ipv4, to.ipv4)).or_insert_with(way)
    }

    /// To which port a frame passes, if it does.
    #[must_use]
    pub(crate) fn passes_to(&self, packet: &Packet<'_>) -> Option<PortId> {
        if self.ways.is_empty() {
            return None;
        }
        let (destination, source) = packet.addresses();
        match packet.l3() {
            L3::Arp => {
                let arp = Arp::parse(packet.ip_packet()).ok()?;
                let way = self.ways.get(&(arp.sender_ip(), arp.target_ip()))?;
                let meant = destination == MacAddr::BROADCAST || destination == way.to.mac;
                (meant && source == way.from && arp.sender_mac() == way.from).then_some(way.to.port)
            }
            L3::Ipv4 => {
                let way = self.ways.get(&(packet.source_v4(), packet.destination_v4()))?;
                ((source, destination) == (way.from, way.to.mac) && way.lets_pass(packet)).then_some(way.to.port)
            }
            _ => None,
        }
    }
}

impl Way {
    fn lets_pass(&self, packet: &Packet<'_>) -> bool {
        let protocol = packet.protocol();
        if packet.fragment() == Fragment::Later {
            // Nobody makes anything of it without the first one, which has the ports.
            return self.towards.iter().chain(&self.back).any(|(own, _)| *own == protocol);
        }
        // Where TCP, UDP and SCTP have their ports.
        let [a, b, c, d, ..] = *packet.l4() else { return false };
        let ports = matches!(protocol, ipv4::protocol::TCP | ipv4::protocol::UDP | ipv4::protocol::SCTP);
        let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        ports && (self.towards.contains(&(protocol, destination)) || self.back.contains(&(protocol, source)))
    }
}
