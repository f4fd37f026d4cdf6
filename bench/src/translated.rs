//! Through NAT: the kernel's bridge with masquerade and DNAT, and vswitchd with a packet uplink, in turn.

use crate::containers::Effort;
use crate::report::{Better, Goal, Group, Measure, Side, Subject};
use crate::rig::{Kind, OUTSIDE, Rig};
use crate::traffic::{self, Path};

const KINDS: [(Kind, &str, Side); 3] = [
    (Kind::KernelNat, "bridge + nftables", Side::Kernel),
    (Kind::IptablesNat, "bridge + iptables", Side::Kernel),
    (Kind::VswitchNat, "vswitch", Side::Own),
];

const GOALS: &[Goal] = &[Goal::Kernel(0.75), Goal::Kernel(0.85)];
const OUT: Measure = Measure { title: "TCP out", unit: "Gbit/s", better: Better::More, goals: GOALS };
const IN: Measure = Measure { title: "TCP in, published port", unit: "Gbit/s", better: Better::More, goals: GOALS };
const UDP: Measure = Measure { title: "UDP out, 18 bytes", unit: "k datagrams/s", better: Better::More, goals: &[] };
const PING: Measure = Measure { title: "flood ping", unit: "us", better: Better::Less, goals: &[Goal::Value(15.0)] };
const P50: Measure = Measure { title: "TCP round trip, median", unit: "us", better: Better::Less, goals: &[] };
const P999: Measure = Measure { title: "TCP round trip, 99.9 %", unit: "us", better: Better::Less, goals: &[] };
const CONNECTIONS: Measure =
    Measure { title: "TCP connections", unit: "a second", better: Better::More, goals: &[Goal::Value(1000.0)] };

/// All work through each router.
///
/// # Errors
/// When a router cannot be set up, or a tool fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    const PINGS: u32 = 20_000;
    const ROUND_TRIPS: u32 = 20_000;
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("Through NAT", subjects);
    let (out, into) = (Path(0, OUTSIDE[1]), Path(1, OUTSIDE[0]));
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            let rig = Rig::start(kind)?;
            let server = traffic::Server::start(&rig, out)?;
            let outwards = traffic::tcp(&rig, out, effort.seconds, &[])?;
            group.note(index, OUT, outwards);
            group.note(index, UDP, traffic::udp(&rig, out, effort.seconds, (18, "0"))?.kilo_received);
            drop(server);
            let (micros, _) = traffic::ping(&rig, out, PINGS)?;
            group.note(index, PING, micros);
            let answers = traffic::Answers::start(&rig, out)?;
            let trips = traffic::round_trips(&rig, out, ROUND_TRIPS)?;
            group.note(index, P50, trips.at(50.0));
            group.note(index, P999, trips.at(99.9));
            group.note(index, CONNECTIONS, traffic::connections(&rig, out, effort.seconds)?);
            drop(answers);
            let _server = traffic::Server::start(&rig, into)?;
            let inwards = traffic::tcp(&rig, into, effort.seconds, &[])?;
            group.note(index, IN, inwards);
            said(&format!(
                "  round {round} {name:<18} TCP out {outwards:6.2}  in {inwards:6.2} Gbit/s   ping {micros:5.1} us"
            ));
        }
    }
    Ok(group)
}
