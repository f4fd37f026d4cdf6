//! `cni`: telling those who speak the Container Network Interface to call vswitch.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vswitch_api::Client;

use super::installed::{Links, OwnFile, ScopeArgs, print_endpoints, user_folder};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl cni install                                 a network 'vswitch' for containerd, CRI-O, podman
  vswitchctl cni install --name pods --subnet 10.90.0.0/16
  vswitchctl cni install --name blue --network blue      the network blue of 'vswitchctl network create'
  vswitchctl cni status
  vswitchctl cni uninstall

'install' writes one network configuration and makes one link to the plug-in; nothing else is changed. The plug-in speaks
CNI 0.3.0 to 1.1.0; what the configuration may say further is in docs/engines.md.";

/// The key by which `uninstall` knows the file that `install` wrote.
const MARK: &str = "vswitch";
const MARK_TEXT: &str = "written by 'vswitchctl cni install'; 'vswitchctl cni uninstall' removes it";

/// Name of the plug-in, and of the network if nobody names one.
const PLUGIN: &str = "vswitch";

/// Version of the specification that configurations are of: what containerd 1.6, CRI-O 1.23 and podman 4 read.
const VERSION: &str = "0.4.0";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum CniCommand {
    /// Write a network configuration and put the plug-in where runtimes look
    #[command(after_help = EXAMPLES)]
    Install(InstallArgs),
    /// Take that back
    Uninstall(PlaceArgs),
    /// Show what is installed, and which containers are on the switch by it
    Status(PlaceArgs),
}

/// Where, and under which name.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Name of the network for runtimes
    #[arg(long, default_value = PLUGIN)]
    name: String,
    /// Folder of network configurations [default: /etc/cni/net.d, for a user ~/.config/cni/net.d]
    #[arg(long, value_name = "FOLDER")]
    conf_dir: Option<PathBuf>,
    /// Folder of plug-ins [default: /opt/cni/bin, for a user ~/.local/share/vswitch/cni]
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
}

/// What the network is like.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// A network of vswitch's that containers join
    #[arg(long, conflicts_with = "subnet")]
    network: Option<String>,
    /// Subnet of the network, once for each address family; vswitchd chooses one if there is none
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// Version of CNI that the configuration is of
    #[arg(long, default_value = VERSION, value_name = "VERSION")]
    cni_version: String,
}

impl CniCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            CniCommand::Install(args) => install(&args, client),
            CniCommand::Uninstall(args) => uninstall(&Place::of(&args)?),
            CniCommand::Status(args) => status(&Place::of(&args)?, client).await,
        }
    }
}

/// Where the files of an installation are.
struct Place {
    configuration: OwnFile,
    plugin: Links,
    system: bool,
}

impl Place {
    fn of(args: &PlaceArgs) -> anyhow::Result<Place> {
        let system = args.scope.is_system();
        let name = &args.name;
        let mut letters = name.chars();
        let good = letters.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !good {
            bail!(
                "CNI has no networks called {name:?}; begin with a letter or digit and use only those, '_', '.' and '-'"
            );
        }
        let folder = |named: &Option<PathBuf>, of_system: &str, of_user: (&str, &str, &str)| match named {
            Some(folder) => Ok(folder.clone()),
            None if system => Ok(PathBuf::from(of_system)),
            None => user_folder(of_user.0, of_user.1).map(|folder| folder.join(of_user.2)),
        };
        let configurations = folder(&args.conf_dir, "/etc/cni/net.d", ("XDG_CONFIG_HOME", ".config", "cni/net.d"))?;
        let plugins = folder(&args.bin_dir, "/opt/cni/bin", ("XDG_DATA_HOME", ".local/share", "vswitch/cni"))?;
        // Runtimes that take one network alone take the first by name.
        let configuration = OwnFile::new(configurations.join(format!("10-{name}.conflist")), is_ours);
        Ok(Place { configuration, plugin: Links::new(plugins, &[PLUGIN]), system })
    }

    /// Whether another configuration of vswitch's needs the plug-in.
    fn others(&self) -> bool {
        let Some(folder) = self.configuration.path().parent().and_then(|folder| fs::read_dir(folder).ok()) else {
            return false;
        };
        folder.filter_map(Result::ok).any(|entry| {
            entry.path() != self.configuration.path()
                && fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(MARK_TEXT))
        })
    }
}

/// Whether a configuration is one that `install` wrote.
fn is_ours(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|conflist| conflist.get(MARK).is_some())
}

/// The text of the network configuration.
fn configuration(args: &InstallArgs, client: &Client, system: bool) -> anyhow::Result<String> {
    let mut plugin = json!({
        "type": PLUGIN,
        "capabilities": { "portMappings": true, "ips": true, "mac": true, "dns": true, "aliases": true },
    });
    if let Some(network) = &args.network {
        plugin["network"] = network.clone().into();
    }
    if !args.subnet.is_empty() {
        plugin["subnets"] = args.subnet.iter().map(|subnet| json!({ "subnet": subnet })).collect();
    }
    // A runtime has none of this shell's variables.
    let usual = vswitch_api::client::own_socket(
        if system { 0 } else { rustix::process::geteuid().as_raw() },
        runtime_folder().as_deref(),
    );
    if usual.is_ok_and(|usual| usual != client.socket()) {
        let socket = std::path::absolute(client.socket()).context("cannot find where the socket is")?;
        plugin["socket"] = socket.to_str().context("the socket's path is no text")?.into();
    }
    let conflist = json!({
        "cniVersion": args.cni_version, "name": args.place.name, MARK: MARK_TEXT, "plugins": [plugin]
    });
    Ok(serde_json::to_string_pretty(&conflist)? + "\n")
}

fn runtime_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

fn install(args: &InstallArgs, client: &Client) -> anyhow::Result<()> {
    let place = Place::of(&args.place)?;
    if !VERSIONS.contains(&args.cni_version.as_str()) {
        bail!("the plug-in speaks CNI {}, not {}", VERSIONS.join(", "), args.cni_version);
    }
    place.configuration.is_there()?;
    let text = configuration(args, client, place.system)?;
    place.plugin.make()?;
    place.configuration.write(&text)?;
    let mut said = format!(
        "Containers that start from now on may be on network {}.\n  {}  is its configuration\n  {}  is the plug-in\n\
         It needs vswitchd, which {} with 'vswitchd'.\n",
        args.place.name,
        place.configuration.path().display(),
        place.plugin.folder().join(PLUGIN).display(),
        if place.system { "root starts" } else { "you start" },
    );
    if !place.system {
        said.push_str(&format!(
            "Runtimes of a user look for plug-ins in the system's folders only, so name this one: CNI_PATH={0}, or for podman \
             cni_plugin_dirs = [\"{0}\", \"/usr/lib/cni\"] under [network] in containers.conf.\n",
            place.plugin.folder().display()
        ));
    }
    Ok(output::print(&said)?)
}

/// What the plug-in speaks.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn uninstall(place: &Place) -> anyhow::Result<()> {
    place.configuration.is_there()?;
    let mut removed = place.configuration.remove()?;
    if !place.others() {
        removed |= place.plugin.remove()?;
    }
    let said = match removed {
        true => format!(
            "{} is gone. Containers that run keep their network until they stop, which needs the plug-in no more: their \
             endpoints go with their namespaces.\n",
            place.configuration.path().display()
        ),
        false => format!("There is no {}; there is nothing to take back.\n", place.configuration.path().display()),
    };
    Ok(output::print(&said)?)
}

async fn status(place: &Place, client: &Client) -> anyhow::Result<()> {
    let configuration = place.configuration.path().display();
    let said = match (place.configuration.is_there()?, place.plugin.are_there()) {
        (true, true) => {
            format!("installed: {configuration}, with the plug-in in {}\n", place.plugin.folder().display())
        }
        (true, false) => format!(
            "{configuration} names a plug-in that is missing in {}; run 'vswitchctl cni install' again\n",
            place.plugin.folder().display()
        ),
        (false, _) => format!("not installed: there is no {configuration}; 'vswitchctl cni install' makes it\n"),
    };
    output::print(&said)?;
    match client.endpoints().await {
        Ok(endpoints) => print_endpoints(&endpoints, |key| key.engine == "cni"),
        Err(error) if error.is_unreachable() => {
            Ok(output::print("vswitchd does not run, so containers cannot be added; start it with 'vswitchd'\n")?)
        }
        Err(error) => Err(error.into()),
    }
}
