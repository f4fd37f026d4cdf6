//! `vswitch-bench`: vswitch beside its peers, in the same run.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use vswitch_bench::containers::Effort;
use vswitch_bench::report::{Curve, Figure, Group, Machine, Report, Section, median, save};
use vswitch_bench::{
    containers, control, dns, engines, floods, growth, hosts, lan, memory, nat, rootless, translated, tunnels,
};

/// Measures vswitch beside its peers, in the same run; prints ratios and writes tables and a drawing.
///
/// Needs root and the Debian packages that bench/run installs.
#[derive(Parser)]
struct Args {
    /// What to measure; everything if absent
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Rounds of each measurement between containers; ratios are medians over the rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each stream
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Endpoints and networks of the scale test
    #[arg(long, default_value_t = 1000)]
    scale: usize,
    /// Folder for latest.json, latest.md and latest.svg; nothing is written without it
    #[arg(long)]
    results: Option<PathBuf>,
    /// Exit with 1 if a target is missed
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The data path in memory, on one core
    Memory,
    /// Answers of the name server, and a thousand names
    Dns,
    /// TCP, UDP, round trips and connections between two containers
    Traffic,
    /// NAT: TCP out and in, round trips, beside the kernel's; and the engine in memory
    Nat,
    /// On a LAN beside the kernel's macvlan
    Lan,
    /// The sockets uplink beside slirp4netns, pasta and a veth pair
    Rootless,
    /// Containers of podman's, beside its own network
    Engines,
    /// Round trips beside the flood of one container, beside the Linux bridge
    Floods,
    /// Overlay networks: between two hosts over VXLAN, beside the kernel's; and the engine in memory
    Overlay,
    /// Start, endpoints and idle cost of vswitchd
    Control,
    /// Many endpoints and many networks
    Scale,
    /// What more stations, flows, containers and workers cost
    Growth,
}

/// What was measured so far.
#[derive(Default)]
struct Collected {
    groups: Vec<Group>,
    curves: Vec<Curve>,
    sections: Vec<Section>,
    missed: bool,
}

impl Collected {
    fn section(&mut self, title: &str, figures: Vec<Figure>) {
        println!("\n{title}");
        self.print(&figures);
        self.sections.push(Section { title: title.to_owned(), figures });
    }

    fn group(&mut self, group: Group) {
        for work in &group.works {
            let values = (0..group.subjects.len())
                .filter_map(|subject| Some(format!("{} {:.2}", group.subjects[subject].name, work.median(subject)?)));
            println!("  {:<38} {}: {}", work.title, work.unit, values.collect::<Vec<_>>().join(", "));
        }
        self.print(&group.works.iter().flat_map(|work| group.judged(work)).collect::<Vec<_>>());
        self.groups.push(group);
    }

    fn curve(&mut self, curve: Curve) {
        println!("\n{} ({}), by {}", curve.title, curve.y, curve.x);
        for (x, y) in &curve.points {
            println!("  {x:>10} {y:10.2}");
        }
        self.curves.push(curve);
    }

    fn print(&mut self, figures: &[Figure]) {
        for figure in figures {
            self.missed |= figure.missed();
            println!("{figure}");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    build_programs()?;
    let mut all = Collected::default();
    // What was measured before something failed is told all the same.
    let outcome = measure(&args, &mut all).await;
    if let Some(folder) = &args.results {
        let report = Report {
            machine: Machine::here(),
            command: "bench/run ".to_owned() + &std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            groups: all.groups,
            curves: all.curves,
            sections: all.sections,
        };
        save(&report, folder)?;
        println!("\nwritten to {}", folder.join("latest.md").display());
    }
    outcome?;
    Ok(if args.check && all.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn measure(args: &Args, all: &mut Collected) -> anyhow::Result<()> {
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let effort = Effort { rounds: args.rounds, seconds: args.seconds };
    let mut said = |line: &str| println!("{line}");
    if wanted(Part::Memory) {
        all.section("In memory, one core, 64-byte frames", in_memory()?);
    }
    if wanted(Part::Control) {
        let mut figures = vec![control::start(11)?, control::network_by_api(101).await?];
        figures.extend(control::endpoints_and_idle(50).await?);
        all.section("Control", figures);
    }
    if wanted(Part::Dns) {
        all.section("Names, over sockets, one thread", dns::local_names()?);
    }
    if wanted(Part::Traffic) {
        println!("\nBetween two containers ({} rounds, interleaved; medians)", args.rounds);
        all.group(containers::measure(effort, &mut said)?);
    }
    if wanted(Part::Nat) {
        let (figures, curve) = nat::in_memory()?;
        all.section("NAT engine, in memory, one core", figures);
        all.curve(curve);
        println!("\nThrough NAT ({} rounds, interleaved; medians)", args.rounds);
        all.group(translated::measure(effort, &mut said)?);
    }
    if wanted(Part::Lan) {
        println!("\nOn the LAN of a veth parent ({} rounds, interleaved; medians)", args.rounds);
        all.group(lan::measure(effort, &mut said)?);
    }
    if wanted(Part::Rootless) {
        println!("\nWithout privilege ({} rounds, interleaved; medians)", args.rounds);
        all.group(rootless::measure(effort, &mut said)?);
        all.section("Idle connections", rootless::idle_connections(10_000)?);
    }
    if wanted(Part::Engines) {
        all.section("Helpers of engines", engines::helper()?);
        println!("\nContainers of an ordinary user's podman ({} rounds, interleaved; medians)", args.rounds);
        all.group(engines::measure(effort, &mut said)?);
    }
    if wanted(Part::Floods) {
        println!("\nBeside a flood (us: median and 99 % between two others, then out)");
        all.section("Round trips beside the flood of one container", floods::measure(effort, &mut said)?);
    }
    if wanted(Part::Overlay) {
        all.section("VXLAN engine, in memory, one core, 64-byte frames", tunnels::in_memory()?);
        println!("\nBetween two hosts, by VXLAN ({} rounds, interleaved; medians)", args.rounds);
        all.group(hosts::measure(effort, &mut said)?);
    }
    if wanted(Part::Scale) {
        let mut figures = control::many_endpoints(args.scale).await?;
        figures.extend(control::many_networks(args.scale).await?);
        all.section("Scale", figures);
    }
    if wanted(Part::Growth) {
        all.curve(growth::with_stations()?);
        all.curve(growth::with_containers(args.seconds)?);
        all.curve(growth::with_workers(args.seconds)?);
    }
    Ok(())
}

/// Under `cargo run` only this program is built; its daemon, client and load generator belong to it.
fn build_programs() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--bin",
        "vswitchd",
        "--bin",
        "vswitchctl",
        "--bin",
        "vswitch-load",
        "--bin",
        "vswitch-engine",
    ]);
    command.args(["--bin", "vswitch-overlay-host"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    anyhow::ensure!(command.status()?.success(), "cannot build vswitchd and vswitchctl");
    Ok(())
}

fn in_memory() -> anyhow::Result<Vec<Figure>> {
    const BURSTS: usize = 300_000;
    let mut figures = Vec::new();
    for (name, checked) in [("parse, learn, lookup, verdict", false), ("the same with anti-spoofing", true)] {
        let mut rates = Vec::new();
        for _ in 0..3 {
            rates.push(memory::frames_per_second(checked, BURSTS)?);
        }
        figures.push(Figure::at_least(name, median(rates), 8.0, " M/s"));
    }
    Ok(figures)
}
