//! `engine`: telling container engines to call vswitch for their networks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::{EngineKey, PODMAN_HELPER_FOLDERS, PODMAN_PLUGIN_FOLDERS};

use super::engine_docker::DockerCommand;
use super::units;
use crate::output;
use crate::table::Table;

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

/// Begins the file that `install` writes, so that `uninstall` removes no other.
const HEADER: &str =
    "# Written by 'vswitchctl engine podman install'; 'vswitchctl engine podman uninstall' removes it.";

/// What podman calls us by.
const HELPERS: [&str; 2] = ["netavark", "rootlessport"];

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

/// For whom.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// For this user (the default, unless it is root)
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// For everybody on this host; root's containers and those of users alike
    #[arg(long)]
    system: bool,
}

impl ScopeArgs {
    /// For everybody.
    pub(super) fn is_system(&self) -> bool {
        self.system || (!self.user && rustix::process::geteuid().is_root())
    }
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
    helpers: PathBuf,
    plugins: PathBuf,
    configuration: PathBuf,
    units: PathBuf,
    system: bool,
}

impl Place {
    fn of(scope: &ScopeArgs) -> anyhow::Result<Place> {
        let system = scope.is_system();
        if system {
            return Ok(Place {
                helpers: "/usr/local/libexec/vswitch/podman".into(),
                plugins: "/usr/local/libexec/vswitch/netavark".into(),
                units: "/etc/systemd/system".into(),
                configuration: "/etc/containers/containers.conf.d/vswitch.conf".into(),
                system,
            });
        }
        let (data, settings) =
            (user_folder("XDG_DATA_HOME", ".local/share")?, user_folder("XDG_CONFIG_HOME", ".config")?);
        Ok(Place {
            helpers: data.join("vswitch/podman"),
            plugins: data.join("vswitch/netavark"),
            configuration: settings.join("containers/containers.conf.d/vswitch.conf"),
            units: settings.join("systemd/user"),
            system,
        })
    }

    /// Whether podman was told; refuses to say of a file that somebody else wrote.
    fn installed(&self) -> anyhow::Result<bool> {
        match fs::read_to_string(&self.configuration) {
            Ok(text) if text.starts_with(HEADER) => Ok(true),
            Ok(_) => bail!("{} is not of vswitch; move it away first", self.configuration.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.configuration.display())),
        }
    }
}

/// A folder of this user's: what a variable names, or one below the home directory.
pub(super) fn user_folder(variable: &str, below: &str) -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| set("HOME").map(|home| home.join(below))).context("set HOME to your home directory")
}

/// A program that is installed beside this one.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find where this program is")?;
    let program = own.with_file_name(name);
    if !program.is_file() {
        bail!("there is no {}, which engines need; install it beside vswitchctl", program.display());
    }
    Ok(program)
}

async fn install(place: &Place, client: &Client) -> anyhow::Result<()> {
    let (program, daemon) = (program("vswitch-engine")?, program("vswitchd")?);
    place.installed()?;
    link_all(&place.helpers, &HELPERS, &program)?;
    link_all(&place.plugins, &PLUGINS, &program)?;
    let text = configuration(place)?;
    write(&place.configuration, &text).with_context(|| format!("cannot write {}", place.configuration.display()))?;
    output::print(&format!(
        "podman calls vswitch for networks of containers that start from now on.\n  {}  names the helpers\n  {}  are they\n",
        place.configuration.display(),
        place.helpers.display(),
    ))?;
    units::install(&place.units, place.system, &daemon, client).await
}

/// Puts a program into a folder by all of these names.
pub(super) fn link_all(folder: &Path, names: &[&str], program: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in names {
        let link = folder.join(name);
        match fs::symlink_metadata(&link) {
            Ok(about) if !about.is_symlink() => bail!("{} is not of vswitch; move it away first", link.display()),
            Ok(_) => fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?,
            Err(_) => {}
        }
        let linked = std::os::unix::fs::symlink(program, &link);
        linked.with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(())
}

/// The text of podman's configuration.
fn configuration(place: &Place) -> anyhow::Result<String> {
    let list = |own: &Path, others: [&str; 4]| {
        let own = own.to_str().context("the folder of the helpers has a name that is no text")?;
        let quoted: Vec<String> = std::iter::once(own).chain(others).map(|text| format!("{text:?}")).collect();
        anyhow::Ok(quoted.join(", "))
    };
    let helpers = list(&place.helpers, PODMAN_HELPER_FOLDERS)?;
    let mut text = format!("{HEADER}\n[engine]\nhelper_binaries_dir = [{helpers}]\n");
    if place.system {
        text.push_str("# vswitchd takes the published ports, so podman must not.\nenable_port_reservation = false\n");
    }
    let plugins = list(&place.plugins, PODMAN_PLUGIN_FOLDERS)?;
    text.push_str("\n[network]\nnetwork_backend = \"netavark\"\n");
    text.push_str(&format!("netavark_plugin_dirs = [{plugins}]\n"));
    Ok(text)
}

/// Writes a file as a whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    // podman of other users reads it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.persist(path)?;
    Ok(())
}

fn uninstall(place: &Place) -> anyhow::Result<()> {
    let installed = place.installed()?;
    let mut removed = installed;
    if installed {
        let gone = fs::remove_file(&place.configuration);
        gone.with_context(|| format!("cannot remove {}", place.configuration.display()))?;
    }
    let links = HELPERS.map(|name| place.helpers.join(name)).into_iter();
    for link in links.chain(PLUGINS.map(|name| place.plugins.join(name))).filter(|link| link.is_symlink()) {
        fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        removed = true;
    }
    removed |= units::uninstall(&place.units, place.system)?;
    // Whoever put something else there keeps it.
    let _ = fs::remove_dir(&place.helpers).and_then(|()| fs::remove_dir(&place.plugins));
    let said = match removed {
        true => "podman uses its own network helpers again. Containers that run keep their network until they stop.\n",
        false => "podman was not told to call vswitch; there is nothing to take back.\n",
    };
    Ok(output::print(said)?)
}

async fn status(place: &Place, client: &Client) -> anyhow::Result<()> {
    let whole = HELPERS.iter().all(|helper| place.helpers.join(helper).is_file());
    let scope = if place.system { "for everybody" } else { "for this user" };
    let said = match (place.installed()?, whole) {
        (true, true) => format!("podman calls vswitch for its networks, {scope}: {}\n", place.configuration.display()),
        (true, false) => format!(
            "{} names helpers that are missing in {}; run 'vswitchctl engine podman install' again\n",
            place.configuration.display(),
            place.helpers.display()
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

/// The endpoints of engines' containers.
pub(super) fn print_endpoints(endpoints: &[Endpoint], wanted: impl Fn(&EngineKey) -> bool) -> anyhow::Result<()> {
    let mut table = Table::new(["ENGINE", "CONTAINER ID", "NAME", "INTERFACE", "NETWORK", "ADDRESS"]);
    let mut any = false;
    for one in endpoints {
        let Some(key) = one.engine.as_ref().filter(|key| wanted(key)) else { continue };
        let address = one.ipv4_address.as_ref().or(one.ipv6_address.as_ref());
        let address = address.map(String::as_str).unwrap_or_default();
        table.row([&key.engine, output::short(&key.container), &one.name, &key.interface, &one.network, address]);
        any = true;
    }
    match any {
        true => output::print(&table.render())?,
        false => output::print("No container of an engine is on the switch.\n")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is what podman reads, and only the system's frees the ports.
    #[test]
    fn podman_s_configuration() {
        let text = |helpers: &str, system| {
            let plugins = "/p".into();
            let none = PathBuf::new();
            configuration(&Place { helpers: helpers.into(), plugins, configuration: none.clone(), units: none, system })
                .unwrap()
        };
        let user = text("/home/u/x y", false);
        assert!(user.starts_with(HEADER) && !user.contains("enable_port_reservation"), "{user}");
        assert!(user.contains(r#"helper_binaries_dir = ["/home/u/x y", "/usr/local/libexec/podman""#), "{user}");
        assert!(user.contains(r#"netavark_plugin_dirs = ["/p", "/usr/local/libexec/netavark""#), "{user}");
        assert!(text("/x", true).contains("enable_port_reservation = false\n\n[network]"));
    }
}
