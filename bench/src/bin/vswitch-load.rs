//! `vswitch-load`: the small tool that measures round trips and connections between two containers.
//!
//! - `serve ADDRESS:PORT` answers every byte that comes over TCP with the same byte; says `ready`
//! - `round-trips ADDRESS:PORT COUNT` asks COUNT times over one connection and prints percentiles in microseconds, as JSON
//! - `paced ADDRESS:PORT SECONDS` asks twice a millisecond for so long, and prints the same
//! - `flood KIND INTERFACE MAC GATEWAY-MAC ADDRESS GATEWAY OUTSIDE SECONDS` sends frames as fast as it can and prints how many a
//!   second
//! - `connections ADDRESS:PORT SECONDS` connects, asks once and closes, as often as it can, and prints how many a second
//! - `keep ADDRESS:PORT COUNT` accepts COUNT connections, says one byte on each and keeps them; says `ready` when it listens
//! - `idle ADDRESS:PORT COUNT` makes COUNT connections, says one byte on each, reads one and keeps them; then says `ready`
//! - `super-frames INTERFACE BYTES` lets an interface make and take TCP super-frames over IPv4 of up to so many bytes, which Debian's
//!   `ip` cannot say
#![allow(clippy::print_stdout, reason = "its output is its result")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use futures_util::StreamExt as _;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use vswitch_bench::flood::{Ends, Flood};
use vswitch_bench::report::PERCENTS;
use vswitch_frame::MacAddr;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer every byte with the same byte
    Serve { address: SocketAddr },
    /// Percentiles of the round trip of one byte
    RoundTrips { address: SocketAddr, count: u32 },
    /// Percentiles of the round trip of one byte, twice a millisecond
    Paced { address: SocketAddr, seconds: u64 },
    /// Frames a second
    Flood {
        kind: Flood,
        interface: String,
        mac: MacAddr,
        gateway_mac: MacAddr,
        address: Ipv4Addr,
        gateway: Ipv4Addr,
        outside: Ipv4Addr,
        seconds: u64,
    },
    /// Connections a second
    Connections { address: SocketAddr, seconds: u32 },
    /// Accept connections and keep them
    Keep { address: SocketAddr, count: u32 },
    /// Make connections and keep them
    Idle { address: SocketAddr, count: u32 },
    /// Longer super-frames
    SuperFrames { interface: String, bytes: u32 },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Serve { address } => serve(address),
        Command::RoundTrips { address, count } => round_trips(address, count),
        Command::Paced { address, seconds } => paced(address, Duration::from_secs(seconds)),
        Command::Flood { kind, interface, mac, gateway_mac, address, gateway, outside, seconds } => {
            let ends = Ends { mac, gateway_mac, address, gateway, outside };
            println!("{:.0}", kind.send(&interface, &ends, Duration::from_secs(seconds))?);
            Ok(())
        }
        Command::Connections { address, seconds } => connections(address, seconds),
        Command::Keep { address, count } => keep(address, count),
        Command::Idle { address, count } => idle(address, count),
        Command::SuperFrames { interface, bytes } => super_frames(&interface, bytes),
    }
}

fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            stream.set_nodelay(true)?;
            let mut byte = [0; 64];
            loop {
                match stream.read(&mut byte)? {
                    0 => return Ok::<_, std::io::Error>(()),
                    length => stream.write_all(&byte[..length])?,
                }
            }
        });
    }
    Ok(())
}

/// `gso_ipv4_max_size` and `gro_ipv4_max_size` (Linux 6.3), asked for again, as a kernel that does not know them is silent.
fn super_frames(interface: &str, bytes: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let wanted = [LinkAttribute::GsoIpv4MaxSize(bytes), LinkAttribute::GroIpv4MaxSize(bytes)];
        let by_name = || LinkMessageBuilder::<LinkUnspec>::new().name(interface.to_owned());
        let change = wanted.iter().cloned().fold(by_name(), LinkMessageBuilder::append_extra_attribute);
        handle.link().set(change.build()).execute().await.with_context(|| format!("cannot change {interface}"))?;
        let mut links = handle.link().get().match_name(interface.to_owned()).execute();
        let shown = links.next().await.context("the interface is gone")??;
        let has = |attribute: &LinkAttribute| shown.attributes.contains(attribute);
        ensure!(wanted.iter().all(has), "this kernel knows no longer super-frames over IPv4; it is older than 6.3");
        Ok(())
    })
}

fn keep(address: SocketAddr, count: u32) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("ready");
    let mut kept = Vec::new();
    for _ in 0..count {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"!")?;
        kept.push(stream);
    }
    loop {
        std::thread::park();
    }
}

fn idle(address: SocketAddr, count: u32) -> anyhow::Result<()> {
    let mut kept = Vec::new();
    for _ in 0..count {
        let mut stream = connected(address)?;
        ask(&mut stream)?;
        kept.push(stream);
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

fn connected(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0]).context("no answer within five seconds")
}

fn round_trips(address: SocketAddr, count: u32) -> anyhow::Result<()> {
    ensure!(count >= 1000, "percentiles need at least 1000 round trips");
    let mut stream = connected(address)?;
    for _ in 0..100 {
        ask(&mut stream)?;
    }
    let mut nanos = Vec::with_capacity(usize::try_from(count)?);
    for _ in 0..count {
        let start = Instant::now();
        ask(&mut stream)?;
        nanos.push(start.elapsed().as_nanos());
    }
    print_percentiles(nanos);
    Ok(())
}

fn paced(address: SocketAddr, time: Duration) -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_micros(500);
    let mut stream = connected(address)?;
    let (begun, mut nanos) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let start = Instant::now();
        ask(&mut stream)?;
        nanos.push(start.elapsed().as_nanos());
        std::thread::sleep(PAUSE);
    }
    print_percentiles(nanos);
    Ok(())
}

fn print_percentiles(mut nanos: Vec<u128>) {
    nanos.sort_unstable();
    let last = (nanos.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the count")]
    let at = |percent: f64| nanos[(last * percent / 100.0) as usize] as f64 / 1e3;
    println!("{}", serde_json::json!(PERCENTS.map(at)));
}

fn connections(address: SocketAddr, seconds: u32) -> anyhow::Result<()> {
    let (start, wanted) = (Instant::now(), Duration::from_secs(seconds.into()));
    let mut count = 0u32;
    while start.elapsed() < wanted {
        let mut stream = connected(address)?;
        ask(&mut stream)?;
        // A reset leaves no TIME-WAIT behind, so that ports do not run out.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        count += 1;
    }
    println!("{:.0}", f64::from(count) / start.elapsed().as_secs_f64());
    Ok(())
}
