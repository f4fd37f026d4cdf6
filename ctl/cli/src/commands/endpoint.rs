//! `endpoint`.

use clap::Subcommand;
use vswitch_api::Client;
use vswitch_api::endpoint::{Endpoint, EndpointState};

use crate::listing::{self, ListArgs, Listed};
use crate::output;

/// What can be done with endpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// List endpoints: of containers and of attached namespaces
    #[command(visible_alias = "list")]
    Ls(ListArgs),
}

impl EndpointCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            EndpointCommand::Ls(args) => listing::print(client.endpoints().await?, &args),
        }
    }
}

impl Listed for Endpoint {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("ID", "ENDPOINT ID"),
        ("Name", "NAME"),
        ("Network", "NETWORK"),
        ("State", "STATE"),
        ("MacAddress", "MAC ADDRESS"),
        ("IPv4", "IPV4 ADDRESS"),
        ("IPv6", "IPV6 ADDRESS"),
        ("Interface", "INTERFACE"),
        ("Port", "PORT"),
        ("MTU", "MTU"),
        ("Container", "CONTAINER ID"),
        ("Aliases", "ALIASES"),
    ];
    const TABLE: &'static str = concat!(
        r"table {{.ID}}\t{{.Name}}\t{{.Network}}\t{{.State}}\t{{.MacAddress}}",
        r"\t{{.IPv4}}\t{{.IPv6}}\t{{.Interface}}\t{{.Port}}"
    );

    fn values(&self, no_trunc: bool) -> Vec<String> {
        let id = |id: &str| if no_trunc { id.to_owned() } else { output::short(id).to_owned() };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            id(&self.id),
            self.name.clone(),
            self.network.clone(),
            state(self.state).to_owned(),
            self.mac_address.clone(),
            text(&self.ipv4_address),
            text(&self.ipv6_address),
            text(&self.interface),
            self.port.map(|port| port.to_string()).unwrap_or_default(),
            self.mtu.to_string(),
            self.container_id.as_deref().map(id).unwrap_or_default(),
            self.aliases.join(","),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn sort_key(&self) -> &str {
        &self.name
    }
}

fn state(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Up => "up",
        EndpointState::Down => "down",
        EndpointState::Lost => "lost",
    }
}
