//! `network ls`.

use clap::Args;
use vswitch_api::Client;
use vswitch_api::client::Filters;
use vswitch_api::network::Network;

use crate::listing::{self, ListArgs, Listed};
use crate::{output, values};

/// Docker's filters for listing.
const LIST_FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
/// Docker's filters for pruning.
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

const EXAMPLES: &str = "\
Examples:
  vswitchctl network ls --filter type=custom --filter label=team=net
  vswitchctl network ls --format 'table {{.Name}}\\t{{.Subnets}}'
  vswitchctl network ls -q --no-trunc

Values of one filter key are alternatives; different keys must all match.";

/// Arguments of `network ls`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    /// Only networks for which this holds: driver, id, label, name, scope, type=custom|builtin, dangling=true|false
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = list_filter)]
    filter: Vec<(String, String)>,
    #[command(flatten)]
    list: ListArgs,
}

impl LsArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        listing::print(client.networks(&filters(self.filter)).await?, &self.list)
    }
}

/// Filters in the API's shape.
pub(crate) fn filters(pairs: Vec<(String, String)>) -> Filters {
    let mut filters = Filters::new();
    for (key, value) in pairs {
        filters.entry(key).or_default().push(value);
    }
    filters
}

fn list_filter(text: &str) -> Result<(String, String), String> {
    filter(text, LIST_FILTERS)
}

/// A filter of `network prune`.
pub(crate) fn prune_filter(text: &str) -> Result<(String, String), String> {
    filter(text, PRUNE_FILTERS)
}

fn filter(text: &str, known: &[&str]) -> Result<(String, String), String> {
    let (key, value) = values::key_value(text)?;
    if known.contains(&key.as_str()) {
        return Ok((key, value));
    }
    Err(format!("there is no filter '{key}'; known are {}", known.join(" ")))
}

/// A time as Docker prints it here: `2024-05-01 10:00:00.12 +0000 UTC`.
fn go_time(time: &str) -> String {
    let Some((date, rest)) = time.strip_suffix('Z').and_then(|time| time.split_once('T')) else {
        return time.to_owned();
    };
    let rest = if rest.contains('.') { rest.trim_end_matches('0').trim_end_matches('.') } else { rest };
    format!("{date} {rest} +0000 UTC")
}

impl Listed for Network {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("CreatedAt", "CREATED AT"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Subnets", "SUBNETS"),
    ];
    const TABLE: &'static str = r"table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";

    fn values(&self, no_trunc: bool) -> Vec<String> {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let subnets = self.ipam.config.iter().map(|config| config.subnet.as_str());
        vec![
            if no_trunc { self.id.clone() } else { output::short(&self.id).to_owned() },
            self.name.clone(),
            self.driver.clone(),
            self.scope.clone(),
            go_time(&self.created),
            self.enable_ipv4.to_string(),
            self.enable_ipv6.to_string(),
            self.internal.to_string(),
            labels.collect::<Vec<_>>().join(","),
            subnets.collect::<Vec<_>>().join(", "),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn sort_key(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the zeros at the end, as Go prints times; anything else stays as it is.
    #[test]
    fn times() {
        assert_eq!(go_time("2024-05-01T10:00:00.120000000Z"), "2024-05-01 10:00:00.12 +0000 UTC");
        assert_eq!(go_time("2024-05-01T10:00:00.000000000Z"), "2024-05-01 10:00:00 +0000 UTC");
        assert_eq!(go_time("2024-05-01T10:00:10Z"), "2024-05-01 10:00:10 +0000 UTC");
        assert_eq!(go_time("yesterday"), "yesterday");
    }
}
