//! Without privilege: vswitchd's sockets uplink beside slirp4netns and pasta, and a veth pair as the measure of the machine.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::containers::Effort;
use crate::report::{Better, Figure, Goal, Group, Measure, Side, Subject};
use crate::rig::{Kind, OUTSIDE, Rig};
use crate::traffic::{self, Path};

const KINDS: [(Kind, &str, Side); 6] = [
    (Kind::Direct, "veth", Side::Kernel),
    (Kind::Slirp, "slirp4netns", Side::Userspace),
    (Kind::Pasta, "pasta", Side::Userspace),
    (Kind::SlirpLong, "slirp4netns, MTU 65520", Side::Userspace),
    (Kind::PastaLong, "pasta, MTU 65520", Side::Userspace),
    (Kind::VswitchSockets, "vswitch", Side::Own),
];

/// Where the peers stand in [`KINDS`].
const SLIRP: usize = 1;
const PASTA: usize = 2;

const OUT: Measure = Measure {
    title: "TCP out",
    unit: "Gbit/s",
    better: Better::More,
    goals: &[Goal::Value(10.0), Goal::Value(15.0), Goal::Peer(SLIRP, 5.0)],
};
const IN: Measure = Measure {
    title: "TCP in, published port",
    unit: "Gbit/s",
    better: Better::More,
    goals: &[Goal::Peer(PASTA, 0.8), Goal::Peer(PASTA, 1.0)],
};
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

/// All work by each way out, at an MTU of 1,500 bytes; by the peers also at that which engines start them with.
///
/// # Errors
/// When a way out cannot be set up, or a tool fails over vswitch.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("Without privilege", subjects);
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            let rig = Rig::start(kind)?;
            let mut way = Way { group: &mut group, index, rig: &rig, effort, failed: Vec::new() };
            way.measure();
            let failed = std::mem::take(&mut way.failed);
            said(&format!("  round {round} {name:<18} {}", line(&group, index)));
            // What a peer fails at has no value, which is a result, too.
            for error in failed {
                if kind == Kind::VswitchSockets {
                    return Err(error);
                }
                said(&format!("  round {round} {name:<18} left out: {error:#}"));
            }
        }
    }
    Ok(group)
}

/// One way out in one round.
struct Way<'a> {
    group: &'a mut Group,
    index: usize,
    rig: &'a Rig,
    effort: Effort,
    failed: Vec<anyhow::Error>,
}

impl Way<'_> {
    fn measure(&mut self) {
        const ROUND_TRIPS: u32 = 20_000;
        let (rig, seconds) = (self.rig, self.effort.seconds);
        let (out, into) = (Path(0, OUTSIDE[1]), Path(1, OUTSIDE[0]));
        let server = traffic::Server::start(rig, out);
        self.note(OUT, traffic::tcp(rig, out, seconds, &[]));
        self.note(SMALL, traffic::udp(rig, out, seconds, (18, "0")).map(|datagrams| datagrams.kilo_received));
        self.note(LARGE, traffic::udp(rig, out, seconds, (1400, "0")).map(|datagrams| datagrams.kilo_received));
        self.keep(server);
        let answers = traffic::Answers::start(rig, out);
        match traffic::round_trips(rig, out, ROUND_TRIPS) {
            Ok(trips) => {
                self.note(P50, Ok(trips.at(50.0)));
                self.group.note_distribution(self.index, ("TCP round trip out", "us"), trips.0);
            }
            Err(error) => self.note(P50, Err(error)),
        }
        self.note(CONNECTIONS, traffic::connections(rig, out, seconds));
        self.keep(answers);
        let server = traffic::Server::start(rig, into);
        self.note(IN, traffic::tcp(rig, into, seconds, &[]));
        self.keep(server);
    }

    fn note(&mut self, what: Measure, value: anyhow::Result<f64>) {
        match value {
            Ok(value) => self.group.note(self.index, what, value),
            Err(error) => self.failed.push(error.context(what.title)),
        }
    }

    /// Ends a server, or notes why there was none.
    fn keep<S>(&mut self, server: anyhow::Result<S>) {
        if let Err(error) = server {
            self.failed.push(error);
        }
    }
}

/// The newest round in one line.
fn line(group: &Group, subject: usize) -> String {
    let last = |title: &str| group.latest(subject, title);
    format!("TCP out {:6.2}  in {:6.2} Gbit/s   round trip {:5.1} us", last(OUT.title), last(IN.title), last(P50.title))
}

/// What idle connections cost vswitchd. They come from two containers, as none gets all of the descriptors that there are.
///
/// # Errors
/// When one of them cannot be made.
pub fn idle_connections(count: u32) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Kind::VswitchSockets)?;
    let out = Path(0, OUTSIDE[1]);
    let pid = rig.daemon_pid().context("the rig has a vswitchd")?;
    let before = resident(pid)?;
    let one = traffic::Idle::start(&rig, out, (5302, count / 2))?;
    rig.use_another_container()?;
    let other = traffic::Idle::start(&rig, out, (5303, count - count / 2))?;
    let each = (resident(pid)? - before) * 1024.0 / f64::from(count);
    drop((one, other));
    Ok(vec![Figure::at_most(&format!("memory of {count} idle connections, each"), each, 32_768.0, " B")])
}

/// The resident memory of a process in KiB.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")
}
