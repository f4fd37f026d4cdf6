//! `network policy`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::network::{PolicyAdd, PolicyRule};

use crate::failure::Tally;
use crate::table::Table;
use crate::{output, units};

const EXAMPLES: &str = "\
Examples:
  vswitchctl network policy add shop --deny --from cache --to db
  vswitchctl network policy add shop --allow --from label=tier=web --to db --port tcp/5432
  vswitchctl network policy add shop --deny --to db                  nobody else
  vswitchctl network policy add shop --deny --from outside --to admin
  vswitchctl network policy add shop --allow --from 10.9.0.7 --to admin --before 4
  vswitchctl network policy ls shop

A network's rules are asked in their order for each connection with an end on it; the first that matches decides, and where
none does it may pass. Answers always pass. A change holds for connections that are open.";

/// What can be done with the rules of a network.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PolicyCommand {
    /// Add a rule and print its number
    Add(AddArgs),
    /// Show the rules in their order, and how often each decided
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Remove rules
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// Arguments of `network policy add`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("action").required(true).args(["allow", "deny"])))]
pub(crate) struct AddArgs {
    /// What matches may pass
    #[arg(long)]
    allow: bool,
    /// What matches may not pass
    #[arg(long)]
    deny: bool,
    /// Who opens: any, outside, a container's name, label=KEY[=VALUE], network=NAME or addresses
    #[arg(long, value_name = "WHO", default_value = "any")]
    from: String,
    /// Towards whom, in the same words; of a published port, the container behind it
    #[arg(long, value_name = "WHO", default_value = "any")]
    to: String,
    /// What kind: tcp, udp, sctp, icmp, or with the ports that it is opened towards, such as tcp/80 (repeat, or separate
    /// with commas); every kind if not given
    #[arg(long = "port", value_name = "TRAFFIC", value_delimiter = ',')]
    traffic: Vec<String>,
    /// In front of this rule; behind all others if not given
    #[arg(long, value_name = "RULE")]
    before: Option<u32>,
    /// The network, by name or id
    network: String,
}

/// Arguments of `network policy ls`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The network, by name or id
    network: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `network policy rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The network, by name or id
    network: String,
    /// The rules, by number
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<u32>,
}

impl PolicyCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::default();
        match self {
            PolicyCommand::Add(args) => {
                let action = if args.allow { "allow" } else { "deny" }.to_owned();
                let AddArgs { from, to, traffic, before, network, .. } = args;
                let added = client.add_policy(&network, &PolicyAdd { action, from, to, traffic, before }).await?;
                output::print(&format!("{}\n", added.rule))?;
            }
            PolicyCommand::Ls(args) => {
                let rules = client.policy(&args.network).await?;
                if args.json {
                    output::json(&rules)?;
                } else {
                    output::print(&render(&rules))?;
                }
            }
            PolicyCommand::Rm(args) => {
                for rule in args.rules {
                    tally.note(client.remove_policy(&args.network, rule).await, Some(&rule.to_string()))?;
                }
            }
        }
        Ok(tally.exit())
    }
}

fn render(rules: &[PolicyRule]) -> String {
    let mut table = Table::new(["RULE", "ACTION", "FROM", "TO", "TRAFFIC", "DECIDED"]).numbers([0, 5]);
    for rule in rules {
        let traffic = if rule.traffic.is_empty() { "any".to_owned() } else { rule.traffic.join(",") };
        let number = rule.rule.to_string();
        table.row([&number, &rule.action, &rule.from, &rule.to, &traffic, &units::count(rule.hits)]);
    }
    table.render()
}
