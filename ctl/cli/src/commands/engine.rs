//! `engine`: telling container engines to call vswitch for their networks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::{EngineKey, PODMAN_HELPER_FOLDERS};

use crate::output;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  vswitchctl engine podman install        podman's containers go through vswitch, for this user
  vswitchctl engine podman status
  vswitchctl engine podman uninstall

podman finds its network helpers in the folders of helper_binaries_dir (containers.conf(5)). 'install' puts one with
vswitch's own in front, by a file of its own in containers.conf.d; nothing of podman's is changed. Images, volumes, pods and
compose files stay as they are. While vswitchd does not run, podman's own helpers are used.";

/// Begins the file that `install` writes, so that `uninstall` removes no other.
const HEADER: &str =
    "# Written by 'vswitchctl engine podman install'; 'vswitchctl engine podman uninstall' removes it.";

/// What podman calls us by.
const HELPERS: [&str; 2] = ["netavark", "rootlessport"];

/// Engines.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum EngineCommand {
    /// podman, and what builds on it: buildah, compose, quadlets
    #[command(subcommand, after_help = EXAMPLES)]
    Podman(PodmanCommand),
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
        let EngineCommand::Podman(command) = self;
        match command {
            PodmanCommand::Install(scope) => install(&Place::of(&scope)?),
            PodmanCommand::Uninstall(scope) => uninstall(&Place::of(&scope)?),
            PodmanCommand::Status(scope) => status(&Place::of(&scope)?, client).await,
        }
    }
}

/// Where the files of an installation are.
struct Place {
    helpers: PathBuf,
    configuration: PathBuf,
    system: bool,
}

impl Place {
    fn of(scope: &ScopeArgs) -> anyhow::Result<Place> {
        let system = scope.is_system();
        if system {
            return Ok(Place {
                helpers: "/usr/local/libexec/vswitch/podman".into(),
                configuration: "/etc/containers/containers.conf.d/vswitch.conf".into(),
                system,
            });
        }
        Ok(Place {
            helpers: user_folder("XDG_DATA_HOME", ".local/share")?.join("vswitch/podman"),
            configuration: user_folder("XDG_CONFIG_HOME", ".config")?.join("containers/containers.conf.d/vswitch.conf"),
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

/// The program that engines are to call: beside this one.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find where this program is")?;
    let program = own.with_file_name("vswitch-engine");
    if !program.is_file() {
        bail!("there is no {}, which engines are to call; install it beside vswitchctl", program.display());
    }
    Ok(program)
}

fn install(place: &Place) -> anyhow::Result<()> {
    let program = program()?;
    place.installed()?;
    let made = fs::create_dir_all(&place.helpers);
    made.with_context(|| format!("cannot make {}", place.helpers.display()))?;
    for helper in HELPERS {
        let link = place.helpers.join(helper);
        match fs::symlink_metadata(&link) {
            Ok(about) if !about.is_symlink() => bail!("{} is not of vswitch; move it away first", link.display()),
            Ok(_) => fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?,
            Err(_) => {}
        }
        let linked = std::os::unix::fs::symlink(&program, &link);
        linked.with_context(|| format!("cannot make {}", link.display()))?;
    }
    let text = configuration(&place.helpers, place.system)?;
    write(&place.configuration, &text).with_context(|| format!("cannot write {}", place.configuration.display()))?;
    output::print(&format!(
        "podman calls vswitch for networks of containers that start from now on.\n  {}  names the helpers\n  {}  are they\n\
         It needs vswitchd, which {}; without it podman's own helpers are used.\n",
        place.configuration.display(),
        place.helpers.display(),
        if place.system { "root starts with 'vswitchd'" } else { "you start with 'vswitchd'" },
    ))?;
    Ok(())
}

/// The text of podman's configuration.
fn configuration(helpers: &Path, system: bool) -> anyhow::Result<String> {
    let quoted = |text: &str| format!("{text:?}");
    let own = helpers.to_str().context("the folder of the helpers has a name that is no text")?;
    let folders: Vec<String> = std::iter::once(own).chain(PODMAN_HELPER_FOLDERS).map(quoted).collect();
    let mut text = format!("{HEADER}\n[engine]\nhelper_binaries_dir = [{}]\n", folders.join(", "));
    if system {
        text.push_str("# vswitchd takes the published ports, so podman must not.\nenable_port_reservation = false\n");
    }
    text.push_str("\n[network]\nnetwork_backend = \"netavark\"\n");
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
    for helper in HELPERS {
        let link = place.helpers.join(helper);
        if link.is_symlink() {
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
            removed = true;
        }
    }
    // Whoever put something else there keeps it.
    let _ = fs::remove_dir(&place.helpers);
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
            output::print("vswitchd does not run, so podman's own helpers are used; start it with 'vswitchd'\n")?;
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
        let user = configuration(Path::new("/home/u/x y"), false).unwrap();
        assert!(user.starts_with(HEADER) && !user.contains("enable_port_reservation"), "{user}");
        assert!(user.contains(r#"helper_binaries_dir = ["/home/u/x y", "/usr/local/libexec/podman""#), "{user}");
        assert!(configuration(Path::new("/x"), true).unwrap().contains("enable_port_reservation = false\n\n[network]"));
    }
}
