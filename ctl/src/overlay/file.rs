//! `[[overlay]]` of `--config`: an overlay network with its remotes and entries.
//!
//! ```toml
//! [[overlay]]
//! network = "blue"
//! vni = 4097
//! subnet = "10.100.0.0/16"          # or a list, for both families
//! ip-range = "10.100.1.0/24"        # this host's part of it
//! remotes = ["192.0.2.2", "192.0.2.3"]
//! entries = [{ mac = "02:42:0a:64:02:05", ip = "10.100.2.5", remote = "192.0.2.2" }]
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};
use vswitch_frame::{MacAddr, Vni};

use super::{Directory, DirectoryError};
use crate::error::ControlError;
use crate::ipam::{MacFault, parse_station};
use crate::model::{NetworkSpec, parse_network};

/// One table, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    network: String,
    vni: u32,
    #[serde(default)]
    subnet: Texts,
    #[serde(default)]
    ip_range: Texts,
    #[serde(default)]
    gateway: Texts,
    mtu: Option<u32>,
    encap_checksum: Option<bool>,
    vtep: Option<IpAddr>,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    options: BTreeMap<String, String>,
    #[serde(default)]
    remotes: Vec<IpAddr>,
    #[serde(default)]
    entries: Vec<WireEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntry {
    mac: String,
    #[serde(default)]
    ip: Texts,
    remote: IpAddr,
}

/// One text or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
struct Texts(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Texts {
    fn from(given: OneOrMany) -> Self {
        match given {
            OneOrMany::One(text) => Texts(vec![text]),
            OneOrMany::Many(texts) => Texts(texts),
        }
    }
}

/// One table, checked as far as that goes without knowing the VTEPs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct OverlayTable {
    /// The network, as `network create` would be told.
    pub spec: NetworkSpec,
    /// Its VNI.
    pub vni: Vni,
    remotes: Vec<IpAddr>,
    entries: Vec<(MacAddr, Vec<IpAddr>, IpAddr)>,
}

/// What is wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The network itself.
    #[error("overlay {network}: {error}")]
    Network {
        /// Its name.
        network: String,
        /// What is wrong.
        error: ControlError,
    },
    /// The MAC address of an entry.
    #[error("overlay {network}: {error}")]
    Mac {
        /// Of the network.
        network: String,
        /// What is wrong.
        error: MacFault,
    },
    /// The IP address of an entry.
    #[error("overlay {network}: {address} is no IP address; write one such as 10.100.2.5")]
    Address {
        /// Of the network.
        network: String,
        /// As written.
        address: String,
    },
    /// A subnet without a partner.
    #[error("overlay {network}: {what} {value} is in no subnet of its family; add the subnet")]
    NoSubnet {
        /// Of the network.
        network: String,
        /// Which key.
        what: &'static str,
        /// As written.
        value: String,
    },
    /// Remotes or entries.
    #[error("overlay {network}: {error}")]
    Directory {
        /// Of the network.
        network: String,
        /// What is wrong.
        error: DirectoryError,
    },
}

/// What is wrong with several tables together.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// One name, two networks.
    #[error("two [[overlay]] tables of --config are for network {0}; keep one")]
    Network(String),
    /// One VNI, two networks.
    #[error("overlays {0} and {1} of --config have the same VNI {2}; give each network its own")]
    Vni(String, String, Vni),
}

/// Whether tables can be together in a file.
///
/// # Errors
/// When two have a name or VNI in common.
pub fn check_all(tables: &[OverlayTable]) -> Result<(), TablesError> {
    for (at, table) in tables.iter().enumerate() {
        for other in &tables[..at] {
            if table.spec.name == other.spec.name {
                return Err(TablesError::Network(table.spec.name.clone()));
            }
            if table.vni == other.vni {
                return Err(TablesError::Vni(other.spec.name.clone(), table.spec.name.clone(), table.vni));
            }
        }
    }
    Ok(())
}

impl TryFrom<Wire> for OverlayTable {
    type Error = TableError;

    fn try_from(wire: Wire) -> Result<Self, TableError> {
        let network = wire.network.clone();
        let refused = |error: ControlError| TableError::Network { network: network.clone(), error };
        let vni = Vni::new(wire.vni).map_err(|error| refused(ControlError::invalid(error.to_string())))?;
        let mut options = wire.options;
        options.insert("vni".to_owned(), wire.vni.to_string());
        let given = [
            ("mtu", wire.mtu.map(|mtu| mtu.to_string())),
            ("encap-checksum", wire.encap_checksum.map(|on| on.to_string())),
            ("vtep", wire.vtep.map(|address| address.to_string())),
        ];
        options.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        let mut config: Vec<IpamConfig> =
            wire.subnet.0.into_iter().map(|subnet| IpamConfig { subnet, ..IpamConfig::default() }).collect();
        let mut put = |what, values: Texts, set: fn(&mut IpamConfig, String)| {
            values.0.into_iter().try_for_each(|value| {
                let found = config.iter_mut().find(|config| config.subnet.contains(':') == value.contains(':'));
                let none = || TableError::NoSubnet { network: network.clone(), what, value: value.clone() };
                set(found.ok_or_else(none)?, value);
                Ok(())
            })
        };
        put("ip-range", wire.ip_range, |config, value| config.ip_range = value)?;
        put("gateway", wire.gateway, |config, value| config.gateway = value)?;
        let spec = parse_network(NetworkCreate {
            name: wire.network.clone(),
            driver: "overlay".to_owned(),
            internal: wire.internal,
            ipam: Some(Ipam { config, ..Ipam::default() }),
            options,
            ..NetworkCreate::default()
        });
        let spec = spec.map_err(|error| TableError::Network { network: network.clone(), error })?;
        let entries = wire.entries.into_iter().map(|entry| entry.parse(&network)).collect::<Result<_, _>>()?;
        Ok(OverlayTable { spec, vni, remotes: wire.remotes, entries })
    }
}

impl WireEntry {
    fn parse(self, network: &str) -> Result<(MacAddr, Vec<IpAddr>, IpAddr), TableError> {
        let network = || network.to_owned();
        let mac = parse_station(&self.mac).map_err(|error| TableError::Mac { network: network(), error })?;
        let addresses = self.ip.0.into_iter().map(|address| {
            address.parse().map_err(|_| TableError::Address { network: network(), address: address.clone() })
        });
        Ok((mac, addresses.collect::<Result<_, _>>()?, self.remote))
    }
}

impl OverlayTable {
    /// Its remotes and entries, for the VTEP `own`.
    ///
    /// # Errors
    /// When a remote cannot be one, or an entry leads elsewhere.
    pub fn directory(&self, own: IpAddr) -> Result<Directory, TableError> {
        let refused = |error| TableError::Directory { network: self.spec.name.clone(), error };
        let mut directory = Directory::default();
        for &remote in &self.remotes {
            directory.add_remote(remote, own).map_err(refused)?;
        }
        for (mac, addresses, remote) in &self.entries {
            directory.add_entry(*mac, None, *remote, &[]).map_err(refused)?;
            for &address in addresses {
                directory.add_entry(*mac, Some(address), *remote, &[]).map_err(refused)?;
            }
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        overlay: Vec<OverlayTable>,
    }

    fn parse(text: &str) -> Result<OverlayTable, String> {
        let file: Result<File, _> = toml::from_str(&format!("[[overlay]]\n{text}"));
        file.map(|mut file| file.overlay.remove(0)).map_err(|error| error.to_string())
    }

    const WHOLE: &str = "network = \"blue\"\nvni = 4097\nsubnet = [\"10.100.0.0/16\", \"fd01::/64\"]\n\
        ip-range = \"10.100.1.0/24\"\nmtu = 1400\nremotes = [\"192.0.2.2\"]\n\
        entries = [{ mac = \"02:42:0a:64:02:05\", ip = [\"10.100.2.5\", \"fd01::5\"], remote = \"192.0.2.2\" }]";

    /// A whole table becomes a network with its directory.
    #[test]
    fn whole() {
        let table = parse(WHOLE).unwrap();
        assert_eq!((table.spec.name.as_str(), table.vni.value(), table.spec.options.mtu), ("blue", 4097, 1400));
        let directory = table.directory("192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!(directory.entries()[0].addresses.len(), 2);
        let error = table.directory("192.0.2.2".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "overlay blue: 192.0.2.2 is this host's own VTEP; name another host's");
    }

    /// What makes no sense is refused with the network's name.
    #[test]
    fn refusals() {
        for (from, to, says) in [
            ("4097", "0", "a VNI is 1 to 16777215"),
            ("4097", "16777216", "16777215"),
            ("vni = 4097\n", "", "missing field `vni`"),
            ("02:42:0a:64:02:05", "01:00:5e:00:00:01", "multicast"),
            ("fd01::5\"", "x\"", "x is no IP address"),
            ("remote = \"192.0.2.2\"", "remote = \"here\"", "invalid IP address"),
            ("\"10.100.0.0/16\", ", "", "in no subnet of its family"),
            ("mtu", "mtru", "unknown field `mtru`"),
            ("10.100.0.0/16", "10.100.0.1/16", "it should be 10.100.0.0/16"),
        ] {
            let error = parse(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
        let stray = parse(&WHOLE.replace("remotes = [\"192.0.2.2\"]", "remotes = []")).unwrap();
        let error = stray.directory("192.0.2.1".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("192.0.2.2 is no remote"), "{error}");
    }
}
