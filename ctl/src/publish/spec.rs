//! `-p [[IP:][HOST]:]CONTAINER[/PROTO]`, read as Docker reads it (go-connections, `nat.ParsePortSpec`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{PortRange, Transport};

/// One port of a container that a user wants published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishSpec {
    /// The protocol.
    pub transport: Transport,
    /// At this address of the host only.
    pub host: Option<IpAddr>,
    /// At this port, or at the first free one of several; at any that is free if absent.
    pub host_ports: Option<PortRange>,
    /// The container's own port.
    pub target_port: u16,
}

/// A port of a container that somebody else may want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exposed {
    /// The protocol.
    pub transport: Transport,
    /// The container's own port.
    pub port: u16,
}

impl std::fmt::Display for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.transport.protocol())
    }
}

/// Docker's words, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nothing to publish.
    #[error("no port specified: {0}<empty>; write [IP:][HOST:]CONTAINER[/PROTO] such as 8080:80/tcp")]
    NoPort(String),
    /// Neither of the three.
    #[error("invalid proto: {0}; use tcp, udp or sctp")]
    Protocol(String),
    /// Not an address.
    #[error("invalid IP address: {0}; an IPv6 address stands in brackets")]
    Address(String),
    /// The container's side.
    #[error("invalid containerPort: {0}; use 1 to 65535, or a range such as 80-81")]
    ContainerPort(String),
    /// The host's side.
    #[error("invalid hostPort: {0}; use 1 to 65535, a range such as 8000-8010, or leave it out for any free port")]
    HostPort(String),
    /// Several ports to a different number.
    #[error("invalid ranges specified for container and host Ports: {0} and {1}; use ranges of one length")]
    Ranges(String, String),
}

/// The ports that one `--expose` names.
///
/// # Errors
/// One sentence, in Docker's words.
pub fn parse_exposed(raw: &str) -> Result<Vec<Exposed>, PublishError> {
    let (ports, protocol) = raw.split_once('/').unwrap_or((raw, ""));
    let transport = parse_transport(protocol)?;
    let ports: PortRange = ports.parse().map_err(|_| PublishError::ContainerPort(ports.to_owned()))?;
    Ok((ports.first()..=ports.last()).map(|port| Exposed { transport, port }).collect())
}

fn parse_transport(protocol: &str) -> Result<Transport, PublishError> {
    match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        "sctp" => Ok(Transport::Sctp),
        _ => Err(PublishError::Protocol(protocol.to_owned())),
    }
}

/// The ports that one `-p` names.
///
/// # Errors
/// One sentence, in Docker's words.
pub fn parse(raw: &str) -> Result<Vec<PublishSpec>, PublishError> {
    let (ports, protocol) = raw.split_once('/').unwrap_or((raw, ""));
    let (rest, container) = match ports.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, ports),
    };
    let (address, host) = match rest.map(|rest| (rest, rest.rsplit_once(':'))) {
        Some((_, Some((address, host)))) => (address, host),
        Some((host, None)) => ("", host),
        None => ("", ""),
    };
    let host_address = if address.is_empty() { None } else { Some(parse_address(address)?) };
    if container.is_empty() {
        return Err(PublishError::NoPort(raw.to_owned()));
    }
    let transport = parse_transport(protocol)?;
    let targets: PortRange = container.parse().map_err(|_| PublishError::ContainerPort(container.to_owned()))?;
    let hosts: Option<PortRange> = match host {
        // Docker's two ways to say: any that is free.
        "" | "0" => None,
        _ => Some(host.parse().map_err(|_| PublishError::HostPort(host.to_owned()))?),
    };
    let single = |target_port, host_ports| PublishSpec { transport, host: host_address, host_ports, target_port };
    match hosts {
        None => Ok((targets.first()..=targets.last()).map(|target| single(target, None)).collect()),
        // Any free port of a range for one port of the container.
        Some(hosts) if targets.count() == 1 => Ok(vec![single(targets.first(), Some(hosts))]),
        Some(hosts) if targets.count() == hosts.count() => {
            let pairs = (hosts.first()..=hosts.last()).zip(targets.first()..=targets.last());
            Ok(pairs.map(|(host, target)| single(target, PortRange::single(host).ok())).collect())
        }
        Some(_) => Err(PublishError::Ranges(container.to_owned(), host.to_owned())),
    }
}

/// A `-p` that says the same.
#[must_use]
pub fn text(spec: &PublishSpec) -> String {
    let host = match spec.host {
        None => String::new(),
        Some(host) if host.is_ipv4() => format!("{host}:"),
        Some(host) => format!("[{host}]:"),
    };
    let ports = match (&spec.host_ports, host.is_empty()) {
        (Some(ports), _) => format!("{ports}:"),
        (None, true) => String::new(),
        (None, false) => ":".to_owned(),
    };
    format!("{host}{ports}{}/{}", spec.target_port, spec.transport.protocol())
}

fn parse_address(text: &str) -> Result<IpAddr, PublishError> {
    let invalid = || PublishError::Address(text.to_owned());
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(invalid)?,
        None => text,
    };
    // `::ffff:127.0.0.1` is the host's 127.0.0.1.
    bare.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said of a spec is one that says the same.
    #[test]
    fn texts() {
        for raw in ["80/tcp", "8080:80/tcp", "8000-8010:80/udp", "127.0.0.1::80/tcp", "[::1]:53:53/udp"] {
            assert_eq!(text(&one(raw)), raw);
        }
    }

    fn one(raw: &str) -> PublishSpec {
        let all = parse(raw).unwrap();
        assert_eq!(all.len(), 1, "{raw}");
        all[0]
    }

    /// Every form that Docker takes, and what it means.
    #[test]
    fn forms() {
        let spec = one("10080:80");
        assert_eq!((spec.transport, spec.host, spec.target_port), (Transport::Tcp, None, 80));
        assert_eq!(spec.host_ports, Some(PortRange::single(10080).unwrap()));
        let spec = one("127.0.0.1:8080:80/UDP");
        assert_eq!((spec.transport, spec.host), (Transport::Udp, Some("127.0.0.1".parse().unwrap())));
        for any in ["80", ":80", "::80", "0.0.0.0::80", "0:80", "0.0.0.0:0:80"] {
            assert_eq!(parse(any).map(|all| all[0].host_ports).unwrap_or(None), None, "{any}");
        }
        for six in ["[::]:80:80", "[fd09::1]:80:80/sctp", "fd09::1:80:80"] {
            assert!(one(six).host.unwrap().is_ipv6(), "{six}");
        }
        assert_eq!(one("8000-8010:80").host_ports.unwrap().count(), 11);
        let pairs = parse("8000-8001:80-81").unwrap();
        let ports = |spec: &PublishSpec| (spec.host_ports.unwrap().first(), spec.target_port);
        assert_eq!(pairs.iter().map(ports).collect::<Vec<_>>(), [(8000, 80), (8001, 81)]);
        assert_eq!(parse("80-82").unwrap().len(), 3);
    }

    /// Bad input is refused in Docker's words.
    #[test]
    fn refusals() {
        for (raw, says) in [
            ("", "no port specified: <empty>"),
            ("8080:", "no port specified: 8080:<empty>"),
            ("80/icmp", "invalid proto: icmp"),
            ("80/tcp/udp", "invalid proto: tcp/udp"),
            ("x:80:80", "invalid IP address: x"),
            ("[::1:80:80", "invalid IP address: [::1"),
            ("8080:0", "invalid containerPort: 0"),
            ("8080:http", "invalid containerPort: http"),
            ("8080:65536", "invalid containerPort: 65536"),
            ("65536:80", "invalid hostPort: 65536"),
            ("-1:80", "invalid hostPort: -1"),
            ("8010-8000:80", "invalid hostPort: 8010-8000"),
            ("8000-8010:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8010"),
            ("8000:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000"),
        ] {
            let error = parse(raw).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{raw}: {error}");
        }
    }

    proptest! {
        /// Whatever is written, the answer is a list or a sentence, never a panic.
        #[test]
        fn noise(raw in "[0-9:\\-/\\[\\]a-z.]{0,24}") {
            let _ = parse(&raw);
        }
    }
}
