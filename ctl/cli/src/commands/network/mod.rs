//! `network`.

mod create;
mod graph;
mod list;
mod members;
mod peer;
mod policy;
mod remove;
mod update;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use vswitch_api::Client;

use super::inspect::{self, Object};
pub(super) use list::filters;
pub(super) use remove::confirmed;

const EXAMPLES: &str = "\
Examples:
  vswitchctl network create blue
  vswitchctl network create --subnet 10.9.0.0/24 --gateway 10.9.0.254 --ipv6 --opt mtu=9000 blue
  vswitchctl network ls --filter driver=bridge --format '{{.Name}}'
  vswitchctl network connect --alias db blue web
  vswitchctl network update blue --opt rate-out=100mbit --opt icc=false
  vswitchctl network peer --allow tcp/5432,icmp blue green";

/// What can be done with networks.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum NetworkCommand {
    /// Make a network and print its id
    Create(Box<create::CreateArgs>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(list::LsArgs),
    /// Show everything about networks as JSON
    Inspect(InspectArgs),
    /// Draw who is connected to whom
    Graph(graph::GraphArgs),
    /// Change options of a network that is in use, at once
    Update(update::UpdateArgs),
    /// Remove networks that nobody uses
    #[command(visible_alias = "remove")]
    Rm(remove::RmArgs),
    /// Remove all networks that nobody uses
    Prune(remove::PruneArgs),
    /// Connect a container to one more network
    Connect(Box<members::ConnectArgs>),
    /// Disconnect a container from a network
    Disconnect(members::DisconnectArgs),
    /// Join two networks: their members reach each other through the gateways
    Peer(peer::PeerArgs),
    /// Part two networks that are joined
    Unpeer(peer::UnpeerArgs),
    /// Say who may open connections to whom
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

/// Arguments of `network inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A template such as '{{.Name}} {{json .IPAM.Config}}', or 'json' for one object a line
    #[arg(short, long)]
    format: Option<String>,
    /// Print as JSON (which is what happens without it)
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Accepted for Docker's sake
    #[arg(short, long, hide = true)]
    verbose: bool,
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

impl NetworkCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self {
            NetworkCommand::Create(args) => args.run(client).await.map(done),
            NetworkCommand::Ls(args) => args.run(client).await.map(done),
            NetworkCommand::Inspect(args) => args.run(client).await,
            NetworkCommand::Graph(args) => args.run(client).await.map(done),
            NetworkCommand::Update(args) => args.run(client).await.map(done),
            NetworkCommand::Rm(args) => args.run(client).await,
            NetworkCommand::Prune(args) => args.run(client).await,
            NetworkCommand::Connect(args) => args.run(client).await.map(done),
            NetworkCommand::Disconnect(args) => args.run(client).await.map(done),
            NetworkCommand::Peer(args) => args.run(client).await.map(done),
            NetworkCommand::Unpeer(args) => args.run(client).await.map(done),
            NetworkCommand::Policy(command) => command.run(client).await,
        }
    }
}

impl InspectArgs {
    async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut found = Vec::new();
        for network in &self.networks {
            let network = client.network(network).await.map_err(Into::into);
            found.push(network.and_then(|network| Object::new(&network)));
        }
        inspect::print(found, self.format.as_deref())
    }
}
