//! `engine`: telling container engines to call vswitch for their networks.

use std::path::Path;

use anyhow::Context;
use clap::Subcommand;
use vswitch_api::Client;
use vswitch_api::engine::{PODMAN_HELPER_FOLDERS, PODMAN_PLUGIN_FOLDERS};

use super::engine_docker::DockerCommand;
use super::installed::{HEADER, Links, OwnFile, ScopeArgs, print_endpoints, program, user_folder};
use super::units::Units;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl engine podman install        podman's containers go through vswitch, for this user
  vswitchctl engine podman status
  vswitchctl engine podman uninstall
  vswitchctl engine docker install        Docker has networks of the driver vswitch

podman finds its network helpers in the folders of helper_binaries_dir (containers.conf(5)). 'install' puts one with
vswitch's own in front, by a file of its own in containers.conf.d; nothing of podman's is changed. Images, volumes, pods and
compose files stay as they are. They start vswitchd if it
does not run, where that is possible; else podman's own helpers are used. With systemd its socket is installed, too, so that
vswitchd starts with the first container.";

/// What podman calls us by.
const HELPERS: [&str; 4] = ["netavark", "rootlessport", SLIRP4NETNS, "pasta"];

/// slirp4netns of containers that are on no network, and what starts vswitchd for those that are on one; podman finds it by a setting
/// of its own. It is not called so, because others look for that name in the same folder.
const SLIRP4NETNS: &str = "podman-slirp4netns";

/// What netavark calls us by, if a network is of the driver of this name.
const PLUGINS: [&str; 1] = ["vswitch"];

/// Engines.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum EngineCommand {
    /// podman, and what builds on it: buildah, compose, quadlets
    #[command(subcommand, after_help = EXAMPLES)]
    Podman(PodmanCommand),
    /// Docker: networks of the driver vswitch
    #[command(subcommand)]
    Docker(DockerCommand),
}

/// What can be done with podman.
#[derive(Debug, Subcommand)]
pub(crate) enum PodmanCommand {
    /// Let podman call vswitch for its networks
    Install(ScopeArgs),
    /// Take that back
    Uninstall(ScopeArgs),
    /// Show whether podman calls vswitch, and which of its containers are on the switch
    Status(ScopeArgs),
}

impl EngineCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            EngineCommand::Podman(PodmanCommand::Install(scope)) => install(&Place::of(&scope)?, client).await,
            EngineCommand::Podman(PodmanCommand::Uninstall(scope)) => uninstall(&Place::of(&scope)?),
            EngineCommand::Podman(PodmanCommand::Status(scope)) => status(&Place::of(&scope)?, client).await,
            EngineCommand::Docker(command) => command.run(client).await,
        }
    }
}

/// Where the files of an installation are.
struct Place {
    helpers: Links,
    plugins: Links,
    configuration: OwnFile,
    units: Units,
    system: bool,
}

impl Place {
    fn of(scope: &ScopeArgs) -> anyhow::Result<Place> {
        let system = scope.is_system();
        let (data, containers, units) = match system {
            true => ("/usr/local/libexec/vswitch".into(), "/etc/containers".into(), "/etc/systemd/system".into()),
            false => {
                let settings = user_folder("XDG_CONFIG_HOME", ".config")?;
                let data = user_folder("XDG_DATA_HOME", ".local/share")?.join("vswitch");
                (data, settings.join("containers"), settings.join("systemd/user"))
            }
        };
        Ok(Place::in_folders(&data, &containers, &units, system))
    }

    fn in_folders(data: &Path, containers: &Path, units: &Path, system: bool) -> Place {
        Place {
            helpers: Links::new(data.join("podman"), &HELPERS),
            plugins: Links::new(data.join("netavark"), &PLUGINS),
            configuration: OwnFile::with_header(containers.join("containers.conf.d/vswitch.conf")),
            units: Units::new(units, system),
            system,
        }
    }
}

async fn install(place: &Place, client: &Client) -> anyhow::Result<()> {
    let daemon = program("vswitchd")?;
    place.configuration.is_there()?;
    place.helpers.make()?;
    place.plugins.make()?;
    place.configuration.write(&configuration(place)?)?;
    output::print(&format!(
        "podman calls vswitch for networks of containers that start from now on.\n  {}  names the helpers\n  {}  are they\n",
        place.configuration.path().display(),
        place.helpers.folder().display(),
    ))?;
    place.units.install(&daemon, client).await
}

/// The text of podman's configuration.
fn configuration(place: &Place) -> anyhow::Result<String> {
    let list = |own: &Path, others: [&str; 4]| {
        let own = own.to_str().context("the folder of the helpers has a name that is no text")?;
        let quoted: Vec<String> = std::iter::once(own).chain(others).map(|text| format!("{text:?}")).collect();
        anyhow::Ok(quoted.join(", "))
    };
    let helpers = list(place.helpers.folder(), PODMAN_HELPER_FOLDERS)?;
    let slirp = place.helpers.folder().join(SLIRP4NETNS);
    let slirp = slirp.to_str().context("the folder of the helpers has a name that is no text")?;
    let mut text = format!("{HEADER}\n[engine]\nhelper_binaries_dir = [{helpers}]\nnetwork_cmd_path = {slirp:?}\n");
    if place.system {
        text.push_str("# vswitchd takes the published ports, so podman must not.\nenable_port_reservation = false\n");
    }
    let plugins = list(place.plugins.folder(), PODMAN_PLUGIN_FOLDERS)?;
    text.push_str("\n[network]\nnetwork_backend = \"netavark\"\n");
    text.push_str(&format!("netavark_plugin_dirs = [{plugins}]\n"));
    Ok(text)
}

fn uninstall(place: &Place) -> anyhow::Result<()> {
    place.configuration.is_there()?;
    let mut removed = place.configuration.remove()?;
    removed |= place.helpers.remove()?;
    removed |= place.plugins.remove()?;
    removed |= place.units.uninstall()?;
    let said = match removed {
        true => "podman uses its own network helpers again. Containers that run keep their network until they stop.\n",
        false => "podman was not told to call vswitch; there is nothing to take back.\n",
    };
    Ok(output::print(said)?)
}

async fn status(place: &Place, client: &Client) -> anyhow::Result<()> {
    let scope = if place.system { "for everybody" } else { "for this user" };
    let said = match (place.configuration.is_there()?, place.helpers.are_there() && place.plugins.are_there()) {
        (true, true) => format!(
            "podman calls vswitch for its networks, {scope}: {}\nits slirp4netns, which podman up to 4 gives an ordinary user's \
             containers that are on no network, is vswitch's: {}\n",
            place.configuration.path().display(),
            place.helpers.folder().join(SLIRP4NETNS).display()
        ),
        (true, false) => format!(
            "{} names helpers that are missing in {}; run 'vswitchctl engine podman install' again\n",
            place.configuration.path().display(),
            place.helpers.folder().display()
        ),
        (false, _) => format!("podman does not call vswitch, {scope}; 'vswitchctl engine podman install' lets it\n"),
    };
    output::print(&said)?;
    let endpoints = match client.endpoints().await {
        Ok(endpoints) => endpoints,
        Err(error) if error.is_unreachable() => {
            output::print(
                "vswitchd does not run; the first container starts it if it can, or start it with 'vswitchd'\n",
            )?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    print_endpoints(&endpoints, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is what podman reads, and only the system's frees the ports.
    #[test]
    fn podman_s_configuration() {
        let text = |data: &str, system| {
            let none = Path::new("");
            configuration(&Place::in_folders(Path::new(data), none, none, system)).unwrap()
        };
        let user = text("/home/u/x y", false);
        assert!(user.contains("network_cmd_path = \"/home/u/x y/podman/podman-slirp4netns\""), "{user}");
        assert!(user.starts_with(HEADER) && !user.contains("enable_port_reservation"), "{user}");
        assert!(user.contains(r#"helper_binaries_dir = ["/home/u/x y/podman", "/usr/local/libexec/podman""#), "{user}");
        assert!(
            user.contains(r#"netavark_plugin_dirs = ["/home/u/x y/netavark", "/usr/local/libexec/netavark""#),
            "{user}"
        );
        assert!(text("/x", true).contains("enable_port_reservation = false\n\n[network]"));
    }
}
