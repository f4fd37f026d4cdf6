//! `network update`.

use clap::Args;
use vswitch_api::Client;
use vswitch_api::network::NetworkChange;

use crate::values;

/// Arguments of `network update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// KEY=VALUE for all endpoints that say nothing else themselves; an empty value is the default (repeat for more): those of ports that
    /// 'network create' takes, icc, bpdus, mcast-snooping, mcast-querier, uplink
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE", required = true, value_parser = values::key_value)]
    options: Vec<(String, String)>,
    /// The network, by name or id
    network: String,
}

impl UpdateArgs {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let change = NetworkChange { options: self.options.into_iter().collect() };
        Ok(client.change_network(&self.network, &change).await?)
    }
}
