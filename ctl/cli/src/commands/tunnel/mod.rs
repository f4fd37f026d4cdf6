//! `tunnel`.

mod entry;
mod list;
mod remote;

use std::process::ExitCode;

use clap::Subcommand;
use vswitch_api::Client;

pub(crate) use list::entries;

const EXAMPLES: &str = "\
Examples (on a host whose vswitchd was started with --vtep 192.0.2.1):
  vswitchctl network create -d overlay --subnet 10.100.0.0/16 --ip-range 10.100.1.0/24 --opt vni=4097 blue
  vswitchctl tunnel remote add blue 192.0.2.2              the other host's --vtep; there, add 192.0.2.1
  vswitchctl tunnel entry add blue 02:42:0a:64:02:05 10.100.2.5 192.0.2.2
  vswitchctl tunnel ls                                     which station is behind which host";

/// What can be done with the tunnels of overlay networks.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TunnelCommand {
    /// Show which stations are behind which other hosts
    #[command(visible_alias = "list")]
    Ls(list::ListArgs),
    /// Show everything about tunnels as JSON
    Inspect(list::InspectArgs),
    /// Show and change which other hosts a network spans
    #[command(subcommand)]
    Remote(remote::RemoteCommand),
    /// Show and change which stations are bound to which other hosts
    #[command(subcommand)]
    Entry(entry::EntryCommand),
}

impl TunnelCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        match self {
            TunnelCommand::Ls(args) => args.run(client).await,
            TunnelCommand::Inspect(args) => args.run(client).await,
            TunnelCommand::Remote(command) => command.run(client).await,
            TunnelCommand::Entry(command) => command.run(client).await,
        }
    }
}
