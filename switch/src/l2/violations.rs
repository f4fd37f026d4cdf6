//! Who broke the rules of secured addresses: the latest of them, by name.

use std::collections::VecDeque;
use std::sync::Mutex;

use vswitch_frame::{MacAddr, PortId, Timestamp};

use crate::shared::lock;

/// Most that a network remembers.
const MOST: usize = 64;

/// An address that was refused at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The sender's address.
    pub mac: MacAddr,
    /// How many of its frames were dropped.
    pub frames: u64,
    /// Seconds since the last one.
    pub age_seconds: u64,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    port: PortId,
    mac: MacAddr,
    frames: u64,
    last: Timestamp,
}

/// Those of a network, the latest first.
#[derive(Debug, Default)]
pub(super) struct Violations(Mutex<VecDeque<Kept>>);

impl Violations {
    /// Takes note of a frame that was dropped.
    pub(super) fn note(&self, port: PortId, mac: MacAddr, now: Timestamp) {
        let mut kept = lock(&self.0);
        let known = kept.iter().position(|one| (one.port, one.mac) == (port, mac));
        let frames = known.and_then(|at| kept.remove(at)).map_or(0, |one| one.frames);
        kept.truncate(MOST - 1);
        kept.push_front(Kept { port, mac, frames: frames + 1, last: now });
    }

    /// Those at a port.
    pub(super) fn of(&self, port: PortId, now: Timestamp) -> Vec<Violation> {
        let kept = lock(&self.0);
        let here = kept.iter().filter(|one| one.port == port);
        let shown =
            |one: &Kept| Violation { mac: one.mac, frames: one.frames, age_seconds: now.since(one.last).as_secs() };
        here.map(shown).collect()
    }

    /// Forgets those at a port that is gone.
    pub(super) fn forget(&self, port: PortId) {
        lock(&self.0).retain(|one| one.port != port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The latest come first with their counts, strangers push out the oldest, and a port that goes takes its own along.
    #[test]
    fn latest_first() {
        let violations = Violations::default();
        let at = |second: u64| Timestamp::from_millis(second * 1000);
        let mac = |number: u64| MacAddr::from_u64(0x0200_0000_0000 + number);
        let (one, two) = (PortId::new(1), PortId::new(2));
        for (port, number, second) in [(one, 1, 1), (one, 2, 2), (two, 1, 3), (one, 1, 4)] {
            violations.note(port, mac(number), at(second));
        }
        let expected = [
            Violation { mac: mac(1), frames: 2, age_seconds: 1 },
            Violation { mac: mac(2), frames: 1, age_seconds: 3 },
        ];
        assert_eq!(violations.of(one, at(5)), expected);
        (0..64).for_each(|number| violations.note(two, mac(100 + number), at(6)));
        assert_eq!((violations.of(one, at(6)).len(), violations.of(two, at(6)).len()), (0, 64));
        violations.forget(two);
        assert_eq!(violations.of(two, at(6)), []);
    }
}
