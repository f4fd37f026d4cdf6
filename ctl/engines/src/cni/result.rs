//! Results, in the form of each version of the specification.

use serde_json::{Map, Value, json};
use vswitch_api::endpoint::Endpoint;

use super::error::{CniError, Code};
use super::ipam::Assigned;
use super::{Call, is_empty, shown};

/// Versions that this plug-in speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the specification's numbers")]
pub(super) enum Version {
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

const VERSIONS: [(Version, &str); 5] = [
    (Version::V0_3_0, "0.3.0"),
    (Version::V0_3_1, "0.3.1"),
    (Version::V0_4_0, "0.4.0"),
    (Version::V1_0_0, "1.0.0"),
    (Version::V1_1_0, "1.1.0"),
];

impl Version {
    pub(super) const NEWEST: Version = Version::V1_1_0;

    pub(super) const fn text(self) -> &'static str {
        VERSIONS[self as usize].1
    }

    /// The version of a configuration.
    pub(super) fn of(config: &Map<String, Value>) -> Result<Version, CniError> {
        let known = VERSIONS.map(|(_, text)| text).join(", ");
        let named = match config.get("cniVersion") {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                return Err(CniError::new(Code::Decode, format!("cniVersion is a string, not {}", shown(other))));
            }
        };
        let found = VERSIONS.iter().find(|(_, text)| *text == named);
        found.map(|(version, _)| *version).ok_or_else(|| {
            let said = if named.is_empty() {
                "the configuration has no cniVersion".to_owned()
            } else {
                format!("cniVersion is {named:?}")
            };
            CniError::new(Code::Version, format!("{said}; this plug-in speaks {known}"))
        })
    }

    /// The answer to VERSION, in the version that is asked in.
    pub(super) fn supported(text: &[u8]) -> Value {
        let asked = serde_json::from_slice::<Value>(text).ok().and_then(|config| {
            let version = config.get("cniVersion")?.as_str()?;
            VERSIONS.iter().map(|(_, text)| *text).find(|text| *text == version)
        });
        let all: Vec<&str> = VERSIONS.iter().map(|(_, text)| *text).collect();
        json!({ "cniVersion": asked.unwrap_or(Version::NEWEST.text()), "supportedVersions": all })
    }
}

/// The result of an ADD: what plug-ins before this one said, and this endpoint.
pub(super) fn merge(call: &Call<'_>, endpoint: &Endpoint, delegated: Option<&Assigned>) -> Value {
    let version = call.version;
    let mut result = call.config.previous.clone().unwrap_or_default();
    result.insert("cniVersion".to_owned(), version.text().into());
    let interfaces = array(&mut result, "interfaces");
    let index = interfaces.len();
    let mut interface = json!({
        "name": endpoint.interface.as_deref().unwrap_or(&call.environment.interface),
        "mac": endpoint.mac_address,
        "sandbox": call.environment.netns,
    });
    if version >= Version::V1_1_0 {
        interface["mtu"] = endpoint.mtu.into();
    }
    interfaces.push(interface);
    let families = [
        ("4", "0.0.0.0/0", &endpoint.ipv4_address, &endpoint.ipv4_gateway),
        ("6", "::/0", &endpoint.ipv6_address, &endpoint.ipv6_gateway),
    ];
    for (family, everywhere, address, gateway) in families {
        let Some(address) = address else { continue };
        let mut ip = json!({ "interface": index, "address": address });
        if version < Version::V1_0_0 {
            ip["version"] = family.into();
        }
        if let Some(gateway) = gateway {
            ip["gateway"] = gateway.clone().into();
            let routes = array(&mut result, "routes");
            let leads_out = |route: &Value| route.get("dst").is_some_and(|dst| dst == everywhere);
            // The first one in the namespace stays in force.
            if !call.config.internal && !routes.iter().any(leads_out) {
                routes.push(json!({ "dst": everywhere, "gw": gateway }));
            }
        }
        array(&mut result, "ips").push(ip);
    }
    for ip in array(&mut result, "ips") {
        let family = ip["address"].as_str().map_or("4", |address| if address.contains(':') { "6" } else { "4" });
        match version < Version::V1_0_0 {
            true => ip["version"] = family.into(),
            false => {
                let _ = ip.as_object_mut().and_then(|ip| ip.remove("version"));
            }
        }
    }
    array(&mut result, "routes");
    let dns = dns(call, endpoint, delegated);
    if result.get("dns").is_none_or(is_empty) {
        result.insert("dns".to_owned(), dns);
    }
    Value::Object(result)
}

/// Who the container is to ask for names: whom the runtime or the configuration say, or the network's gateway.
fn dns(call: &Call<'_>, endpoint: &Endpoint, delegated: Option<&Assigned>) -> Value {
    let said = call.config.dns();
    match (said, delegated.map(|assigned| &assigned.dns).filter(|dns| !is_empty(dns))) {
        (Some(dns), _) => dns,
        (None, Some(dns)) => dns.clone(),
        (None, None) => json!({ "nameservers": endpoint.name_servers }),
    }
}

fn array<'a>(result: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let entry = result.entry(key.to_owned()).or_insert(Value::Null);
    if !entry.is_array() {
        *entry = Value::Array(Vec::new());
    }
    entry.as_array_mut().expect("it was made one")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Versions by their numbers, and VERSION in the asker's.
    #[test]
    fn versions() {
        for (version, text) in VERSIONS {
            assert_eq!(version.text(), text);
            let config = json!({ "cniVersion": text });
            assert_eq!(Version::of(config.as_object().unwrap()).unwrap(), version);
            assert_eq!(Version::supported(config.to_string().as_bytes())["cniVersion"], text);
        }
        for (bad, code) in [(json!({}), 1), (json!({"cniVersion": "0.2.0"}), 1), (json!({"cniVersion": 1}), 6)] {
            assert_eq!(Version::of(bad.as_object().unwrap()).unwrap_err().code, code, "{bad}");
        }
        assert_eq!(Version::supported(b"nonsense")["supportedVersions"].as_array().unwrap().len(), 5);
    }
}
