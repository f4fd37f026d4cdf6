//! `port`.

use anyhow::bail;
use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::port::{PortBinding, PortChange};

use super::machine_port::{self, CloseArgs, OpenArgs};
use crate::failure::Usage;
use crate::listing::ListArgs;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl port web             80/tcp -> 0.0.0.0:10080
  vswitchctl port web 80          0.0.0.0:10080
  vswitchctl port web 53/udp
  vswitchctl port add web 8080:80     publish one more, at once if it runs
  vswitchctl port rm web 8080:80      no more (80 stands for all that lead there)
  vswitchctl port open blue --listen stream:/tmp/vm.sock      a port for virtual machines
  vswitchctl port ls
A container whose name is one of these words is named by its id.";

/// Ports for machines.
#[derive(Debug, Subcommand)]
enum MachineCommand {
    /// Let machines onto a network that send and receive frames by a socket
    Open(Box<OpenArgs>),
    /// List ports for machines
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Close ports for machines
    Close(CloseArgs),
}

/// Arguments of `port`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_help_heading = "Ports for machines")]
pub(crate) struct PortArgs {
    #[command(subcommand)]
    machines: Option<MachineCommand>,
    /// The container, by name or id; or add or rm, and then the container
    #[arg(value_name = "[add|rm] CONTAINER", required = true)]
    container: Option<String>,
    /// One of its ports; tcp unless said otherwise. With add and rm: [IP:][HOST:]PORT[/PROTO] each
    #[arg(value_name = "PORT[/PROTO]")]
    ports: Vec<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl PortArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self.machines {
            Some(MachineCommand::Open(args)) => return args.run(client).await,
            Some(MachineCommand::Ls(args)) => return machine_port::list(client, &args).await,
            Some(MachineCommand::Close(args)) => return args.run(client).await,
            None => {}
        }
        // Required where there is no other command.
        let Some(named) = &self.container else { return Ok(()) };
        if matches!(named.as_str(), "add" | "rm") {
            return change(client, named, &self.ports, self.json).await;
        }
        if let [_, second, ..] = &self.ports[..] {
            return Err(
                Usage(format!("one port at a time: leave {second} out, or write 'port add' or 'port rm'")).into()
            );
        }
        let container = client.container(named).await?;
        let Some(port) = self.ports.first() else {
            if self.json {
                return output::json(&container.ports);
            }
            let lines = container.ports.iter().map(|one| format!("{} -> {}\n", target(one), host(one)));
            return Ok(output::print(&lines.collect::<String>())?);
        };
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let Ok(number) = number.parse::<u16>() else {
            return Err(
                Usage(format!("invalid port {port}; write a number, or one with a protocol such as 53/udp")).into()
            );
        };
        let matches = |one: &PortBinding| one.container_port == number && one.protocol.eq_ignore_ascii_case(protocol);
        let found: Vec<_> = container.ports.into_iter().filter(matches).collect();
        if found.is_empty() {
            bail!("no public port '{number}/{protocol}' published for {named}");
        }
        if self.json {
            return output::json(&found);
        }
        Ok(output::print(&found.iter().map(|one| host(one) + "\n").collect::<String>())?)
    }
}

/// `port add` and `port rm`.
async fn change(client: &Client, word: &str, arguments: &[String], json: bool) -> anyhow::Result<()> {
    let Some((container, publish)) = arguments.split_first().filter(|(_, publish)| !publish.is_empty()) else {
        return Err(Usage(format!("port {word} needs a container and its ports, such as: web 8080:80")).into());
    };
    let change = PortChange { publish: publish.to_vec() };
    if word == "rm" {
        return Ok(client.unpublish(container, &change).await?);
    }
    let changed = client.publish(container, &change).await?;
    changed.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    if json {
        return output::json(&changed.ports);
    }
    let lines = changed.ports.iter().map(|one| format!("{} -> {}\n", target(one), host(one)));
    Ok(output::print(&lines.collect::<String>())?)
}

fn target(binding: &PortBinding) -> String {
    format!("{}/{}", binding.container_port, binding.protocol)
}

fn host(binding: &PortBinding) -> String {
    host_of(&binding.host_ip) + ":" + &binding.host_port.to_string()
}

fn host_of(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// What `ps` shows: `0.0.0.0:8000-8001->80-81/tcp`, neighbouring ports in one.
pub(crate) fn summary(ports: &[PortBinding]) -> String {
    let mut sorted: Vec<&PortBinding> = ports.iter().collect();
    sorted.sort_by(|a, b| {
        let key =
            |one: &PortBinding| (one.host_ip.contains(':'), one.host_ip.clone(), one.protocol.clone(), one.host_port);
        key(a).cmp(&key(b))
    });
    let mut groups: Vec<(&PortBinding, u16)> = Vec::new();
    for one in sorted {
        if let Some((first, count)) = groups.last_mut()
            && (&first.host_ip, &first.protocol) == (&one.host_ip, &one.protocol)
            && first.host_port.checked_add(*count) == Some(one.host_port)
            && first.container_port.checked_add(*count) == Some(one.container_port)
        {
            *count += 1;
        } else {
            groups.push((one, 1));
        }
    }
    let range = |first: u16, count: u16| match count {
        1 => first.to_string(),
        _ => format!("{first}-{}", first + (count - 1)),
    };
    let text = groups.iter().map(|(first, count)| {
        let (hosts, targets) = (range(first.host_port, *count), range(first.container_port, *count));
        format!("{}:{hosts}->{targets}/{}", host_of(&first.host_ip), first.protocol)
    });
    text.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbouring ports of one host address and protocol are one range, as Docker shows them.
    #[test]
    fn summaries() {
        let binding = |host_ip: &str, host_port, container_port, protocol: &str| PortBinding {
            protocol: protocol.into(),
            container_port,
            host_ip: host_ip.into(),
            host_port,
        };
        let ports = [
            binding("0.0.0.0", 8001, 81, "tcp"),
            binding("0.0.0.0", 8000, 80, "tcp"),
            binding("::", 8000, 80, "tcp"),
            binding("0.0.0.0", 8002, 90, "tcp"),
            binding("0.0.0.0", 53, 53, "udp"),
            binding("0.0.0.0", 65535, 65535, "tcp"),
        ];
        let expected = "0.0.0.0:8000-8001->80-81/tcp, 0.0.0.0:8002->90/tcp, 0.0.0.0:65535->65535/tcp, \
                        0.0.0.0:53->53/udp, [::]:8000->80/tcp";
        assert_eq!(summary(&ports), expected);
        assert_eq!(summary(&[]), "");
    }
}
