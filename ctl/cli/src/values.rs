//! Values on the command line that are more than a word.
//!
//! Only what the command line itself must take apart is parsed here; addresses and names travel as they are.

use std::time::Duration;

use vswitch_api::container::NetworkRequest;
use vswitch_api::network::{EndpointConfig, EndpointIpamConfig};
use vswitch_api::signal;

/// `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

/// `KEY=VALUE`, or `KEY` for an empty value.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    if text.contains('=') { key_value(text) } else { key_value(&format!("{text}=")) }
}

/// `KEY=VALUE`, or `KEY` to hand on the caller's value.
pub(crate) fn variable(text: &str) -> Result<String, String> {
    match text.chars().next() {
        None | Some('=') => Err("write it as KEY=VALUE, or KEY to hand on your own value".into()),
        Some(_) => Ok(text.to_owned()),
    }
}

/// `NAME:ADDRESS` (Docker's) or `NAME=ADDRESS`.
pub(crate) fn host(text: &str) -> Result<String, String> {
    match text.split_once([':', '=']) {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok(format!("{name}:{}", address.trim_start_matches('[').trim_end_matches(']')))
        }
        _ => Err("write it as NAME:ADDRESS".into()),
    }
}

/// A signal: `TERM`, `SIGTERM` or `15`.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    signal::number(text).ok_or_else(|| {
        let known: Vec<_> = signal::names().collect();
        format!("no such signal; known are {}, and numbers from 1 to {}", known.join(" "), known.len())
    })
}

/// A time in seconds: `2`, `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let time =
        text.strip_suffix('s').unwrap_or(text).parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "write it in seconds, such as 1 or 0.5".into())
}

/// For whom an endpoint may speak beside itself.
#[derive(Debug, clap::Args)]
pub(crate) struct AllowArgs {
    /// Let it send from these addresses, too: it routes for them, or is a virtual router (repeat for more)
    #[arg(long = "allow-address", value_name = "ADDRESS[/LEN]")]
    addresses: Vec<String>,
    /// Let it send from this MAC address, too (repeat for more)
    #[arg(long = "allow-mac", value_name = "MAC")]
    macs: Vec<String>,
    /// Option of its port, such as isolation-group=tenants or mac-sticky=true (repeat for more)
    #[arg(long = "opt", value_name = "KEY=VALUE", value_parser = key_value)]
    port_options: Vec<(String, String)>,
}

impl AllowArgs {
    /// Adds them to what an endpoint is asked to be.
    pub(crate) fn put_into(self, endpoint: &mut EndpointConfig) {
        endpoint.driver_opts.extend(self.port_options);
        for (key, values) in [("allow-address", self.addresses), ("allow-mac", self.macs)] {
            if values.is_empty() {
                continue;
            }
            let all = endpoint.driver_opts.entry(key.to_owned()).or_default();
            let given = (!all.is_empty()).then(|| std::mem::take(all));
            *all = given.into_iter().chain(values).collect::<Vec<_>>().join(",");
        }
    }
}

/// `NETWORK`, or Docker's long form `name=NETWORK,ip=A,ip6=A,alias=N,mac-address=M,driver-opt=K=V,gw-priority=N`.
pub(crate) fn network(text: &str) -> Result<NetworkRequest, String> {
    let mut request = NetworkRequest::default();
    if !text.contains('=') {
        text.clone_into(&mut request.network);
        return match text {
            "" => Err("name a network".into()),
            _ => Ok(request),
        };
    }
    for field in text.split(',') {
        let (key, value) = key_value(field)?;
        let endpoint = &mut request.endpoint;
        match key.to_ascii_lowercase().as_str() {
            "name" => request.network = value,
            "alias" => endpoint.aliases.push(value),
            "ip" => addresses(&mut endpoint.ipam_config).ipv4_address = value,
            "ip6" => addresses(&mut endpoint.ipam_config).ipv6_address = value,
            "mac-address" => endpoint.mac_address = value,
            "driver-opt" => {
                let (key, value) = key_value(&value)?;
                endpoint.driver_opts.insert(key, value);
            }
            "gw-priority" => {
                endpoint.gw_priority = value.parse().map_err(|_| "gw-priority is a whole number")?;
            }
            _ => {
                return Err(format!(
                    "unknown key '{key}'; known are name alias ip ip6 mac-address driver-opt gw-priority"
                ));
            }
        }
    }
    if request.network.is_empty() { Err("say which network with name=NETWORK".into()) } else { Ok(request) }
}

/// The static addresses, made if there are none yet.
pub(crate) fn addresses(config: &mut Option<EndpointIpamConfig>) -> &mut EndpointIpamConfig {
    config.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs need a key; labels and variables may lack a value; hosts need both sides and may hold IPv6.
    #[test]
    fn pairs() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
        assert_eq!(label("a"), Ok(("a".into(), String::new())));
        assert!(variable("=x").is_err() && variable("").is_err() && variable("HOME").is_ok());
        assert_eq!(host("db:10.0.0.2").as_deref(), Ok("db:10.0.0.2"));
        assert_eq!(host("db:fd00::2").as_deref(), Ok("db:fd00::2"));
        assert_eq!(host("db=[fd00::2]").as_deref(), Ok("db:fd00::2"));
        assert!(host("db").is_err() && host("db:").is_err() && host(":1.2.3.4").is_err());
    }

    /// Times are positive and finite.
    #[test]
    fn times() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("2s"), Ok(Duration::from_secs(2)));
        for text in ["0", "-1", "x", "inf", "NaN", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    /// Networks come by name alone or in Docker's long form.
    #[test]
    fn networks() {
        assert_eq!(network("container:x").unwrap().network, "container:x");
        let long =
            network("name=n,ip=10.0.0.9,alias=a,alias=b,mac-address=02:00:00:00:00:01,driver-opt=k=v,gw-priority=-1");
        let long = long.unwrap();
        assert_eq!(long.network, "n");
        assert_eq!(long.endpoint.ipam_config.unwrap().ipv4_address, "10.0.0.9");
        assert_eq!(long.endpoint.aliases, ["a", "b"]);
        assert_eq!(long.endpoint.driver_opts["k"], "v");
        assert_eq!(long.endpoint.gw_priority, -1);
        for text in ["", "ip=1.2.3.4", "name=n,foo=1", "name=n,gw-priority=x", "name=n,"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
