//! Which external ports a flow may get, in which order. Read first: RFC 6056 section 3.3.2, RFC 4787 section 4.2.

use rand::RngCore;

use crate::rules::{PortRange, PortSelection};
use crate::tuple::{Protocol, Tuple};

/// How many ports are drawn at random before the rest is walked through.
pub const PORT_DRAWS: u32 = 128;

/// How many ports are walked through behind a random one, after the draws: all of a small range, part of a large one, so
/// that a crowded range costs a bounded time.
const PORT_WALK: u32 = 256;

/// The candidates for one flow behind its preferred ports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pool {
    first: u16,
    count: u32,
}

impl Pool {
    /// The ports, or identifiers, that may stand in for the source's own.
    pub(super) fn of(tuple: &Tuple, selection: PortSelection) -> Pool {
        let protocol = tuple.protocol();
        if protocol.is_icmp() {
            return Pool { first: 0, count: 1 << 16 };
        }
        if !protocol.has_ports() {
            return Pool { first: 0, count: 0 };
        }
        let range = match selection {
            PortSelection::Range(range) => range,
            PortSelection::Classes => class(tuple.source_port()),
        };
        Pool { first: range.first(), count: u32::try_from(range.count()).unwrap_or(0) }
    }

    /// Whether the source's own port may be kept.
    pub(super) fn allows(tuple: &Tuple, selection: PortSelection) -> bool {
        match selection {
            PortSelection::Range(range) if tuple.protocol().has_ports() => range.contains(tuple.source_port()),
            _ => true,
        }
    }

    /// Ports to try, one after another: random ones, then a walk. A range that the walk covers is only walked, so that
    /// its last free port is found.
    pub(super) fn candidates(self, rng: &mut dyn RngCore) -> impl Iterator<Item = u16> {
        let draws = if self.count <= PORT_WALK { 0 } else { PORT_DRAWS };
        let mut start = 0;
        (0..draws + self.count.min(PORT_WALK)).map(move |turn| {
            if turn <= draws {
                start = rng.next_u32() % self.count;
            }
            self.port(start + turn.saturating_sub(draws))
        })
    }

    fn port(self, offset: u32) -> u16 {
        let offset = u16::try_from(offset % self.count).unwrap_or(0);
        self.first.wrapping_add(offset)
    }
}

/// The class of a port, from which another one for the same source comes (RFC 4787 REQ-3a; Linux splits the lower one,
/// for the old r-services).
fn class(port: u16) -> PortRange {
    match port {
        0..512 => PortRange::constant(1, 511),
        512..1024 => PortRange::constant(600, 1023),
        _ => PortRange::constant(1024, u16::MAX),
    }
}

/// Whether a protocol's flows are told apart by something that can be replaced.
pub(super) const fn is_mappable(protocol: Protocol) -> bool {
    protocol.has_ports() || protocol.is_icmp()
}
