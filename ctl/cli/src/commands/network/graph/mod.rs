//! `network graph`: who is connected to whom, as text that other programs draw, or drawn.
//!
//! `plan` makes the answer of the daemon a graph of networks, members and links; `dot`, `mermaid` and `drawing` are
//! ways to write it down.

mod dot;
mod drawing;
mod mermaid;
mod plan;

use clap::{Args, ValueEnum};
use vswitch_api::Client;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl network graph                                       drawn for this terminal
  vswitchctl network graph --format dot | dot -Tsvg > net.svg    by Graphviz
  vswitchctl network graph --format mermaid blue                 for Markdown pages
  vswitchctl network graph --all                                 containers that do not run, too";

/// Arguments of `network graph`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GraphArgs {
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Also containers that do not run, and networks that nobody is on
    #[arg(short, long)]
    all: bool,
    /// Draw with letters that every terminal has
    #[arg(long)]
    ascii: bool,
    /// Print the daemon's answer as JSON
    #[arg(long, conflicts_with_all = ["format", "ascii", "all", "networks"])]
    json: bool,
    /// Only these networks, by name or id
    #[arg(value_name = "NETWORK")]
    networks: Vec<String>,
}

/// How the graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A drawing
    Text,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
}

impl GraphArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let topology = client.topology().await?;
        if self.json {
            return output::json(&topology);
        }
        let graph = plan::graph(&topology, &self.networks, self.all)?;
        let text = match self.format {
            Format::Text if self.ascii => drawing::draw(&graph, &drawing::ASCII),
            Format::Text => drawing::draw(&graph, &drawing::LINES),
            Format::Dot => dot::write(&graph),
            Format::Mermaid => mermaid::write(&graph),
        };
        Ok(output::print(&text)?)
    }
}
