//! CHECK: whether a container's network is as it was when it was added.

use serde_json::Value;
use vswitch_api::endpoint::{Endpoint, EndpointState};

use super::error::{self, CniError, Code};
use super::{Call, ipam};
use crate::namespace;

pub(super) async fn check(call: &Call<'_>) -> Result<(), CniError> {
    let previous = call.config.previous.as_ref();
    let previous =
        previous.ok_or_else(|| CniError::new(Code::Config, "CHECK needs the result of ADD as prevResult"))?;
    let client = call.client().map_err(|error| error::of_client(&error))?;
    let endpoints = client.endpoints().await.map_err(|error| error::of_client(&error))?;
    let key = call.key();
    let own = endpoints.iter().find(|one| one.engine.as_ref() == Some(&key));
    let own = own.ok_or_else(|| {
        let sentence =
            format!("vswitchd has no interface {} of container {}; add it again", key.interface, key.container);
        CniError::new(Code::Unknown, sentence)
    })?;
    compare(own, previous).map_err(|sentence| CniError::new(Code::Changed, sentence))?;
    in_namespace(call, own).map_err(|sentence| CniError::new(Code::Changed, sentence))?;
    match &call.config.ipam {
        Some(plugin) => ipam::call(plugin, call, "CHECK").map(|_| ()),
        None => Ok(()),
    }
}

/// What vswitchd has beside what ADD answered.
fn compare(own: &Endpoint, previous: &serde_json::Map<String, Value>) -> Result<(), String> {
    let list = |key: &str| previous.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = own.interface.as_deref().unwrap_or_default();
    if !matches!(own.state, EndpointState::Up | EndpointState::NoCarrier) {
        return Err(format!("interface {name} has no port on the switch; take it away with DEL and add it again"));
    }
    let interfaces = list("interfaces");
    let is_own =
        |one: &&Value| one["name"] == name && one["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty());
    let Some((index, interface)) = interfaces.iter().enumerate().find(|(_, one)| is_own(one)) else {
        return Err(format!("prevResult names no interface {name}"));
    };
    let mac = interface["mac"].as_str().unwrap_or_default();
    if !mac.eq_ignore_ascii_case(&own.mac_address) {
        return Err(format!("interface {name} has the MAC address {}, and prevResult says {mac}", own.mac_address));
    }
    let said: Vec<String> = list("ips")
        .iter()
        .filter(|ip| ip["interface"].as_u64() == u64::try_from(index).ok())
        .filter_map(|ip| ip["address"].as_str().map(str::to_owned))
        .collect();
    let has: Vec<&String> = own.ipv4_address.iter().chain(&own.ipv6_address).collect();
    match said.len() == has.len() && has.iter().all(|address| said.contains(address)) {
        true => Ok(()),
        false => Err(format!("interface {name} has {has:?}, and prevResult says {said:?}")),
    }
}

/// What the container has, if this process may look.
fn in_namespace(call: &Call<'_>, own: &Endpoint) -> Result<(), String> {
    let netns = &call.environment.netns;
    let name = &call.environment.interface;
    let Ok(file) = std::fs::File::open(netns) else {
        return Err(format!("the network namespace {netns} (CNI_NETNS) is gone"));
    };
    let Some(view) = namespace::look(&file) else { return Ok(()) };
    if !view.has_interface(name) {
        return Err(format!("the container has no interface {name} any more"));
    }
    for address in own.ipv4_address.iter().chain(&own.ipv6_address) {
        let bare = address.split('/').next().unwrap_or_default();
        if bare.parse().is_ok_and(|bare| !view.has_address(bare)) {
            return Err(format!("interface {name} of the container lost its address {bare}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    /// Each difference between what is and what was answered is told.
    #[test]
    fn differences() {
        let own: Endpoint = serde_json::from_value(json!({
            "id": "1", "name": "web", "network": "n", "network_id": "2", "container_id": null, "state": "up",
            "interface": "eth0", "mac_address": "02:42:0a:00:00:02", "ipv4_address": "10.0.0.2/24", "ipv6_address": null,
            "ipv4_gateway": "10.0.0.1", "ipv6_gateway": null, "mtu": 1500, "port": 1, "aliases": []
        }))
        .unwrap();
        let result = |mac: &str, sandbox: &str, address: &str, index: u64| {
            let interfaces = json!([{"name": "host"}, {"name": "eth0", "mac": mac, "sandbox": sandbox}]);
            let result = json!({"interfaces": interfaces, "ips": [{"address": address, "interface": index}]});
            compare(&own, result.as_object().unwrap())
        };
        result("02:42:0A:00:00:02", "/n", "10.0.0.2/24", 1).unwrap();
        assert!(result("02:42:0a:00:00:03", "/n", "10.0.0.2/24", 1).unwrap_err().contains("MAC"));
        assert!(result("02:42:0a:00:00:02", "", "10.0.0.2/24", 1).unwrap_err().contains("names no interface"));
        assert!(result("02:42:0a:00:00:02", "/n", "10.0.0.3/24", 1).is_err());
        assert!(result("02:42:0a:00:00:02", "/n", "10.0.0.2/24", 0).is_err());
        let lost = Endpoint { state: EndpointState::Lost, ..own.clone() };
        assert!(compare(&lost, &serde_json::Map::new()).unwrap_err().contains("no port"));
    }
}
