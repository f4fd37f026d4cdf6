//! Which external port a source inside was given, beyond the life of a single flow.
//!
//! A source that keeps its port needs no entry here: its next flow keeps the port as well. An entry is made when a
//! source got *another* port, so that its further flows get the same one where they can (RFC 4787 REQ-1 as Linux meets
//! it), and for every source under endpoint-independent mapping, where an external port belongs to one source alone.
//! Entries are counted references of flows and go with the last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

use super::flow::Flow;
use crate::rules::{Filtering, Mapping, Target};
use crate::tuple::{Protocol, Tuple, Zone, mapped};

/// A transport address of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    protocol: Protocol,
    zone: Zone,
    address: Ipv6Addr,
    port: u16,
}

/// A source, and the external address that it leaves from: by each uplink it has a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mapped {
    inside: Key,
    external: Ipv6Addr,
}

#[derive(Debug)]
struct Inside {
    port: u16,
    flows: u32,
}

/// Who has an external port under endpoint-independent mapping.
#[derive(Debug)]
struct Owner {
    inside: Key,
    /// The remote addresses that it has flows with, counted; kept only for address-dependent filtering.
    remotes: Vec<(Ipv6Addr, u32)>,
}

#[derive(Debug)]
pub(crate) struct Mappings {
    inside: Box<[Mutex<HashMap<Mapped, Inside, FixedState>>]>,
    outside: Box<[Mutex<HashMap<Key, Owner, FixedState>>]>,
    state: FixedState,
}

impl Mappings {
    pub(super) fn new(seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Mappings {
            inside: (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(state.clone()))).collect(),
            outside: (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(state.clone()))).collect(),
            state,
        }
    }

    /// The port of `external` that the source of `original` has already.
    pub(crate) fn of(&self, original: &Tuple, external: IpAddr) -> Option<u16> {
        let key = Mapped { inside: inside_key(original), external: mapped(external) };
        let shard = self.shard(&self.inside, &key);
        shard.get(&key).map(|mapping| mapping.port)
    }

    /// Notes one flow more of the source of `original`, whose answers come as `reply`. Returns whether a reference is
    /// held, or `None` when the external port belongs to another source.
    pub(crate) fn hold(&self, original: &Tuple, reply: &Tuple, mapping: Mapping) -> Option<bool> {
        let Mapping::EndpointIndependent(filtering) = mapping else {
            let port_kept = original.source_port() == outside_key(reply).port;
            return Some(mapping == Mapping::PortPreserving && !port_kept && self.remember(original, reply));
        };
        let (key, external) = (inside_key(original), outside_key(reply));
        let source = Mapped { inside: key, external: external.address };
        let mut inside = self.shard(&self.inside, &source);
        let mut outside = self.shard(&self.outside, &external);
        let owner = match outside.entry(external) {
            Entry::Occupied(entry) => {
                let owner = entry.into_mut();
                if owner.inside != key {
                    return None;
                }
                owner
            }
            Entry::Vacant(entry) => {
                if inside.contains_key(&source) {
                    // The source has another port already, given to a packet that was faster.
                    return None;
                }
                entry.insert(Owner { inside: key, remotes: Vec::new() })
            }
        };
        if filtering == Filtering::AddressDependent {
            let remote = original.destination_key();
            match owner.remotes.iter_mut().find(|(address, _)| *address == remote) {
                Some((_, flows)) => *flows += 1,
                None => owner.remotes.push((remote, 1)),
            }
        }
        let entry = inside.entry(source).or_insert(Inside { port: external.port, flows: 0 });
        entry.flows += 1;
        Some(true)
    }

    /// Notes that the source of `original` has the port to which `reply` goes; false if it has another one.
    pub(super) fn remember(&self, original: &Tuple, reply: &Tuple) -> bool {
        let Key { address: external, port, .. } = outside_key(reply);
        let key = Mapped { inside: inside_key(original), external };
        let mut shard = self.shard(&self.inside, &key);
        let mapping = shard.entry(key).or_insert(Inside { port, flows: 0 });
        let same = mapping.port == port;
        mapping.flows += u32::from(same);
        same
    }

    /// One flow less.
    pub(super) fn release(&self, flow: &Flow) {
        self.forget(flow.original(), flow.reply());
    }

    /// One flow less of the source of `original`, whose answers came as `reply`.
    pub(crate) fn forget(&self, original: &Tuple, reply: &Tuple) {
        let (key, external) = (inside_key(original), outside_key(reply));
        let source = Mapped { inside: key, external: external.address };
        let mut inside = self.shard(&self.inside, &source);
        let Entry::Occupied(mut entry) = inside.entry(source) else { return };
        entry.get_mut().flows -= 1;
        let last = entry.get().flows == 0;
        if last {
            entry.remove();
        }
        let mut outside = self.shard(&self.outside, &external);
        let Entry::Occupied(mut owner) = outside.entry(external) else { return };
        if owner.get().inside != key {
            return;
        }
        if last {
            owner.remove();
            return;
        }
        let remotes = &mut owner.get_mut().remotes;
        if let Some(at) = remotes.iter().position(|(address, _)| *address == original.destination_key()) {
            remotes[at].1 -= 1;
            if remotes[at].1 == 0 {
                remotes.swap_remove(at);
            }
        }
    }

    /// Who inside is to get a packet that belongs to no flow: the owner of the external port that it is sent to, if
    /// filtering lets its source through (RFC 4787 REQ-8).
    pub(crate) fn owner(&self, arriving: &Tuple, filtering: Filtering) -> Option<Target> {
        if filtering == Filtering::AddressAndPortDependent {
            return None;
        }
        let key = outside_key(arriving);
        let shard = self.shard(&self.outside, &key);
        let owner = shard.get(&key)?;
        let known = || owner.remotes.iter().any(|(address, _)| *address == arriving.source_key());
        let Key { zone, address, port, .. } = owner.inside;
        let target = Target { zone, address: address.to_canonical(), port };
        (filtering == Filtering::EndpointIndependent || known()).then_some(target)
    }

    fn shard<'m, T>(&self, shards: &'m [Mutex<T>], key: &impl Hash) -> MutexGuard<'m, T> {
        let hash = self.state.hash_one(key).to_le_bytes();
        shards[usize::from(hash[7]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn inside_key(original: &Tuple) -> Key {
    let (protocol, zone) = (original.protocol(), original.zone());
    Key { protocol, zone, address: original.source_key(), port: original.source_port() }
}

/// The external end of packets that arrive from outside. An ICMP identifier stands in the source's place in both
/// directions.
fn outside_key(arriving: &Tuple) -> Key {
    let protocol = arriving.protocol();
    let port = if protocol.is_icmp() { arriving.source_port() } else { arriving.destination_port() };
    Key { protocol, zone: arriving.zone(), address: arriving.destination_key(), port }
}

const SHARDS: usize = 64;
