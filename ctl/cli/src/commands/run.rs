//! `run`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Args};
use vswitch_api::client::SOCKET_VARIABLE;
use vswitch_api::container::{ContainerCreate, NetworkRequest};
use vswitch_api::{Client, ClientError};

use crate::failure::{self, Usage};
use crate::foreground::{self, Job, TtyArgs};
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl run --rm -- bash                                   a shell on the default network
  vswitchctl run -d --name web --network blue --ip 10.9.0.5 -- python3 -m http.server
  vswitchctl run --rm --network blue -- curl http://10.9.0.5:8000
  vswitchctl run --rm --network container:web -- ss -ltn        share another container's network

The container has its own network, hostname, processes, /dev, /proc, /run, /sys and /tmp, and otherwise the
host's root filesystem; --volume shares more. Of the environment it gets HOME and what -e names.
The exit status is the command's; 125: vswitchd failed, 126: the command cannot be executed, 127: there
is no such command.";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Leave it running and print its id
    #[arg(short, long, conflicts_with_all = ["tty", "interactive"])]
    detach: bool,
    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,
    /// Its name
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
    /// MAC address on the (first) network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    #[command(flatten)]
    allowed: values::AllowArgs,
    /// Further name on the (first) network (repeat for more)
    #[arg(long = "network-alias", visible_alias = "net-alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// Reach a container under another name
    #[arg(long = "link", value_name = "CONTAINER[:ALIAS]")]
    links: Vec<String>,
    /// Publish a port on the host
    #[arg(short, long, value_name = "[IP:][HOST]:PORT[/PROTO]")]
    publish: Vec<String>,
    /// A port that others may want to know of: linked containers with --icc=false reach it, and -P publishes it
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
    /// Hand on the caller's environment, too
    #[arg(long)]
    env_host: bool,
    /// Share a folder or file of the host (repeat for more)
    #[arg(short, long = "volume", value_name = "HOST:CONTAINER[:ro]", value_parser = values::volume)]
    volumes: Vec<String>,
    /// Working directory [default: the current one, where the container has it]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Label (repeat for more)
    #[arg(short, long = "label", value_name = "KEY[=VALUE]", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// How much output of a detached container is kept: max-size=SIZE of a file [10m], max-file=N [3] (repeat for more)
    #[arg(long = "log-opt", value_name = "KEY=VALUE", value_parser = values::label)]
    log_options: Vec<(String, String)>,
    /// Capability on top of Docker's default ones (repeat for more)
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Capability to take away, or ALL (repeat for more)
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined or systempaths=unconfined (repeat for more)
    #[arg(long = "security-opt", value_name = "OPTION")]
    security_opt: Vec<String>,
    /// All capabilities and devices, no filter of system calls, all of /proc and /sys
    #[arg(long)]
    privileged: bool,
    #[command(flatten)]
    tty: TtyArgs,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl RunArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        daemon_failure(self.create_and_start(client).await)
    }

    async fn create_and_start(self, client: &Client) -> anyhow::Result<ExitCode> {
        let (detach, rm, tty) = (self.detach, self.rm, !self.detach && self.tty.wanted());
        let created = client.create_container(&self.request(tty)?).await?;
        for warning in &created.warnings {
            output::note(&format!("warning: {warning}"));
        }
        let started = if detach {
            client.start_container(&created.id).await.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        } else {
            foreground::run(client, Job::Start(&created.id), tty).await
        };
        if started.is_err() && rm {
            // It never ran, so nothing else removes it; it may be gone already.
            let _ = client.remove_container(&created.id, true).await;
        }
        if detach && started.is_ok() {
            output::print(&format!("{}\n", created.id))?;
        }
        started
    }

    fn request(self, tty: bool) -> anyhow::Result<ContainerCreate> {
        let mut networks = self.networks.into_iter();
        let NetworkRequest { network, mut endpoint } = networks.next().unwrap_or_default();
        if let Some(address) = self.ip {
            values::addresses(&mut endpoint.ipam_config).ipv4_address = address;
        }
        if let Some(address) = self.ip6 {
            values::addresses(&mut endpoint.ipam_config).ipv6_address = address;
        }
        if let Some(address) = self.mac_address {
            endpoint.mac_address = address;
        }
        self.allowed.put_into(&mut endpoint);
        endpoint.aliases.extend(self.aliases);
        endpoint.links.extend(self.links);
        Ok(ContainerCreate {
            name: self.name,
            hostname: self.hostname,
            image: None,
            rootfs: None,
            command: self.command,
            env: environment(&self.env, self.env_host),
            working_dir: Some(working_dir(self.workdir, &self.volumes)?),
            network,
            endpoint,
            more_networks: networks.collect(),
            tty,
            open_stdin: false,
            stdin_once: false,
            auto_remove: self.rm,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_options,
            extra_hosts: self.hosts,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security_opt: self.security_opt,
            privileged: self.privileged,
            volumes: self.volumes,
            publish: self.publish,
            expose: self.expose,
            publish_all: self.publish_all,
            labels: self.labels.into_iter().collect(),
            log_options: self.log_options.into_iter().collect(),
        })
    }
}

/// Docker's exit status for whatever kept the command from running, except for a wrong command line.
pub(crate) fn daemon_failure(outcome: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    outcome.or_else(|error| {
        if error.is::<Usage>() {
            return Err(error);
        }
        failure::report(&error);
        Ok(match error.downcast_ref() {
            Some(ClientError::Refused { exit_code: Some(status), .. }) => foreground::exit_code(*status),
            _ => ExitCode::from(failure::DAEMON),
        })
    })
}

/// What was asked for, on top of our own environment if `all` of that is, or else of our HOME: the file system is the host's.
fn environment(changes: &[String], all: bool) -> Vec<String> {
    let changes = variables(changes);
    let changed = |key: &str| changes.iter().any(|change| change.split_once('=').is_some_and(|(name, _)| name == key));
    let own = std::env::vars_os().filter_map(|(key, value)| {
        // The socket is of no use inside.
        let key = key.into_string().ok().filter(|key| !changed(key) && key != SOCKET_VARIABLE)?;
        (all || key == "HOME").then_some(format!("{key}={}", value.into_string().ok()?))
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

fn working_dir(wanted: Option<String>, volumes: &[String]) -> anyhow::Result<String> {
    let path = match wanted {
        Some(wanted) => std::path::absolute(wanted)?,
        None => {
            let current =
                std::env::current_dir().context("the current directory is gone; name another with --workdir")?;
            let mut shared = volumes.iter().filter_map(|volume| volume.split(':').nth(1));
            let own = OWN_FOLDERS.iter().any(|folder| current.starts_with(folder));
            if own && !shared.any(|folder| current.starts_with(folder)) { "/".into() } else { current }
        }
    };
    path.into_os_string().into_string().map_err(|_| {
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
        let few = environment(&changes, false);
        let home = std::env::var_os("HOME").map(|_| "HOME".to_owned());
        assert_eq!(keys(&few), home.into_iter().chain(["A".to_owned(), "PATH".to_owned()]).collect::<Vec<_>>());
        assert!(few.contains(&"A=2".to_owned()) && few.contains(&"PATH=/x".to_owned()), "{few:?}");
        let all = environment(&changes, true);
        assert_eq!(all.iter().filter(|line| line.starts_with("PATH=")).collect::<Vec<_>>(), ["PATH=/x"]);
        // What cargo sets for every test.
        assert!(all.iter().any(|line| line.starts_with("CARGO_PKG_NAME=")));
    }
}
