//! `endpoint`.

use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::endpoint::{Endpoint, EndpointChange, EndpointState};

use crate::listing::{self, ListArgs, Listed};
use crate::{output, values};

/// What can be done with endpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// List endpoints: of containers and of attached namespaces
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Change options of an endpoint's port, while traffic runs
    Set(SetArgs),
}

const EXAMPLES: &str = "\
Examples:
  vswitchctl endpoint set web isolation-group=tenants       web reaches everybody but others of the group
  vswitchctl endpoint set db --network blue mac-sticky=true mac-limit=2
  vswitchctl endpoint set db isolation-group=               as its network has it
'inspect NAME' shows what is in effect.";

/// Arguments of `endpoint set`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetArgs {
    /// The network, for a container that is on several
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// The container or endpoint, by name or id
    endpoint: String,
    /// What changes; an empty value stands for what the network has
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = values::key_value)]
    options: Vec<(String, String)>,
}

impl EndpointCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            EndpointCommand::Ls(args) => listing::print(client.endpoints().await?, &args),
            EndpointCommand::Set(args) => {
                let change = EndpointChange { network: args.network, options: args.options.into_iter().collect() };
                client.set_endpoint(&args.endpoint, &change).await?;
                Ok(())
            }
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
        ("Options", "OPTIONS"),
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
            self.options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "),
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
        EndpointState::NoCarrier => "no-carrier",
        EndpointState::Down => "down",
        EndpointState::Lost => "lost",
    }
}
