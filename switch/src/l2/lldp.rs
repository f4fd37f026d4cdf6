//! Neighbours that announce themselves by LLDP. Read first: IEEE 802.1AB clauses 8 and 9. Their frames are for whoever is at the other
//! end of the wire and go no further; what they say is kept for as long as they say.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use vswitch_frame::{EtherType, MacAddr, Packet, PortId, Timestamp};

use crate::shared::lock;

/// A neighbour, as it describes itself. Texts are what a stranger wrote: short, and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LldpNeighbour {
    /// Where it was heard.
    pub port: PortId,
    /// Which machine it is.
    pub chassis: String,
    /// By which of its ports.
    pub port_id: String,
    /// What that port is called.
    pub port_description: Option<String>,
    /// What the machine is called.
    pub system: Option<String>,
    /// Seconds until it is forgotten, unless it is heard again.
    pub seconds: u64,
}

#[derive(Debug)]
struct Kept {
    neighbour: LldpNeighbour,
    until: Timestamp,
}

/// Those that were heard.
#[derive(Debug, Default)]
pub(crate) struct Neighbours(Mutex<Vec<Kept>>);

impl Neighbours {
    /// Hears a frame to a reserved address; most are something else.
    pub(crate) fn hear(&self, port: PortId, packet: &Packet<'_>, now: Timestamp) {
        const LLDP: EtherType = EtherType(0x88cc);
        if packet.headers().ether_type() != LLDP || packet.vlan_tci().is_some() {
            return;
        }
        let Some((neighbour, ttl)) = packet.frame().get(packet.l3_offset()..).and_then(|body| read(port, body)) else {
            return;
        };
        let mut kept = lock(&self.0);
        let same = |one: &Kept| {
            (&one.neighbour.chassis, &one.neighbour.port_id) == (&neighbour.chassis, &neighbour.port_id)
                && one.neighbour.port == port
        };
        kept.retain(|one| one.until > now && !same(one));
        if ttl == 0 {
            return;
        }
        // Who has many there makes room for another of its own.
        let here = |one: &Kept| one.neighbour.port == port;
        if kept.iter().filter(|one| here(one)).count() >= MOST_OF_PORT
            && let Some(oldest) = kept.iter().position(here)
        {
            kept.remove(oldest);
        }
        if kept.len() < MOST {
            kept.push(Kept { neighbour, until: now + Duration::from_secs(ttl.into()) });
        }
    }

    /// Those that are there now.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<LldpNeighbour> {
        let kept = lock(&self.0);
        let there = kept.iter().filter(|one| one.until > now);
        there.map(|one| LldpNeighbour { seconds: one.until.since(now).as_secs(), ..one.neighbour.clone() }).collect()
    }

    /// Forgets those at a port that is gone.
    pub(crate) fn forget(&self, port: PortId) {
        lock(&self.0).retain(|one| one.neighbour.port != port);
    }
}

/// Who it is and for how many seconds; `None` where what every announcement begins with is not there (IEEE 802.1AB 8.2).
fn read(port: PortId, mut body: &[u8]) -> Option<(LldpNeighbour, u16)> {
    let mut neighbour = LldpNeighbour {
        port,
        chassis: String::new(),
        port_id: String::new(),
        port_description: None,
        system: None,
        seconds: 0,
    };
    let mut ttl = None;
    for place in 0..MOST_FIELDS {
        let [a, b, ..] = *body else { break };
        let (kind, length) = (a >> 1, usize::from(a & 1) << 8 | usize::from(b));
        let value = body.get(2..2 + length)?;
        body = &body[2 + length..];
        match (place, kind) {
            (0, 1) => neighbour.chassis = id(value, [4, 5])?,
            (1, 2) => neighbour.port_id = id(value, [3, 4])?,
            (2, 3) => ttl = Some(u16::from_be_bytes([*value.first()?, *value.get(1)?])),
            (0..=2, _) => return None,
            (_, 0) => break,
            (_, 4) => neighbour.port_description = Some(text(value)),
            (_, 5) => neighbour.system = Some(text(value)),
            _ => {}
        }
    }
    Some((neighbour, ttl?))
}

/// A chassis' or port's id, whose first byte says what it is: of `forms` the first is a MAC address, the second a network address.
fn id(value: &[u8], forms: [u8; 2]) -> Option<String> {
    let (&kind, rest) = value.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let mac = <[u8; 6]>::try_from(rest).ok().filter(|_| kind == forms[0]);
    let v4 = rest.strip_prefix(&[1]).and_then(|rest| <[u8; 4]>::try_from(rest).ok()).filter(|_| kind == forms[1]);
    Some(match (mac, v4) {
        (Some(mac), _) => MacAddr::new(mac).to_string(),
        (_, Some(v4)) => std::net::Ipv4Addr::from(v4).to_string(),
        _ => text(rest),
    })
}

/// What can be shown to people.
fn text(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for one in String::from_utf8_lossy(bytes).chars().take(MOST_CHARACTERS) {
        if one.is_control() {
            let _ = write!(shown, "\\x{:02x}", u32::from(one));
        } else {
            shown.push(one);
        }
    }
    shown
}

const MOST: usize = 512;
const MOST_OF_PORT: usize = 8;
const MOST_FIELDS: usize = 64;
const MOST_CHARACTERS: usize = 80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind << 1, u8::try_from(value.len()).unwrap()][..], value].concat()
    }

    fn announcement(chassis: u8, ttl: u16) -> Vec<u8> {
        let mac = [4, 2, 0, 0, 0, 0, chassis];
        let fields = [
            (1, &mac[..]),
            (2, b"\x05swp1"),
            (3, &ttl.to_be_bytes()),
            (5, b"leaf\n1"),
            (127, b"\0\x80\xc2\x01"),
            (0, b""),
        ];
        let body: Vec<u8> = fields.iter().flat_map(|(kind, value)| field(*kind, value)).collect();
        [&[1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 9, 0x88, 0xcc][..], &body].concat()
    }

    /// A neighbour is known while it says so, once per machine and port, its texts made harmless; one port pushes out its own.
    #[test]
    fn neighbours() {
        let neighbours = Neighbours::default();
        let (one, two) = (PortId::new(1), PortId::new(2));
        let at = |second: u64| Timestamp::from_millis(second * 1000);
        let hear = |port, frame: &[u8], second| neighbours.hear(port, &Packet::finished(frame), at(second));
        hear(one, &announcement(7, 120), 0);
        hear(one, &announcement(7, 120), 30);
        hear(two, &announcement(8, 20), 30);
        let known = neighbours.list(at(30));
        assert_eq!(known.len(), 2);
        assert_eq!((known[0].chassis.as_str(), known[0].port_id.as_str()), ("02:00:00:00:00:07", "swp1"));
        assert_eq!((known[0].system.as_deref(), known[0].seconds), (Some("leaf\\x0a1"), 120));
        assert_eq!(neighbours.list(at(60)).len(), 1, "the other one is over");
        hear(one, &announcement(7, 0), 61);
        assert_eq!(neighbours.list(at(61)), []);
        (0..50).for_each(|chassis| hear(one, &announcement(chassis, 60), 62));
        hear(two, &announcement(1, 60), 62);
        assert_eq!(neighbours.list(at(62)).len(), MOST_OF_PORT + 1);
        neighbours.forget(one);
        assert_eq!(neighbours.list(at(62)).len(), 1);
        let mut other = announcement(1, 60);
        other[13] = 0xcd;
        hear(one, &other, 62);
        assert_eq!(neighbours.list(at(62)).len(), 1, "no LLDP");
    }

    proptest! {
        /// No nonsense makes it fail, and what is cut short in its beginning is nobody.
        #[test]
        fn noise(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..30) {
            let _ = read(PortId::new(1), &body);
            prop_assert!(read(PortId::new(1), &announcement(1, 60)[14..][..cut.min(19)]).is_none());
        }
    }
}
