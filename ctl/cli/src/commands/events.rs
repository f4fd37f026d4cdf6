//! `events` and `info`.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;
use vswitch_api::Client;
use vswitch_api::docker::event::EventMessage;

use super::network::filters;
use crate::template::Template;
use crate::{output, values};

/// Arguments of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only events for which this holds: type, event, container, network, label (repeat for more)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = values::key_value)]
    filter: Vec<(String, String)>,
    /// From this time on, or from so long ago, such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// A template such as '{{.Type}} {{.Action}}', or 'json'
    #[arg(long)]
    format: Option<String>,
}

impl EventsArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let template = match self.format.as_deref() {
            None | Some("json") => None,
            Some(format) => Some(format.parse::<Template>()?),
        };
        let mut stream =
            client.events(self.since.as_deref(), self.until.as_deref(), &filters(self.filter.clone())).await?;
        let mut pending = Vec::new();
        while let Some(bytes) = stream.next().await? {
            pending.extend_from_slice(&bytes);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line)?;
                let text = match (&template, self.format.is_some()) {
                    (Some(template), _) => template.render(&event)?,
                    (None, true) => event.to_string(),
                    (None, false) => sentence(&serde_json::from_value(event)?),
                };
                output::print(&(text + "\n"))?;
            }
        }
        Ok(())
    }
}

/// As Docker prints an event.
fn sentence(event: &EventMessage) -> String {
    let attributes = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    let attributes = attributes.collect::<Vec<_>>().join(", ");
    let EventMessage { kind, action, actor, time_nano, .. } = event;
    let moment = UNIX_EPOCH + Duration::from_nanos(*time_nano);
    format!("{} {kind} {action} {} ({attributes})", humantime::format_rfc3339_nanos(moment), actor.id)
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A template such as '{{.Containers}}', or 'json'
    #[arg(short, long)]
    format: Option<String>,
}

impl InfoArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let info = client.info().await?;
        let text = match self.format.as_deref() {
            Some("json") => info.to_string(),
            Some(format) => format.parse::<Template>()?.render(&info)?,
            None => {
                FIELDS.iter().map(|(key, name)| format!("{name}: {}", plain(&info[key]))).collect::<Vec<_>>().join("\n")
            }
        };
        Ok(output::print(&(text + "\n"))?)
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Those that mean something here, with Docker's titles.
const FIELDS: [(&str, &str); 9] = [
    ("Containers", "Containers"),
    ("ContainersRunning", "Running"),
    ("ContainersStopped", "Stopped"),
    ("ServerVersion", "Server Version"),
    ("KernelVersion", "Kernel Version"),
    ("OperatingSystem", "Operating System"),
    ("Architecture", "Architecture"),
    ("NCPU", "CPUs"),
    ("DockerRootDir", "State Directory"),
];
