//! Start, endpoints, idle cost and scale of vswitchd.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use vswitch_api::Client;
use vswitch_api::endpoint::AttachRequest;
use vswitch_api::network::NetworkCreate;
use vswitch_frame::FrameBuf;

use crate::report::{Figure, median};
use crate::rig::{Daemon, run};

/// A directory that goes with its owner.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A fresh directory below the system's temporary one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> anyhow::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("vswitch-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Processes that hold a network namespace each.
struct Namespaces(Vec<Child>);

impl Namespaces {
    fn new(count: usize) -> anyhow::Result<Namespaces> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let mut all = Namespaces(Vec::new());
        for _ in 0..count {
            let mut command = Command::new("unshare");
            command.args(["--net", "--", "sleep", "infinity"]).stdin(Stdio::null());
            all.0.push(command.spawn().context("cannot run unshare")?);
        }
        for child in &all.0 {
            let link = format!("/proc/{}/ns/net", child.id());
            let entered = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(2));
                std::fs::read_link(&link).is_ok_and(|other| other != own)
            });
            ensure!(entered, "unshare made no network namespace");
        }
        Ok(all)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A field of /proc/PID/status in KiB, of the daemon and its children together.
fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let one = |pid: u32| -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    };
    let children = run(Command::new("pgrep").args(["-P", &pid.to_string()])).unwrap_or_default();
    let mut sum = one(pid)?;
    for child in children.split_whitespace() {
        sum += one(child.parse()?).unwrap_or(0.0);
    }
    Ok(sum)
}

/// CPU time of a process in clock ticks (1/100 s).
fn ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("no fields")?.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn client(daemon: &Daemon) -> Client {
    Client::new(&daemon.socket)
}

fn bridge(name: String) -> NetworkCreate {
    NetworkCreate { name, driver: "bridge".to_owned(), ..NetworkCreate::default() }
}

/// Time from the start of the process to the ready line: median of `rounds`.
///
/// # Errors
/// When vswitchd does not start.
pub fn start(rounds: usize) -> anyhow::Result<Figure> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let scratch = Scratch::new(&format!("start{round}"))?;
        times.push(millis(Daemon::start(&scratch.0, &[])?.started_in));
    }
    Ok(Figure::at_most("start of vswitchd to ready (median)", median(times), 50.0, " ms"))
}

/// A network made and removed by the API, one call each: median of `rounds`.
///
/// # Errors
/// When a call fails.
pub async fn network_by_api(rounds: usize) -> anyhow::Result<Figure> {
    let scratch = Scratch::new("network")?;
    let daemon = Daemon::start(&scratch.0, &[])?;
    let client = client(&daemon);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = now();
        let id = client.create_network(&bridge("bench".to_owned())).await?.id;
        client.remove_network(&id).await?;
        times.push(millis(start.elapsed()));
    }
    Ok(Figure::at_most("network created and removed by the API (median)", median(times), 10.0, " ms"))
}

/// Endpoints added to and idle cost of one daemon.
///
/// # Errors
/// When a call fails.
pub async fn endpoints_and_idle(count: usize) -> anyhow::Result<Vec<Figure>> {
    let scratch = Scratch::new("endpoints")?;
    let daemon = Daemon::start(&scratch.0, &[])?;
    let client = client(&daemon);
    client.create_network(&bridge("bench".to_owned())).await?;
    let namespaces = Namespaces::new(count)?;
    let mut times = Vec::new();
    for child in &namespaces.0 {
        let request = AttachRequest { pid: Some(child.id()), network: "bench".to_owned(), ..AttachRequest::default() };
        let start = now();
        client.attach(&request).await?;
        times.push(millis(start.elapsed()));
    }
    let added = Figure::at_most("endpoint added (median)", median(times), 10.0, " ms");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = ticks(daemon.pid())?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let percent = f64::from(u32::try_from(ticks(daemon.pid())? - before)?) / 5.0;
    let idle = Figure::at_most(&format!("idle CPU with {count} endpoints"), percent, 0.05, " %");
    let pool = pool_mib(client.version().await?.workers);
    let resident = resident_kib(daemon.pid())? / 1024.0;
    let memory = Figure::at_most("idle memory, vswitchd and agent", resident, 40.0, " MiB");
    let pool = Figure::plain("  (receive buffers, mapped when first used)", format!("{pool:.1} MiB"));
    Ok(vec![added, idle, memory, pool])
}

/// Size of all workers' receive buffers.
fn pool_mib(workers: usize) -> f64 {
    let burst = vswitch_switch::Settings::default().burst + vswitch_switch::worker::SPARE;
    let one = vswitch_frame::buffer::HEADROOM + vswitch_frame::buffer::MAX_FRAME_LEN + std::mem::size_of::<FrameBuf>();
    f64::from(u32::try_from(workers * burst * one / 1024).unwrap_or(u32::MAX)) / 1024.0
}

/// `count` endpoints on one network, each in a namespace of its own.
///
/// # Errors
/// When a call fails.
pub async fn many_endpoints(count: usize) -> anyhow::Result<Vec<Figure>> {
    let scratch = Scratch::new("many")?;
    let daemon = Daemon::start(&scratch.0, &[])?;
    let client = client(&daemon);
    client.create_network(&bridge("bench".to_owned())).await?;
    let namespaces = Namespaces::new(count)?;
    let start = now();
    for child in &namespaces.0 {
        let request = AttachRequest { pid: Some(child.id()), network: "bench".to_owned(), ..AttachRequest::default() };
        client.attach(&request).await?;
    }
    let took = start.elapsed().as_secs_f64();
    // The name service of the gateways has a port of its own, of another kind.
    let ports = client.stats().await?.ports.iter().filter(|port| port.kind == "packet").count();
    ensure!(ports == count, "{ports} ports instead of {count}");
    reach(&namespaces.0[0], &client, count - 1).await?;
    let memory = resident_kib(daemon.pid())? / 1024.0;
    Ok(vec![
        Figure::plain(&format!("{count} endpoints on one network: time"), format!("{took:.1} s")),
        Figure::plain(&format!("{count} endpoints on one network: memory"), format!("{memory:.0} MiB")),
    ])
}

/// Pings the endpoint that came as number `last` from the first one.
async fn reach(from: &Child, client: &Client, last: usize) -> anyhow::Result<()> {
    let endpoints = client.endpoints().await?;
    let mut addresses: Vec<std::net::Ipv4Addr> = Vec::new();
    for endpoint in &endpoints {
        let address = endpoint.ipv4_address.as_deref().and_then(|text| text.split('/').next());
        addresses.push(address.context("an endpoint has an address")?.parse()?);
    }
    addresses.sort_unstable();
    let target = addresses.get(last).context("the last endpoint is listed")?.to_string();
    let pid = from.id().to_string();
    run(Command::new("nsenter").args(["--net", "--target", &pid, "ping", "-q", "-c", "2", "-W", "2", &target]))?;
    Ok(())
}

/// `count` networks.
///
/// # Errors
/// When a call fails.
pub async fn many_networks(count: usize) -> anyhow::Result<Vec<Figure>> {
    let scratch = Scratch::new("networks")?;
    let daemon = Daemon::start(&scratch.0, &[])?;
    let client = client(&daemon);
    let start = now();
    for number in 0..count {
        client.create_network(&bridge(format!("net{number}"))).await?;
    }
    let took = start.elapsed().as_secs_f64();
    let memory = resident_kib(daemon.pid())? / 1024.0;
    let listed = client.networks(&vswitch_api::client::Filters::default()).await?.len();
    ensure!(listed >= count, "{listed} networks listed");
    Ok(vec![
        Figure::plain(&format!("{count} networks: time"), format!("{took:.1} s")),
        Figure::plain(&format!("{count} networks: memory"), format!("{memory:.0} MiB")),
    ])
}
