//! Services: an address of its own behind which several members of a network take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_api::service::{ServiceCreate, ServiceUpdate};
use vswitch_switch::nat::rules::{Algorithm, ServicePort};

use super::{Faults, container_name};
use crate::publish::{self, Binding, Transport};

/// A service, as decided and stored with its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// By which the switch knows it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Ports of the host that lead to it.
    #[serde(default)]
    pub published: Vec<Binding>,
    /// Who is behind it.
    pub backends: Backends,
    /// Who gets the next connection.
    pub algorithm: Algorithm,
    /// How it is found out whether a backend serves.
    #[serde(default)]
    pub health: Option<Health>,
    /// Milliseconds between two looks.
    pub interval_ms: u64,
    /// Backends that get no new connections.
    #[serde(default)]
    pub drained: BTreeSet<String>,
    /// Former backends, whose connections go on.
    #[serde(default)]
    pub former: BTreeSet<String>,
}

/// Who is behind a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backends {
    /// Whoever has these names.
    Named(Vec<String>),
    /// Containers with all of these labels.
    Labelled(BTreeMap<String, Option<String>>),
}

/// How it is found out whether a backend serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// It takes connections.
    Tcp,
    /// It answers to a request for this path with a status from 200 to 399.
    Http(String),
}

/// A service as asked for.
#[derive(Debug, Clone)]
pub struct ServiceWish {
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Whether the host publishes them.
    pub publish: bool,
    /// Who is behind it.
    pub backends: Backends,
    /// Who gets the next connection.
    pub algorithm: Algorithm,
    /// How it is found out whether a backend serves.
    pub health: Option<Health>,
    /// Milliseconds between two looks.
    pub interval_ms: u64,
}

/// What is to change about a service.
#[derive(Debug, Clone, Default)]
pub struct ServiceChange {
    /// Further backends.
    pub add: Vec<String>,
    /// Backends that it is not to have any more.
    pub remove: Vec<String>,
    /// Who gets the next connection.
    pub algorithm: Option<Algorithm>,
    /// How it is found out whether a backend serves.
    pub health: Option<Option<Health>>,
    /// Milliseconds between two looks.
    pub interval_ms: Option<u64>,
}

/// Milliseconds between two looks where nobody says otherwise, and what may be said.
const INTERVAL_MS: u64 = 2000;
const INTERVALS_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;

/// Most ports of one service.
const MOST_PORTS: usize = 64;

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Tcp => f.write_str("tcp"),
            Health::Http(path) => write!(f, "http:{path}"),
        }
    }
}

impl ServiceRecord {
    /// The algorithm's name.
    #[must_use]
    pub const fn algorithm_word(&self) -> &'static str {
        match self.algorithm {
            Algorithm::RoundRobin => "rr",
            Algorithm::LeastFlows => "least",
            Algorithm::SourceHash => "hash",
        }
    }
}

/// Reads what a service is to be.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_service(wire: &ServiceCreate) -> Result<ServiceWish, Faults> {
    let mut faults = Faults::default();
    let name = faults.take(container_name(&wire.name).map_err(|error| error.replace("container", "service")));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in &wire.addresses {
        match text.parse::<IpAddr>() {
            Ok(address) if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) => {
                faults.add(format!("a service has one address of each family, and {address} would be the second"));
            }
            Ok(address) => addresses.push(address),
            Err(_) => faults.add(format!("{text} is no IP address; write one of the network's, such as 10.9.0.100")),
        }
    }
    let mut ports = Vec::new();
    for text in &wire.ports {
        match parse_ports(text) {
            Ok(more) => ports.extend(more),
            Err(error) => faults.add(error),
        }
    }
    if wire.ports.is_empty() {
        faults.add("a service needs a port; write PORT[:TARGET][/PROTO] such as 80:8080");
    }
    if ports.len() > MOST_PORTS {
        faults.add(format!("a service has at most {MOST_PORTS} ports, and these are {}", ports.len()));
    }
    let mut seen = BTreeSet::new();
    for port in &ports {
        if !seen.insert((port.transport, port.port)) {
            faults.add(format!("port {}/{} is given twice", port.port, port.transport.protocol()));
        }
        if port.port == crate::dns::PORT {
            faults.add("port 53 of the switch's own addresses is the name server's; choose another one");
        }
    }
    let backends = match (wire.backends.is_empty(), wire.selector.is_empty()) {
        (false, true) => Backends::Named(unique(&wire.backends)),
        (true, false) => Backends::Labelled(wire.selector.iter().map(|text| label(text)).collect()),
        (true, true) => {
            faults.add("a service needs backends; name them, or select containers by a label such as tier=web");
            Backends::Named(Vec::new())
        }
        (false, false) => {
            faults.add("backends are either named or selected by labels, not both");
            Backends::Named(Vec::new())
        }
    };
    let algorithm = faults.take(algorithm(&wire.algorithm)).unwrap_or_default();
    let health = faults.take(health(&wire.health)).flatten();
    if wire.health_interval_ms.is_some() && wire.health.is_empty() {
        faults.add("a health interval says nothing where nobody looks at backends; add how, tcp or http:/path");
    }
    if health.is_some()
        && let Err(error) = looked_at(&ports)
    {
        faults.add(error);
    }
    let interval_ms = faults.take(interval(wire.health_interval_ms.unwrap_or(INTERVAL_MS))).unwrap_or(INTERVAL_MS);
    let name = name.unwrap_or_default();
    let publish = wire.publish;
    faults.finish(ServiceWish { name, addresses, ports, publish, backends, algorithm, health, interval_ms })
}

/// Reads what is to change about a service.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_service_update(wire: &ServiceUpdate) -> Result<ServiceChange, Faults> {
    let mut faults = Faults::default();
    let algorithm = wire.algorithm.as_ref().and_then(|text| faults.take(algorithm(text)));
    let health = wire.health.as_ref().and_then(|text| faults.take(health(text)));
    let interval_ms = wire.health_interval_ms.and_then(|wanted| faults.take(interval(wanted)));
    let (add, remove) = (unique(&wire.backend_add), unique(&wire.backend_remove));
    for both in add.iter().filter(|name| remove.contains(name)) {
        faults.add(format!("backend {both} is to be added and removed; say which"));
    }
    let says_nothing = add.is_empty() && remove.is_empty() && algorithm.is_none() && health.is_none();
    if says_nothing && interval_ms.is_none() && wire.algorithm.is_none() && wire.health.is_none() {
        faults.add("nothing is to be changed; name a backend, an algorithm, or how to look at backends");
    }
    faults.finish(ServiceChange { add, remove, algorithm, health, interval_ms })
}

/// Where backends are looked at: at the first port that takes connections.
///
/// # Errors
/// When there is none.
pub fn looked_at(ports: &[ServicePort]) -> Result<u16, String> {
    let port = ports.iter().find(|port| port.transport == Transport::Tcp);
    port.map(|port| port.target).ok_or_else(|| {
        "backends are looked at by TCP, and this service has no port of it; leave the health check out".to_owned()
    })
}

fn unique(names: &[String]) -> Vec<String> {
    let mut all = names.to_vec();
    all.sort();
    all.dedup();
    all
}

fn label(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// `80`, `80:8080`, `80:8080/udp`, and ranges of one length.
fn parse_ports(text: &str) -> Result<Vec<ServicePort>, String> {
    let (ports, protocol) = text.split_once('/').map_or((text, ""), |(ports, protocol)| (ports, protocol));
    let both = if ports.contains(':') { text.to_owned() } else { format!("{ports}:{text}") };
    let wrong =
        || format!("{text:?} is no port of a service; write PORT[:TARGET][/PROTO] such as 80:8080 or 53:5353/udp");
    let specs = publish::parse(&both).map_err(|_| wrong())?;
    if !matches!(protocol, "" | "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let port = |spec: &publish::PublishSpec| {
        let own = spec.host_ports.filter(|range| spec.host.is_none() && range.count() == 1)?;
        let transport: Transport = spec.transport;
        Some(ServicePort { transport, port: own.first(), target: spec.target_port })
    };
    specs.iter().map(|spec| port(spec).ok_or_else(wrong)).collect()
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text {
        "" | "rr" => Ok(Algorithm::RoundRobin),
        "least" => Ok(Algorithm::LeastFlows),
        "hash" => Ok(Algorithm::SourceHash),
        other => Err(format!(
            "{other:?} is no algorithm; write rr (one after the other), least (fewest connections) or hash (by the client's \
             address)"
        )),
    }
}

fn health(text: &str) -> Result<Option<Health>, String> {
    match text.split_once(':') {
        None if matches!(text, "" | "none") => Ok(None),
        None if text == "tcp" => Ok(Some(Health::Tcp)),
        Some(("http", path)) if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(Health::Http(path.to_owned())))
        }
        _ => Err(format!("{text:?} says not how to look at a backend; write tcp, http:/path or none")),
    }
}

fn interval(wanted: u64) -> Result<u64, String> {
    match INTERVALS_MS.contains(&wanted) {
        true => Ok(wanted),
        false => Err(format!("a health interval of {wanted} ms is none; use 100 ms to 1 hour")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ports in their short and long form; all faults of a service at once.
    #[test]
    fn words() {
        let ports = |text: &str| -> Vec<(u16, u16, Transport)> {
            parse_ports(text).unwrap().iter().map(|one| (one.port, one.target, one.transport)).collect()
        };
        assert_eq!(ports("80"), [(80, 80, Transport::Tcp)]);
        assert_eq!(ports("80:8080/udp"), [(80, 8080, Transport::Udp)]);
        assert_eq!(ports("80-81:8080-8081").len(), 2);
        for text in ["", "http", "0:80", "80:0", "127.0.0.1:80:80", "80/icmp", "80:90:100"] {
            assert!(parse_ports(text).unwrap_err().contains("is no port of a service"), "{text}");
        }
        let wire = ServiceCreate {
            name: "we b".into(),
            addresses: vec!["10.0.0.1".into(), "10.0.0.2".into(), "x".into()],
            ports: vec!["80".into(), "80:81".into(), "53/udp".into()],
            algorithm: "random".into(),
            health: "http:nope".into(),
            health_interval_ms: Some(1),
            ..ServiceCreate::default()
        };
        let faults = parse_service(&wire).unwrap_err();
        assert_eq!(faults.len(), 9, "{faults}");
        let fault = |change: &dyn Fn(&mut ServiceCreate)| {
            let mut wire = ServiceCreate {
                name: "web".into(),
                network: "shop".into(),
                ports: vec!["80".into()],
                backends: vec!["web1".into()],
                ..ServiceCreate::default()
            };
            change(&mut wire);
            parse_service(&wire).unwrap_err().to_string()
        };
        assert!(fault(&|wire| wire.health_interval_ms = Some(500)).contains("nobody looks at backends"));
        assert!(fault(&|wire| wire.selector = vec!["a=b".into()]).contains("not both"));
        let udp = fault(&|wire| {
            wire.ports = vec!["80/udp".into()];
            wire.health = "tcp".into();
        });
        assert!(udp.contains("no port of it"), "{udp}");
        for path in ["http:/a b", "http:ok", "http:", "http:/é", "https:/x", "tcp:80"] {
            let said = fault(&|wire| wire.health = path.into());
            assert!(said.contains("says not how to look at a backend"), "{path}: {said}");
        }
        let update = ServiceUpdate {
            backend_add: vec!["a".into()],
            backend_remove: vec!["a".into()],
            ..ServiceUpdate::default()
        };
        assert!(parse_service_update(&update).unwrap_err().to_string().contains("added and removed"));
        assert!(
            parse_service_update(&ServiceUpdate::default())
                .unwrap_err()
                .to_string()
                .contains("nothing is to be changed")
        );
        assert_eq!(health("http:/ok?x=1").unwrap().unwrap().to_string(), "http:/ok?x=1");
    }
}
