//! Flows, for loss that is each flow's own.
//!
//! A program that is run again has another ephemeral port. So a flow's draws come from its addresses, its protocol and the lower of its
//! ports, and from how many flows of these there were before.

use std::collections::BTreeMap;

use vswitch_frame::ipv4::protocol;
use vswitch_frame::{Fragment, L3, Packet};

use crate::loss::Chance;
use crate::random::{Purpose, WireSeed, fnv};

/// Most flows that are told apart; the one that was quiet for longest is forgotten.
const MOST: usize = 4096;

/// The flows of one direction.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    flows: BTreeMap<u64, Flow>,
    /// How many flows there were of the same addresses, protocol and lower port.
    before: BTreeMap<u64, u64>,
    clock: u64,
}

#[derive(Debug)]
struct Flow {
    chance: Chance,
    last: u64,
}

impl Flows {
    /// The chance of the flow that a packet belongs to.
    pub(crate) fn chance(&mut self, packet: &Packet<'_>, seed: &WireSeed) -> &mut Chance {
        let (flow, alike) = keys(packet);
        self.clock += 1;
        let last = self.clock;
        if !self.flows.contains_key(&flow) {
            if self.flows.len() >= MOST
                && let Some(quiet) = self.flows.iter().min_by_key(|(_, flow)| flow.last).map(|(key, _)| *key)
            {
                self.flows.remove(&quiet);
            }
            if self.before.len() >= MOST {
                self.before.clear();
            }
        }
        let before = &mut self.before;
        let entry = self.flows.entry(flow).or_insert_with(|| {
            let count = before.entry(alike).or_default();
            *count += 1;
            let stream = alike.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            Flow {
                chance: Chance::new(seed.of_flow(Purpose::Loss, stream), seed.of_flow(Purpose::State, stream)),
                last,
            }
        });
        entry.last = last;
        &mut entry.chance
    }
}

/// Of the flow, and of flows alike.
fn keys(packet: &Packet<'_>) -> (u64, u64) {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    if !matches!(packet.l3(), L3::Ipv4 | L3::Ipv6) {
        let key = fnv(packet.frame().iter().copied().take(14), BASIS);
        return (key, key);
    }
    let (source, destination) = packet.ip_addresses();
    let hash = fnv(bytes(source).into_iter().chain(bytes(destination)).chain([packet.protocol()]), BASIS);
    let has_ports = matches!(packet.protocol(), protocol::TCP | protocol::UDP) && packet.fragment() == Fragment::None;
    let Some(&[a, b, c, d]) = packet.l4().first_chunk().filter(|_| has_ports) else { return (hash, hash) };
    let lower = u16::from_be_bytes([a, b]).min(u16::from_be_bytes([c, d])).to_be_bytes();
    (fnv([a, b, c, d].into_iter(), hash), fnv(lower.into_iter(), hash))
}
