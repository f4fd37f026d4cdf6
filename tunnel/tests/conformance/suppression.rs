//! Questions that are answered here.

use std::net::Ipv6Addr;

use vswitch_frame::arp::{self, Arp};
use vswitch_frame::ndp::{self, Neighbor};
use vswitch_frame::{FrameBuf, Headers, MacAddr, Offload};
use vswitch_tunnel::{Origin, Overlay, OverlaySpec, Rebound, suppress};

use super::world::{LOCAL, REMOTES, at, entry, mac, overlay, vni};

fn knowing() -> Overlay {
    let overlay = overlay(OverlaySpec::new(vni()));
    let mut known = entry(7, REMOTES[0], Origin::ControlPlane);
    known.addresses.push("fd00::7".parse().unwrap());
    overlay.put_entry(&known, LOCAL.into()).unwrap();
    overlay
}

fn who_has(from: u8, sender: [u8; 4], target: [u8; 4]) -> FrameBuf {
    let mut frame = [&MacAddr::BROADCAST.octets()[..], &mac(from).octets(), &[8, 6], &[0; arp::LEN]].concat();
    arp::write(&mut frame[14..], arp::REQUEST, (mac(from), sender.into()), (MacAddr::ZERO, target.into()));
    FrameBuf::from_frame(&frame, Offload::NONE)
}

fn solicitation(from: u8, source: Ipv6Addr, target: Ipv6Addr) -> FrameBuf {
    let to = MacAddr::ipv6_multicast(ndp::solicited_node(target));
    let mut frame = [&to.octets()[..], &mac(from).octets(), &[0x86, 0xdd], &[0; 72]].concat();
    ndp::write_solicitation(&mut frame[14..], mac(from), source, target);
    FrameBuf::from_frame(&frame, Offload::NONE)
}

// P13
/// A question for a bound address is answered to the asker alone; others, announcements and the station's own are left.
#[test]
fn p13_arp() {
    let overlay = knowing();
    let mut question = who_has(2, [10, 0, 0, 2], [10, 0, 0, 7]);
    assert!(overlay.answer(&mut question));
    let frame = question.frame();
    assert_eq!(vswitch_frame::addresses(frame), (mac(2), mac(7)));
    let reply = Arp::parse(&frame[14..]).unwrap();
    assert_eq!((reply.operation(), reply.sender_mac(), reply.sender_ip()), (arp::REPLY, mac(7), [10, 0, 0, 7].into()));
    assert_eq!((reply.target_mac(), reply.target_ip()), (mac(2), [10, 0, 0, 2].into()));
    assert!(overlay.answer(&mut who_has(2, [0; 4], [10, 0, 0, 7])), "a probe finds the duplicate");
    for mut other in [
        who_has(2, [10, 0, 0, 2], [10, 0, 0, 8]),
        who_has(2, [10, 0, 0, 7], [10, 0, 0, 7]),
        who_has(7, [10, 0, 0, 9], [10, 0, 0, 7]),
    ] {
        let before = other.frame().to_vec();
        assert!(!overlay.answer(&mut other));
        assert_eq!(other.frame(), before);
    }
    assert_eq!(overlay.stats(at(0)).suppressed, 2);
}

// P13
/// The same for IPv6; a duplicate address check is answered to all nodes.
#[test]
fn p13_neighbor_discovery() {
    let overlay = knowing();
    let (asker, target) = ("fd00::2".parse().unwrap(), "fd00::7".parse().unwrap());
    let mut question = solicitation(2, asker, target);
    assert!(overlay.answer(&mut question));
    let frame = question.frame();
    let headers = Headers::parse(frame).unwrap();
    assert_eq!(vswitch_frame::addresses(frame), (mac(2), mac(7)));
    assert_eq!((headers.source_v6(frame), headers.destination_v6(frame)), (target, asker));
    let reply = Neighbor::parse(headers.l4(frame)).unwrap();
    assert_eq!((reply.is_solicitation(), reply.target(), reply.link_layer_address()), (false, target, Some(mac(7))));
    assert_eq!(headers.l4(frame)[4], 0x60, "solicited and override, no router");
    let mut probe = solicitation(2, Ipv6Addr::UNSPECIFIED, target);
    assert!(overlay.answer(&mut probe));
    let headers = Headers::parse(probe.frame()).unwrap();
    assert_eq!(headers.destination_v6(probe.frame()), "ff02::1".parse::<Ipv6Addr>().unwrap());
    assert!(!overlay.answer(&mut solicitation(2, asker, "fd00::8".parse().unwrap())));
}

/// An address that changed hands is announced as its new station would.
#[test]
fn announcements() {
    let mut buffer = FrameBuf::new();
    suppress::announce(Rebound { address: [10, 0, 0, 7].into(), mac: mac(8) }, &mut buffer);
    let frame = buffer.frame();
    assert_eq!(vswitch_frame::addresses(frame), (MacAddr::BROADCAST, mac(8)));
    let packet = Arp::parse(&frame[14..]).unwrap();
    assert_eq!((packet.sender_ip(), packet.target_ip()), ([10, 0, 0, 7].into(), [10, 0, 0, 7].into()));
    suppress::announce(Rebound { address: "fd00::7".parse().unwrap(), mac: mac(8) }, &mut buffer);
    let headers = Headers::parse(buffer.frame()).unwrap();
    let message = Neighbor::parse(headers.l4(buffer.frame())).unwrap();
    assert_eq!((message.is_solicitation(), message.link_layer_address()), (false, Some(mac(8))));
}
