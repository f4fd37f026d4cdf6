//! Where a frame goes on a network whose stations are those that control names, and everybody else is behind the leg. Read
//! first: Linux `drivers/net/macvlan.c`; IEEE 802.1Q 8.6.3 (reserved addresses).

use vswitch_frame::{DropReason, MacAddr, Packet, PortId, Timestamp};

use super::LanMode;
use crate::bridge::{Database, over_mtu};
use crate::fdb::FdbKey;
use crate::port::Port;
use crate::snapshot::Network;
use crate::verdict::Verdict;

/// Decides for a frame from a station that is who it says. Nothing is learned from the leg: what is not known to be here is
/// there.
#[inline(never)]
pub(crate) fn decide(
    packet: &Packet<'_>,
    ingress: &Port,
    network: &Network,
    mode: LanMode,
    database: Database<'_>,
    now: Timestamp,
) -> Verdict {
    let Database { fdb, cache } = database;
    let (destination, source) = packet.addresses();
    let key = |mac| FdbKey::new(network.index, mac);
    let outside = network.lan == Some(ingress.id);
    let mut reflected = None;
    if outside {
        reflected = cache.lookup(fdb, key(source), now);
        // An address that stations share (VRRP) may have gone there; a station of control's own is here.
        if reflected.is_some()
            && mode != LanMode::Vepa
            && let Err(reason) = cache.learn(fdb, key(source), ingress.id, now)
        {
            return reason.into();
        }
    } else if let Err(reason) = cache.learn(fdb, key(source), ingress.id, now) {
        return reason.into();
    }
    let passes = network.config.forward_bpdus && destination == MacAddr::BRIDGE_GROUP;
    if destination.is_reserved_multicast() && !passes {
        return DropReason::ReservedMulticast.into();
    }
    if over_mtu(packet, network.config.mtu) {
        return DropReason::OverMtu.into();
    }
    let meet = mode.switches() && network.config.inter_port;
    if destination.is_multicast() {
        return match outside {
            true => reflected.map_or(Verdict::Flood, Verdict::FloodBut),
            false if meet => Verdict::Flood,
            false => leave(network),
        };
    }
    let here = if mode == LanMode::Passthru { None } else { cache.lookup(fdb, key(destination), now) };
    let here = here.filter(|&port| Some(port) != network.lan);
    match here {
        Some(port) if port == ingress.id || reflected == Some(port) => DropReason::Reflection.into(),
        Some(port) if outside || meet => Verdict::Forward(port),
        Some(_) if mode == LanMode::Vepa => leave(network),
        Some(_) => DropReason::Isolated.into(),
        None if !outside => leave(network),
        None if mode == LanMode::Passthru => Verdict::Flood,
        None => DropReason::NoReceiver.into(),
    }
}

/// By the leg, while there is one.
fn leave(network: &Network) -> Verdict {
    network.lan.map_or(DropReason::NoReceiver.into(), Verdict::Forward)
}

/// What becomes of a verdict between ports that may not talk to each other, but to the LAN: `leg` leads there.
#[inline]
pub(crate) fn isolate(verdict: Verdict, ingress: PortId, leg: Option<PortId>) -> Verdict {
    match (leg, verdict) {
        (Some(leg), verdict) if ingress == leg => verdict,
        (Some(leg), Verdict::Forward(port)) if port == leg => verdict,
        (Some(leg), Verdict::Flood) => Verdict::Forward(leg),
        _ => DropReason::Isolated.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bridge;
    use crate::fdb::{Cache, Fdb};
    use crate::{NetworkConfig, Offloads, PortConfig, PortDevice, Settings, memory_link};
    use vswitch_frame::{Generation, NetworkIndex};

    const LEG: PortId = PortId::new(0);
    const NOW: Timestamp = Timestamp::from_millis(1000);

    struct World {
        network: Network,
        ports: Vec<Arc<Port>>,
        fdb: Fdb,
    }

    /// A leg and two stations of which control has told.
    fn world(mode: LanMode, inter_port: bool) -> World {
        let index = NetworkIndex::new(3);
        let config = NetworkConfig { inter_port, lan: Some(mode), ..NetworkConfig::new("lan") };
        let mut network = Network::new(index, Generation::default(), config);
        let ports = (0..3).map(|id| {
            let (device, _) = memory_link(1, Offloads::Finished).unwrap();
            let name = id.to_string();
            let config = PortConfig::new(name, index);
            Arc::new(Port::new(PortId::new(id), config, PortDevice::Memory(device), 0, 1))
        });
        let ports: Vec<_> = ports.collect();
        network.members = ports.iter().map(|port| port.id).collect();
        network.lan = Some(LEG);
        let fdb = Fdb::new(&Settings::default());
        for port in &ports[1..] {
            assert!(fdb.add_static(index, station(port.id), port.id));
        }
        World { network, ports, fdb }
    }

    fn station(port: PortId) -> MacAddr {
        MacAddr::from_u64(0x0200_0000_0000 + u64::from(port.value()))
    }

    const ALL: MacAddr = MacAddr::BROADCAST;
    const STRANGER: PortId = PortId::new(99);

    impl World {
        fn send(&self, by: u32, from: PortId, to: MacAddr) -> Verdict {
            let frame = [&to.octets()[..], &station(from).octets(), &[0x88, 0xb5], &[0; 46]].concat();
            let mut cache = Cache::new();
            cache.begin(&self.fdb, NOW);
            let database = Database { fdb: &self.fdb, cache: &mut cache };
            let ingress = &self.ports[by as usize];
            bridge::decide(&Packet::finished(&frame), ingress, &self.network, database, NOW).unwrap()
        }
    }

    /// In every mode, stations reach the LAN and are reached from there by their own addresses; strangers' frames from the LAN
    /// go nowhere, and nobody there is believed to be a station of here.
    #[test]
    fn the_lan() {
        for mode in [LanMode::Bridge, LanMode::Private, LanMode::Vepa] {
            for inter_port in [true, false] {
                let world = world(mode, inter_port);
                let [one, stranger] = [PortId::new(1), STRANGER];
                assert_eq!(world.send(1, one, station(stranger)), Verdict::Forward(LEG));
                assert_eq!(world.send(0, stranger, station(one)), Verdict::Forward(one));
                assert_eq!(world.send(0, stranger, ALL), Verdict::Flood);
                assert_eq!(world.send(0, stranger, station(PortId::new(98))), DropReason::NoReceiver.into());
                if mode != LanMode::Vepa {
                    assert_eq!(world.send(0, one, ALL), DropReason::StaticEntry.into());
                }
                // Nothing is learned of the LAN.
                assert_eq!(world.send(1, one, station(stranger)), Verdict::Forward(LEG));
                assert_eq!(world.fdb.stats().entries, 2);
            }
        }
    }

    /// Stations meet here with `bridge`, by the LAN with `vepa`, and never with `private` or without icc.
    #[test]
    fn stations() {
        let (one, two) = (PortId::new(1), PortId::new(2));
        let bridge = world(LanMode::Bridge, true);
        assert_eq!(bridge.send(1, one, station(two)), Verdict::Forward(two));
        assert_eq!(bridge.send(1, one, ALL), Verdict::Flood);
        for apart in [world(LanMode::Private, true), world(LanMode::Bridge, false)] {
            assert_eq!(apart.send(1, one, station(two)), DropReason::Isolated.into());
            assert_eq!(apart.send(1, one, ALL), Verdict::Forward(LEG));
        }
        let vepa = world(LanMode::Vepa, true);
        assert_eq!(vepa.send(1, one, station(two)), Verdict::Forward(LEG));
        assert_eq!(vepa.send(1, one, ALL), Verdict::Forward(LEG));
        // What the LAN's switch sends back.
        assert_eq!(vepa.send(0, one, station(two)), Verdict::Forward(two));
        assert_eq!(vepa.send(0, one, ALL), Verdict::FloodBut(one));
        assert_eq!(vepa.send(0, one, station(one)), DropReason::Reflection.into());
    }

    /// The one station of `passthru` hears everything and is whoever it likes.
    #[test]
    fn passthru() {
        let world = world(LanMode::Passthru, true);
        assert_eq!(world.send(0, STRANGER, station(PortId::new(98))), Verdict::Flood);
        assert_eq!(world.send(1, PortId::new(50), station(STRANGER)), Verdict::Forward(LEG));
    }

    /// Without its leg a network keeps its stations apart as before, and nothing leaves.
    #[test]
    fn no_leg() {
        let mut world = world(LanMode::Private, true);
        world.network.lan = None;
        assert_eq!(world.send(1, PortId::new(1), ALL), DropReason::NoReceiver.into());
        assert_eq!(world.send(1, PortId::new(1), station(PortId::new(2))), DropReason::Isolated.into());
    }

    /// A bridge with a leg learns what is behind it; stations that may not talk to each other talk to the LAN.
    #[test]
    fn learning() {
        let (one, two) = (PortId::new(1), PortId::new(2));
        let open = world(LanMode::Learning, true);
        assert_eq!(open.send(1, one, station(STRANGER)), Verdict::Flood);
        assert_eq!(open.send(0, STRANGER, station(one)), Verdict::Forward(one));
        assert_eq!(open.send(1, one, station(STRANGER)), Verdict::Forward(LEG));
        assert_eq!(open.send(0, one, station(two)), DropReason::StaticEntry.into());
        let apart = world(LanMode::Learning, false);
        assert_eq!(apart.send(1, one, station(STRANGER)), Verdict::Forward(LEG));
        assert_eq!(apart.send(1, one, station(two)), DropReason::Isolated.into());
        assert_eq!(apart.send(0, STRANGER, station(two)), Verdict::Forward(two));
    }
}
