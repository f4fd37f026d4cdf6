//! Addresses from somebody else: the plug-in that `ipam` names in the configuration is asked (specification, section 4).

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Call;
use super::error::{CniError, Code};
use crate::complain;

/// An address with the length of its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) length: u8,
    pub(super) gateway: Option<IpAddr>,
}

impl Address {
    /// The subnet that it is in.
    pub(super) fn subnet(&self) -> String {
        let network: IpAddr = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                std::net::Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        };
        format!("{network}/{}", self.length)
    }
}

/// What the plug-in gave.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    pub(super) addresses: Vec<Address>,
    pub(super) dns: Value,
}

/// Asks for addresses.
pub(super) fn add(plugin: &str, call: &Call<'_>) -> Result<Assigned, CniError> {
    let answer = call_for_json(plugin, call)?;
    let assigned = read(&answer);
    if assigned.is_err() {
        undo(plugin, call);
    }
    let assigned =
        assigned.map_err(|sentence| CniError::new(Code::Decode, format!("the plug-in {plugin}: {sentence}")))?;
    let beyond = |route: &&Value| !matches!(route.get("dst").and_then(Value::as_str), Some("0.0.0.0/0" | "::/0"));
    if answer.get("routes").and_then(Value::as_array).is_some_and(|routes| routes.iter().any(|route| beyond(&route))) {
        complain(&format!("routes of the plug-in {plugin} other than the default one are not used"));
    }
    Ok(assigned)
}

fn call_for_json(plugin: &str, call: &Call<'_>) -> Result<Value, CniError> {
    let said = self::call(plugin, call, "ADD")?;
    serde_json::from_slice(&said)
        .map_err(|error| CniError::new(Code::Decode, format!("the plug-in {plugin} gave no result: {error}")))
}

fn read(answer: &Value) -> Result<Assigned, String> {
    let ips = answer.get("ips").and_then(Value::as_array).filter(|ips| !ips.is_empty()).ok_or("it gave no address")?;
    let mut addresses: Vec<Address> = Vec::new();
    for ip in ips {
        let text = ip.get("address").and_then(Value::as_str).unwrap_or_default();
        let bad = || format!("its address {text:?} is not ADDRESS/LENGTH");
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length| *length <= most).ok_or_else(bad)?;
        if addresses.iter().any(|other| other.address.is_ipv4() == address.is_ipv4()) {
            return Err(format!("{address} is a second address of its family; an interface has one of each"));
        }
        let gateway = ip.get("gateway").and_then(Value::as_str).and_then(|gateway| gateway.parse().ok());
        addresses.push(Address { address, length, gateway });
    }
    Ok(Assigned { addresses, dns: answer.get("dns").cloned().unwrap_or_default() })
}

/// Gives back what an ADD took that failed later.
pub(super) fn undo(plugin: &str, call: &Call<'_>) {
    if let Err(error) = self::call(plugin, call, "DEL") {
        complain(&format!("the plug-in {plugin} keeps the container's address: {}", error.sentence));
    }
}

/// Calls the plug-in as this one was called, and answers what it says on standard output.
pub(super) fn call(plugin: &str, call: &Call<'_>, command: &str) -> Result<Vec<u8>, CniError> {
    let program = find(plugin, &call.environment.path)?;
    let failed = |error: std::io::Error| {
        CniError::new(Code::Io, format!("cannot run the plug-in {}: {error}", program.display()))
    };
    let mut child = Command::new(&program);
    child.env("CNI_COMMAND", command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = child.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it to its end says why in its answer.
        let _ = stdin.write_all(call.text);
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = answer.get("msg").and_then(Value::as_str).unwrap_or("it failed and does not say why");
    let code = answer.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
    let sentence = format!("the plug-in {plugin}: {said}");
    Err(CniError { code: code.unwrap_or(Code::Refused as u32), sentence })
}

fn find(plugin: &str, path: &str) -> Result<PathBuf, CniError> {
    if plugin.is_empty() || plugin.contains('/') {
        return Err(CniError::new(Code::Config, format!("ipam.type is {plugin:?}; write the name of a plug-in")));
    }
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    let found = folders.map(|folder| Path::new(folder).join(plugin)).find(|program| program.is_file());
    found.ok_or_else(|| {
        CniError::new(Code::Config, format!("there is no plug-in {plugin} (ipam.type) in {path} (CNI_PATH)"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    /// Addresses with their subnets, of both families, and what is none.
    #[test]
    fn addresses() {
        let both = json!({"ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1"}, {"address": "fd00::5/64"}]});
        let assigned = read(&both).unwrap();
        let subnets: Vec<String> = assigned.addresses.iter().map(Address::subnet).collect();
        assert_eq!(subnets, ["10.1.2.0/24", "fd00::/64"]);
        assert_eq!(assigned.addresses[0].gateway, Some("10.1.2.1".parse().unwrap()));
        let all = Address { address: "10.1.2.3".parse().unwrap(), length: 0, gateway: None };
        assert_eq!(all.subnet(), "0.0.0.0/0");
        for bad in [
            json!({}),
            json!({"ips": []}),
            json!({"ips": [{"address": "10.0.0.1"}]}),
            json!({"ips": [{"address": "10.0.0.1/33"}]}),
            json!({"ips": [{"address": "10.0.0.1/8"}, {"address": "10.0.0.2/8"}]}),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
