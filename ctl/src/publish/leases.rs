//! Who has which host port. Read first: moby `daemon/libnetwork/portallocator`.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Binding, PortRange, PublishSpec, Transport};
use crate::ids::Id;

/// The host ports of all running containers.
#[derive(Debug, Default)]
pub struct PortLeases {
    taken: BTreeMap<(Transport, u16), Vec<(IpAddr, Id)>>,
    /// Behind the automatic port that was given last.
    next: HashMap<Transport, u16>,
}

/// Why a port cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another container has it, or this one already.
    #[error("Bind for {0} failed: port is already allocated")]
    Taken(std::net::SocketAddr),
    /// No port of the range is free.
    #[error("all ports are allocated")]
    Exhausted,
    /// The host does not give it; one sentence.
    #[error("{0}")]
    Host(String),
}

/// Why the host does not give a port that no container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Somebody else has it, so another port of a range may do. One sentence.
    InUse(String),
    /// It would be the same with another port. One sentence.
    Refused(String),
}

/// Docker's automatic ports where it cannot read `net.ipv4.ip_local_port_range`: the upper end of IANA's dynamic ones.
const AUTOMATIC: (u16, u16) = (49_153, 65_535);

impl PortLeases {
    /// Leases what one `-p` asks for: the same port for every family in `families`, unless an address is given. `claim` is
    /// asked for each port that no container has, and says if the host has it to give; it may strike bindings out.
    ///
    /// # Errors
    /// When the port, or every port of the range, is taken; nothing is leased then.
    pub fn lease(
        &mut self,
        spec: &PublishSpec,
        families: Families,
        owner: &Id,
        claim: &mut dyn FnMut(&mut Vec<Binding>) -> Result<(), Claim>,
    ) -> Result<Vec<Binding>, LeaseError> {
        self.lease_together(std::slice::from_ref(spec), families, owner, claim)
    }

    /// As [`PortLeases::lease`], for several that differ only in their addresses ([`together`]): they get the same port.
    ///
    /// # Errors
    /// As [`PortLeases::lease`].
    pub fn lease_together(
        &mut self,
        specs: &[PublishSpec],
        families: Families,
        owner: &Id,
        claim: &mut dyn FnMut(&mut Vec<Binding>) -> Result<(), Claim>,
    ) -> Result<Vec<Binding>, LeaseError> {
        let Some(spec) = specs.first() else { return Ok(Vec::new()) };
        let hosts: Vec<IpAddr> = specs.iter().flat_map(|spec| hosts(spec, families)).collect();
        let (range, start) = match spec.host_ports {
            Some(range) if range.count() == 1 => {
                let taken = hosts.iter().find(|&&host| !self.is_free(spec.transport, host, range.first()));
                if let Some(&host) = taken {
                    return Err(LeaseError::Taken((host, range.first()).into()));
                }
                (range, 0)
            }
            Some(range) => (range, 0),
            None => {
                let range = PortRange::new(AUTOMATIC.0, AUTOMATIC.1).map_err(|_| LeaseError::Exhausted)?;
                let behind = self.next.get(&spec.transport).copied().unwrap_or(AUTOMATIC.0);
                (range, usize::from(behind - AUTOMATIC.0))
            }
        };
        let bindings = self.first_free(spec, &hosts, range, start, claim)?;
        if let (None, Some(first)) = (spec.host_ports, bindings.first()) {
            self.next.insert(spec.transport, first.host_port.checked_add(1).unwrap_or(AUTOMATIC.0));
        }
        self.keep(&bindings, owner);
        Ok(bindings)
    }

    /// Takes bindings that somebody has already, without asking.
    pub fn keep(&mut self, bindings: &[Binding], owner: &Id) {
        for binding in bindings {
            let holders = self.taken.entry((binding.transport, binding.host_port)).or_default();
            holders.push((binding.host, owner.clone()));
        }
    }

    /// Gives back everything that `owner` has.
    pub fn release(&mut self, owner: &Id) {
        self.taken.retain(|_, holders| {
            holders.retain(|(_, holder)| holder != owner);
            !holders.is_empty()
        });
    }

    fn is_free(&self, transport: Transport, host: IpAddr, port: u16) -> bool {
        let holders = self.taken.get(&(transport, port)).map(Vec::as_slice).unwrap_or_default();
        !holders.iter().any(|&(other, _)| meet(host, other))
    }

    fn first_free(
        &self,
        spec: &PublishSpec,
        hosts: &[IpAddr],
        range: PortRange,
        start: usize,
        claim: &mut dyn FnMut(&mut Vec<Binding>) -> Result<(), Claim>,
    ) -> Result<Vec<Binding>, LeaseError> {
        let mut refused = None;
        let ports = (0..range.count()).map(|offset| range.nth(start + offset));
        for host_port in ports.filter(|&port| hosts.iter().all(|&host| self.is_free(spec.transport, host, port))) {
            let binding = |&host| Binding { transport: spec.transport, host, host_port, target_port: spec.target_port };
            let mut bindings: Vec<Binding> = hosts.iter().map(binding).collect();
            match claim(&mut bindings) {
                Ok(()) => return Ok(bindings),
                Err(Claim::InUse(sentence)) => refused = Some(sentence),
                Err(Claim::Refused(sentence)) => return Err(LeaseError::Host(sentence)),
            }
        }
        Err(refused.filter(|_| range.count() == 1).map_or(LeaseError::Exhausted, LeaseError::Host))
    }
}

/// The families for which a container can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl Families {
    fn unspecified(self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        ipv4.into_iter().chain(self.ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
    }
}

/// Where one `-p` is reached.
fn hosts(spec: &PublishSpec, families: Families) -> Vec<IpAddr> {
    match spec.host {
        Some(host) => vec![host],
        None => families.unspecified().collect(),
    }
}

/// Those that belong together, in their order: they differ in their addresses alone, and these do not meet. As with Docker
/// they get the same port.
#[must_use]
pub fn together(specs: &[PublishSpec], families: Families) -> Vec<Vec<PublishSpec>> {
    let mut groups: Vec<Vec<PublishSpec>> = Vec::new();
    for spec in specs {
        let fits = |group: &&mut Vec<PublishSpec>| {
            let alike = PublishSpec { host: spec.host, ..group[0] } == *spec;
            let apart = |one: &PublishSpec| {
                let meets = |host: IpAddr| hosts(one, families).into_iter().any(|other| meet(host, other));
                !hosts(spec, families).into_iter().any(meets)
            };
            alike && group.iter().all(apart)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(*spec),
            None => groups.push(vec![*spec]),
        }
    }
    groups
}

/// A port on all addresses meets the same port on any address of the family.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const BOTH: Families = Families { ipv4: true, ipv6: true };

    fn id() -> Id {
        Id::random(&mut rand::rng())
    }

    fn lease(leases: &mut PortLeases, raw: &str, owner: &Id) -> Result<Vec<String>, String> {
        let spec = parse(raw).unwrap()[0];
        let text = |bindings: Vec<Binding>| bindings.iter().map(ToString::to_string).collect();
        leases.lease(&spec, BOTH, owner, &mut |_| Ok(())).map(text).map_err(|error| error.to_string())
    }

    /// A port is had once: on all addresses, or on each one for itself; a container's end frees it.
    #[test]
    fn conflicts() {
        let (mut leases, one, other) = (PortLeases::default(), id(), id());
        let got = lease(&mut leases, "8080:80", &one).unwrap();
        assert_eq!(got, ["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp"]);
        let refused = "Bind for 0.0.0.0:8080 failed: port is already allocated";
        assert_eq!(lease(&mut leases, "8080:81", &other).unwrap_err(), refused);
        assert!(lease(&mut leases, "10.9.0.1:8080:80", &other).is_err());
        assert!(lease(&mut leases, "8080:80/udp", &other).is_ok());
        assert!(lease(&mut leases, "10.9.0.1:9090:80", &one).is_ok());
        assert!(lease(&mut leases, "10.9.0.3:9090:80", &other).is_ok());
        assert!(lease(&mut leases, "9090:80", &other).is_err());
        leases.release(&one);
        assert!(lease(&mut leases, "8080:80", &other).is_ok());
        assert!(lease(&mut leases, "10.9.0.1:9090:80", &other).is_ok());
    }

    /// Without a host port the next automatic one is given, both families the same; a range gives its first free port.
    #[test]
    fn automatic() {
        let (mut leases, one) = (PortLeases::default(), id());
        assert_eq!(lease(&mut leases, "80", &one).unwrap(), ["0.0.0.0:49153->80/tcp", "[::]:49153->80/tcp"]);
        leases.release(&one);
        assert_eq!(lease(&mut leases, "80", &one).unwrap()[0], "0.0.0.0:49154->80/tcp");
        assert_eq!(lease(&mut leases, "8000-8001:80", &one).unwrap()[0], "0.0.0.0:8000->80/tcp");
        assert_eq!(lease(&mut leases, "8000-8001:80", &one).unwrap()[0], "0.0.0.0:8001->80/tcp");
        assert_eq!(lease(&mut leases, "8000-8001:80", &one).unwrap_err(), "all ports are allocated");
    }

    /// What the host does not give is passed over in a range, refused with its own sentence otherwise, and not leased.
    #[test]
    fn claims() {
        let (mut leases, one) = (PortLeases::default(), id());
        let mut claim = |bindings: &mut Vec<Binding>| {
            bindings.retain(|binding| binding.host.is_ipv4());
            match bindings[0].host_port {
                8000 => Err(Claim::InUse("8000 is in use".into())),
                8001 => Err(Claim::Refused("8001 is forbidden".into())),
                _ => Ok(()),
            }
        };
        let mut lease = |raw: &str| {
            let spec = parse(raw).unwrap()[0];
            let text = |bindings: Vec<Binding>| bindings.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            leases.lease(&spec, BOTH, &one, &mut claim).map(text).map_err(|error| error.to_string())
        };
        assert_eq!(lease("8000:80").unwrap_err(), "8000 is in use");
        assert_eq!(lease("8000:80").unwrap_err(), "8000 is in use", "and nothing was leased");
        assert_eq!(lease("8000-8005:80").unwrap_err(), "8001 is forbidden");
        assert_eq!(lease("8002-8003:80").unwrap(), "0.0.0.0:8002->80/tcp");
        assert_eq!(lease("8002-8003:80").unwrap(), "0.0.0.0:8003->80/tcp");
        assert_eq!(lease("80").unwrap(), "0.0.0.0:49153->80/tcp");
        assert_eq!(lease("80").unwrap(), "0.0.0.0:49154->80/tcp");
    }

    /// Of several addresses the same port is given, where these are apart; where they meet each gets one of its own.
    #[test]
    fn several_addresses() {
        let parsed = |texts: &[&str]| texts.iter().map(|text| parse(text).unwrap()[0]).collect::<Vec<_>>();
        let (mut leases, one) = (PortLeases::default(), id());
        let mut ports = |texts: &[&str]| -> Vec<Vec<String>> {
            let groups = together(&parsed(texts), BOTH);
            let mut all = |group: &Vec<PublishSpec>| leases.lease_together(group, BOTH, &one, &mut |_| Ok(())).unwrap();
            groups.iter().map(|group| all(group).iter().map(ToString::to_string).collect()).collect()
        };
        assert_eq!(
            ports(&["10.9.0.1::80", "[fd09::1]::80", "10.9.0.2::81"]),
            [vec!["10.9.0.1:49153->80/tcp", "[fd09::1]:49153->80/tcp"], vec!["10.9.0.2:49154->81/tcp"]]
        );
        let apart = ports(&["0.0.0.0::80", "127.0.0.1::80", "10.9.0.1::80", "[::]::80"]);
        assert_eq!(apart[0], ["0.0.0.0:49155->80/tcp", "[::]:49155->80/tcp"]);
        assert_eq!(apart[1], ["127.0.0.1:49156->80/tcp", "10.9.0.1:49156->80/tcp"]);
        assert_eq!(ports(&["10.9.0.1:8080:80", "10.9.0.2:8081:80"]).len(), 2);
    }

    /// Automatic ports begin again behind the last one, and end when there are none.
    #[test]
    fn round_robin_to_the_end() {
        let (mut leases, one) = (PortLeases::default(), id());
        let count = usize::from(AUTOMATIC.1 - AUTOMATIC.0) + 1;
        for _ in 0..count {
            lease(&mut leases, "80", &one).unwrap();
        }
        assert_eq!(lease(&mut leases, "80", &one).unwrap_err(), "all ports are allocated");
    }
}
