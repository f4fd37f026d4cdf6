//! How many flows each endpoint holds, so that none can take more than its share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::Ipv6Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tuple::Zone;

/// An address inside, in mapped form, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) zone: Zone,
    pub(crate) address: Ipv6Addr,
}

/// Flows by endpoint. Entries live as long as they count anything.
#[derive(Debug)]
pub(super) struct Accounts {
    shards: Box<[Mutex<Shard>]>,
}

type Shard = HashMap<Endpoint, u32, foldhash::fast::FixedState>;

impl Accounts {
    pub(super) fn new(seed: u64) -> Self {
        let state = foldhash::fast::FixedState::with_seed(seed);
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(state.clone()))).collect();
        Accounts { shards }
    }

    /// Counts one flow more, unless there are `limit` already.
    pub(super) fn open(&self, endpoint: Endpoint, limit: usize) -> Result<(), AtLimit> {
        let mut shard = self.shard(endpoint);
        let count = shard.entry(endpoint).or_insert(0);
        if *count as usize >= limit {
            return Err(AtLimit);
        }
        *count += 1;
        Ok(())
    }

    /// Counts one flow less.
    pub(super) fn close(&self, endpoint: Endpoint) {
        if let Entry::Occupied(mut entry) = self.shard(endpoint).entry(endpoint) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// How many flows an endpoint holds.
    pub(super) fn count(&self, endpoint: Endpoint) -> usize {
        self.shard(endpoint).get(&endpoint).map_or(0, |&count| count as usize)
    }

    fn shard(&self, endpoint: Endpoint) -> MutexGuard<'_, Shard> {
        let octets = endpoint.address.octets();
        let index = usize::from(octets[15] ^ octets[14].rotate_left(3)) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The endpoint holds as many flows as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AtLimit;

const SHARDS: usize = 32;
