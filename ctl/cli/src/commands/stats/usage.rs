//! `stats CONTAINER...`, in Docker's columns.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use vswitch_api::Client;
use vswitch_api::docker::usage::UsageStats;

use super::StatsArgs;
use super::watch::CLEAR;
use crate::failure::Tally;
use crate::listing::{self, Listed};
use crate::output;

/// Look again and again, until Ctrl-C, the count, or until none of the containers is left.
pub(super) async fn run(client: &Client, args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let most = if args.no_stream { Some(1) } else { args.count };
    let mut tally = Tally::default();
    let mut left = args.containers.clone();
    let mut looks = 0;
    while !left.is_empty() && most.is_none_or(|most| looks < most) {
        let found = tokio::select! {
            found = look(client, &left) => found?,
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        };
        let mut usages = Vec::new();
        left.clear();
        for (name, outcome) in found {
            if let Some(usage) = tally.keep(outcome) {
                usages.push(usage);
                left.push(name);
            }
        }
        if !left.is_empty() {
            show(&usages, args)?;
        }
        looks += 1;
    }
    Ok(tally.exit())
}

type Look = (String, Result<UsageStats, vswitch_api::ClientError>);

/// All at the same time: the daemon takes a second for each.
async fn look(client: &Client, containers: &[String]) -> anyhow::Result<Vec<Look>> {
    let mut asked = JoinSet::new();
    for (place, name) in containers.iter().enumerate() {
        let (client, name) = (client.clone(), name.clone());
        asked.spawn(async move {
            let usage = client.container_usage(&name).await;
            (place, (name, usage))
        });
    }
    let mut found = Vec::new();
    while let Some(one) = asked.join_next().await {
        found.push(one?);
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, look)| look).collect())
}

fn show(usages: &[UsageStats], args: &StatsArgs) -> anyhow::Result<()> {
    if args.json {
        return Ok(output::print(&(serde_json::to_string(usages)? + "\n"))?);
    }
    let text = listing::render(usages, args.format.as_deref().unwrap_or(UsageStats::TABLE), args.no_trunc)?;
    let again = !args.no_stream && io::stdout().is_terminal();
    Ok(output::print(&if again { CLEAR.to_owned() + &text } else { text })?)
}

impl Listed for UsageStats {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("ID", "CONTAINER ID"),
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ];
    const TABLE: &'static str =
        r"table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.PIDs}}";

    fn values(&self, no_trunc: bool) -> Vec<String> {
        let id = if no_trunc { self.id.clone() } else { output::short(&self.id).to_owned() };
        let memory = &self.memory_stats;
        let interfaces = self.networks.iter().flatten().map(|(_, counted)| counted);
        let (received, sent) =
            interfaces.fold((0, 0), |sum, counted| (sum.0 + counted.rx_bytes, sum.1 + counted.tx_bytes));
        vec![
            id.clone(),
            id,
            self.name.trim_start_matches('/').to_owned(),
            format!("{:.2}%", processors(self)),
            format!("{} / {}", binary(memory.usage), binary(memory.limit)),
            format!("{:.2}%", share(memory.usage, memory.limit)),
            format!("{} / {}", decimal(received), decimal(sent)),
            // Nobody counts it without cgroups.
            "--".to_owned(),
            self.pids_stats.current.to_string(),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn sort_key(&self) -> &str {
        &self.name
    }
}

/// Of one processor, in percent.
fn processors(usage: &UsageStats) -> f64 {
    let (now, before) = (&usage.cpu_stats, &usage.precpu_stats);
    let own = now.cpu_usage.total_usage.saturating_sub(before.cpu_usage.total_usage);
    let all = now.system_cpu_usage.saturating_sub(before.system_cpu_usage);
    share(own, all) * f64::from(now.online_cpus)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Bytes as Docker writes memory: four digits, powers of 1024.
fn binary(count: u64) -> String {
    digits(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// Bytes as Docker writes traffic: three digits, powers of 1000.
fn decimal(count: u64) -> String {
    digits(count, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// Go's `%.Ng`, where no number gets an exponent.
fn digits(count: u64, step: f64, units: &[&str], digits: usize) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let before = [10.0, 100.0, 1000.0].iter().filter(|bound| value >= **bound).count() + 1;
    let mut text = format!("{value:.*}", digits.saturating_sub(before));
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + units[unit]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes are written as Docker writes them.
    #[test]
    fn sizes() {
        for (count, text) in [(0, "0B"), (999, "999B"), (1024, "1KiB"), (1_515_520, "1.445MiB"), (1 << 34, "16GiB")] {
            assert_eq!(binary(count), text);
        }
        for (count, text) in [(0, "0B"), (1090, "1.09kB"), (12_345, "12.3kB"), (999_999, "1000kB"), (1_000_000, "1MB")]
        {
            assert_eq!(decimal(count), text);
        }
    }
}
