//! `version`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use vswitch_api::Client;

use crate::output;

const OWN: &str = env!("CARGO_PKG_VERSION");

/// Arguments of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl VersionArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let daemon = client.version().await;
        if self.json {
            output::json(&json!({ "vswitchctl": { "version": OWN }, "vswitchd": daemon.as_ref().ok() }))?;
        } else {
            output::print(&format!("vswitchctl {OWN}\n"))?;
        }
        let daemon = match daemon {
            Ok(daemon) => daemon,
            Err(error) => {
                output::complain(&error);
                return Ok(ExitCode::FAILURE);
            }
        };
        if !self.json {
            let place = if daemon.rootless { "in a user namespace" } else { "as root" };
            output::print(&format!(
                "vswitchd   {} (pid {}, {place})\n  socket     {}\n  state      {}\n  workers    {}\n  uplink     {}\n  \
                 confined   {}\n  docker API {}\n",
                daemon.version,
                daemon.pid,
                client.socket().display(),
                daemon.state_dir,
                daemon.workers,
                daemon.uplink,
                daemon.confinement,
                daemon.docker_api_version,
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
