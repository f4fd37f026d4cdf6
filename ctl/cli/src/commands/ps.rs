//! `ps`.

use clap::Args;
use vswitch_api::Client;
use vswitch_api::container::{Container, ContainerState};

use super::network::filters;
use crate::listing::{self, ListArgs, Listed};
use crate::{clock, output, units, values};

/// Commands are cut to this many characters, quotes not counted (Docker's).
const COMMAND_WIDTH: usize = 20;

const EXAMPLES: &str = "\
Examples:
  vswitchctl ps -a
  vswitchctl ps --format '{{.Names}} {{.Addresses}}'
  vswitchctl rm -f $(vswitchctl ps -aq)";

/// Arguments of `ps`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PsArgs {
    /// Also containers that do not run
    #[arg(short, long)]
    all: bool,
    /// Only containers for which this holds: name, id, label, status, network, ancestor, exited, before, since, publish (repeat for more)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = values::key_value)]
    filter: Vec<(String, String)>,
    /// So many of those that were created last, whether they run or not
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u32>,
    /// The one that was created last
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Also what each has changed of a root directory of its own, which takes time to count
    #[arg(short, long)]
    size: bool,
    #[command(flatten)]
    list: ListArgs,
}

impl PsArgs {
    pub(crate) async fn run(mut self, client: &Client) -> anyhow::Result<()> {
        let last = if self.latest { Some(1) } else { self.last };
        let sizes = self.size || self.list.format.as_deref().is_some_and(|format| format.contains(".Size"));
        if self.size && !self.list.json && !self.list.quiet {
            let format = self.list.format.take().filter(|format| format != "table");
            self.list.format = Some(format.unwrap_or_else(|| format!(r"{}\t{{{{.Size}}}}", Container::TABLE)));
        }
        let listed = |all| async move {
            if sizes { client.containers_with_sizes(all).await } else { client.containers(all).await }
        };
        if self.filter.is_empty() && last.is_none() {
            return listing::print(listed(self.all).await?, &self.list);
        }
        let passed = client.filter_containers(self.all, last, &filters(self.filter)).await?;
        let mut all = listed(true).await?;
        all.retain(|one| passed.iter().any(|other| other.id == one.id));
        listing::print(all, &self.list)
    }
}

impl Listed for Container {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("ID", "CONTAINER ID"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Networks", "NETWORKS"),
        ("Addresses", "ADDRESSES"),
        ("Names", "NAMES"),
        ("CreatedAt", "CREATED AT"),
        ("State", "STATE"),
        ("Ports", "PORTS"),
        ("Labels", "LABELS"),
        ("Pid", "PID"),
        ("Size", "SIZE"),
    ];
    const TABLE: &'static str = r"table {{.ID}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Networks}}\t{{.Addresses}}\t{{.Ports}}\t{{.Names}}";

    fn values(&self, no_trunc: bool) -> Vec<String> {
        let addresses = self.endpoints.iter().flat_map(|endpoint| [&endpoint.ipv4_address, &endpoint.ipv6_address]);
        let bare = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        vec![
            if no_trunc { self.id.clone() } else { output::short(&self.id).to_owned() },
            command(&self.command, no_trunc),
            clock::since(&self.created).map_or_else(|| self.created.clone(), |time| units::duration(time) + " ago"),
            status(self),
            networks(self),
            addresses.flatten().map(bare).collect::<Vec<_>>().join(", "),
            self.name.clone(),
            self.created.clone(),
            if self.paused { "paused" } else { state(self.state) }.to_owned(),
            super::port::summary(&self.ports),
            labels.collect::<Vec<_>>().join(","),
            self.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            self.size.map(units::bytes).unwrap_or_default(),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn sort_key(&self) -> &str {
        &self.name
    }
}

fn command(words: &[String], no_trunc: bool) -> String {
    let line = words.join(" ");
    if no_trunc || line.chars().count() <= COMMAND_WIDTH {
        return format!("\"{line}\"");
    }
    format!("\"{}…\"", line.chars().take(COMMAND_WIDTH - 1).collect::<String>())
}

fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Restarting => "restarting",
        ContainerState::Exited => "exited",
    }
}

fn status(container: &Container) -> String {
    let since = |time: &Option<String>| time.as_deref().and_then(clock::since).map(units::duration);
    match container.state {
        ContainerState::Created => "Created".into(),
        ContainerState::Running => {
            let up = since(&container.started).map_or_else(|| "Up".into(), |time| format!("Up {}", lower_first(&time)));
            if container.paused { up + " (Paused)" } else { up }
        }
        ContainerState::Restarting | ContainerState::Exited => {
            let word = if container.state == ContainerState::Restarting { "Restarting" } else { "Exited" };
            let code = container.exit_code.map_or_else(|| "?".into(), |code| code.to_string());
            since(&container.finished)
                .map_or_else(|| format!("{word} ({code})"), |time| format!("{word} ({code}) {time} ago"))
        }
    }
}

/// "Up less than a second" but "Up 3 minutes".
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn networks(container: &Container) -> String {
    if container.endpoints.is_empty() {
        return match container.network_mode.strip_prefix("container:") {
            Some(id) => format!("container:{}", output::short(id)),
            None => container.network_mode.clone(),
        };
    }
    container.endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long commands are cut to Docker's width, on a character boundary.
    #[test]
    fn commands() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command(&words("sleep 100"), false), "\"sleep 100\"");
        assert_eq!(command(&words("python3 -m http.server 8000"), false), "\"python3 -m http.ser…\"");
        assert_eq!(command(&words("äöüäöüäöüäöüäöüäöüäöüäöü"), false), "\"äöüäöüäöüäöüäöüäöüä…\"");
        assert_eq!(command(&words("python3 -m http.server 8000"), true), "\"python3 -m http.server 8000\"");
    }
}
