//! The root of the grammar.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use vswitch_api::Client;

use crate::commands::{
    attach, bridge, capture, cni, completions, containers, cp, create, endpoint, engine, events, exec, extcap, fdb,
    flows, frames, inspect, network, port, ps, replay, run, service, stats, top, tunnel, version, volume, wires,
};
use crate::demo;

const EXAMPLES: &str = "\
Examples:
  vswitchctl demo                                         see it work, nothing remains
  vswitchctl network create --subnet 10.9.0.0/24 blue     make a network
  vswitchctl run --network blue --ip 10.9.0.5 -- bash     a shell in a container on it
  vswitchctl run -d --name web --network blue -- python3 -m http.server
  vswitchctl ps
  vswitchctl stats --watch

The daemon is looked for at --socket, $VSWITCH_SOCKET, /run/vswitch/vswitch.sock (root) and
$XDG_RUNTIME_DIR/vswitch/vswitch.sock (users). Exit status: 0 done, 1 failed, 2 wrong command line.";

/// Networks for containers through a userspace switch
#[derive(Debug, Parser)]
#[command(name = "vswitchctl", version, after_help = EXAMPLES, max_term_width = 104, subcommand_required = true)]
// As Docker: of what is said twice, the later counts.
#[command(arg_required_else_help = true, infer_long_args = false, args_override_self = true)]
pub(crate) struct Cli {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// What the caller typed.
    pub(crate) fn read(words: Vec<OsString>) -> Result<Cli, clap::Error> {
        let mut command = flowing(<Cli as CommandFactory>::command());
        let matches = command.try_get_matches_from_mut(words)?;
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// Lets the paragraphs behind the examples be as wide as the terminal, whatever it is.
fn flowing(command: clap::Command) -> clap::Command {
    let text = command.get_after_help().map(|text| flow(&text.to_string()));
    let command = match text {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(flowing)
}

/// Joins the lines of each paragraph. What is indented stays as it is, and what ends with a colon is a title.
fn flow(text: &str) -> String {
    let plain = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
    let mut whole = String::new();
    let mut before = "";
    for line in text.lines() {
        if !whole.is_empty() {
            whole.push(if plain(before) && plain(line) { ' ' } else { '\n' });
        }
        whole.push_str(line);
        before = line;
    }
    whole
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, show, remove networks; connect containers to them
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Make, show, remove volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Run a command in a new container
    Run(Box<run::RunArgs>),
    /// Make a container, to be started later
    Create(Box<create::CreateArgs>),
    /// Run one more command in a running container
    Exec(exec::ExecArgs),
    /// List containers
    Ps(ps::PsArgs),
    /// Show a container's published ports; open ports for virtual machines
    Port(port::PortArgs),
    /// Start containers that do not run
    Start(containers::StartArgs),
    /// Ask containers to end, then kill them
    Stop(containers::StopArgs),
    /// Stop and start containers
    Restart(containers::RestartArgs),
    /// Change when containers are started again by themselves
    Update(containers::UpdateArgs),
    /// Hold all processes of containers still
    Pause(containers::PauseArgs),
    /// Let the processes of paused containers go on
    Unpause(containers::UnpauseArgs),
    /// Send containers a signal
    Kill(containers::KillArgs),
    /// Give a container another name
    Rename(containers::RenameArgs),
    /// Remove containers
    Rm(containers::RmArgs),
    /// Wait until containers have ended and print their exit status
    Wait(containers::WaitArgs),
    /// Print what a container in the background or with -it has written
    Logs(containers::LogsArgs),
    /// Copy files between a container and here
    Cp(cp::CpArgs),
    /// Show everything about containers, networks or endpoints as JSON
    Inspect(inspect::InspectArgs),
    /// Connect a network namespace to a network, or the caller to a container
    Attach(attach::AttachArgs),
    /// Undo attach
    Detach(attach::DetachArgs),
    /// Show endpoints
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Let container engines call vswitch for their networks
    #[command(subcommand)]
    Engine(engine::EngineCommand),
    /// Let whoever speaks CNI (containerd, CRI-O, podman) use vswitch
    #[command(subcommand)]
    Cni(cni::CniCommand),
    /// Show bridges as brctl does
    #[command(subcommand)]
    Bridge(bridge::BridgeCommand),
    /// Let several containers take turns behind one address
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Show and change forwarding databases
    #[command(subcommand)]
    Fdb(fdb::FdbCommand),
    /// Show who asked for which multicast group
    #[command(subcommand)]
    Mdb(fdb::MdbCommand),
    /// Show who announces itself by LLDP
    Lldp(fdb::LldpArgs),
    /// Show, end and watch the flows that the uplink's translator tracks
    #[command(subcommand)]
    Flows(flows::FlowsCommand),
    /// Show frames as they cross the switch, and write them to a file
    Capture(capture::CaptureArgs),
    /// Answer Wireshark, which shows endpoints as interfaces then
    Extcap(extcap::ExtcapArgs),
    /// Show what a frame meets on its way through the switch, or would
    Trace(Box<frames::TraceArgs>),
    /// Let a frame in as if an endpoint had sent it, or send one towards it
    Inject(Box<frames::InjectArgs>),
    /// Wait for a frame, and say what came instead
    Expect(frames::ExpectArgs),
    /// Send the frames of a file again, each at its time
    Replay(replay::ReplayArgs),
    /// Make wires worse: delay, loss, rate and what else happens to frames
    Impair(wires::ImpairArgs),
    /// Let some not hear others: a partition
    Cut(wires::CutArgs),
    /// End partitions
    Heal(wires::HealArgs),
    /// Pull cables and plug them in again: the carrier of containers' interfaces
    #[command(subcommand)]
    Link(wires::LinkCommand),
    /// The seed of what happens by chance
    #[command(subcommand)]
    Lab(wires::LabCommand),
    /// Show and change which other hosts overlay networks span
    #[command(subcommand)]
    Tunnel(tunnel::TunnelCommand),
    /// Show counters of ports, networks and drop reasons, or what containers use
    Stats(stats::StatsArgs),
    /// Watch endpoints live (rates, flows and drops), or show the processes of a container
    Top(top::TopArgs),
    /// See vswitch work: two containers, real traffic, nothing remains
    Demo(demo::DemoArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Show what happens to networks and containers, as it happens
    Events(events::EventsArgs),
    /// Show what the daemon is and has
    Info(events::InfoArgs),
    /// Show the versions of vswitchctl and vswitchd
    Version(version::VersionArgs),
    /// What the demo runs inside its containers.
    #[command(subcommand, hide = true)]
    DemoWorker(demo::worker::WorkerCommand),
}

impl Command {
    /// Whether it asks no daemon, or only one of its own.
    const fn needs_no_daemon(&self) -> bool {
        matches!(self, Command::Demo(_) | Command::Completions(_) | Command::DemoWorker(_))
    }
}

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = match self.socket {
            Some(socket) => Client::new(socket),
            None if self.command.needs_no_daemon() => Client::new(""),
            None => Client::of_this_user()?,
        };
        let done = |()| ExitCode::SUCCESS;
        match self.command {
            Command::Network(command) => command.run(&client).await,
            Command::Volume(command) => command.run(&client).await,
            Command::Run(args) => args.run(&client).await,
            Command::Create(args) => args.run(&client).await,
            Command::Exec(args) => args.run(&client).await,
            Command::Ps(args) => args.run(&client).await.map(done),
            Command::Start(args) => args.run(&client).await,
            Command::Stop(args) => args.run(&client).await,
            Command::Restart(args) => args.run(&client).await,
            Command::Update(args) => args.run(&client).await,
            Command::Pause(args) => args.run(&client).await,
            Command::Unpause(args) => args.run(&client).await,
            Command::Kill(args) => args.run(&client).await,
            Command::Rename(args) => args.run(&client).await.map(done),
            Command::Rm(args) => args.run(&client).await,
            Command::Wait(args) => args.run(&client).await,
            Command::Logs(args) => args.run(&client).await.map(done),
            Command::Cp(args) => args.run(&client).await.map(done),
            Command::Inspect(args) => args.run(&client).await,
            Command::Attach(args) => args.run(&client).await,
            Command::Detach(args) => args.run(&client).await,
            Command::Endpoint(command) => command.run(&client).await.map(done),
            Command::Engine(command) => command.run(&client).await.map(done),
            Command::Cni(command) => command.run(&client).await.map(done),
            Command::Bridge(command) => command.run(&client).await.map(done),
            Command::Service(command) => command.run(&client).await,
            Command::Fdb(command) => command.run(&client).await,
            Command::Lldp(args) => args.run(&client).await.map(done),
            Command::Mdb(command) => command.run(&client).await.map(done),
            Command::Flows(command) => command.run(&client).await.map(done),
            Command::Capture(args) => args.run(&client).await.map(done),
            Command::Extcap(args) => args.run(&client).await.map(done),
            Command::Trace(args) => args.run(&client).await.map(done),
            Command::Inject(args) => args.run(&client).await.map(done),
            Command::Expect(args) => args.run(&client).await.map(done),
            Command::Replay(args) => args.run(&client).await.map(done),
            Command::Impair(args) => args.run(&client).await.map(done),
            Command::Cut(args) => args.run(&client).await.map(done),
            Command::Heal(args) => args.run(&client).await.map(done),
            Command::Link(command) => command.run(&client).await.map(done),
            Command::Lab(command) => command.run(&client).await.map(done),
            Command::Tunnel(command) => command.run(&client).await,
            Command::Port(args) => args.run(&client).await.map(done),
            Command::Stats(args) => args.run(&client).await,
            Command::Top(args) => args.run(&client).await.map(done),
            Command::Demo(args) => args.run().await,
            Command::Completions(args) => args.run().map(done),
            Command::Events(args) => args.run(&client).await.map(done),
            Command::Info(args) => args.run(&client).await.map(done),
            Command::Version(args) => args.run(&client).await,
            Command::DemoWorker(command) => command.run().await.map(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paragraphs become one line each, and examples stay lines.
    #[test]
    fn paragraphs() {
        let text = "Examples:\n  one\n  two   says\n\nA sentence that\ngoes on.\nAnd on.\n\nAnother:\n  three";
        assert_eq!(
            flow(text),
            "Examples:\n  one\n  two   says\n\nA sentence that goes on. And on.\n\nAnother:\n  three"
        );
        let run = flowing(<Cli as CommandFactory>::command()).find_subcommand("run").unwrap().clone();
        let text = run.get_after_help().unwrap().to_string();
        let mut paragraphs = text.lines().filter(|line| line.starts_with("The container has"));
        assert!(paragraphs.next().unwrap().contains("--rootfs brings another"), "{text}");
    }
}
