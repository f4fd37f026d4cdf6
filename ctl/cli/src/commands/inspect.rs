//! `inspect`, of anything that has a name.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use vswitch_api::Client;

use crate::output;
use crate::template::Template;

const EXAMPLES: &str = "\
Examples:
  vswitchctl inspect web
  vswitchctl inspect --format '{{.pid}}' web
  vswitchctl inspect --type network blue";

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArgs {
    /// A template of Go's such as '{{.State.Pid}}' or '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' (Docker's
    /// fields, and our own), or 'json' for one object a line
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
            found.push(look_up(client, &kinds, name, self.format.is_some()).await);
        }
        print(found, self.format.as_deref())
    }
}

/// An object as JSON: its text with the fields in the API's order, and its value for templates.
#[derive(Debug)]
pub(crate) struct Object {
    text: String,
    value: Value,
}

impl Object {
    pub(crate) fn new(found: &impl Serialize) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(INDENT.as_bytes());
        found.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
        Ok(Object { text: String::from_utf8(text)?, value: serde_json::to_value(found)? })
    }
}

/// Docker's.
const INDENT: &str = "    ";

/// Print what was found as a JSON array or by template, then complain about the rest (Docker's order).
pub(crate) fn print(found: Vec<anyhow::Result<Object>>, format: Option<&str>) -> anyhow::Result<ExitCode> {
    let (objects, missing): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    let objects: Vec<Object> = objects.into_iter().flatten().collect();
    match format {
        None => output::print(&array(&objects))?,
        Some("json") => output::print(&objects.iter().map(|object| format!("{}\n", object.value)).collect::<String>())?,
        Some(format) => {
            let template: Template = format.parse()?;
            for object in &objects {
                output::print(&(template.render(&object.value)? + "\n"))?;
            }
        }
    }
    for error in missing.iter().filter_map(|missing| missing.as_ref().err()) {
        output::complain(error);
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn array(objects: &[Object]) -> String {
    let indented =
        |object: &Object| object.text.lines().map(|line| format!("{INDENT}{line}")).collect::<Vec<_>>().join("\n");
    match objects {
        [] => "[]\n".into(),
        objects => format!("[\n{}\n]\n", objects.iter().map(indented).collect::<Vec<_>>().join(",\n")),
    }
}

/// Our own fields and Docker's, for templates: no name is in both.
fn both(own: &impl Serialize, dockers: &impl Serialize) -> anyhow::Result<Object> {
    let mut object = Object::new(own)?;
    if let (Some(fields), Value::Object(more)) = (object.value.as_object_mut(), serde_json::to_value(dockers)?) {
        fields.extend(more);
    }
    Ok(object)
}

async fn look_up(client: &Client, kinds: &[Kind], name: &str, templates: bool) -> anyhow::Result<Object> {
    let mut absent = None;
    for kind in kinds {
        let found = match kind {
            Kind::Container if templates => match client.container(name).await {
                Ok(found) => client.docker_container(&found.id).await.map(|more| both(&found, &more)),
                Err(error) => Err(error),
            },
            Kind::Container => client.container(name).await.map(|found| Object::new(&found)),
            Kind::Network => client.network(name).await.map(|found| Object::new(&found)),
            Kind::Endpoint => client.endpoint(name).await.map(|found| Object::new(&found)),
        };
        match found {
            Err(error) if error.is_not_found() => absent = Some(error),
            Err(error) => return Err(error.into()),
            Ok(object) => return object,
        }
    }
    match (kinds, absent) {
        ([_], Some(error)) => Err(error.into()),
        _ => bail!("no container, network or endpoint is called {name}; see 'vswitchctl ps -a' and 'network ls'"),
    }
}
