//! Who is where.

use vswitch_frame::MacAddr;
use vswitch_frame::Vni;
use vswitch_tunnel::{EntrySpec, Learning, Origin, OuterChecksum, Overlay, OverlayError, OverlaySpec, TunnelDrop};

use super::world::{LOCAL, REMOTES, at, entry, mac, overlay, take, towards, udp, vni};

fn from(number: u8) -> Vec<u8> {
    udp(false, 0, (number, 1), (5, 6), b"x")
}

// V23
/// A station is learned with its first frame, and moves at once.
#[test]
fn v23_learning() {
    let overlay = overlay(OverlaySpec::new(vni()));
    assert_eq!(towards(&overlay, mac(7)).len(), 2, "unknown: to all");
    for remote in [REMOTES[0], REMOTES[1]] {
        take(&overlay, remote, 0, &mut from(7), 1).unwrap();
        assert_eq!(towards(&overlay, mac(7)), [std::net::IpAddr::from(remote)]);
    }
    let stats = overlay.stats(at(1));
    assert_eq!((stats.learned, stats.moved, stats.learned_entries), (1, 1, 1));
    let silent =
        Overlay::new(OverlaySpec { learning: Learning::Off, ..OverlaySpec::new(vni()) }, LOCAL.into()).unwrap();
    silent.add_remote(REMOTES[0].into(), LOCAL.into()).unwrap();
    take(&silent, REMOTES[0], 0, &mut from(7), 1).unwrap();
    assert_eq!(silent.entries(at(1)), []);
}

// V24
/// A frame from elsewhere with a bound station's address is dropped, and the entry stays.
#[test]
fn v24_bound_stations() {
    for origin in [Origin::Static, Origin::ControlPlane] {
        let overlay = overlay(OverlaySpec::new(vni()));
        overlay.put_entry(&entry(7, REMOTES[2], origin), LOCAL.into()).unwrap();
        assert_eq!(take(&overlay, REMOTES[0], 0, &mut from(7), 0), Err(TunnelDrop::BoundElsewhere));
        assert_eq!(take(&overlay, REMOTES[2], 0, &mut from(7), 0), Ok(()), "named by an entry, so believed");
        assert_eq!(towards(&overlay, mac(7)), [std::net::IpAddr::from(REMOTES[2])]);
        assert!(overlay.remove_entry(mac(7)) && !overlay.remove_entry(mac(7)));
        assert_eq!(take(&overlay, REMOTES[2], 0, &mut from(7), 0), Err(TunnelDrop::UnknownRemote));
        assert_eq!(take(&overlay, REMOTES[0], 0, &mut from(7), 0), Ok(()));
    }
}

// V25
/// A learned station is forgotten after the ageing time without a frame from it, whatever is sent to it.
#[test]
fn v25_ageing() {
    let overlay = overlay(OverlaySpec { ageing_seconds: 30, ..OverlaySpec::new(vni()) });
    take(&overlay, REMOTES[0], 0, &mut from(7), 0).unwrap();
    take(&overlay, REMOTES[0], 0, &mut from(8), 0).unwrap();
    take(&overlay, REMOTES[0], 0, &mut from(8), 20).unwrap();
    for second in 1..30 {
        assert_eq!(towards(&overlay, mac(7)).len(), 1);
        overlay.sweep(at(second));
    }
    overlay.sweep(at(30));
    assert_eq!(towards(&overlay, mac(7)).len(), 2, "flooded again");
    assert_eq!(towards(&overlay, mac(8)).len(), 1, "heard of at 20");
    assert_eq!(overlay.stats(at(30)).aged, 1);
}

// V26, V27, V28
/// Floods go to each remote of the list once; without any, nowhere; a remote added twice or named by an entry, too, gets
/// no second copy.
#[test]
fn v26_flood_list() {
    let overlay = overlay(OverlaySpec::new(vni()));
    assert_eq!(overlay.add_remote(REMOTES[0].into(), LOCAL.into()), Ok(false));
    overlay.put_entry(&entry(7, REMOTES[0], Origin::Static), LOCAL.into()).unwrap();
    overlay.put_entry(&entry(8, REMOTES[2], Origin::Static), LOCAL.into()).unwrap();
    let both: Vec<std::net::IpAddr> = REMOTES[..2].iter().map(|&remote| remote.into()).collect();
    assert_eq!(towards(&overlay, MacAddr::BROADCAST), both);
    take(&overlay, REMOTES[1], 0, &mut from(9), 0).unwrap();
    assert!(overlay.remove_remote(REMOTES[1].into()) && !overlay.remove_remote(REMOTES[1].into()));
    assert_eq!(towards(&overlay, mac(9)), both[..1], "what was learned from it is forgotten");
    assert!(overlay.remove_remote(REMOTES[0].into()));
    assert!(towards(&overlay, MacAddr::BROADCAST).is_empty());
    assert_eq!(towards(&overlay, mac(7)), both[..1], "entries stay");
}

// P7
/// An address that a control plane gives to another station changes hands; of two people's entries neither wins silently.
#[test]
fn p7_addresses_change_hands() {
    let overlay = overlay(OverlaySpec::new(vni()));
    let mut reused = entry(8, REMOTES[1], Origin::ControlPlane);
    reused.addresses = vec![[10, 0, 0, 7].into()];
    overlay.put_entry(&entry(7, REMOTES[0], Origin::ControlPlane), LOCAL.into()).unwrap();
    let rebound = overlay.put_entry(&reused, LOCAL.into()).unwrap();
    assert_eq!(rebound.iter().map(|one| (one.address, one.mac)).collect::<Vec<_>>(), [([10, 0, 0, 7].into(), mac(8))]);
    assert_eq!(overlay.binding([10, 0, 0, 7].into()), Some(mac(8)));
    let fixed = EntrySpec { origin: Origin::Static, ..entry(7, REMOTES[0], Origin::Static) };
    let refused = overlay.put_entry(&fixed, LOCAL.into()).unwrap_err();
    assert_eq!(refused, OverlayError::AddressTaken { address: [10, 0, 0, 7].into(), mac: mac(8) });
    assert_eq!(overlay.binding([10, 0, 0, 7].into()), Some(mac(8)), "a refusal changes nothing");
}

/// What cannot be a network, a remote or an entry is refused with a sentence that says why.
#[test]
fn refusals() {
    let with = |change: fn(&mut OverlaySpec), local: std::net::IpAddr| {
        let mut spec = OverlaySpec::new(vni());
        change(&mut spec);
        Overlay::new(spec, local).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(|spec| spec.vni = Vni::new(0).unwrap(), LOCAL.into()), OverlayError::ReservedVni);
    assert_eq!(with(|spec| spec.capacity = 0, LOCAL.into()), OverlayError::NoCapacity);
    let v6 = "fd00::1".parse().unwrap();
    assert_eq!(with(|spec| spec.checksum = OuterChecksum::Zero, v6), OverlayError::ChecksumNeeded);
    let overlay = overlay(OverlaySpec::new(vni()));
    for (remote, words) in [
        ("0.0.0.0", "no address of a single host"),
        ("224.0.0.1", "no address of a single host"),
        ("255.255.255.255", "no address of a single host"),
        ("127.0.0.1", "no address of a single host"),
        ("192.0.2.1", "this host's own VTEP address"),
        ("fd00::2", "different families"),
    ] {
        let error = overlay.add_remote(remote.parse().unwrap(), LOCAL.into()).unwrap_err().to_string();
        assert!(error.contains(words), "{remote}: {error}");
    }
    let bad = |change: fn(&mut EntrySpec)| {
        let mut entry = entry(7, REMOTES[0], Origin::Static);
        change(&mut entry);
        overlay.put_entry(&entry, LOCAL.into()).unwrap_err()
    };
    assert_eq!(bad(|entry| entry.mac = MacAddr::BROADCAST), OverlayError::NotAStation(MacAddr::BROADCAST));
    assert_eq!(bad(|entry| entry.origin = Origin::Learned), OverlayError::NotFromControl);
    let group = [224, 0, 0, 1].into();
    assert_eq!(bad(|entry| entry.addresses[0] = [224, 0, 0, 1].into()), OverlayError::NotAnAddress(group));
    assert_eq!(overlay.remotes().len(), 2);
    assert_eq!(overlay.entries(at(0)), []);
}
