//! `inspect`, of anything that has a name.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;
use vswitch_api::{Client, ClientError};

use crate::template::Template;
use crate::{failure, output};

const EXAMPLES: &str = "\
Examples:
  vswitchctl inspect web
  vswitchctl inspect --format '{{.pid}}' web
  vswitchctl inspect --type network blue";

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArgs {
    /// A template such as '{{.name}} {{json .labels}}', or 'json' for one object a line
    #[arg(short, long)]
    format: Option<String>,
    /// Look among these only
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Kind>,
    /// Print as JSON (which is what happens without it)
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Containers, networks or endpoints, by name or id
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Network,
    Endpoint,
}

impl InspectArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let kinds = match self.kind {
            Some(kind) => vec![kind],
            None => vec![Kind::Container, Kind::Network, Kind::Endpoint],
        };
        let mut found = Vec::new();
        for name in &self.names {
            found.push(look_up(client, &kinds, name).await);
        }
        print(found, self.format.as_deref())
    }
}

/// Print what was found as a JSON array or by template, then complain about the rest (Docker's order).
pub(crate) fn print(found: Vec<Result<Value, ClientError>>, format: Option<&str>) -> anyhow::Result<ExitCode> {
    let (objects, missing): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    let objects: Vec<Value> = objects.into_iter().flatten().collect();
    match format {
        None => output::json(&objects)?,
        Some("json") => output::print(&objects.iter().map(|object| format!("{object}\n")).collect::<String>())?,
        Some(format) => {
            let template: Template = format.parse()?;
            for object in &objects {
                output::print(&(template.render(object)? + "\n"))?;
            }
        }
    }
    for error in missing.iter().filter_map(|missing| missing.as_ref().err()) {
        output::complain(error);
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look_up(client: &Client, kinds: &[Kind], name: &str) -> Result<Value, ClientError> {
    let mut absent = None;
    for kind in kinds {
        let found = match kind {
            Kind::Container => client.container(name).await.map(|found| serde_json::json!(found)),
            Kind::Network => client.network(name).await.map(|found| serde_json::json!(found)),
            Kind::Endpoint => client.endpoint(name).await.map(|found| serde_json::json!(found)),
        };
        match found {
            Err(error) if failure::is_absent(&error) => absent = Some(error),
            other => return other,
        }
    }
    match (kinds, absent) {
        ([_], Some(error)) => Err(error),
        _ => Err(ClientError::Refused {
            status: 404,
            message: format!(
                "no container, network or endpoint is called {name}; see 'vswitchctl ps -a' and 'network ls'"
            ),
        }),
    }
}
