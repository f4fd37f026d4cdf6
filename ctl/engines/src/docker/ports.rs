//! Ports as dockerd passes them on.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The key of them.
const PORT_MAP: &str = "com.docker.network.portmap";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mapping {
    #[serde(rename = "Proto")]
    protocol: u8,
    #[serde(rename = "Port")]
    port: u16,
    #[serde(rename = "HostIP")]
    host: String,
    #[serde(rename = "HostPort")]
    first: u16,
    #[serde(rename = "HostPortEnd")]
    last: u16,
}

/// Ports of the host in vswitchd's words, `[[IP:]HOST:]PORT/PROTOCOL`.
///
/// # Errors
/// In one sentence, when they make no sense.
pub(super) fn publish(options: Option<&Map<String, Value>>) -> Result<Vec<String>, String> {
    let Some(value) = options.and_then(|options| options.get(PORT_MAP)).filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let mappings: Vec<Mapping> =
        serde_json::from_value(value.clone()).map_err(|error| format!("{PORT_MAP} is not as dockerd's: {error}"))?;
    mappings.iter().map(Mapping::text).collect()
}

impl Mapping {
    fn text(&self) -> Result<String, String> {
        let protocol = match self.protocol {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            other => return Err(format!("protocol {other} cannot be published; use tcp or udp")),
        };
        let host = match self.host.contains(':') {
            true => format!("[{}]:", self.host),
            false if self.host.is_empty() => String::new(),
            false => format!("{}:", self.host),
        };
        let ports = match (self.first, self.last) {
            (0, _) if host.is_empty() => String::new(),
            (0, _) => ":".to_owned(),
            (first, last) if last > first => format!("{first}-{last}:"),
            (first, _) => format!("{first}:"),
        };
        Ok(format!("{host}{ports}{}/{protocol}", self.port))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every form that dockerd has; what is no protocol that is published is refused.
    #[test]
    fn forms() {
        let of = |mapping: Value| {
            let options = json!({ PORT_MAP: [mapping] });
            publish(options.as_object()).map(|ports| ports.join(" "))
        };
        for (mapping, text) in [
            (
                json!({"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}),
                "8080:80/tcp",
            ),
            (json!({"Proto": 17, "Port": 53, "HostIP": "127.0.0.1", "HostPort": 0}), "127.0.0.1::53/udp"),
            (json!({"Proto": 6, "Port": 80, "HostIP": "::1", "HostPort": 81}), "[::1]:81:80/tcp"),
            (json!({"Proto": 6, "Port": 80, "HostPort": 8000, "HostPortEnd": 8010}), "8000-8010:80/tcp"),
            (json!({"Proto": 6, "Port": 80}), "80/tcp"),
        ] {
            assert_eq!(of(mapping).unwrap(), text);
        }
        assert!(of(json!({"Proto": 1, "Port": 80})).is_err());
        assert!(publish(json!({ PORT_MAP: "x" }).as_object()).is_err());
        assert_eq!(publish(json!({ PORT_MAP: null }).as_object()), Ok(Vec::new()));
    }
}
