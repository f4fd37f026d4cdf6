//! `create`, and what `run` has in common with it: everything that a container is.

mod files;
mod foreign;
mod lists;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Args};
use vswitch_api::Client;
use vswitch_api::client::SOCKET_VARIABLE;
use vswitch_api::container::{ContainerCreate, ContainerCreated, NetworkRequest};

use self::files::{FileArgs, Home};
use self::foreign::ForeignArgs;
use self::lists::Bare;
use self::process::ProcessArgs;
use crate::failure::Usage;
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl create --name web --network blue -p 8080:80 -- nginx -g 'daemon off;'
  vswitchctl start web

It is made as 'run' would make it, and waits for 'start'.";

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub(crate) struct CreateArgs {
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Keep standard input open for whoever attaches
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    container: ContainerArgs,
}

impl CreateArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        super::run::daemon_failure(self.create(client).await)
    }

    async fn create(self, client: &Client) -> anyhow::Result<ExitCode> {
        let created =
            self.container.create(client, Shape { tty: self.tty, input: self.interactive, once: false }).await?;
        output::print(&format!("{}\n", created.id))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What its streams are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// A terminal.
    pub(crate) tty: bool,
    /// Standard input is kept open.
    pub(crate) input: bool,
    /// It ends with that of whoever sends it.
    pub(crate) once: bool,
}

/// Everything that a container is.
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,
    /// Its name [default: one that is chosen for it]
    #[arg(long)]
    name: Option<String>,
    /// Its hostname [default: its short id]
    #[arg(short, long)]
    hostname: Option<String>,
    /// Network name, 'none', 'host' or 'container:NAME'; also name=NETWORK,ip=A,alias=N,… (repeat for more)
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK", value_parser = values::network)]
    networks: Vec<NetworkRequest>,
    /// IPv4 address on the (first) network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address on the (first) network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Further address on the (first) network, of 169.254.0.0/16 or fe80::/10 (repeat for more)
    #[arg(long = "link-local-ip", value_name = "ADDRESS")]
    link_local_ips: Vec<String>,
    /// MAC address on the (first) network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    #[command(flatten)]
    allowed: values::AllowArgs,
    /// Further name on the (first) network (repeat for more)
    #[arg(long = "network-alias", visible_alias = "net-alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// Reach a container under another name (repeat for more)
    #[arg(long = "link", value_name = "CONTAINER[:ALIAS]")]
    links: Vec<String>,
    /// Publish a port on the host (repeat for more)
    #[arg(short, long, value_name = "[IP:][HOST]:PORT[/PROTO]")]
    publish: Vec<String>,
    /// A port that it serves: containers that --link to it reach it also with vswitchd --icc=false, on the default network, and
    /// -P publishes it (repeat for more)
    #[arg(long, value_name = "PORT[-PORT][/PROTO]")]
    expose: Vec<String>,
    /// Publish every port that is exposed, at any free port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Nameserver instead of the host's (repeat for more), or 'gateway': ask there, and leave port 53 inside to the container
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// DNS search domain (repeat for more)
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of resolv.conf, such as ndots:2 (repeat for more)
    #[arg(long = "dns-option", visible_alias = "dns-opt", value_name = "OPTION")]
    dns_options: Vec<String>,
    /// Line for /etc/hosts; the address may be 'host-gateway' (repeat for more)
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = values::host)]
    hosts: Vec<String>,
    /// Environment variable (repeat for more)
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = values::variable)]
    env: Vec<String>,
    /// Environment variables from the lines of a file (repeat for more)
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Hand on the caller's environment, too
    #[arg(long)]
    env_host: bool,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    foreign: ForeignArgs,
    /// Working directory, made where the container has the place for itself [default: the current one, where the container
    /// has it]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Label (repeat for more)
    #[arg(short, long = "label", value_name = "KEY[=VALUE]", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Labels from the lines of a file (repeat for more)
    #[arg(long = "label-file", value_name = "FILE")]
    label_files: Vec<PathBuf>,
    /// Write its id into a new file
    #[arg(long = "cidfile", value_name = "FILE")]
    id_file: Option<PathBuf>,
    /// How much output of a detached container is kept: max-size=SIZE of a file [10m], max-file=N [3] (repeat for more)
    #[arg(long = "log-opt", value_name = "KEY=VALUE", value_parser = values::label)]
    log_options: Vec<(String, String)>,
    /// Capability on top of Docker's default ones (repeat for more)
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Capability to take away, or ALL (repeat for more)
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined, seccomp=FILE (a profile in Docker's form) or systempaths=unconfined (repeat for
    /// more)
    #[arg(long = "security-opt", value_name = "OPTION")]
    security_opt: Vec<String>,
    /// All capabilities and devices, no filter of system calls, all of /proc and /sys
    #[arg(long)]
    privileged: bool,
    /// The host's user namespace, where vswitchd gives containers one of their own
    #[arg(long, value_name = "host")]
    userns: Option<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The command and its arguments
    #[arg(required_unless_present = "entrypoint", trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ContainerArgs {
    /// Whether it goes when it has ended.
    pub(crate) const fn removed(&self) -> bool {
        self.rm
    }

    /// Make it; warnings are printed.
    pub(crate) async fn create(self, client: &Client, shape: Shape) -> anyhow::Result<ContainerCreated> {
        if let Some(file) = self.id_file.as_ref().filter(|file| file.exists()) {
            let file = file.display();
            return Err(Usage(format!(
                "container ID file found, make sure the other container isn't running or delete {file}"
            ))
            .into());
        }
        if let Some(warning) = self.foreign.check()? {
            output::note(&format!("warning: {warning}"));
        }
        let id_file = self.id_file.clone();
        let created = client.create_container(&self.request(shape)?).await?;
        if let Some(file) = id_file {
            std::fs::write(&file, &created.id)
                .with_context(|| format!("the container was made, but not its ID file {}", file.display()))?;
        }
        for warning in &created.warnings {
            output::note(&format!("warning: {warning}"));
        }
        Ok(created)
    }

    fn request(self, Shape { tty, input, once }: Shape) -> anyhow::Result<ContainerCreate> {
        let home = if self.process.user.is_some() { Home::Own } else { self.files.home() };
        let mut variables = lists::read(&self.env_files, Bare::Inherit)?;
        variables.extend(self.env);
        let env = environment(&variables, self.env_host, home);
        let labels = lists::read(&self.label_files, Bare::Empty)?;
        let labels = labels.iter().filter_map(|line| line.split_once('='));
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let working_dir = working_dir(self.workdir, &self.files)?;
        let security_opt = self.security_opt.into_iter().map(security_option).collect::<Result<_, _>>()?;
        let mut networks = self.networks.into_iter();
        let NetworkRequest { network, mut endpoint } = networks.next().unwrap_or_default();
        if let Some(address) = self.ip {
            values::addresses(&mut endpoint.ipam_config).ipv4_address = address;
        }
        if let Some(address) = self.ip6 {
            values::addresses(&mut endpoint.ipam_config).ipv6_address = address;
        }
        if !self.link_local_ips.is_empty() {
            values::addresses(&mut endpoint.ipam_config).link_local_ips = self.link_local_ips;
        }
        if let Some(address) = self.mac_address {
            endpoint.mac_address = address;
        }
        self.allowed.put_into(&mut endpoint);
        endpoint.aliases.extend(self.aliases);
        endpoint.links.extend(self.links);
        let mut request = ContainerCreate {
            name: self.name,
            hostname: self.hostname,
            image: None,
            command: self.command,
            env,
            working_dir,
            network,
            endpoint,
            more_networks: networks.collect(),
            tty,
            open_stdin: input,
            stdin_once: once,
            auto_remove: self.rm,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_options,
            extra_hosts: self.hosts,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security_opt,
            privileged: self.privileged,
            userns: self.userns.unwrap_or_default(),
            volumes: self.files.volumes,
            mounts: self.files.mounts,
            tmpfs: self.files.tmpfs.into_iter().collect(),
            rootfs: self.files.rootfs,
            read_only: self.files.read_only,
            publish: self.publish,
            expose: self.expose,
            publish_all: self.publish_all,
            labels: labels.chain(self.labels).collect(),
            log_options: self.log_options.into_iter().collect(),
            ..ContainerCreate::default()
        };
        self.process.fill(&mut request);
        Ok(request)
    }
}

/// What was asked for, on top of our own environment if `all` of that is, or else of our HOME where the file system is the
/// host's.
fn environment(changes: &[String], all: bool, home: Home) -> Vec<String> {
    let changes = variables(changes);
    let changed = |key: &str| changes.iter().any(|change| change.split_once('=').is_some_and(|(name, _)| name == key));
    let own = std::env::vars_os().filter_map(|(key, value)| {
        // The socket is of no use inside.
        let key = key.into_string().ok().filter(|key| !changed(key) && key != SOCKET_VARIABLE)?;
        (all || (key == "HOME" && home == Home::Callers)).then_some(format!("{key}={}", value.into_string().ok()?))
    });
    own.chain(changes.iter().cloned()).collect()
}

/// `KEY=VALUE` as it is, `KEY` with our own value if we have one; of the same key the last.
pub(crate) fn variables(given: &[String]) -> Vec<String> {
    let pairs = given.iter().filter_map(|given| match given.split_once('=') {
        Some((key, value)) => Some((key, value.to_owned())),
        None => Some((given.as_str(), std::env::var(given).ok()?)),
    });
    let last: BTreeMap<_, _> = pairs.collect();
    last.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Puts the text of a profile in the place of its file's name, as docker does: it is a file of the caller's.
fn security_option(option: String) -> anyhow::Result<String> {
    let file = match option.split_once(['=', ':']) {
        Some(("seccomp", value)) if !matches!(value, "unconfined" | "builtin") => value,
        _ => return Ok(option),
    };
    let wrong = |why: String| Usage(format!("the seccomp profile {file:?} cannot be used: {why}"));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(format!("seccomp={profile}"))
}

fn working_dir(wanted: Option<String>, files: &FileArgs) -> anyhow::Result<Option<String>> {
    let path = match wanted {
        Some(wanted) => std::path::absolute(wanted)?,
        // The caller's folder is none of another root directory's.
        None if files.home() == Home::Own => return Ok(None),
        None => {
            let current =
                std::env::current_dir().context("the current directory is gone; name another with --workdir")?;
            let mut shared = files.targets();
            let own = OWN_FOLDERS.iter().any(|folder| current.starts_with(folder));
            if own && !shared.any(|folder| current.starts_with(folder)) { "/".into() } else { current }
        }
    };
    path.into_os_string().into_string().map(Some).map_err(|_| {
        Usage("the working directory's path must be text (UTF-8); name another with --workdir".into()).into()
    })
}

/// What a container has of its own, so that the caller's folder is not there.
const OWN_FOLDERS: [&str; 5] = ["/tmp", "/run", "/dev", "/proc", "/sys"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Only HOME and what was asked for is handed on, or everything; changes win, and the last of several changes wins.
    #[test]
    fn environments() {
        let changes: Vec<String> =
            ["PATH=/x", "A=1", "A=2", "ABSENT_VARIABLE"].iter().map(|&text| text.to_owned()).collect();
        let keys =
            |all: &[String]| all.iter().map(|line| line.split('=').next().unwrap().to_owned()).collect::<Vec<_>>();
        let few = environment(&changes, false, Home::Callers);
        let home = std::env::var_os("HOME").map(|_| "HOME".to_owned());
        assert_eq!(keys(&few), home.into_iter().chain(["A".to_owned(), "PATH".to_owned()]).collect::<Vec<_>>());
        assert!(few.contains(&"A=2".to_owned()) && few.contains(&"PATH=/x".to_owned()), "{few:?}");
        assert!(!keys(&environment(&changes, false, Home::Own)).contains(&"HOME".to_owned()));
        let all = environment(&changes, true, Home::Own);
        assert_eq!(all.iter().filter(|line| line.starts_with("PATH=")).collect::<Vec<_>>(), ["PATH=/x"]);
        // What cargo sets for every test.
        assert!(all.iter().any(|line| line.starts_with("CARGO_PKG_NAME=")));
    }
}
