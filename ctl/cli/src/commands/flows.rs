//! `flows`.

use std::fmt::Write;

use anyhow::bail;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::Client;
use vswitch_api::flow::{Flow, FlowEvent, FlowEventKind, FlowQuery, FlowsRebound};

use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl flows ls                                    as conntrack -L prints it
  vswitchctl flows ls --endpoint web --protocol tcp --json
  vswitchctl flows flush --source 10.9.0.0/24 --dport 53
  vswitchctl flows rebind --endpoint web --protocol udp  as if a router had forgotten them: other external ports
  vswitchctl flows watch --network blue                  new, changed and ended flows, until Ctrl-C";

/// What can be done with the flows that the uplink's translator tracks.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum FlowsCommand {
    /// Show flows, oldest first
    #[command(visible_alias = "list")]
    Ls(FlowArgs),
    /// End flows (all of them without a filter)
    Flush(FilterArgs),
    /// Give flows another external port while they live, as if a router had forgotten them
    Rebind(FilterArgs),
    /// Print what happens to flows, until Ctrl-C
    Watch(FlowArgs),
}

/// Arguments of `flows ls` and `flows watch`.
#[derive(Debug, Args)]
pub(crate) struct FlowArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Print as JSON (with watch one object a line)
    #[arg(long)]
    json: bool,
}

/// Which flows: those that match every filter that is given.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(short, long)]
    protocol: Option<String>,
    /// Opened from this address or subnet
    #[arg(short, long, value_name = "ADDRESS", visible_alias = "src")]
    source: Option<String>,
    /// Opened towards this address or subnet, before translation
    #[arg(short, long, value_name = "ADDRESS", visible_alias = "dst")]
    destination: Option<String>,
    /// Opened towards this port, before translation
    #[arg(long, value_name = "PORT")]
    dport: Option<String>,
    /// Of this container or endpoint, by name, id or address
    #[arg(short, long)]
    endpoint: Option<String>,
    /// With an end in this network
    #[arg(short, long)]
    network: Option<String>,
}

impl From<FilterArgs> for FlowQuery {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs { protocol, source, destination, dport, endpoint, network } = args;
        FlowQuery { protocol, source, destination, dport, endpoint, network }
    }
}

impl FlowsCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            FlowsCommand::Ls(args) => {
                let flows = client.flows(&args.filter.into()).await?;
                if args.json { output::json(&flows) } else { Ok(output::print(&render(&flows))?) }
            }
            FlowsCommand::Flush(args) => {
                let removed = client.flush_flows(&args.into()).await?.removed;
                Ok(output::print(&format!("{removed} {} ended\n", if removed == 1 { "flow" } else { "flows" }))?)
            }
            FlowsCommand::Rebind(args) => {
                let FlowsRebound { rebound, kept } = client.rebind_flows(&args.into()).await?;
                let flows = if rebound == 1 { "flow" } else { "flows" };
                let rest =
                    if kept > 0 { format!(", {kept} kept: nothing of them can be replaced") } else { String::new() };
                Ok(output::print(&format!("{rebound} {flows} rebound{rest}\n"))?)
            }
            FlowsCommand::Watch(args) => watch(client, args).await,
        }
    }
}

/// conntrack's lines.
pub(crate) fn render(flows: &[Flow]) -> String {
    flows.iter().map(|flow| format!("{}\n", flow.text)).collect()
}

async fn watch(client: &Client, args: FlowArgs) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut events = client.watch_flows(&args.filter.into()).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        };
        let Some(event) = event else { bail!("vswitchd ended the stream; start it again and watch anew") };
        if args.json {
            output::print(&(serde_json::to_string(&event)? + "\n"))?;
        } else {
            output::print(&line(&event))?;
        }
    }
}

/// `conntrack -E`'s line, and one more where some were lost.
fn line(event: &FlowEvent) -> String {
    let kind = match event.event {
        FlowEventKind::New => "[NEW]",
        FlowEventKind::Update => "[UPDATE]",
        FlowEventKind::Destroy => "[DESTROY]",
    };
    let mut text = String::new();
    if event.lost > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {} events were lost here: they came faster than they were read", event.lost);
    }
    text + &format!("{kind:>9} {}\n", event.flow.text)
}
