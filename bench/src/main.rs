//! `vswitch-bench`: vswitch beside its peers, in the same run.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::process::{Command, ExitCode};

use clap::Parser;
use vswitch_bench::report::{Figure, median};
use vswitch_bench::rig::{ADDRESSES, Kind, OUTSIDE, Rig};
use vswitch_bench::traffic::Path;
use vswitch_bench::{control, memory, nat, traffic};

/// Measures vswitch beside the Linux bridge and Open vSwitch, in the same run, and prints ratios.
///
/// Needs iperf3, ping and ip; for the Open vSwitch rows also openvswitch-switch and root.
#[derive(Parser)]
struct Args {
    /// What to measure; everything if absent
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Rounds of each measurement between containers; ratios are medians over the rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each iperf3 run
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Endpoints and networks of the scale test
    #[arg(long, default_value_t = 1000)]
    scale: usize,
    /// Exit with 1 if a target is missed
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The data path in memory, on one core
    Memory,
    /// TCP, round trip and small UDP between two containers
    Traffic,
    /// NAT: TCP out and in, round trip, beside the kernel's; and the engine in memory
    Nat,
    /// Start, endpoints and idle cost of vswitchd
    Control,
    /// Many endpoints and many networks
    Scale,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    build_programs()?;
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut missed = false;
    let mut show = |figures: Vec<Figure>| {
        for figure in figures {
            missed |= figure.missed();
            println!("{figure}");
        }
    };
    if wanted(Part::Memory) {
        println!("\nIn memory, one core, 64-byte frames");
        show(in_memory()?);
    }
    if wanted(Part::Control) {
        println!("\nControl");
        show(vec![control::start(11)?]);
        show(control::endpoints_and_idle(50).await?);
    }
    if wanted(Part::Traffic) {
        println!("\nBetween two containers ({} rounds, interleaved; medians)", args.rounds);
        show(between_containers(&args)?);
    }
    if wanted(Part::Nat) {
        println!("\nNAT engine, in memory, one core");
        show(nat::in_memory()?);
        println!("\nThrough NAT ({} rounds, interleaved; medians)", args.rounds);
        show(through_nat(&args)?);
    }
    if wanted(Part::Scale) {
        println!("\nScale");
        show(control::many_endpoints(args.scale).await?);
        show(control::many_networks(args.scale).await?);
    }
    Ok(if args.check && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Under `cargo run` only this program is built; its daemon and client belong to it.
fn build_programs() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bin", "vswitchd", "--bin", "vswitchctl"]);
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

/// The three rigs in turn, round after round, so that a busy neighbour disturbs all alike.
fn between_containers(args: &Args) -> anyhow::Result<Vec<Figure>> {
    const PINGS: u32 = 20_000;
    let kinds = [Kind::Bridge, Kind::OpenVswitch, Kind::Vswitch];
    let [mut tcp, mut udp, mut rtt, mut loss] = std::array::from_fn(|_| [const { Vec::<f64>::new() }; 3]);
    for round in 1..=args.rounds {
        for (index, kind) in kinds.into_iter().enumerate() {
            let rig = Rig::start(kind)?;
            let path = Path(0, ADDRESSES[1]);
            let _server = traffic::Server::start(&rig, path)?;
            tcp[index].push(traffic::tcp(&rig, path, args.seconds)?);
            udp[index].push(traffic::udp(&rig, path, args.seconds)?);
            let (micros, lost) = traffic::ping(&rig, path, PINGS)?;
            rtt[index].push(micros);
            loss[index].push(lost);
            println!(
                "  round {round} {:<12} TCP {:6.2} Gbit/s   UDP {:6.0} kpps   RTT {micros:5.1} us   loss {lost} %",
                format!("{kind:?}"),
                tcp[index][round - 1],
                udp[index][round - 1],
            );
        }
    }
    let ratio =
        |of: &[Vec<f64>; 3], peer: usize| median(of[2].iter().zip(&of[peer]).map(|(own, other)| own / other).collect());
    let worst_loss = loss[2].iter().copied().fold(0.0, f64::max);
    Ok(vec![
        Figure::at_least("TCP stream / Linux bridge", ratio(&tcp, 0), 0.7, ""),
        Figure::plain("TCP stream / Open vSwitch userspace (TSO on)", format!("{:.2}", ratio(&tcp, 1))),
        Figure::at_least("18-byte UDP / Open vSwitch userspace", ratio(&udp, 1), 1.3, ""),
        Figure::plain("18-byte UDP / Linux bridge", format!("{:.2}", ratio(&udp, 0))),
        Figure::at_most("flood ping round trip", median(rtt[2].clone()), 12.0, " us"),
        Figure::at_most("flood ping loss (worst round)", worst_loss, 0.0, " %"),
        Figure::plain("flood ping round trip, Open vSwitch", format!("{:.1} us", median(rtt[1].clone()))),
        Figure::plain("flood ping round trip, Linux bridge", format!("{:.1} us", median(rtt[0].clone()))),
    ])
}

/// The kernel's bridge with masquerade and DNAT, and vswitchd with a packet uplink, in turn.
fn through_nat(args: &Args) -> anyhow::Result<Vec<Figure>> {
    const PINGS: u32 = 20_000;
    let (out, into) = (Path(0, OUTSIDE[1]), Path(1, OUTSIDE[0]));
    let [mut tcp_out, mut tcp_in, mut rtt] = std::array::from_fn(|_| [const { Vec::<f64>::new() }; 2]);
    for round in 1..=args.rounds {
        for (index, kind) in [Kind::KernelNat, Kind::VswitchNat].into_iter().enumerate() {
            let rig = Rig::start(kind)?;
            let server = traffic::Server::start(&rig, out)?;
            tcp_out[index].push(traffic::tcp(&rig, out, args.seconds)?);
            let (micros, _) = traffic::ping(&rig, out, PINGS)?;
            rtt[index].push(micros);
            drop(server);
            let _server = traffic::Server::start(&rig, into)?;
            tcp_in[index].push(traffic::tcp(&rig, into, args.seconds)?);
            println!(
                "  round {round} {:<12} TCP out {:6.2}  in {:6.2} Gbit/s   RTT {micros:5.1} us",
                format!("{kind:?}"),
                tcp_out[index][round - 1],
                tcp_in[index][round - 1],
            );
        }
    }
    let ratio = |of: &[Vec<f64>; 2]| median(of[1].iter().zip(&of[0]).map(|(own, other)| own / other).collect());
    Ok(vec![
        Figure::at_least("TCP stream out / kernel masquerade", ratio(&tcp_out), 0.75, ""),
        Figure::at_least("TCP stream in through a published port / kernel DNAT", ratio(&tcp_in), 0.75, ""),
        Figure::at_most("flood ping round trip through NAT", median(rtt[1].clone()), 15.0, " us"),
        Figure::plain("flood ping round trip, kernel", format!("{:.1} us", median(rtt[0].clone()))),
    ])
}
