//! The plug-in's object in a network configuration.
//!
//! | key | |
//! |---|---|
//! | `network` | name of a network of vswitch's to join; without it the configuration is a network of its own, by its `name` |
//! | `subnet`, `gateway`, `ipRange`, or `subnets`, a list of such | its addresses; vswitchd chooses what is left out |
//! | `ipv6`, `internal`, `isolate`, `ipMasq`, `mtu`, `options` | as `network create --ipv6 --internal --opt icc=false --opt masquerade=… --opt mtu=… --opt KEY=VALUE` |
//! | `ipam` | `{"type": PLUGIN}`: that plug-in gives the addresses |
//! | `dns` | what the result says of name servers; without it the network's own |
//! | `socket` | vswitchd's, if it is not where `vswitchctl` looks |
//! | `mac` | the interface's address |
//! | `capabilities` | `portMappings`, `ips`, `mac`, `dns`, `aliases` |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};

use super::error::{CniError, Code};
use super::ipam::Assigned;
use super::{is_empty, shown};

/// A subnet of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Subnet {
    subnet: String,
    gateway: String,
    ip_range: String,
}

/// What a runtime says of one container, by the capabilities that the configuration declares.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Option<Vec<PortMapping>>,
    ips: Option<Vec<String>>,
    mac: Option<String>,
    dns: Option<RuntimeDns>,
    aliases: Option<Aliases>,
}

/// With the names of the conventions, and of containerd, whose go-cni writes the names of its own fields: plug-ins in Go read these
/// as the same.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortMapping {
    #[serde(alias = "HostPort")]
    host_port: i64,
    #[serde(alias = "ContainerPort")]
    container_port: i64,
    #[serde(alias = "Protocol")]
    protocol: String,
    #[serde(rename = "hostIP", alias = "HostIP")]
    host_ip: String,
}

/// In both spellings, too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RuntimeDns {
    #[serde(alias = "Servers")]
    servers: Option<Vec<String>>,
    #[serde(alias = "Searches")]
    searches: Option<Vec<String>>,
    #[serde(alias = "Options")]
    options: Option<Vec<String>>,
}

/// A list by the specification; podman says them for each network by its name.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Aliases {
    List(Vec<String>),
    ByNetwork(BTreeMap<String, Vec<String>>),
}

/// An attachment that the runtime knows.
#[derive(Debug, Deserialize)]
struct Attachment {
    #[serde(rename = "containerID")]
    container: String,
    #[serde(rename = "ifname")]
    interface: String,
}

/// All of it, checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    pub(super) name: String,
    pub(super) socket: Option<PathBuf>,
    pub(super) internal: bool,
    /// Name of the plug-in that gives addresses.
    pub(super) ipam: Option<String>,
    /// The result of the plug-in before, or of ADD.
    pub(super) previous: Option<Map<String, Value>>,
    /// The network that is joined.
    pub(super) joins: Option<String>,
    subnets: Vec<Subnet>,
    ipv6: bool,
    options: BTreeMap<String, String>,
    dns: Value,
    mac: Option<String>,
    runtime: RuntimeConfig,
    /// `args.cni.ips`, a convention older than the capability.
    asked_ips: Vec<String>,
    attachments: Option<Value>,
}

/// The network that an endpoint is to be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) create: NetworkCreate,
    /// Empty: one that exists already.
    pub(super) id: String,
}

impl Wanted {
    /// A plug-in that gives addresses knows the subnets; what the configuration says of them goes before.
    pub(super) fn take_subnets(&mut self, assigned: &Assigned) {
        let ipam = self.create.ipam.get_or_insert_default();
        if !ipam.config.is_empty() || self.id.is_empty() {
            return;
        }
        let subnet = |one: &super::ipam::Address| IpamConfig {
            subnet: one.subnet(),
            gateway: one.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ..IpamConfig::default()
        };
        ipam.config = assigned.addresses.iter().map(subnet).collect();
        let has = |ipv4: bool| assigned.addresses.iter().any(|one| one.address.is_ipv4() == ipv4);
        (self.create.enable_ipv4, self.create.enable_ipv6) = (Some(has(true)), Some(has(false)));
    }
}

/// Standard input as an object.
pub(super) fn parse_object(text: &[u8]) -> Result<Map<String, Value>, CniError> {
    serde_json::from_slice(text)
        .map_err(|error| CniError::new(Code::Decode, format!("the network configuration is no JSON object: {error}")))
}

/// Keys of the specification that say nothing to a plug-in.
const OF_RUNTIMES: [&str; 8] = [
    "cniVersion",
    "type",
    "capabilities",
    "args",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "cniVersions",
];

/// Most of `previous` arrays: a chain of plug-ins has a few interfaces.
const MOST_PREVIOUS: usize = 1024;

impl Config {
    /// Takes everything out of an object; what is left means nothing here.
    pub(super) fn take(raw: &mut Map<String, Value>) -> Result<Config, CniError> {
        let name: String = field(raw, "name")?;
        if name.is_empty() {
            return Err(CniError::new(Code::Config, "the network configuration has no name"));
        }
        let single =
            Subnet { subnet: field(raw, "subnet")?, gateway: field(raw, "gateway")?, ip_range: field(raw, "ipRange")? };
        let mut subnets: Vec<Subnet> = field(raw, "subnets")?;
        if single != Subnet::default() {
            subnets.insert(0, single);
        }
        let mut options: BTreeMap<String, String> = field(raw, "options")?;
        if let Some(mtu) = field::<Option<u32>>(raw, "mtu")?.filter(|mtu| *mtu != 0) {
            options.insert("mtu".to_owned(), mtu.to_string());
        }
        if field(raw, "isolate")? {
            options.insert("icc".to_owned(), "false".to_owned());
        }
        if field::<Option<bool>>(raw, "ipMasq")? == Some(false) {
            options.insert("masquerade".to_owned(), "false".to_owned());
        }
        let asked_ips = raw.get("args").and_then(|args| args.get("cni")?.get("ips")).cloned();
        let config = Config {
            name,
            socket: field::<Option<PathBuf>>(raw, "socket")?,
            internal: field(raw, "internal")?,
            ipam: ipam(raw)?,
            previous: field::<Option<Map<String, Value>>>(raw, "prevResult")?,
            joins: field::<Option<String>>(raw, "network")?.filter(|name| !name.is_empty()),
            subnets,
            ipv6: field(raw, "ipv6")?,
            options,
            dns: field(raw, "dns")?,
            mac: field::<Option<String>>(raw, "mac")?,
            runtime: field(raw, "runtimeConfig")?,
            asked_ips: asked_ips.map(|ips| decode("args.cni.ips", ips)).transpose()?.unwrap_or_default(),
            attachments: raw.remove("cni.dev/valid-attachments"),
        };
        config.check(raw)?;
        Ok(config)
    }

    fn check(&self, left: &Map<String, Value>) -> Result<(), CniError> {
        let means_nothing = |key: &&String| !OF_RUNTIMES.contains(&key.as_str()) && !key.contains(['/', '.']);
        if let Some(key) = left.keys().find(means_nothing) {
            let sentence = format!(
                "{key:?} with the value {} means nothing to the plug-in vswitch; leave it out ('options' takes the options \
                 of 'vswitchctl network create')",
                shown(&left[key])
            );
            return Err(CniError::new(Code::Unsupported, sentence));
        }
        let joined_as_it_is = self.subnets.is_empty() && self.options.is_empty() && !self.internal && !self.ipv6;
        if let (Some(network), false) = (&self.joins, joined_as_it_is) {
            let sentence = format!(
                "the configuration joins network {network} ('network') and says what it is like, too; leave one of these out"
            );
            return Err(CniError::new(Code::Config, sentence));
        }
        for key in ["interfaces", "ips", "routes"] {
            let list = self.previous.as_ref().and_then(|previous| previous.get(key));
            match list {
                None | Some(Value::Null) => {}
                Some(Value::Array(list)) if list.len() <= MOST_PREVIOUS && list.iter().all(Value::is_object) => {}
                Some(_) => {
                    let sentence = format!("prevResult.{key} is no list of at most {MOST_PREVIOUS} objects");
                    return Err(CniError::new(Code::Decode, sentence));
                }
            }
        }
        Ok(())
    }

    /// The network.
    pub(super) fn wanted(&self) -> Wanted {
        if let Some(joins) = &self.joins {
            let create = NetworkCreate { name: joins.clone(), ..NetworkCreate::default() };
            return Wanted { create, id: String::new() };
        }
        let config: Vec<IpamConfig> = self
            .subnets
            .iter()
            .map(|one| IpamConfig {
                subnet: one.subnet.clone(),
                gateway: one.gateway.clone(),
                ip_range: one.ip_range.clone(),
                ..IpamConfig::default()
            })
            .collect();
        let has = |ipv6: bool| config.iter().any(|one| one.subnet.contains(':') == ipv6);
        let create = NetworkCreate {
            name: self.name.clone(),
            internal: self.internal,
            // With subnets of IPv6 alone there is no IPv4.
            enable_ipv4: (!config.is_empty()).then(|| has(false)),
            enable_ipv6: Some(self.ipv6 || has(true)),
            ipam: Some(Ipam { config, ..Ipam::default() }),
            options: self.options.clone(),
            ..NetworkCreate::default()
        };
        Wanted { create, id: self.id() }
    }

    /// What vswitchd knows the configuration's own network by.
    fn id(&self) -> String {
        // FNV-1a from four starting points: names are few and their owner's, so nobody looks for collisions.
        let from =
            |start: u64| self.name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        (1..=4).map(|part| format!("{:016x}", from(FNV_OFFSET.wrapping_mul(2 * part + 1)))).collect()
    }

    /// Id of the configuration's own network, or the name of the one that is joined.
    pub(super) fn network_key(&self) -> String {
        self.joins.clone().unwrap_or_else(|| self.id())
    }

    /// How many interfaces the network has room for, if the configuration says.
    pub(super) fn room(&self) -> Option<u128> {
        let room = |one: &Subnet| {
            let range = if one.ip_range.is_empty() { &one.subnet } else { &one.ip_range };
            let (address, length) = range.split_once('/')?;
            let bits: u32 = if address.contains(':') { 128 } else { 32 };
            let all = 1_u128.checked_shl(bits.checked_sub(length.parse().ok()?)?)?;
            // Network, broadcast and gateway.
            Some(if one.ip_range.is_empty() { all.saturating_sub(3) } else { all })
        };
        self.subnets.iter().filter_map(room).min()
    }

    /// Addresses that the runtime asks for, bare.
    pub(super) fn addresses(&self, args: &BTreeMap<String, String>) -> Result<Vec<String>, CniError> {
        let of_args = args.get("IP").into_iter().flat_map(|ips| ips.split(','));
        let of_runtime = self.runtime.ips.iter().flatten().map(String::as_str);
        let asked = of_runtime.chain(of_args).chain(self.asked_ips.iter().map(String::as_str));
        let mut addresses: Vec<String> = Vec::new();
        for text in asked.map(str::trim).filter(|text| !text.is_empty()) {
            let bare = text.split('/').next().unwrap_or_default();
            let address: IpAddr = bare.parse().map_err(|_| {
                CniError::new(
                    Code::Config,
                    format!("the address {text:?} that is asked for is none; write 10.0.0.5/24"),
                )
            })?;
            let address = address.to_string();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// The MAC address that is asked for.
    pub(super) fn mac(&self, args: &BTreeMap<String, String>) -> Option<String> {
        let asked = [self.runtime.mac.as_ref(), args.get("MAC"), self.mac.as_ref()];
        asked.into_iter().flatten().find(|mac| !mac.is_empty()).cloned()
    }

    /// Further names of the container on the network.
    pub(super) fn aliases(&self, container: &str) -> Vec<String> {
        let asked = match &self.runtime.aliases {
            None => &Vec::new(),
            Some(Aliases::List(list)) => list,
            Some(Aliases::ByNetwork(map)) => map.get(&self.name).unwrap_or(const { &Vec::new() }),
        };
        // As Docker's and podman's containers have them.
        let short = container.get(..SHORT_ID).filter(|_| container.len() == LONG_ID).map(str::to_owned);
        let all: BTreeSet<String> = asked.iter().cloned().chain(short).collect();
        all.into_iter().collect()
    }

    /// Published ports, in vswitch's words.
    pub(super) fn publish(&self) -> Result<Vec<String>, CniError> {
        let mappings = self.runtime.port_mappings.iter().flatten();
        mappings.map(|one| one.text().map_err(|sentence| CniError::new(Code::Config, sentence))).collect()
    }

    /// What the result is to say of names, if runtime or configuration say.
    pub(super) fn dns(&self) -> Option<Value> {
        if let Some(dns) = &self.runtime.dns {
            let mut said = Map::new();
            for (key, list) in [("nameservers", &dns.servers), ("search", &dns.searches), ("options", &dns.options)] {
                if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                    said.insert(key.to_owned(), list.clone().into());
                }
            }
            if said.contains_key("nameservers") {
                return Some(said.into());
            }
        }
        (!is_empty(&self.dns)).then(|| self.dns.clone())
    }

    /// Container and interface of every attachment that is still there, for GC.
    pub(super) fn valid_attachments(&self) -> Result<BTreeSet<(String, String)>, CniError> {
        let named = self.attachments.clone().ok_or_else(|| {
            CniError::new(Code::Config, "GC needs cni.dev/valid-attachments, the list of what is still there")
        })?;
        let list: Option<Vec<Attachment>> = decode("cni.dev/valid-attachments", named)?;
        Ok(list.unwrap_or_default().into_iter().map(|one| (one.container, one.interface)).collect())
    }
}

/// Parameters of FNV-1a with 64 bits (RFC 9923).
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

/// Letters of an engine's container id, and of its short form.
const LONG_ID: usize = 64;
const SHORT_ID: usize = 12;

impl PortMapping {
    fn text(&self) -> Result<String, String> {
        let port = |what: &str, number: i64| match u16::try_from(number) {
            Ok(number) if number != 0 => Ok(number),
            _ => Err(format!("invalid {what} port {number} in portMappings; ports are 1 to 65535")),
        };
        let (outside, inside) = (port("host", self.host_port)?, port("container", self.container_port)?);
        let host = match self.host_ip.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:"),
            Ok(IpAddr::V4(address)) => format!("{address}:"),
            Err(_) if self.host_ip.is_empty() => String::new(),
            Err(_) => return Err(format!("invalid hostIP {:?} in portMappings", self.host_ip)),
        };
        let protocol = if self.protocol.is_empty() { "tcp".to_owned() } else { self.protocol.to_lowercase() };
        Ok(format!("{host}{outside}:{inside}/{protocol}"))
    }
}

/// The name of the plug-in that gives addresses. An empty `ipam` is none.
fn ipam(raw: &mut Map<String, Value>) -> Result<Option<String>, CniError> {
    let ipam: Map<String, Value> = field(raw, "ipam")?;
    match ipam.get("type") {
        None if ipam.is_empty() => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        _ => Err(CniError::new(
            Code::Config,
            "ipam has no type: name the plug-in that gives addresses, or leave ipam out",
        )),
    }
}

/// Takes a field; absent and null are what its type has for nothing.
fn field<T: DeserializeOwned + Default>(raw: &mut Map<String, Value>, key: &str) -> Result<T, CniError> {
    match raw.remove(key) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => decode(key, value),
    }
}

fn decode<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, CniError> {
    let text = shown(&value);
    serde_json::from_value(value).map_err(|error| CniError::new(Code::Decode, format!("{key} is {text}: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn take(mut config: Value) -> Result<Config, CniError> {
        config["name"] = "vnet".into();
        Config::take(config.as_object_mut().unwrap())
    }

    /// A network of its own has what the configuration says, under an id that follows from its name.
    #[test]
    fn networks() {
        let config =
            take(json!({"type": "vswitch", "cniVersion": "1.0.0", "subnet": "10.9.0.0/24", "gateway": "10.9.0.9",
            "subnets": [{"subnet": "fd00::/64"}], "mtu": 1400, "isolate": true, "ipMasq": false, "internal": true,
            "options": {"mac-limit": "3"}, "capabilities": {"ips": true}, "cni.dev/x": 1}))
            .unwrap();
        let wanted = config.wanted();
        let ipam = wanted.create.ipam.unwrap();
        assert_eq!((ipam.config[0].gateway.as_str(), ipam.config[1].subnet.as_str()), ("10.9.0.9", "fd00::/64"));
        let options: Vec<String> = wanted.create.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(options, ["icc=false", "mac-limit=3", "masquerade=false", "mtu=1400"]);
        assert_eq!((wanted.id.len(), wanted.create.enable_ipv6), (64, Some(true)));
        assert_eq!(config.room(), Some(253));
        assert_eq!(take(json!({"network": "blue"})).unwrap().wanted().id, "");
    }

    /// What a configuration cannot be, with the code that the specification has for it.
    #[test]
    fn refusals() {
        for (config, code, says) in [
            (json!({"subent": "10.0.0.0/8"}), 2, "\"subent\" with the value \"10.0.0.0/8\""),
            (json!({"subnet": 5}), 6, "subnet is 5"),
            (json!({"network": "blue", "subnet": "10.0.0.0/8"}), 7, "joins network blue"),
            (json!({"ipam": {"ranges": []}}), 7, "ipam has no type"),
            (json!({"prevResult": {"ips": ["10.0.0.1"]}}), 6, "prevResult.ips"),
            (json!({"runtimeConfig": {"portMappings": {}}}), 6, "runtimeConfig is"),
        ] {
            let error = take(config.clone()).unwrap_err();
            assert_eq!((error.code, error.sentence.contains(says)), (code, true), "{config}: {error:?}");
        }
        assert_eq!(Config::take(&mut Map::new()).unwrap_err().code, 7, "no name");
        assert_eq!(parse_object(b"[]").unwrap_err().code, 6);
    }

    /// What runtimes ask for one container: as capabilities, as arguments, in both forms of aliases.
    #[test]
    fn of_a_container() {
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"},
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "::1"}]);
        let runtime = json!({"portMappings": ports, "ips": ["10.0.0.5/24", "fd00::5"], "mac": "02:00:00:00:00:01",
            "aliases": {"vnet": ["a"], "other": ["b"]}, "dns": {"servers": ["10.0.0.53"], "searches": ["x.y"]}});
        let config = take(json!({"runtimeConfig": runtime, "args": {"cni": {"ips": ["10.0.0.5"]}}})).unwrap();
        let args =
            [("IP".to_owned(), "10.0.0.5".to_owned()), ("MAC".to_owned(), "02:00:00:00:00:02".to_owned())].into();
        assert_eq!(config.addresses(&args).unwrap(), ["10.0.0.5", "fd00::5"]);
        assert_eq!(config.mac(&args).unwrap(), "02:00:00:00:00:01");
        assert_eq!(config.publish().unwrap(), ["8080:80/tcp", "[::1]:53:53/udp"]);
        let id = "ab".repeat(32);
        assert_eq!(config.aliases(&id), ["a", "abababababab"]);
        assert_eq!(config.dns().unwrap(), json!({"nameservers": ["10.0.0.53"], "search": ["x.y"]}));
        assert_eq!(take(json!({"runtimeConfig": {"aliases": ["c"]}})).unwrap().aliases("x"), ["c"]);
        let runtime = json!({"portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "10.0.0.1"}],
            "dns": {"Servers": ["10.0.0.53"], "Searches": null, "Options": null}});
        let of_containerd = take(json!({ "runtimeConfig": runtime })).unwrap();
        assert_eq!(of_containerd.publish().unwrap(), ["10.0.0.1:8080:80/tcp"]);
        assert_eq!(of_containerd.dns().unwrap(), json!({"nameservers": ["10.0.0.53"]}));
        for bad in [0, 65536, -1] {
            let ports = json!([{"hostPort": bad, "containerPort": 80}]);
            assert_eq!(take(json!({"runtimeConfig": {"portMappings": ports}})).unwrap().publish().unwrap_err().code, 7);
        }
    }
}
