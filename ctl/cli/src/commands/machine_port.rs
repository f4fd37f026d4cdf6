//! `port open`, `port ls` and `port close`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use vswitch_api::Client;
use vswitch_api::machine::{MachinePort, MachinePortOpen};
use vswitch_api::network::{EndpointConfig, EndpointIpamConfig};

use crate::listing::{self, ListArgs, Listed};
use crate::machines::{self, Listen};
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  vswitchctl port open blue --listen stream:/run/user/1000/blue.sock
  vswitchctl port open blue --listen stream:/tmp/vm.sock --name vm --ip 10.9.0.7 -d
    qemu-system-x86_64 -netdev stream,id=n,addr.type=unix,addr.path=/tmp/vm.sock -device virtio-net,netdev=n,mac=MAC
  vswitchctl port open blue --listen dgram:/tmp/vm.dgram
    qemu-system-x86_64 -netdev dgram,id=n,local.type=unix,local.path=/tmp/qemu,remote.type=unix,remote.path=/tmp/vm.dgram
  vswitchctl port open blue --listen vde:/tmp/blue.vde        for vde_plug, and whoever else takes a vde_switch
  vswitchctl port open blue --listen udp:127.0.0.1:10000,127.0.0.1:10001
  vswitchctl port open blue --listen fd:3                     a connected socket that the caller has

Stays until it is interrupted, unless -d is given, and until 'port close'. Without an address, any number of machines may come, and
what each is called is learned; with --name, --ip, --ip6 or --mac-address there is one at a time, which may have these addresses only,
or those that vswitchd chooses, and is found by its name.";

/// Arguments of `port open`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OpenArgs {
    /// The network, by name or id
    network: String,
    /// Where machines come: stream:PATH, dgram:PATH, vde:DIRECTORY, udp:LOCAL:PORT,REMOTE:PORT or fd:NUMBER
    #[arg(long, value_name = "KIND:WHERE")]
    listen: Listen,
    /// A name for the port, and for the machine
    #[arg(long)]
    name: Option<String>,
    /// IPv4 address of the machine
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address of the machine
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// MAC address of the machine
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// Any number of machines, whatever their addresses, although the port has a name
    #[arg(long, conflicts_with_all = ["ip", "ip6", "mac_address", "alias", "driver_opt"])]
    learn: bool,
    /// Further name of the machine on the network (repeat for more)
    #[arg(long = "network-alias", visible_alias = "alias", value_name = "NAME")]
    alias: Vec<String>,
    /// Option of the endpoint, as of 'network connect' (repeat for more)
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::key_value)]
    driver_opt: Vec<(String, String)>,
    /// Go on in the background
    #[arg(short, long)]
    detach: bool,
    /// Print the port as JSON
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    in_background: bool,
}

/// Arguments of `port close`.
#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// Ports, by name
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<String>,
}

impl OpenArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if self.detach && !self.in_background {
            return detach();
        }
        if self.in_background {
            rustix::process::setsid().context("cannot leave the terminal")?;
        }
        let named = self.name.is_some() && !self.learn;
        let addressed = self.ip.is_some() || self.ip6.is_some() || self.mac_address.is_some();
        let identity = (named || addressed || !self.alias.is_empty() || !self.driver_opt.is_empty()).then(|| {
            let ipam = EndpointIpamConfig {
                ipv4_address: self.ip.unwrap_or_default(),
                ipv6_address: self.ip6.unwrap_or_default(),
                ..EndpointIpamConfig::default()
            };
            EndpointConfig {
                ipam_config: Some(ipam),
                mac_address: self.mac_address.unwrap_or_default(),
                aliases: self.alias,
                driver_opts: self.driver_opt.into_iter().collect(),
                ..EndpointConfig::default()
            }
        });
        let wish =
            MachinePortOpen { name: self.name, network: self.network, listen: self.listen.to_string(), identity };
        let (json, background) = (self.json, self.in_background);
        machines::keep(client, wish, &self.listen, |port| {
            if json {
                output::json(port)?;
            } else {
                output::print(&summary(port))?;
            }
            if background {
                let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
                rustix::stdio::dup2_stdin(&nothing)?;
                rustix::stdio::dup2_stdout(&nothing)?;
                rustix::stdio::dup2_stderr(&nothing)?;
            }
            Ok(())
        })
        .await
    }
}

/// One line about a port that is open.
fn summary(port: &MachinePort) -> String {
    let addresses = [&port.mac_address, &port.ipv4_address, &port.ipv6_address];
    let addresses: String = addresses.into_iter().flatten().map(|address| format!(" {address}")).collect();
    let of = if addresses.is_empty() { String::new() } else { format!(" for{addresses}") };
    format!("{} on {} at {}{of}\n", port.name, port.network, port.listen)
}

/// Starts this command again, apart from the terminal, and waits until it says that the port is open.
fn detach() -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe().context("this program cannot be found")?);
    command.args(std::env::args_os().skip(1)).arg("--in-background");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot go on in the background")?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        // Of JSON there are several, and then it closes its output.
        while lines.read_line(&mut said)? > 0 {}
    }
    if said.is_empty() {
        let status = child.wait()?;
        // It has said why.
        if let Some(code) = status.code() {
            std::process::exit(code);
        }
        bail!("what went on in the background ended ({status})");
    }
    Ok(output::print(&said)?)
}

impl CloseArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut last = Ok(());
        for port in &self.ports {
            match client.close_machine_port(port).await {
                Ok(()) => output::print(&format!("{port}\n"))?,
                Err(error) => {
                    if let Err(error) = std::mem::replace(&mut last, Err(error)) {
                        output::complain(&error);
                    }
                }
            }
        }
        Ok(last?)
    }
}

pub(crate) async fn list(client: &Client, args: &ListArgs) -> anyhow::Result<()> {
    listing::print(client.machine_ports().await?, args)
}

impl Listed for MachinePort {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("Name", "NAME"),
        ("Network", "NETWORK"),
        ("Listen", "LISTEN"),
        ("MacAddress", "MAC ADDRESS"),
        ("IPv4", "IPV4 ADDRESS"),
        ("IPv6", "IPV6 ADDRESS"),
        ("Machines", "MACHINES"),
        ("Received", "RECEIVED"),
        ("Sent", "SENT"),
        ("Dropped", "DROPPED"),
    ];
    const TABLE: &'static str = concat!(
        r"table {{.Name}}\t{{.Network}}\t{{.Listen}}\t{{.MacAddress}}\t{{.IPv4}}",
        r"\t{{.Machines}}\t{{.Received}}\t{{.Sent}}\t{{.Dropped}}"
    );

    fn values(&self, _: bool) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let sum =
            |field: fn(&vswitch_api::machine::Machine) -> u64| self.machines.iter().map(field).sum::<u64>().to_string();
        vec![
            self.name.clone(),
            self.network.clone(),
            self.listen.clone(),
            text(&self.mac_address),
            text(&self.ipv4_address),
            text(&self.ipv6_address),
            self.machines.len().to_string(),
            sum(|machine| machine.in_frames),
            sum(|machine| machine.out_frames),
            sum(|machine| machine.dropped),
        ]
    }

    fn id(&self) -> &str {
        &self.name
    }

    fn short_id(&self) -> &str {
        &self.name
    }

    fn sort_key(&self) -> &str {
        &self.name
    }
}
