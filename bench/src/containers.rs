//! Between two containers: the same work over each switch, in turn.

use anyhow::Context as _;

use crate::report::{Better, Goal, Group, Measure, Side, Subject};
use crate::rig::{ADDRESSES, Kind, Rig};
use crate::traffic::{self, Path};

/// The switches, in the order of the tables.
const KINDS: [(Kind, &str, Side); 6] = [
    (Kind::Bridge, "Linux bridge", Side::Kernel),
    (Kind::Vswitch, "vswitch", Side::Own),
    (Kind::OpenVswitch, "Open vSwitch, TSO", Side::Userspace),
    (Kind::OpenVswitchPlain, "Open vSwitch", Side::Userspace),
    (Kind::Vde, "vde_switch", Side::Userspace),
    (Kind::BridgeLong, "Linux bridge, 192 KiB", Side::Kernel),
];
/// Open vSwitch's place in [`KINDS`], with TSO.
const OVS: usize = 2;

const MORE: Better = Better::More;
const LESS: Better = Better::Less;
const TCP: Measure = Measure {
    title: "one TCP stream",
    unit: "Gbit/s",
    better: MORE,
    goals: &[Goal::Kernel(0.7), Goal::Kernel(0.9), Goal::Peer(OVS, 1.8)],
};
const TCP_4: Measure = Measure { title: "four TCP streams", unit: "Gbit/s", better: MORE, goals: &[] };
const CPU: Measure = Measure { title: "CPU for 2 Gbit/s of TCP", unit: "% of a core", better: LESS, goals: &[] };
const UDP_18: Measure = Measure {
    title: "UDP received, 18 bytes",
    unit: "k datagrams/s",
    better: MORE,
    goals: &[Goal::Peer(OVS, 1.3), Goal::Peer(OVS, 1.5)],
};
const UDP_1400: Measure =
    Measure { title: "UDP received, 1400 bytes", unit: "k datagrams/s", better: MORE, goals: &[] };
const LOSS_1400: Measure =
    Measure { title: "lost at 50 k datagrams/s of 1400 bytes", unit: "%", better: LESS, goals: &[] };
const PING: Measure =
    Measure { title: "flood ping", unit: "us", better: LESS, goals: &[Goal::Value(12.0), Goal::Value(8.0)] };
const PING_LOSS: Measure = Measure { title: "flood ping, lost", unit: "%", better: LESS, goals: &[Goal::Value(0.0)] };
const P50: Measure = Measure { title: "TCP round trip, median", unit: "us", better: LESS, goals: &[] };
const P99: Measure = Measure { title: "TCP round trip, 99 %", unit: "us", better: LESS, goals: &[] };
const P999: Measure = Measure { title: "TCP round trip, 99.9 %", unit: "us", better: LESS, goals: &[] };
const LOADED_P50: Measure = Measure { title: "beside 1 Gbit/s, median", unit: "us", better: LESS, goals: &[] };
const LOADED_P999: Measure = Measure { title: "beside 1 Gbit/s, 99.9 %", unit: "us", better: LESS, goals: &[] };
const TAIL: Measure =
    Measure { title: "beside 1 Gbit/s, 99.9 % to median", unit: "times", better: LESS, goals: &[Goal::Value(10.0)] };
const CONNECTIONS: Measure = Measure { title: "TCP connections", unit: "a second", better: MORE, goals: &[] };

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds; ratios are medians over them.
    pub rounds: usize,
    /// Seconds of each stream.
    pub seconds: u32,
}

/// All work over all switches.
///
/// # Errors
/// When a switch cannot be set up, or a tool fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("Between two containers", subjects);
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            one(&mut group, index, kind, effort).with_context(|| format!("over {name}"))?;
            said(&format!("  round {round} {name:<18} {}", line(&group, index)));
        }
    }
    Ok(group)
}

fn one(group: &mut Group, index: usize, kind: Kind, effort: Effort) -> anyhow::Result<()> {
    const PINGS: u32 = 20_000;
    const ROUND_TRIPS: u32 = 20_000;
    let rig = Rig::start(kind)?;
    let path = Path(0, ADDRESSES[1]);
    // One for all: a program outlives the `exec` that started it.
    let _server = traffic::Server::start(&rig, path)?;
    group.note(index, TCP, traffic::tcp(&rig, path, effort.seconds, &[])?);
    group.note(index, TCP_4, traffic::tcp(&rig, path, effort.seconds, &["-P", "4"])?);
    if kind == Kind::BridgeLong {
        // In all else it is the bridge.
        return Ok(());
    }
    group.note(index, CPU, traffic::cpu_at(&rig, path, effort.seconds, "2G")?);
    group.note(index, UDP_18, traffic::udp(&rig, path, effort.seconds, (18, "0"))?.kilo_received);
    group.note(index, UDP_1400, traffic::udp(&rig, path, effort.seconds, (1400, "0"))?.kilo_received);
    group.note(index, LOSS_1400, traffic::udp(&rig, path, effort.seconds, (1400, "560M"))?.lost_percent);
    let (micros, lost) = traffic::ping(&rig, path, PINGS)?;
    group.note(index, PING, micros);
    group.note(index, PING_LOSS, lost);
    let _answers = traffic::Answers::start(&rig, path)?;
    let idle = traffic::round_trips(&rig, path, ROUND_TRIPS)?;
    group.note(index, P50, idle.at(50.0));
    group.note(index, P99, idle.at(99.0));
    group.note(index, P999, idle.at(99.9));
    group.note_distribution(index, ("TCP round trip", "us"), idle.0);
    let loaded = {
        let _load = traffic::Load::start(&rig, path, "1G")?;
        traffic::round_trips(&rig, path, ROUND_TRIPS)?
    };
    group.note(index, LOADED_P50, loaded.at(50.0));
    group.note(index, LOADED_P999, loaded.at(99.9));
    group.note(index, TAIL, loaded.at(99.9) / loaded.at(50.0));
    group.note_distribution(index, ("TCP round trip beside 1 Gbit/s", "us"), loaded.0);
    group.note(index, CONNECTIONS, traffic::connections(&rig, path, effort.seconds)?);
    Ok(())
}

/// The newest round in one line.
fn line(group: &Group, subject: usize) -> String {
    let last = |title: &str| group.latest(subject, title);
    format!(
        "TCP {:6.2} Gbit/s   UDP {:6.0} k/s   ping {:5.1} us   round trip {:5.1} us",
        last(TCP.title),
        last(UDP_18.title),
        last(PING.title),
        last(P50.title)
    )
}
