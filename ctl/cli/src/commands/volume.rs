//! `volume`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::docker::volume::{Volume, VolumeCreate};

use super::inspect::{self, Object};
use super::network::{confirmed, filters};
use crate::failure::Tally;
use crate::listing::{self, ListArgs, Listed};
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl volume create data
  vswitchctl run -v data:/data -- sh -c 'date >> /data/log'
  vswitchctl volume inspect --format '{{.Mountpoint}}' data
  vswitchctl volume prune -a -f";

/// What can be done with volumes.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum VolumeCommand {
    /// Make a volume and print its name
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show everything about volumes as JSON
    Inspect(InspectArgs),
    /// Remove volumes that no container has, with what is in them
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Remove the volumes that no container has and nobody named; with -a all that no container has
    Prune(PruneArgs),
}

/// Arguments of `volume create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Label (repeat for more)
    #[arg(long = "label", value_name = "KEY[=VALUE]", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// The one driver
    #[arg(short, long, default_value = "local", hide = true)]
    driver: String,
    /// Kept and shown (repeat for more)
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = values::key_value)]
    options: Vec<(String, String)>,
    /// Its name [default: chosen by vswitchd]
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
}

/// Arguments of `volume ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only volumes for which this holds: name, label, driver, dangling=true|false
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = values::key_value)]
    filter: Vec<(String, String)>,
    #[command(flatten)]
    list: ListArgs,
}

/// Arguments of `volume inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A template such as '{{.Mountpoint}}', or 'json' for one object a line
    #[arg(short, long)]
    format: Option<String>,
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Arguments of `volume rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// No complaint about volumes that do not exist
    #[arg(short, long)]
    force: bool,
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Arguments of `volume prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Those with a name, too
    #[arg(short, long)]
    all: bool,
    /// Only volumes for which this holds: label=…, label!=…, until=TIME
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::key_value)]
    filter: Vec<(String, String)>,
}

impl VolumeCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        match self {
            VolumeCommand::Create(args) => {
                let request = VolumeCreate {
                    name: args.name,
                    driver: args.driver,
                    driver_opts: args.options.into_iter().collect(),
                    labels: args.labels.into_iter().collect(),
                };
                output::print(&format!("{}\n", client.create_volume(&request).await?.name))?;
            }
            VolumeCommand::Ls(args) => {
                listing::print(client.volumes(&filters(args.filter)).await?.volumes, &args.list)?;
            }
            VolumeCommand::Inspect(args) => {
                let mut found = Vec::new();
                for volume in &args.volumes {
                    found.push(match client.volume(volume).await {
                        Ok(volume) => Object::new(&volume),
                        Err(error) => Err(error.into()),
                    });
                }
                return inspect::print(found, args.format.as_deref());
            }
            VolumeCommand::Rm(args) => {
                let mut tally = Tally::default();
                for volume in &args.volumes {
                    match client.remove_volume(volume, args.force).await {
                        Err(error) if args.force && error.is_not_found() => {}
                        removed => tally.note(removed, Some(volume))?,
                    }
                }
                return Ok(tally.exit());
            }
            VolumeCommand::Prune(args) => {
                let which = if args.all { "all volumes" } else { "anonymous local volumes" };
                if !args.force && !confirmed(&format!("{which} not used by at least one container"))? {
                    output::note("nothing removed");
                    return Ok(ExitCode::FAILURE);
                }
                let all = args.all.then(|| ("all".to_owned(), "true".to_owned()));
                let wanted = filters(args.filter.into_iter().chain(all).collect());
                let removed = client.prune_volumes(&wanted).await?.volumes_deleted;
                if !removed.is_empty() {
                    output::print(&format!("Deleted Volumes:\n{}\n", removed.join("\n")))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Listed for Volume {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("CreatedAt", "CREATED AT"),
        ("Labels", "LABELS"),
    ];
    const TABLE: &'static str = r"table {{.Driver}}\t{{.Name}}";

    fn values(&self, _: bool) -> Vec<String> {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        vec![
            self.driver.clone(),
            self.name.clone(),
            self.mountpoint.clone(),
            self.scope.clone(),
            self.created_at.clone(),
            labels.collect::<Vec<_>>().join(","),
        ]
    }

    fn id(&self) -> &str {
        &self.name
    }

    // It is a name.
    fn short_id(&self) -> &str {
        &self.name
    }

    fn sort_key(&self) -> &str {
        &self.name
    }
}
