//! The two-keyed index under the connection table.

use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use vswitch_frame::Timestamp;

use super::flow::{Direction, Flow};
use crate::tuple::Tuple;

/// A pointer to a flow under one of its tuples.
#[derive(Debug)]
struct Slot {
    flow: Arc<Flow>,
    /// 31 bits of the tuple's hash, and in the lowest bit which of the flow's tuples it is.
    tag: u32,
    /// The flow is not looked at before this second. Of its two slots one is enough.
    recheck: u32,
}

/// A tuple's hash, cut into the parts that are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash {
    shard: usize,
    tag: u32,
}

#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[RwLock<HashTable<Slot>>]>,
    state: foldhash::quality::FixedState,
}

impl Slot {
    fn new(flow: &Arc<Flow>, hash: Hash, direction: Direction) -> Slot {
        let recheck = match direction {
            Direction::Original => 0,
            Direction::Reply => u32::MAX,
        };
        Slot { flow: Arc::clone(flow), tag: hash.tag | u32::from(direction == Direction::Reply), recheck }
    }

    #[inline]
    const fn direction(&self) -> Direction {
        if self.tag & 1 == 0 { Direction::Original } else { Direction::Reply }
    }

    #[inline]
    fn is(&self, hash: Hash, tuple: &Tuple) -> bool {
        (self.tag ^ hash.tag) >> 1 == 0 && self.flow.arriving(self.direction()) == tuple
    }
}

/// The hash that the index itself uses: its position from the tag's low bits, its seven check bits from the high ones.
#[inline]
const fn spread(tag: u32) -> u64 {
    (tag as u64) << 32 | (tag >> 1) as u64
}

impl Shards {
    pub(super) fn new(seed: u64) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect();
        Shards { shards, state: foldhash::quality::FixedState::with_seed(seed) }
    }

    pub(super) const fn count(&self) -> usize {
        SHARDS
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "parts of a hash are taken")]
    pub(super) fn hash(&self, tuple: &Tuple) -> Hash {
        let hash = self.state.hash_one(tuple);
        Hash { shard: (hash >> 32) as usize % SHARDS, tag: hash as u32 & !1 }
    }

    #[inline]
    fn read(&self, index: usize) -> RwLockReadGuard<'_, HashTable<Slot>> {
        self.shards[index % SHARDS].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, index: usize) -> RwLockWriteGuard<'_, HashTable<Slot>> {
        self.shards[index % SHARDS].write().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn find(&self, hash: Hash, tuple: &Tuple) -> Option<(Arc<Flow>, Direction)> {
        let shard = self.read(hash.shard);
        let slot = shard.find(spread(hash.tag), |slot| slot.is(hash, tuple))?;
        Some((Arc::clone(&slot.flow), slot.direction()))
    }

    /// Puts a flow under both its keys, or under neither: then returns the flow in the way, the direction in which its
    /// key is the wanted one, and which of the new flow's keys it was.
    pub(super) fn link(
        &self,
        flow: &Arc<Flow>,
        keys: [(Hash, Tuple); 2],
    ) -> Result<(), (Arc<Flow>, Direction, Direction)> {
        let [original, reply] = keys;
        let low = original.0.shard.min(reply.0.shard);
        let high = original.0.shard.max(reply.0.shard);
        let mut first = self.write(low);
        let mut second = (high != low).then(|| self.write(high));
        let both = [(original, Direction::Original), (reply, Direction::Reply)];
        for ((hash, tuple), key) in &both {
            let shard = if hash.shard == low { &*first } else { second.as_deref().unwrap_or(&*first) };
            if let Some(slot) = shard.find(spread(hash.tag), |slot| slot.is(*hash, tuple)) {
                return Err((Arc::clone(&slot.flow), slot.direction(), *key));
            }
        }
        for ((hash, _), direction) in both {
            let shard = match &mut second {
                Some(second) if hash.shard == high => &mut **second,
                _ => &mut *first,
            };
            shard.insert_unique(spread(hash.tag), Slot::new(flow, hash, direction), |slot| spread(slot.tag & !1));
        }
        Ok(())
    }

    /// Puts one flow in the place of another one that has the same original tuple, at once; `hashes` are of that one, of the old
    /// answers and of the new ones. False when somebody else has these: then nothing is changed.
    pub(super) fn replace(&self, old: &Arc<Flow>, new: &Arc<Flow>, hashes: [Hash; 3]) -> bool {
        let [original, _, reply] = hashes;
        let mut order = hashes.map(|hash| hash.shard).to_vec();
        order.sort_unstable();
        order.dedup();
        let mut held: Vec<_> = order.into_iter().map(|index| (index, self.write(index))).collect();
        let taken = |slot: &Slot| slot.is(reply, new.reply());
        let in_the_way =
            held.iter().any(|(index, shard)| *index == reply.shard && shard.find(spread(reply.tag), taken).is_some());
        if in_the_way {
            return false;
        }
        for (index, shard) in &mut held {
            for hash in hashes.iter().filter(|hash| hash.shard == *index) {
                let mine = |slot: &Slot| slot.tag & !1 == hash.tag && Arc::ptr_eq(&slot.flow, old);
                if let Ok(entry) = shard.find_entry(spread(hash.tag), mine) {
                    entry.remove();
                }
            }
            for (hash, direction) in [(original, Direction::Original), (reply, Direction::Reply)] {
                if hash.shard == *index {
                    let slot = Slot::new(new, hash, direction);
                    shard.insert_unique(spread(hash.tag), slot, |slot| spread(slot.tag & !1));
                }
            }
        }
        true
    }

    /// Takes away the slot that points to this very flow under this hash.
    pub(super) fn unlink(&self, hash: Hash, flow: &Arc<Flow>) {
        let mut shard = self.write(hash.shard);
        let mine = |slot: &Slot| slot.tag & !1 == hash.tag && Arc::ptr_eq(&slot.flow, flow);
        if let Ok(entry) = shard.find_entry(spread(hash.tag), mine) {
            entry.remove();
        }
        if shard.len() * SHRINK_BELOW < shard.num_buckets() && shard.num_buckets() > SHRINK_FROM {
            let wanted = shard.len() * 2;
            shard.shrink_to(wanted, |slot| spread(slot.tag & !1));
        }
    }

    /// The flows of a shard whose time is up.
    pub(super) fn overdue(&self, index: usize, now: Timestamp) -> Vec<Arc<Flow>> {
        let second = now.as_secs();
        let mut found = Vec::new();
        for slot in self.write(index).iter_mut().filter(|slot| slot.recheck <= second) {
            if slot.flow.expires() <= now {
                found.push(Arc::clone(&slot.flow));
            } else {
                // What is said of an open connection, five days, may be ten seconds when it has closed.
                slot.recheck = slot.flow.expires().as_secs().min(second + LONGEST_UNSEEN);
            }
        }
        found
    }

    /// The flows of a shard, each once.
    pub(super) fn flows(&self, index: usize) -> Vec<Arc<Flow>> {
        let shard = self.read(index);
        shard.iter().filter(|slot| slot.direction() == Direction::Original).map(|slot| Arc::clone(&slot.flow)).collect()
    }

    /// Up to `limit` flows, from where `start` points on; a flow may come twice.
    pub(super) fn sample(&self, start: Hash, limit: usize, mut take: impl FnMut(&Arc<Flow>) -> Sampling) {
        let mut seen = 0;
        for offset in 0..SHARDS {
            let shard = self.read(start.shard + offset);
            let buckets = shard.num_buckets();
            let skip = start.tag as usize;
            for index in 0..if shard.is_empty() { 0 } else { buckets } {
                let Some(slot) = shard.get_bucket((index + skip) % buckets) else { continue };
                seen += 1;
                if take(&slot.flow) == Sampling::Enough || seen >= limit {
                    return;
                }
            }
        }
    }
}

/// Whether a sample is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampling {
    More,
    Enough,
}

/// Seconds after which a flow is looked at again, whenever it was to expire: how late one is missed whose time was cut.
const LONGEST_UNSEEN: u32 = 15;
/// A power of two, so that the index is a mask.
const SHARDS: usize = 256;
/// A shard larger than this many buckets is shrunk when fewer than one in this many is used.
const SHRINK_FROM: usize = 1024;
const SHRINK_BELOW: usize = 8;
