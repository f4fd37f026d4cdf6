//! Services: an address of the switch's own behind which several endpoints take turns.
//!
//! A new flow towards one is given a backend, and stays with it; backends that come or go change nothing for flows that are open.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::network::Places;
use super::{Target, Transport};
use crate::table::Table;
use crate::tuple::{Tuple, Zone, mapped};

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// By which it is known from one version of the rules to the next.
    pub id: u64,
    /// The network that it is on, and its backends.
    pub network: NetworkIndex,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// At which ports it is reached.
    pub ports: Vec<ServicePort>,
    /// Whose turn it is.
    pub algorithm: Algorithm,
    /// The addresses of those that take new flows.
    pub backends: Vec<IpAddr>,
    /// Of those that keep what they have, and of all that have ever been to be told from strangers.
    pub former: Vec<IpAddr>,
    /// Of the backends those that are behind another host's switch, which must answer here: they are shown the service's own address in
    /// the place of their client's.
    #[serde(default)]
    pub elsewhere: Vec<IpAddr>,
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePort {
    /// The protocol.
    pub transport: Transport,
    /// Its own.
    pub port: u16,
    /// The backends'.
    pub target: u16,
}

/// Which backend a new flow is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one that holds fewest flows.
    LeastFlows,
    /// Always the same one for a client's address, as long as it is there (rendezvous hashing).
    SourceHash,
}

/// How many flows a backend was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendFlows {
    /// Of which service.
    pub service: u64,
    /// Which.
    pub address: IpAddr,
    /// Flows that it was given.
    pub flows: u64,
}

/// What a packet for a service's address and port meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// This backend, which is shown the service as its client if that is not to be itself.
    Backend(Target, Shown),
    /// There is no backend that takes it.
    Nobody,
}

/// Who a backend sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Its client.
    Client,
    /// This address of the service.
    Service(IpAddr),
}

/// All services.
#[derive(Debug, Clone, Default)]
pub(super) struct Services {
    services: Vec<Service>,
    /// Sorted by zone, address, protocol and port.
    by_port: Vec<((Zone, Ipv6Addr, u8, u16), Place)>,
    /// Whose packets may be answers of a service: sorted.
    backends: Vec<(NetworkIndex, Ipv6Addr)>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    service: usize,
    target: u16,
}

#[derive(Debug, Clone)]
struct Service {
    spec: ServiceSpec,
    /// Whose its addresses and its backends' are.
    zone: Zone,
    /// By family: IPv4, IPv6.
    able: [Vec<Backend>; 2],
    next: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
struct Backend {
    address: IpAddr,
    flows: Arc<AtomicU64>,
}

/// Of more backends than this, a few by chance are compared: to look at thousands for each flow would be slow.
const COMPARED: usize = 32;

impl Services {
    /// Counts for itself from now on, from where it is.
    pub(super) fn part(&mut self) {
        let apart = |count: &AtomicU64| Arc::new(AtomicU64::new(count.load(Ordering::Relaxed)));
        for service in &mut self.services {
            service.next = Arc::new(AtomicUsize::new(service.next.load(Ordering::Relaxed)));
            service.able.iter_mut().flatten().for_each(|backend| backend.flows = apart(&backend.flows));
        }
    }

    pub(super) fn new(specs: Vec<ServiceSpec>, places: &Places) -> Services {
        let (mut by_port, mut backends) = (Vec::new(), Vec::new());
        for (service, spec) in specs.iter().enumerate() {
            let zone = places.zone_of(spec.network);
            for address in &spec.addresses {
                by_port.extend(spec.ports.iter().map(|port| {
                    let place = Place { service, target: port.target };
                    ((zone, mapped(*address), port.transport.protocol().0, port.port), place)
                }));
            }
            let all = spec.backends.iter().chain(&spec.former);
            backends.extend(all.map(|address| (spec.network, mapped(*address))));
        }
        by_port.sort_unstable_by_key(|(key, _)| *key);
        backends.sort_unstable();
        backends.dedup();
        let service = |spec: ServiceSpec| Service::new(places.zone_of(spec.network), spec);
        Services { services: specs.into_iter().map(service).collect(), by_port, backends }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Their own addresses, each with its zone.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Zone, IpAddr)> {
        self.services.iter().flat_map(|one| one.spec.addresses.iter().map(|&address| (one.zone, address)))
    }

    /// Whether a network has services.
    pub(super) fn are_on(&self, network: NetworkIndex) -> bool {
        self.services.iter().any(|service| service.spec.network == network)
    }

    /// Whether what a station of a network sends may be an answer of a service.
    #[inline]
    pub(super) fn may_answer(&self, network: NetworkIndex, source: IpAddr) -> bool {
        self.backends.binary_search(&(network, mapped(source))).is_ok()
    }

    /// The backend for what is sent to a service, if it opens a flow; `None`: this is no port of a service.
    pub(super) fn choose(&self, opener: &Tuple, opens: bool, table: &Table) -> Option<Chosen> {
        let key = (opener.zone(), mapped(opener.destination()), opener.protocol().0, opener.destination_port());
        let at = self.by_port.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        if !opens {
            return Some(Chosen::Nobody);
        }
        let Place { service, target } = self.by_port[at].1;
        let service = &self.services[service];
        let backend = service.choose(opener, table);
        Some(backend.map_or(Chosen::Nobody, |backend| {
            backend.flows.fetch_add(1, Ordering::Relaxed);
            let target = Target { zone: service.zone, address: backend.address, port: target };
            let elsewhere = service.spec.elsewhere.contains(&backend.address);
            Chosen::Backend(target, if elsewhere { Shown::Service(opener.destination()) } else { Shown::Client })
        }))
    }

    /// Goes on counting, and in turn, where `earlier` was.
    pub(super) fn count_on(&mut self, earlier: &Services) {
        for service in &mut self.services {
            let Some(before) = earlier.services.iter().find(|one| one.spec.id == service.spec.id) else { continue };
            service.next = Arc::clone(&before.next);
            for (mine, theirs) in service.able.iter_mut().zip(&before.able) {
                // Both are sorted.
                let mut theirs = theirs.iter().peekable();
                for backend in mine {
                    while theirs.next_if(|one| one.address < backend.address).is_some() {}
                    if let Some(same) = theirs.next_if(|one| one.address == backend.address) {
                        backend.flows = Arc::clone(&same.flows);
                    }
                }
            }
        }
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = BackendFlows> {
        self.services.iter().flat_map(|service| {
            service.able.iter().flatten().map(|backend| BackendFlows {
                service: service.spec.id,
                address: backend.address,
                flows: backend.flows.load(Ordering::Relaxed),
            })
        })
    }
}

impl Service {
    fn new(zone: Zone, spec: ServiceSpec) -> Service {
        let of = |ipv4| {
            let mut addresses: Vec<IpAddr> =
                spec.backends.iter().copied().filter(|one| one.is_ipv4() == ipv4).collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses.into_iter().map(|address| Backend { address, flows: Arc::default() }).collect()
        };
        Service { able: [of(true), of(false)], spec, zone, next: Arc::default() }
    }

    fn choose(&self, opener: &Tuple, table: &Table) -> Option<&Backend> {
        let able = &self.able[usize::from(!opener.is_ipv4())];
        let turn = || self.next.fetch_add(1, Ordering::Relaxed);
        match self.spec.algorithm {
            Algorithm::RoundRobin => able.get(turn().checked_rem(able.len())?),
            Algorithm::LeastFlows => {
                let start = turn();
                let compared = (0..able.len().min(COMPARED)).map(|step| {
                    // In turn where all are looked at, so that equals take turns; else spread.
                    let stride = able.len() / able.len().clamp(1, COMPARED);
                    &able[(start + step * stride) % able.len()]
                });
                compared.min_by_key(|backend| table.flows_of(self.zone, backend.address))
            }
            Algorithm::SourceHash => {
                let state = FixedState::with_seed(self.spec.id);
                able.iter().max_by_key(|backend| state.hash_one((mapped(opener.source()), mapped(backend.address))))
            }
        }
    }
}
