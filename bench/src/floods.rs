//! Round trips of others beside the flood of one container: between two containers of another network, and out of it.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use crate::containers::Effort;
use crate::daemon::Running;
use crate::flood::Flood;
use crate::report::{Figure, median};
use crate::rig::{ADDRESSES, Kind, OUTSIDE, Rig, own_program, run, words};
use crate::traffic::{self, RoundTrips};

const KINDS: [(Kind, &str); 3] = [
    (Kind::KernelNat, "Linux bridge"),
    (Kind::VswitchNat, "vswitch, packet uplink"),
    (Kind::VswitchSockets, "vswitch, sockets uplink"),
];
/// What the median and 99 % of vswitch's round trips should not exceed, in microseconds.
const GOALS: [(f64, f64); 2] = [(50.0, 500.0), (99.0, 5_000.0)];
/// The network of the flooding container, its gateway and itself.
const FLOODED: (&str, &str) = ("flooded", "10.79.0.0/24");
const FLOODER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 79, 0, 1), Ipv4Addr::new(10, 79, 0, 2)];
/// Where the servers of round trips listen.
const PORT: u16 = 5301;

/// A rig with two containers of one network, one of another that floods, and somebody outside.
struct Arena {
    rig: Rig,
    /// How commands are run in the container that floods.
    flooder: Vec<String>,
    _servers: [Running; 2],
}

/// Round trips beside every flood and beside none, over every switch in turn; medians over the rounds. Of rounds and seconds
/// there are fewer than elsewhere, as there are many floods.
///
/// # Errors
/// When a rig cannot be set up, or a tool fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Figure>> {
    let Effort { rounds, seconds } = Effort { rounds: effort.rounds.min(2), seconds: effort.seconds.min(2) };
    let floods: Vec<Option<Flood>> = std::iter::once(None).chain(Flood::ALL.map(Some)).collect();
    // By flood, by kind, by path: the round trips of each round.
    let mut all = vec![[const { [const { Vec::new() }; 2] }; KINDS.len()]; floods.len()];
    for round in 1..=rounds {
        for (index, (kind, name)) in KINDS.into_iter().enumerate() {
            let arena = Arena::start(kind).with_context(|| format!("over {name}"))?;
            for (flood, trips) in floods.iter().zip(&mut all) {
                let now = arena.beside(*flood, seconds).with_context(|| format!("{flood:?} over {name}"))?;
                let line = now.each_ref().map(|trips| format!("{:8.0} {:8.0}", trips.at(50.0), trips.at(99.0)));
                said(&format!("  round {round} {name:<24} {:<26} {}", title(*flood), line.join("   ")));
                for (of_path, now) in trips[index].iter_mut().zip(now) {
                    of_path.push(now);
                }
            }
        }
    }
    let mut figures = Vec::new();
    for (flood, of_flood) in floods.iter().zip(&all) {
        for (path, path_name) in ["between two others", "out of another network"].into_iter().enumerate() {
            for (percent, goal) in GOALS {
                for ((kind, name), of_kind) in KINDS.iter().zip(of_flood) {
                    let value = median(of_kind[path].iter().map(|trips: &RoundTrips| trips.at(percent)).collect());
                    let name = format!("{}: {path_name}, {percent} %, {name}", title(*flood));
                    figures.push(match kind {
                        Kind::KernelNat => Figure::plain(&name, format!("{value:.0} us")),
                        _ => Figure::at_most(&name, value, goal, " us"),
                    });
                }
            }
        }
    }
    Ok(figures)
}

fn title(flood: Option<Flood>) -> String {
    let value = flood.and_then(|flood| flood.to_possible_value());
    value.map_or("no flood".to_owned(), |value| value.get_name().to_owned())
}

impl Arena {
    fn start(kind: Kind) -> anyhow::Result<Arena> {
        let mut rig = Rig::start(kind)?;
        let (neighbour, flooder) = if kind == Kind::KernelNat {
            kernel(&mut rig)?
        } else {
            let neighbour = rig.add_container("neighbour", crate::rig::NETWORK, ADDRESSES[1])?;
            (neighbour, rig.add_container("flooder", FLOODED, &FLOODER[1].to_string())?)
        };
        let outside = rig.enter[1].clone();
        let servers = [serve(&neighbour)?, serve(&outside)?];
        Ok(Arena { rig, flooder, _servers: servers })
    }

    /// Round trips to the neighbour, then to the outside, while the flood runs.
    fn beside(&self, flood: Option<Flood>, seconds: u32) -> anyhow::Result<[RoundTrips; 2]> {
        // Through both trips, from before they begin. It ends by itself, as `exec` would leave behind what it started.
        let mut running = flood.map(|flood| self.flood(flood, 2 * seconds + 3)).transpose()?;
        if running.is_some() {
            std::thread::sleep(Duration::from_millis(500));
        }
        let inside = self.round_trips(ADDRESSES[1], seconds)?;
        let outside = self.round_trips(OUTSIDE[1], seconds)?;
        if let Some(flood) = &mut running {
            flood.0.wait()?;
        }
        Ok([inside, outside])
    }

    fn flood(&self, flood: Flood, seconds: u32) -> anyhow::Result<Running> {
        let gateway = FLOODER[0].to_string();
        let _ = enter(&self.flooder, &["ping", "-c1", "-W1", &gateway]).output();
        let own = run(&mut enter(&self.flooder, &["ip", "-o", "link", "show", "eth0"]))?;
        let theirs = run(&mut enter(&self.flooder, &["ip", "neigh", "show", &gateway]))?;
        let (own, theirs) = (word_after(&own, "link/ether")?, word_after(&theirs, "lladdr")?);
        let program = own_program("vswitch-load")?.display().to_string();
        let (kind, seconds) = (title(Some(flood)), seconds.to_string());
        let (address, outside) = (FLOODER[1].to_string(), OUTSIDE[1]);
        let line = [&program, "flood", &kind, "eth0", own, theirs, &address, &gateway, outside, &seconds];
        let mut command = enter(&self.flooder, &line);
        command.stdout(Stdio::null()).spawn().map(Running).context("cannot start vswitch-load")
    }

    fn round_trips(&self, address: &str, seconds: u32) -> anyhow::Result<RoundTrips> {
        let program = own_program("vswitch-load")?.display().to_string();
        let (address, seconds) = (format!("{address}:{PORT}"), seconds.to_string());
        traffic::read_round_trips(&run(&mut self.rig.command(0, &[&program, "paced", &address, &seconds]))?)
    }
}

/// Makes the second container on the rig's bridge, and a second bridge with the one that floods.
fn kernel(rig: &mut Rig) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let router = rig.names[0].clone();
    let ip = |line: &str| run(&mut words("ip", &line.split(' ').collect::<Vec<_>>()));
    ip(&format!("-n {router} link add br1 type bridge"))?;
    ip(&format!("-n {router} link set br1 up"))?;
    ip(&format!("-n {router} addr add {}/24 dev br1", FLOODER[0]))?;
    let mut add = |suffix: &str, bridge: &str, (address, gateway): (&str, &str)| {
        let name = format!("{router}{suffix}");
        ip(&format!("netns add {name}"))?;
        rig.names.push(name.clone());
        ip(&format!("-n {router} link add end-{suffix} type veth peer name eth0 netns {name}"))?;
        ip(&format!("-n {router} link set end-{suffix} master {bridge} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} route add default via {gateway}"))?;
        anyhow::Ok(["ip", "netns", "exec", &name].map(str::to_owned).to_vec())
    };
    let neighbour = add("c", "br0", (ADDRESSES[1], "10.77.0.1"))?;
    let flooder = add("f", "br1", (&FLOODER[1].to_string(), &FLOODER[0].to_string()))?;
    Ok((neighbour, flooder))
}

fn serve(inside: &[String]) -> anyhow::Result<Running> {
    let program = own_program("vswitch-load")?.display().to_string();
    let mut command = enter(inside, &[&program, "serve", &format!("0.0.0.0:{PORT}")]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().context("cannot start vswitch-load")?);
    traffic::ready(&mut running)?;
    Ok(running)
}

/// A command in a container.
fn enter(inside: &[String], arguments: &[&str]) -> Command {
    let mut command = Command::new(&inside[0]);
    command.args(&inside[1..]).args(arguments).stdin(Stdio::null());
    command
}

fn word_after<'t>(text: &'t str, mark: &str) -> anyhow::Result<&'t str> {
    let mut words = text.split_whitespace().skip_while(|word| *word != mark);
    ensure!(words.next().is_some(), "no {mark} in: {text}");
    words.next().with_context(|| format!("nothing behind {mark} in: {text}"))
}
