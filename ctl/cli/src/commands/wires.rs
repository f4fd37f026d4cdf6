//! `impair`, `cut`, `heal`, `link` and `lab`.

use std::path::Path;

use anyhow::Context;
use clap::{Args, Subcommand};
use vswitch_api::Client;
use vswitch_api::wire::{Cut, LinkChange, LinkState, Wire, WireChange};

use crate::failure::Usage;
use crate::output;
use crate::table::Table;

const EXAMPLES: &str = "\
Examples:
  vswitchctl impair web delay 50ms jitter 5ms normal          both directions
  vswitchctl impair web down rate 10mbit queue 100ms          towards web only; the delay stays
  vswitchctl impair web,db up loss 1% --for 5s                and then as before
  vswitchctl impair web loss burst p=1% r=10%                 bursts (Gilbert-Elliott)
  vswitchctl impair web down first 1 of 'udp port 53'         the first question's answer
  vswitchctl impair web netem 'delay 100ms 10ms loss 0.3%'    in tc's words
  vswitchctl impair web loss none                             no losses any more
  vswitchctl impair web none                                  nothing any more
  vswitchctl impair ls

Settings, each replaced for itself:
  delay T            jitter T [uniform|normal|lognormal|pareto|exponential|table FILE] [correlation P]
  order keep|by-arrival
  loss P [correlation P] | burst p=P r=P [bad=P] [good=P] | state p13=P ...   then [per-flow] [ecn] [of FILTER]
  drop 1,3,5-7 | every N | first N   [of FILTER]            blackhole [T [every T]]
  duplicate P [correlation P] [after T]                     mtu N [silent|icmp]
  corrupt P [correlation P] [bits N] [payload|header|any] [fix-checksum]
  reorder P [correlation P] [by N|T]
  rate R [overhead N] [cell N] | rate trace FILE            queue SIZE [tail|head] [priority] [ecn-above SIZE]
A super-frame counts as the segments that it stands for. Chance follows a seed: see 'vswitchctl lab seed'.";

/// Arguments of `impair`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct ImpairArgs {
    /// CONTAINER, CONTAINER@NETWORK, an endpoint or a network, several with commas; or ls
    #[arg(value_name = "ENDPOINT[,ENDPOINT...]|ls")]
    endpoints: String,
    /// up or down, and what is to happen
    #[arg(value_name = "up|down|SETTING")]
    words: Vec<String>,
    /// Take it back after this time
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
    /// Print the wires as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `cut`.
#[derive(Debug, Args)]
pub(crate) struct CutArgs {
    /// Who is not heard, with commas
    from: String,
    /// Who does not hear, with commas
    to: String,
    /// FROM still hears TO
    #[arg(long)]
    one_way: bool,
}

/// Arguments of `heal`.
#[derive(Debug, Args)]
pub(crate) struct HealArgs {
    /// Whose cuts end, with commas
    #[arg(default_value = "all")]
    of: String,
}

/// What can be done with links.
#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Take the carrier away, as if the cable were pulled
    Down(LinkArgs),
    /// Give it back
    Up(LinkArgs),
}

/// Arguments of `link down` and `link up`.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// CONTAINER, CONTAINER@NETWORK, an endpoint or a network, several with commas
    #[arg(value_name = "ENDPOINT[,ENDPOINT...]")]
    endpoints: String,
}

/// What can be done with the lab.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Show the seed of everything that happens by chance, or begin again from one
    Seed {
        /// The seed
        seed: Option<u64>,
    },
}

impl ImpairArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let ImpairArgs { endpoints, mut words, time, json } = self;
        let wires = if endpoints == "ls" && words.is_empty() {
            client.wires().await?
        } else {
            let is_direction = words.first().is_some_and(|word| matches!(word.as_str(), "up" | "down"));
            let direction = is_direction.then(|| words.remove(0));
            if words.is_empty() {
                return Err(Usage(
                    "say what is to happen, such as 'delay 50ms'; see 'vswitchctl impair --help'".to_owned(),
                )
                .into());
            }
            let words = with_files(words)?;
            let endpoints = list(&endpoints);
            let wires =
                client.change_wires(&WireChange { endpoints, direction, words, time, ..WireChange::default() }).await?;
            if !json {
                return Ok(());
            }
            wires
        };
        if json { output::json(&wires) } else { Ok(output::print(&render(&wires))?) }
    }
}

impl CutArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let CutArgs { from, to, one_way } = self;
        Ok(client.cut(&Cut { from: list(&from), to: list(&to), one_way }).await?)
    }
}

impl HealArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        Ok(client.heal(Some(self.of.as_str()).filter(|of| *of != "all")).await?)
    }
}

impl LinkCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let (state, LinkArgs { endpoints }) = match self {
            LinkCommand::Down(args) => (LinkState::Down, args),
            LinkCommand::Up(args) => (LinkState::Up, args),
        };
        Ok(client.change_links(&LinkChange { endpoints: list(&endpoints), state }).await?)
    }
}

impl LabCommand {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let LabCommand::Seed { seed } = self;
        let seed = match seed {
            Some(seed) => client.set_lab_seed(seed).await?,
            None => client.lab_seed().await?,
        };
        Ok(output::print(&format!("{}\n", seed.seed))?)
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// Puts what files say in their names' place: `table FILE` of a distribution as tc has them, `trace FILE` as mahimahi does.
fn with_files(words: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut replaced: Vec<String> = Vec::new();
    for word in words {
        let before = replaced.last().map(String::as_str);
        let is_numbers = word.contains(',') || word.parse::<f64>().is_ok();
        let numbers = match before {
            Some("table") if !is_numbers => read(&word, |number| {
                // tc's tables are in units of 1/8192 of the jitter.
                number.parse::<i32>().ok().map(|number| format!("{:.5}", f64::from(number) / 8192.0))
            })?,
            Some("trace") if !is_numbers => {
                read(&word, |number| number.parse::<u64>().ok().map(|number| number.to_string()))?
            }
            _ => word,
        };
        replaced.push(numbers);
    }
    Ok(replaced)
}

fn read(path: &str, number: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(Path::new(path)).with_context(|| format!("cannot read {path}"))?;
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(before, _)| before));
    let numbers = lines
        .flat_map(str::split_whitespace)
        .map(|word| number(word).with_context(|| format!("{path} is no file of numbers: {word:?} is none")));
    Ok(numbers.collect::<anyhow::Result<Vec<String>>>()?.join(","))
}

/// A line for each direction.
pub(crate) fn render(wires: &[Wire]) -> String {
    let mut table =
        Table::new(["ENDPOINT", "NETWORK", "", "OFFERED", "PASSED", "HELD", "LOST", "SETTINGS"]).numbers([3, 4, 5]);
    for wire in wires {
        let mut settings: Vec<String> = wire.settings.iter().map(|(kind, text)| format!("{kind} {text}")).collect();
        if !wire.cut_from.is_empty() {
            settings.push(format!("cut from {}", wire.cut_from.join(",")));
        }
        let lost: Vec<String> = wire.lost.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        table.row([
            wire.endpoint.as_str(),
            &wire.network,
            &wire.direction,
            &wire.offered.to_string(),
            &wire.passed.to_string(),
            &wire.held.to_string(),
            &lost.join(", "),
            &settings.join(", "),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of distributions and traces stand as their numbers; words that are numbers stay.
    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (table, trace) = (path("t", "# made by hand\n-8192 0\n4096\n"), path("m", "2\n5\n5\n"));
        let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let read = with_files(words(format!("jitter 5ms table {table} rate trace {trace} delay 5ms"))).unwrap();
        assert_eq!(read.join(" "), "jitter 5ms table -1.00000,0.00000,0.50000 rate trace 2,5,5 delay 5ms");
        assert_eq!(with_files(words("rate trace 1,2".to_owned())).unwrap()[2], "1,2");
        let wrong = with_files(words(format!("rate trace {table}"))).unwrap_err().to_string();
        assert!(wrong.contains("no file of numbers"), "{wrong}");
        assert!(with_files(words("rate trace /nowhere".to_owned())).is_err());
    }
}
