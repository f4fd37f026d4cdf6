//! Published ports.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::network::{Places, Reach};
use super::{PortRange, RulesError};
use crate::tuple::{Protocol, Zone, mapped};

/// The protocols that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Transport {
    /// The protocol number behind it.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Transport::Tcp => Protocol::TCP,
            Transport::Udp => Protocol::UDP,
            Transport::Sctp => Protocol::SCTP,
        }
    }
}

/// A published port, or a range of them: `-p [host:]host_ports:target_ports/transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The protocol.
    pub transport: Transport,
    /// Reached at this address of the switch only; at every one of the target's family if none is given.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// Reached at these ports.
    pub host_ports: PortRange,
    /// The endpoint's address.
    pub target: IpAddr,
    /// The endpoint's network, if that one's addresses are its own.
    #[serde(default)]
    pub network: Option<NetworkIndex>,
    /// The endpoint's ports, as many as there are host ports.
    pub target_ports: PortRange,
}

impl Publish {
    fn zone(&self) -> Zone {
        self.network.map_or(Zone::Shared, Zone::Own)
    }
}

/// Where a packet to one of the switch's own addresses goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Whose address it is.
    pub zone: Zone,
    /// The endpoint's address.
    pub address: IpAddr,
    /// The endpoint's port.
    pub port: u16,
}

/// As Docker writes it: `203.0.113.1:8080->172.17.0.2:80/tcp`.
impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let host =
            self.host.map_or_else(|| if self.target.is_ipv4() { "0.0.0.0".into() } else { "[::]".into() }, bracketed);
        let transport = self.transport.protocol();
        write!(f, "{host}:{}->{}:{}/{transport}", self.host_ports, bracketed(self.target), self.target_ports)
    }
}

/// All published ports, found by host port and by target.
#[derive(Debug, Clone, Default)]
pub(super) struct Publishes {
    rules: Vec<Publish>,
    by_host: Intervals<Protocol>,
    by_target: Intervals<(Protocol, Zone, Ipv6Addr)>,
}

impl Publishes {
    pub(super) fn new(rules: Vec<Publish>, places: &Places) -> Result<Publishes, RulesError> {
        for &rule in &rules {
            if rule.host.is_some_and(|host| host.is_ipv4() != rule.target.is_ipv4()) {
                return Err(RulesError::Family(rule));
            }
            let (host, target) = (rule.host_ports.count(), rule.target_ports.count());
            if host != target {
                return Err(RulesError::UnequalRanges(rule, host, target));
            }
            match places.of(rule.zone(), rule.target).map(|place| place.reach) {
                None => return Err(RulesError::TargetUnknown(rule)),
                Some(Reach::Internal) => return Err(RulesError::TargetInternal(rule)),
                Some(Reach::Uplink) => {}
            }
        }
        let host = |rule: &Publish| (rule.transport.protocol(), rule.host_ports);
        let target =
            |rule: &Publish| ((rule.transport.protocol(), rule.zone(), mapped(rule.target)), rule.target_ports);
        let publishes =
            Publishes { by_host: Intervals::new(&rules, host), by_target: Intervals::new(&rules, target), rules };
        publishes.check_conflicts()?;
        Ok(publishes)
    }

    fn check_conflicts(&self) -> Result<(), RulesError> {
        for (at, rule) in self.rules.iter().enumerate() {
            let overlapping = self.by_host.containing(rule.transport.protocol(), rule.host_ports.first());
            for other in overlapping.filter(|&other| other != at).map(|other| &self.rules[other]) {
                let same_host = match (rule.host, other.host) {
                    (Some(a), Some(b)) => a == b,
                    _ => rule.target.is_ipv4() == other.target.is_ipv4(),
                };
                if same_host {
                    return Err(RulesError::PortTaken(*rule, *other));
                }
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Where a packet to this address and port goes.
    pub(super) fn target(&self, protocol: Protocol, address: IpAddr, port: u16) -> Option<Target> {
        let matches =
            |rule: &&Publish| rule.host.map_or(rule.target.is_ipv4() == address.is_ipv4(), |host| host == address);
        let rule = self.by_host.containing(protocol, port).map(|at| &self.rules[at]).find(matches)?;
        let offset = usize::from(port - rule.host_ports.first());
        Some(Target { zone: rule.zone(), address: rule.target, port: rule.target_ports.nth(offset) })
    }

    /// Whether there is a rule that `earlier` does not have.
    pub(super) fn add_to(&self, earlier: &Publishes) -> bool {
        let before: HashSet<&Publish> = earlier.rules.iter().collect();
        self.rules.iter().any(|rule| !before.contains(rule))
    }

    /// Whether a published port leads there, in the zone that networks share.
    pub(super) fn is_target(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        self.by_target.containing((protocol, Zone::Shared, mapped(address)), port).next().is_some()
    }
}

/// Port ranges under a key, sorted, with the highest last port of all before them: the search walks back only as far as
/// a range can still reach.
#[derive(Debug, Clone)]
struct Intervals<K> {
    entries: Vec<Interval<K>>,
}

#[derive(Debug, Clone)]
struct Interval<K> {
    key: K,
    ports: PortRange,
    reach: u16,
    rule: usize,
}

impl<K> Default for Intervals<K> {
    fn default() -> Self {
        Intervals { entries: Vec::new() }
    }
}

impl<K: Copy + Ord> Intervals<K> {
    fn new(rules: &[Publish], describe: impl Fn(&Publish) -> (K, PortRange)) -> Self {
        let describe = |(rule, publish)| {
            let (key, ports) = describe(publish);
            Interval { key, ports, reach: ports.last(), rule }
        };
        let mut entries: Vec<_> = rules.iter().enumerate().map(describe).collect();
        entries.sort_unstable_by_key(|entry| (entry.key, entry.ports));
        for at in 1..entries.len() {
            if entries[at - 1].key == entries[at].key {
                entries[at].reach = entries[at].reach.max(entries[at - 1].reach);
            }
        }
        Intervals { entries }
    }

    /// The rules whose range under `key` contains `port`.
    fn containing(&self, key: K, port: u16) -> impl Iterator<Item = usize> {
        let behind = self.entries.partition_point(|entry| (entry.key, entry.ports.first()) <= (key, port));
        self.entries[..behind]
            .iter()
            .rev()
            .take_while(move |entry| entry.key == key && entry.reach >= port)
            .filter(move |entry| entry.ports.contains(port))
            .map(|entry| entry.rule)
    }
}
