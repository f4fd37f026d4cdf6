//! `network peer` and `network unpeer`.

use clap::Args;
use vswitch_api::Client;
use vswitch_api::network::NetworkPeer;

const EXAMPLES: &str = "\
Examples:
  vswitchctl network peer shop db                              everything, in both directions
  vswitchctl network peer --allow tcp/5432,icmp shop db        only this, and the answers
  vswitchctl network unpeer shop db

Networks that are joined already are told anew what may pass; connections that it does not allow any more end.";

/// Arguments of `network peer`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PeerArgs {
    /// What either side may open towards the other: tcp, udp, sctp, icmp, or with ports such as tcp/5432 and udp/5000-5010;
    /// everything if not given (repeat, or separate with commas)
    #[arg(long, value_name = "TRAFFIC", value_delimiter = ',')]
    allow: Vec<String>,
    /// A network, by name or id
    network: String,
    /// The one to join it with
    other: String,
}

/// Arguments of `network unpeer`.
#[derive(Debug, Args)]
pub(crate) struct UnpeerArgs {
    /// A network, by name or id
    network: String,
    /// The one that it is joined with
    other: String,
}

impl PeerArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        Ok(client.peer_networks(&self.network, &self.other, &NetworkPeer { allow: self.allow }).await?)
    }
}

impl UnpeerArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        Ok(client.unpeer_networks(&self.network, &self.other).await?)
    }
}
