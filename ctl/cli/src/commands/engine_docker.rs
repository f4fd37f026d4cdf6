//! `engine docker`: Docker's networks of the driver `vswitch`.

use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use vswitch_api::Client;
use vswitch_api::engine::DOCKER_PLUGIN_SOCKET;

use super::installed::{Links, OwnFile, print_endpoints, program};
use super::units::{Units, has_systemd, systemctl};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  sudo vswitchctl engine docker install
  docker network create -d vswitch shop
  docker run -d --network shop -p 8080:80 IMAGE

dockerd finds the plug-in by its socket in /run/docker/plugins; nothing of Docker's is changed, and its other networks stay what they
are. The plug-in is a small program, vswitch-docker, beside root's vswitchd. With 'dockerd --bridge=none --iptables=false' there is no
other network, and no rule of a firewall.";

/// What can be done with Docker.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DockerCommand {
    /// Let Docker have networks of the driver vswitch
    #[command(after_help = EXAMPLES)]
    Install,
    /// Take that back
    Uninstall,
    /// Show whether Docker finds vswitch, and which of its containers are on the switch
    Status,
}

/// Where the program is, and what has systemd start it.
const PROGRAMS: &str = "/usr/local/libexec/vswitch/docker";
const NAME: &str = "vswitch-docker";
const UNITS: &str = "/etc/systemd/system";
const UNIT: &str = "vswitch-docker.service";

/// Begins the unit, so that no other is removed.
const HEADER: &str =
    "# Written by 'vswitchctl engine docker install'; 'vswitchctl engine docker uninstall' removes it.";

impl DockerCommand {
    pub(super) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            DockerCommand::Install => install(client).await,
            DockerCommand::Uninstall => uninstall(),
            DockerCommand::Status => status(client).await,
        }
    }
}

fn unit_file() -> OwnFile {
    OwnFile::new(Path::new(UNITS).join(UNIT), |text| text.starts_with(HEADER))
}

fn plugin() -> Links {
    Links::new(PROGRAMS.into(), &[NAME])
}

fn as_root() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("Docker's daemon is root's, and so is its plug-in; run this as root");
    }
    Ok(())
}

async fn install(client: &Client) -> anyhow::Result<()> {
    as_root()?;
    let daemon = program("vswitchd")?;
    let (links, file) = (plugin(), unit_file());
    file.is_there()?;
    links.make()?;
    let plugin = links.folder().join(NAME);
    file.write(&unit(&plugin))?;
    output::print("Docker finds networks of the driver vswitch: docker network create -d vswitch NAME\n")?;
    let started = has_systemd() && systemctl(true, &["daemon-reload"]) && systemctl(true, &["enable", "--now", UNIT]);
    if !started {
        output::print(&format!("It needs its plug-in: start it with '{}'.\n", plugin.display()))?;
    }
    Units::new(Path::new(UNITS), true).install(&daemon, client).await
}

/// dockerd starts after it, for a socket that nobody serves has dockerd wait.
fn unit(plugin: &Path) -> String {
    format!(
        "{HEADER}\n[Unit]\nDescription=Docker's networks of the driver vswitch\nBefore=docker.service\nWants=vswitch.socket\n\
         After=vswitch.socket\n\n[Service]\nExecStart=\"{}\"\nRestart=always\nRestartSec=100ms\n\n[Install]\n\
         WantedBy=multi-user.target\n",
        plugin.display()
    )
}

fn uninstall() -> anyhow::Result<()> {
    as_root()?;
    let was = unit_file().is_there()?;
    if was && has_systemd() {
        systemctl(true, &["disable", "--now", UNIT]);
    }
    unit_file().remove()?;
    plugin().remove()?;
    let said = match was {
        true => {
            "Docker finds no networks of the driver vswitch any more once vswitch-docker is stopped. Remove those that there are.\n"
        }
        false => "Docker was not told of vswitch; there is nothing to take back.\n",
    };
    Ok(output::print(said)?)
}

async fn status(client: &Client) -> anyhow::Result<()> {
    let serves = UnixStream::connect(DOCKER_PLUGIN_SOCKET).is_ok();
    output::print(match (serves, unit_file().is_there()?) {
        (true, _) => "Docker finds vswitch: networks of the driver vswitch are on the switch.\n",
        (false, true) => {
            "vswitch-docker is installed and does not run; start it with 'systemctl start vswitch-docker' or by hand.\n"
        }
        (false, false) => "Docker does not find vswitch; 'vswitchctl engine docker install' lets it.\n",
    })?;
    match client.endpoints().await {
        Ok(endpoints) => print_endpoints(&endpoints, |key| key.engine == "docker"),
        Err(error) if error.is_unreachable() => {
            Ok(output::print("vswitchd does not run; start it as root with 'vswitchd'\n")?)
        }
        Err(error) => Err(error.into()),
    }
}
