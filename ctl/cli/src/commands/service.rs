//! `service`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::service::{Service, ServiceCreate, ServiceDrain, ServiceUpdate};

use super::inspect::{self, Object};
use crate::failure::Tally;
use crate::table::Table;
use crate::{natural, output, units, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl service create web --network shop --port 80:8080 --backend web1,web2
  vswitchctl service create web --network shop --ip 10.9.0.100 -p 80:8080 --selector tier=web --health http:/ok
  vswitchctl service update web --backend-add web3 --backend-rm web1
  vswitchctl service drain web web2                 it keeps the connections that it has
  vswitchctl service ls

Containers of the network, and of those that it is joined with, reach a service by its name or address; with -p also whoever
reaches the host.";

/// What can be done with services.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ServiceCommand {
    /// Make an address behind which several containers take turns, and print it
    Create(Box<CreateArgs>),
    /// List services
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show everything about services and their backends as JSON
    Inspect(InspectArgs),
    /// Change backends, algorithm or health checks
    Update(UpdateArgs),
    /// Give a backend no new connections
    Drain(DrainArgs),
    /// Remove services and end their connections
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// Arguments of `service create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The network that it and its backends are on, by name or id
    #[arg(long)]
    network: String,
    /// Its own address; the next free one if not given (once for each family)
    #[arg(long = "ip", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Its port and that of the backends: PORT[:TARGET][/PROTO] (repeat for more)
    #[arg(long = "port", value_name = "PORT", required_unless_present = "publish", conflicts_with = "publish")]
    ports: Vec<String>,
    /// The same, and the host publishes its port, too
    #[arg(short = 'p', long = "publish", value_name = "PORT")]
    publish: Vec<String>,
    /// Containers or attached namespaces that take turns, or addresses of those that other hosts of an overlay have (repeat, or separate
    /// with commas)
    #[arg(long = "backend", value_name = "NAME", value_delimiter = ',')]
    backends: Vec<String>,
    /// All containers with this label, now and later: KEY or KEY=VALUE (of several all must match)
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    selector: Vec<String>,
    /// Who gets the next connection: rr (one after the other), least (fewest connections), hash (by the client's address)
    #[arg(long, value_name = "ALGORITHM", default_value = "rr")]
    algorithm: String,
    /// Look whether backends serve, and leave out those that do not: tcp or http:/path
    #[arg(long, value_name = "HOW")]
    health: Option<String>,
    /// Time between two looks [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    health_interval: Option<Duration>,
    /// The name, which resolves to its address
    name: String,
}

/// Arguments of `service ls`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `service inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A template such as '{{.name}} {{json .backends}}', or 'json' for one object a line
    #[arg(short, long)]
    format: Option<String>,
    /// Print as JSON (which is what happens without it)
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Services, by name
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Arguments of `service update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// A further backend (repeat, or separate with commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backend_add: Vec<String>,
    /// A backend that is none any more; it keeps the connections that it has
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backend_rm: Vec<String>,
    /// Who gets the next connection: rr, least or hash
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<String>,
    /// Look whether backends serve: tcp, http:/path, or none
    #[arg(long, value_name = "HOW")]
    health: Option<String>,
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    health_interval: Option<Duration>,
    /// The service, by name
    service: String,
}

/// Arguments of `service drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// It gets new connections again
    #[arg(long)]
    undo: bool,
    /// The service, by name
    service: String,
    /// The backend, by name
    backend: String,
}

/// Arguments of `service rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Services, by name
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

impl ServiceCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        match self {
            ServiceCommand::Create(args) => {
                let made = client.create_service(&args.request()).await?;
                output::print(&format!("{}\n", made.addresses.join(" ")))?;
            }
            ServiceCommand::Ls(args) => {
                let mut services = client.services().await?;
                services.sort_by(|a, b| natural::compare(&a.name, &b.name));
                if args.json {
                    output::json(&services)?;
                } else {
                    output::print(&render(&services))?;
                }
            }
            ServiceCommand::Inspect(args) => {
                let mut found = Vec::new();
                for service in &args.services {
                    let service = client.service(service).await.map_err(Into::into);
                    found.push(service.and_then(|service| Object::new(&service)));
                }
                return inspect::print(found, args.format.as_deref());
            }
            ServiceCommand::Update(args) => {
                let request = ServiceUpdate {
                    backend_add: args.backend_add,
                    backend_remove: args.backend_rm,
                    algorithm: args.algorithm,
                    health: args.health,
                    health_interval_ms: args.health_interval.map(milliseconds),
                };
                client.update_service(&args.service, &request).await?;
            }
            ServiceCommand::Drain(args) => {
                client.drain_service(&args.service, &ServiceDrain { backend: args.backend, undo: args.undo }).await?;
            }
            ServiceCommand::Rm(args) => {
                for service in &args.services {
                    tally.note(client.remove_service(service).await, Some(service))?;
                }
            }
        }
        Ok(tally.exit())
    }
}

impl CreateArgs {
    fn request(&self) -> ServiceCreate {
        let publish = !self.publish.is_empty();
        ServiceCreate {
            name: self.name.clone(),
            network: self.network.clone(),
            addresses: self.addresses.clone(),
            ports: if publish { self.publish.clone() } else { self.ports.clone() },
            publish,
            backends: self.backends.clone(),
            selector: self.selector.clone(),
            algorithm: self.algorithm.clone(),
            health: self.health.clone().unwrap_or_default(),
            health_interval_ms: self.health_interval.map(milliseconds),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn render(services: &[Service]) -> String {
    let mut table =
        Table::new(["SERVICE", "NETWORK", "ADDRESSES", "PORTS", "PUBLISHED", "ALGORITHM", "UP", "CONNECTIONS"])
            .numbers([7]);
    for service in services {
        let up = service.backends.iter().filter(|one| one.state == "up").count();
        let connections: u64 = service.backends.iter().map(|one| one.connections).sum();
        table.row([
            &service.name,
            &service.network,
            &service.addresses.join(", "),
            &service.ports.join(", "),
            &service.published.join(", "),
            &service.algorithm,
            &format!("{up} of {}", service.backends.len()),
            &units::count(connections),
        ]);
    }
    table.render()
}
