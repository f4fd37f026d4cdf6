//! Without privilege: vswitchd's sockets uplink beside slirp4netns and pasta, and a veth pair as the measure of the machine.

use std::path::PathBuf;

use anyhow::Context;

use crate::containers::Effort;
use crate::report::{Better, Figure, Goal, Group, Measure, Side, Subject};
use crate::rig::{Kind, OUTSIDE, Rig};
use crate::traffic::{self, Path};

const KINDS: [(Kind, &str, Side); 4] = [
    (Kind::Direct, "veth", Side::Kernel),
    (Kind::Slirp, "slirp4netns", Side::Userspace),
    (Kind::Pasta, "pasta", Side::Userspace),
    (Kind::VswitchSockets, "vswitch", Side::Own),
];

/// Where the peers stand in [`KINDS`].
const SLIRP: usize = 1;
const PASTA: usize = 2;

const OUT: Measure = Measure {
    title: "TCP out",
    unit: "Gbit/s",
    better: Better::More,
    goals: &[Goal::Value(10.0), Goal::Peer(SLIRP, 5.0)],
};
const IN: Measure =
    Measure { title: "TCP in, published port", unit: "Gbit/s", better: Better::More, goals: &[Goal::Peer(PASTA, 0.8)] };
const SMALL: Measure = Measure {
    title: "UDP out, 18 bytes",
    unit: "k datagrams/s",
    better: Better::More,
    goals: &[Goal::Peer(SLIRP, 1.0)],
};
const LARGE: Measure = Measure {
    title: "UDP out, 1400 bytes",
    unit: "k datagrams/s",
    better: Better::More,
    goals: &[Goal::Peer(SLIRP, 1.0)],
};
const P50: Measure =
    Measure { title: "TCP round trip, median", unit: "us", better: Better::Less, goals: &[Goal::Peer(SLIRP, 1.0)] };
const CONNECTIONS: Measure =
    Measure { title: "TCP connections", unit: "a second", better: Better::More, goals: &[Goal::Value(1000.0)] };

/// All work by each way out, at an MTU of 1,500 bytes.
///
/// # Errors
/// When a way out cannot be set up, or a tool fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("Without privilege", subjects);
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            let rig = Rig::start(kind)?;
            let before = group.clone();
            match one(&mut group, index, &rig, effort) {
                Ok(line) => said(&format!("  round {round} {name:<18} {line}")),
                Err(error) if kind == Kind::VswitchSockets => return Err(error),
                // A peer that fails at something has no value there, which is a result, too.
                Err(error) => {
                    group = before;
                    said(&format!("  round {round} {name:<18} failed, and is left out: {error:#}"));
                }
            }
        }
    }
    Ok(group)
}

/// All work by one way out, in one line.
fn one(group: &mut Group, index: usize, rig: &Rig, effort: Effort) -> anyhow::Result<String> {
    const ROUND_TRIPS: u32 = 20_000;
    let (out, into) = (Path(0, OUTSIDE[1]), Path(1, OUTSIDE[0]));
    let server = traffic::Server::start(rig, out)?;
    let outwards = traffic::tcp(rig, out, effort.seconds, &[]).context("TCP out")?;
    group.note(index, OUT, outwards);
    group.note(index, SMALL, traffic::udp(rig, out, effort.seconds, (18, "0")).context("small UDP")?.kilo_received);
    group.note(index, LARGE, traffic::udp(rig, out, effort.seconds, (1400, "0")).context("large UDP")?.kilo_received);
    drop(server);
    let answers = traffic::Answers::start(rig, out)?;
    let trips = traffic::round_trips(rig, out, ROUND_TRIPS).context("round trips")?;
    group.note(index, P50, trips.p50);
    group.note(index, CONNECTIONS, traffic::connections(rig, out, effort.seconds).context("connections")?);
    drop(answers);
    let _server = traffic::Server::start(rig, into)?;
    let inwards = traffic::tcp(rig, into, effort.seconds, &[]).context("TCP in")?;
    group.note(index, IN, inwards);
    Ok(format!("TCP out {outwards:6.2}  in {inwards:6.2} Gbit/s   round trip {:5.1} us", trips.p50))
}

/// What idle connections cost vswitchd.
///
/// # Errors
/// When one of them cannot be made.
pub fn idle_connections(count: u32) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::start(Kind::VswitchSockets)?;
    let out = Path(0, OUTSIDE[1]);
    let _answers = traffic::Answers::start(&rig, out)?;
    let pid = rig.daemon_pid().context("the rig has a vswitchd")?;
    let before = resident(pid)?;
    let idle = traffic::Idle::start(&rig, out, count)?;
    let each = (resident(pid)? - before) * 1024.0 / f64::from(count);
    drop(idle);
    Ok(vec![Figure::at_most(&format!("memory of {count} idle connections, each"), each, 32_768.0, " B")])
}

/// The resident memory of a process in KiB.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")
}
