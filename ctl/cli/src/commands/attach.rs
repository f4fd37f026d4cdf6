//! `attach` and `detach`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use vswitch_api::Client;
use vswitch_api::client::StreamsWanted;
use vswitch_api::container::ContainerState;
use vswitch_api::endpoint::AttachRequest;

use crate::failure::{Tally, Usage};
use crate::foreground::{self, Attachment, LeaveArgs};
use crate::output;
use crate::values;

const EXAMPLES: &str = "\
Examples:
  vswitchctl attach box                                   to the streams of a container; Ctrl-P Ctrl-Q leaves -i -t
  vswitchctl attach --pid 4242 --network blue
  vswitchctl attach --netns /run/netns/lab --network blue --name lab --ip 10.0.0.220/24@10.0.0.254
  vswitchctl attach --netns /run/netns/lab --network blue --resolv-conf /etc/netns/lab/resolv.conf

A default route that the namespace has already stays in force; --default-route takes over until detach.

Prints the name that detach takes. The network's gateway answers names, its containers' and all others: --resolv-conf
writes the file that tells programs inside so. 'ip netns exec lab' puts /etc/netns/lab/resolv.conf in its place.";

/// Arguments of `attach`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("namespace").required(true).args(["pid", "netns", "container"]))]
pub(crate) struct AttachArgs {
    /// The network namespace of this process
    #[arg(long)]
    pid: Option<u32>,
    /// The network namespace bound at this path
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// The container whose streams to connect with, by name or id
    #[arg(conflicts_with_all = ["network", "name", "ip", "ip6", "mac_address", "alias", "interface", "resolv_conf"])]
    container: Option<String>,
    /// Only listen to the container
    #[arg(long, requires = "container")]
    no_stdin: bool,
    #[command(flatten)]
    leave: LeaveArgs,
    /// The network, by name or id
    #[arg(
        long,
        value_name = "NETWORK",
        required_unless_present = "container",
        default_value = "",
        hide_default_value = true
    )]
    network: String,
    /// A name for the endpoint, to detach it by
    #[arg(long)]
    name: Option<String>,
    /// IPv4 address, optionally with prefix length and gateway
    #[arg(long, value_name = "ADDRESS[/LEN][@GATEWAY]")]
    ip: Option<String>,
    /// IPv6 address, optionally with prefix length and gateway
    #[arg(long, value_name = "ADDRESS[/LEN][@GATEWAY]")]
    ip6: Option<String>,
    /// MAC address
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    #[command(flatten)]
    allowed: values::AllowArgs,
    /// Further name on the network (repeat for more)
    #[arg(long = "network-alias", visible_alias = "alias", value_name = "NAME")]
    alias: Vec<String>,
    /// Interface name inside [default: the first free ethN]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Write a resolv.conf that names the network's gateway to this file
    #[arg(long, value_name = "FILE")]
    resolv_conf: Option<PathBuf>,
    /// Lead everything by the network, although the namespace has a default route of its own, until detach
    #[arg(long)]
    default_route: bool,
    /// Attach the namespace even if it is the host's own
    #[arg(long)]
    force: bool,
    /// Print the endpoint as JSON
    #[arg(long)]
    json: bool,
}

impl AttachArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        match &self.container {
            Some(container) => {
                let shown = client.container(container).await?;
                if shown.state != ContainerState::Running {
                    bail!("You cannot attach to a stopped container, start it first");
                }
                let streams = StreamsWanted {
                    input: !self.no_stdin,
                    output: true,
                    errors: true,
                    detach_keys: &self.leave.detach_keys,
                };
                let wanted = Attachment { container: &shown.id, tty: shown.tty, streams, start: false };
                foreground::attach(client, wanted).await
            }
            None => self.attach(client).await.map(|()| ExitCode::SUCCESS),
        }
    }

    async fn attach(self, client: &Client) -> anyhow::Result<()> {
        let mut request = AttachRequest {
            name: self.name,
            pid: self.pid,
            netns: self.netns.map(absolute).transpose()?,
            network: self.network,
            interface: self.interface,
            default_route: self.default_route,
            force: self.force,
            ..AttachRequest::default()
        };
        let endpoint = &mut request.endpoint;
        if let Some(address) = self.ip {
            values::addresses(&mut endpoint.ipam_config).ipv4_address = address;
        }
        if let Some(address) = self.ip6 {
            values::addresses(&mut endpoint.ipam_config).ipv6_address = address;
        }
        endpoint.mac_address = self.mac_address.unwrap_or_default();
        endpoint.aliases = self.alias;
        self.allowed.put_into(endpoint);
        // A file that cannot be written is noticed before anything is changed.
        let file = self.resolv_conf.map(ResolvConf::open).transpose()?;
        let endpoint = match client.attach(&request).await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                if let Some(file) = file {
                    file.give_up();
                }
                return Err(error.into());
            }
        };
        if let Some(file) = file {
            file.write(&endpoint.name_servers)?;
        }
        for warning in &endpoint.warnings {
            output::note(&format!("warning: {warning}"));
        }
        if self.json { output::json(&endpoint) } else { Ok(output::print(&format!("{}\n", endpoint.name))?) }
    }
}

/// A file that will name name servers.
struct ResolvConf {
    path: PathBuf,
    file: File,
    /// It was not there before.
    fresh: bool,
}

impl ResolvConf {
    /// Opens it, as it is.
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let fresh = !path.exists();
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| unwritable(&path))?;
        }
        let opened = File::options().write(true).create(true).truncate(false).open(&path);
        let file = opened.with_context(|| unwritable(&path))?;
        Ok(ResolvConf { path, file, fresh })
    }

    fn write(mut self, servers: &[String]) -> anyhow::Result<()> {
        let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        let text = format!("# Written by vswitchctl attach.\n{lines}options ndots:0\n");
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(text.as_bytes()));
        written.with_context(|| unwritable(&self.path))
    }

    /// Leaves nothing behind.
    fn give_up(self) {
        if self.fresh {
            // What was the matter before is told instead.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written; name another file with --resolv-conf", path.display())
}

/// The daemon may run in another directory.
fn absolute(path: PathBuf) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    path.into_os_string().into_string().map_err(|_| Usage("the path of --netns must be text (UTF-8)".into()).into())
}

/// Arguments of `detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Names or ids of endpoints made by attach
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl DetachArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        for name in &self.names {
            tally.note(client.detach(name).await, Some(name))?;
        }
        Ok(tally.exit())
    }
}
