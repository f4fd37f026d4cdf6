//! A worker's own memory of recent FDB answers.

use vswitch_frame::{DropReason, PortId, Timestamp};

use super::{Fdb, FdbKey};

/// Slots of a cache: stations that one worker keeps apart without asking the shared table.
const SLOTS: usize = 1024;

/// A direct-mapped cache. An answer holds while the FDB's epoch and the second stay the same; thus every busy station is
/// stamped in the shared table once a second, and a change is seen by the next burst.
#[derive(Debug)]
pub struct Cache {
    slots: Box<[Slot; SLOTS]>,
    round: Round,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: FdbKey,
    port: PortId,
    /// A slot of another round is empty.
    round: Round,
    /// The shared table has been stamped in this round.
    stamped: bool,
}

/// The FDB's epoch, and the second, in 32 bits each: by the time an epoch comes again the second is another one.
type Round = u64;

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        let empty = Slot { key: FdbKey(u64::MAX), port: PortId::new(u32::MAX), round: 0, stamped: false };
        Cache { slots: Box::new([empty; SLOTS]), round: 0 }
    }

    /// To be called before each burst: forgets everything if the FDB changed or a second passed.
    #[inline]
    pub fn begin(&mut self, fdb: &Fdb, now: Timestamp) {
        self.round = fdb.epoch() << 32 | u64::from(now.as_secs());
    }

    /// [`Fdb::lookup`], remembered.
    #[inline]
    pub fn lookup(&mut self, fdb: &Fdb, key: FdbKey, now: Timestamp) -> Option<PortId> {
        let round = self.round;
        let slot = self.slot(key);
        if slot.key == key && slot.round == round {
            return Some(slot.port);
        }
        let port = fdb.lookup(key, now)?;
        *slot = Slot { key, port, round, stamped: false };
        Some(port)
    }

    /// [`Fdb::learn`], remembered.
    ///
    /// # Errors
    /// As [`Fdb::learn`].
    #[inline]
    pub fn learn(&mut self, fdb: &Fdb, key: FdbKey, port: PortId, now: Timestamp) -> Result<(), DropReason> {
        let round = self.round;
        let slot = self.slot(key);
        if slot.key == key && slot.round == round && slot.port == port && slot.stamped {
            return Ok(());
        }
        fdb.learn(key, port, now)?;
        // Learning may have changed nothing (a limit), so only what the table says is remembered.
        if let Some(known) = fdb.lookup(key, now)
            && known == port
        {
            *slot = Slot { key, port, round, stamped: true };
        }
        Ok(())
    }

    #[inline]
    fn slot(&mut self, key: FdbKey) -> &mut Slot {
        let index = usize::try_from(key.spread()).unwrap_or(0) % SLOTS;
        &mut self.slots[index]
    }
}

impl Default for Cache {
    fn default() -> Self {
        Cache::new()
    }
}
