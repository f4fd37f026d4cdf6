//! `demo`: a tour that leaves nothing behind.
//!
//! A vswitchd of its own, a network, two containers, pings, a TCP stream, pages from and for an outside (over sockets of a
//! host, or over an interface), the tables, and all of it taken down again. It drives the daemon through the same client as
//! every command, and needs no program but vswitchd and itself, and unshare(1) for the outside.

mod build;
mod container;
mod daemon;
mod harness;
mod hosts;
mod picture;
mod progress;
pub(crate) mod worker;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::Client;
use vswitch_api::flow::FlowQuery;
use vswitch_api::network::{Network, NetworkCreate};

use crate::commands::{fdb, flows, stats};
use crate::{foreground, output, units, values};
use container::Container;
use daemon::Daemon;
use progress::{Progress, Step};
use worker::{Fetched, Pings, Ready, Sent, stage};

const NETWORK: &str = "demo";
const PORT: u16 = 5201;
const PINGS: u32 = 200;
/// Where the right container's page is published.
const PUBLISHED: u16 = 8080;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How long to send over TCP
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::seconds)]
    seconds: Duration,
    /// How many hosts: with two, each runs a vswitchd, and one overlay network spans both
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=2))]
    hosts: u8,
    /// The way out: sockets of the host, or an interface that is given to the switch
    #[arg(long, value_enum, value_name = "KIND", default_value = "sockets", conflicts_with = "hosts")]
    uplink: WayOut,
    /// For those who test programs: a capture, a loss, a trace
    #[arg(long, conflicts_with_all = ["hosts", "uplink", "seconds"])]
    harness: bool,
}

/// The demo's way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WayOut {
    /// Sockets of the host, which need no privilege.
    Sockets,
    /// An interface that is the switch's alone.
    Packet,
}

impl DemoArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let program = build::vswitchd()?;
        let mut progress = Progress::new();
        progress.restart();
        output::print("\n  vswitch: a switch in user space, two containers, real traffic\n\n")?;
        let spanning = self.hosts > 1;
        let what = match (spanning, self.harness) {
            (true, _) => What::Span,
            (false, true) => What::Harness,
            (false, false) => What::Go,
        };
        let mut daemon = if spanning { Daemon::start_hosts(&program)? } else { Daemon::start(&program, self.uplink)? };
        let mut tour = Tour { progress: &progress, step: None, seconds: self.seconds, way_out: self.uplink };
        let outcome = tokio::select! {
            outcome = tour.tour(&mut daemon, what) => outcome.map(|()| None),
            _ = interrupted.recv() => Ok(Some(Signal::INT)),
            _ = terminated.recv() => Ok(Some(Signal::TERM)),
        };
        if let (Err(_) | Ok(Some(_)), Some(step)) = (&outcome, &tour.step) {
            progress.failed(step)?;
        }
        let step = progress.begin("taking everything down")?;
        daemon.stop()?;
        progress.done(&step, "down", "daemon, containers, namespaces, sockets and files are gone", "")?;
        if let Some(signal) = outcome? {
            return Ok(foreground::exit_code(128 + signal.as_raw()));
        }
        progress.line(&format!("\n  All of it in {}.\n", progress.bold(&units::interval(progress.elapsed()))))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What the tour shows.
#[derive(Debug, Clone, Copy)]
enum What {
    /// Traffic.
    Go,
    /// Traffic over two hosts.
    Span,
    /// What helps those who test programs.
    Harness,
}

struct Tour<'a> {
    progress: &'a Progress,
    /// The step on its way.
    step: Option<Step>,
    seconds: Duration,
    way_out: WayOut,
}

impl Tour<'_> {
    async fn tour(&mut self, daemon: &mut Daemon, what: What) -> anyhow::Result<()> {
        match what {
            What::Go => self.go(daemon).await,
            What::Span => self.span(daemon).await,
            What::Harness => self.harness(daemon).await,
        }
    }

    async fn go(&mut self, daemon: &mut Daemon) -> anyhow::Result<()> {
        self.begin("starting vswitchd")?;
        daemon.ready().await?;
        let client = daemon.client();
        let version = client.version().await?;
        let ordinary = version.rootless || !rustix::process::geteuid().is_root();
        let place = if ordinary { "rootless, in a user namespace" } else { "as root, privileges dropped" };
        self.done("vswitchd", &format!("{} serves a private socket, {place}", version.version), "")?;

        let network = self.network(&client).await?;
        let outside = daemon.outside();
        let (mut right, left) = self.containers(&client, outside.is_some()).await?;
        let (from, to) = (left.endpoint().await?, right.endpoint().await?);
        let subnets: Vec<_> = network.ipam.config.iter().map(|config| config.subnet.clone()).collect();
        self.progress.blocks(&[("", picture::topology(&from, &to, &subnets))])?;

        right.hears::<Ready>().await?;
        let addresses: Vec<_> = [to.ipv4_address, to.ipv6_address]
            .into_iter()
            .flatten()
            .map(|address| picture::bare(&address).to_owned())
            .collect();
        for address in &addresses {
            self.ping(&left, address).await?;
        }
        let mut time = self.seconds;
        for address in &addresses {
            self.stream(&left, address, time).await?;
            // Once more for the other family, but briefly.
            time = self.seconds / 4;
        }

        let mut tracked = String::new();
        if let Some(outside) = &outside {
            self.outward(&left, outside).await?;
            self.inward(outside)?;
            tracked = flows::render(&client.flows(&FlowQuery::default()).await?);
        }

        let entries = fdb::render(&client.fdb(NETWORK).await?);
        let counted = client.stats().await?;
        let mut blocks = vec![("Forwarding database", entries), ("Port counters", stats::ports(&counted.ports))];
        blocks.extend(stats::drops(&counted).map(|drops| ("What was dropped, and why", drops)));
        if !tracked.is_empty() {
            blocks.push(("Tracked flows", tracked));
        }
        self.progress.blocks(&blocks)?;
        self.begin("removing the containers and the network")?;
        left.remove().await?;
        right.remove().await?;
        client.remove_network(NETWORK).await?;
        self.done("removed", "both containers and the network", "")
    }

    async fn network(&mut self, client: &Client) -> anyhow::Result<Network> {
        self.begin("making a network")?;
        let request = NetworkCreate {
            name: NETWORK.into(),
            enable_ipv6: Some(Path::new("/proc/sys/net/ipv6").exists()),
            ..NetworkCreate::default()
        };
        client.create_network(&request).await?;
        let network = client.network(NETWORK).await?;
        let subnets: Vec<_> = network.ipam.config.iter().map(|config| config.subnet.as_str()).collect();
        self.done("network", &format!("{NETWORK}: {}", subnets.join(" and ")), "")?;
        Ok(network)
    }

    /// The right one serves TCP, the left one is where the other workers run.
    async fn containers(&mut self, client: &Client, publish: bool) -> anyhow::Result<(Container, Container)> {
        self.begin("starting container left")?;
        let left = Container::start(client, "left", NETWORK, &[], &["idle"]).await?;
        self.done("container", "left: own network, hostname, processes and mounts", "")?;
        self.begin("starting container right")?;
        let published = format!("{PUBLISHED}:{}", stage::PAGE_PORT);
        let ports: &[String] = if publish { std::slice::from_ref(&published) } else { &[] };
        let worker = ["serve", "--port", &PORT.to_string(), "--page", "right"];
        let right = Container::start(client, "right", NETWORK, ports, &worker).await?;
        let also = if publish { format!(", and a page published as {PUBLISHED}") } else { String::new() };
        self.done("container", &format!("right: the same, serving TCP port {PORT}{also}"), "")?;
        Ok((right, left))
    }

    async fn ping(&mut self, from: &Container, address: &str) -> anyhow::Result<()> {
        self.begin(&format!("left pings {address}"))?;
        let pings: Pings = from.measure(&["ping", address, "--count", &PINGS.to_string()]).await?;
        if pings.answered < pings.sent {
            anyhow::bail!(
                "{} of {} echo requests to {address} were not answered",
                pings.sent - pings.answered,
                pings.sent
            );
        }
        let answered = format!("{address}: {} of {} answered, round trip ", pings.answered, pings.sent);
        self.done("ping", &answered, &units::interval(pings.average))
    }

    async fn stream(&mut self, from: &Container, address: &str, time: Duration) -> anyhow::Result<()> {
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        self.begin(&format!("left sends to right over TCP, {family}, for {} s", time.as_secs_f32()))?;
        let target = if address.contains(':') { format!("[{address}]:{PORT}") } else { format!("{address}:{PORT}") };
        let seconds = time.as_secs_f32().to_string();
        let sent: Sent = from.measure(&["send", &target, "--seconds", &seconds]).await?;
        let arrived = format!("{family}, one stream: {} arrived, ", units::bytes(sent.bytes));
        self.done("TCP", &arrived, &units::bit_rate(sent.bytes, sent.time))
    }

    /// A page from outside: the server there sees the host's address, or the uplink's own.
    async fn outward(&mut self, from: &Container, outside: &Path) -> anyhow::Result<()> {
        self.begin("left fetches a page from outside")?;
        stage::wait("the outside", || Ok(outside.exists()))?;
        let address = SocketAddr::from((stage::OUTER_ADDRESS, stage::PAGE_PORT));
        let fetched: Fetched = from.measure(&["fetch", &address.to_string()]).await?;
        let page = fetched.read()?;
        ensure!(page.client == stage::INNER_ADDRESS, "the outside saw {}, which is an inside address", page.client);
        let by = match self.way_out {
            WayOut::Sockets => "by a socket of the host",
            WayOut::Packet => "through NAT on the uplink",
        };
        let what = format!("left got a page {by} from {}, which saw {}, in ", page.server, page.client);
        self.done("out", &what, &units::interval(fetched.time))
    }

    /// A page from a published port: the server inside sees the client's own address.
    fn inward(&mut self, outside: &Path) -> anyhow::Result<()> {
        self.begin("the outside fetches a page from a published port")?;
        let address = SocketAddr::from((stage::INNER_ADDRESS, PUBLISHED));
        let fetched = stage::fetch_outside(outside, address)?;
        let page = fetched.read()?;
        ensure!(page.client == stage::OUTER_ADDRESS, "right saw {}, which is not its client", page.client);
        let what = format!("outside got one from {address}: {} saw {}, in ", page.server, page.client);
        self.done("in", &what, &units::interval(fetched.time))
    }

    fn begin(&mut self, doing: &str) -> anyhow::Result<()> {
        self.step = Some(self.progress.begin(doing)?);
        Ok(())
    }

    fn done(&mut self, label: &str, what: &str, figure: &str) -> anyhow::Result<()> {
        let step = self.step.take().context("no step was begun")?;
        Ok(self.progress.done(&step, label, what, figure)?)
    }
}
