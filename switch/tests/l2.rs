//! What ports may ask for beyond learning: isolation groups, secured addresses, storm control, multicast snooping, VLANs.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod lab;

use lab::{Lab, network, station};
use vswitch_frame::{DropReason, MacAddr, PortId, VlanId};
use vswitch_switch::l2::{Limit, Manner, Mirror, PortFeatures, PortVlan, RouterPort, SnoopingConfig, Storm};
use vswitch_switch::{FdbKind, NetworkConfig, Offloads, PortConfig, Settings};

const ALL: MacAddr = MacAddr::BROADCAST;

fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[0x88, 0xb5], &[0; 46]].concat()
}

fn mac(number: u8) -> MacAddr {
    station(number).mac
}

/// A network whose ports ask for these things.
fn ports(features: &[PortFeatures]) -> (Lab, Vec<PortId>) {
    let mut lab = Lab::new(Settings::default());
    let net = lab.datapath.add_network(network("net")).unwrap();
    let config = |features: &PortFeatures| PortConfig { features: features.clone(), ..PortConfig::new("port", net) };
    let ports = features.iter().map(|features| lab.port_of(config(features), Offloads::Carried)).collect();
    (lab, ports)
}

fn isolated(group: &str) -> PortFeatures {
    PortFeatures { isolation: Some(group.to_owned()), ..PortFeatures::default() }
}

fn sticky(most: usize) -> PortFeatures {
    PortFeatures { sticky: Some(most), ..PortFeatures::default() }
}

/// Members of one isolation group do not hear each other, neither a flood nor what is for them alone; they reach everybody else
/// and are reached, also by another group. A change holds at once.
#[test]
fn isolation_groups() {
    let [red, blue, none] = [isolated("red"), isolated("blue"), PortFeatures::default()];
    let (mut lab, p) = ports(&[red.clone(), red, blue, none.clone()]);
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(10))), [p[2], p[3]]);
    assert_eq!(lab.ports_reached(p[1], &frame(ALL, mac(11))), [p[2], p[3]]);
    assert_eq!(lab.ports_reached(p[2], &frame(ALL, mac(12))), [p[0], p[1], p[3]]);
    assert_eq!(lab.ports_reached(p[3], &frame(ALL, mac(13))), [p[0], p[1], p[2]]);
    lab.assert_dropped(p[0], &frame(mac(11), mac(10)), DropReason::Isolated);
    assert_eq!(lab.ports_reached(p[0], &frame(mac(12), mac(10))), [p[2]]);
    assert_eq!(lab.ports_reached(p[3], &frame(mac(10), mac(13))), [p[0]]);
    lab.datapath.set_features(p[1], none).unwrap();
    assert_eq!(lab.ports_reached(p[0], &frame(mac(11), mac(10))), [p[1]]);
    lab.datapath.set_features(p[0], PortFeatures::default()).unwrap();
    lab.datapath.set_features(p[2], PortFeatures::default()).unwrap();
    let snapshot = lab.datapath.snapshot();
    assert!(snapshot.networks.iter().flatten().all(|network| network.features.is_none()), "nobody pays any more");
}

/// A port that keeps what it learns refuses further addresses, nobody else may use the kept ones, age does not take them, and who
/// broke the rule is known by name.
#[test]
fn sticky_addresses() {
    let (mut lab, p) = ports(&[sticky(2), PortFeatures::default()]);
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(10))), [p[1]]);
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(11))), [p[1]]);
    lab.assert_dropped(p[0], &frame(ALL, mac(12)), DropReason::MacViolation);
    lab.assert_dropped(p[0], &frame(ALL, mac(12)), DropReason::MacViolation);
    lab.assert_dropped(p[1], &frame(ALL, mac(10)), DropReason::MacViolation);
    lab.later(1_000_000);
    lab.datapath.fdb.sweep(lab.now);
    assert_eq!(lab.ports_reached(p[1], &frame(mac(11), mac(20))), [p[0]]);
    let named = |port| lab.datapath.violations(port).iter().map(|one| (one.mac, one.frames)).collect::<Vec<_>>();
    assert_eq!((named(p[0]), named(p[1])), (vec![(mac(12), 2)], vec![(mac(10), 1)]));
    let net = lab.datapath.snapshot().port(p[0]).unwrap().config.network;
    let kept = lab.datapath.fdb_entries(net);
    let kept: Vec<_> = kept.iter().filter(|one| one.kind == FdbKind::Sticky).map(|one| one.mac).collect();
    assert_eq!(kept, [mac(10), mac(11)]);
    // An operator lets one go, and there is room for another.
    assert!(lab.datapath.fdb.remove(net, mac(10)));
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(12))), [p[1]]);
    lab.datapath.set_features(p[0], PortFeatures::default()).unwrap();
    assert_eq!(lab.ports_reached(p[1], &frame(ALL, mac(11))), [p[0]], "it may move again");
}

/// A known address moves to a port that keeps addresses, and from there no more.
#[test]
fn moves_to_a_sticky_port() {
    let (mut lab, p) = ports(&[sticky(1), PortFeatures::default()]);
    assert_eq!(lab.ports_reached(p[1], &frame(ALL, mac(10))), [p[0]]);
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(10))), [p[1]]);
    lab.assert_dropped(p[1], &frame(ALL, mac(10)), DropReason::MacViolation);
    assert_eq!(lab.ports_reached(p[1], &frame(ALL, mac(11))), [p[0]]);
    lab.assert_dropped(p[0], &frame(ALL, mac(11)), DropReason::MacViolation);
}

/// Static addresses are where control says before they speak, belong to nobody else, and go with the port or a change.
#[test]
fn static_addresses() {
    let statics = |macs: &[MacAddr]| PortFeatures { statics: macs.to_vec(), ..PortFeatures::default() };
    let (mut lab, p) = ports(&[statics(&[mac(10)]), PortFeatures::default(), PortFeatures::default()]);
    assert_eq!(lab.ports_reached(p[1], &frame(mac(10), mac(11))), [p[0]]);
    lab.assert_dropped(p[1], &frame(ALL, mac(10)), DropReason::StaticEntry);
    assert_eq!(lab.datapath.violations(p[1])[0].mac, mac(10));
    lab.datapath.set_features(p[0], statics(&[mac(12)])).unwrap();
    assert_eq!(lab.ports_reached(p[1], &frame(mac(12), mac(11))), [p[0]]);
    assert_eq!(lab.ports_reached(p[1], &frame(mac(10), mac(11))), [p[0], p[2]]);
    assert!(lab.datapath.set_features(p[0], statics(&[ALL])).is_err());
    lab.remove(p[0]);
    assert_eq!(lab.ports_reached(p[1], &frame(mac(12), mac(11))), [p[2]]);
}

/// Of what goes to many so much passes as a port may send, each kind by itself; what is for one known station is free. Super-frames
/// count by the segment.
#[test]
fn storm_control() {
    let limit = |text: &str| Some(text.parse::<Limit>().unwrap());
    let storm = Storm { broadcast: limit("100pps"), multicast: limit("50pps"), unknown: limit("80kbit") };
    let (mut lab, p) = ports(&[PortFeatures { storm, ..PortFeatures::default() }, PortFeatures::default()]);
    lab.send(p[1], &frame(ALL, mac(11)));
    let group = MacAddr::new([1, 0, 0x5e, 1, 2, 3]);
    for (to, reason, passed) in [
        (ALL, DropReason::StormBroadcast, 10),
        (group, DropReason::StormMulticast, 5),
        (mac(99), DropReason::StormUnknown, 17),
    ] {
        let count = (0..100).filter(|_| !lab.send(p[0], &frame(to, mac(10))).is_empty()).count();
        assert_eq!((count, lab.counters(p[0]).dropped(reason)), (passed, 100 - passed as u64), "{reason}");
    }
    assert!((0..100).all(|_| lab.ports_reached(p[0], &frame(mac(11), mac(10))) == [p[1]]));
    lab.later(1);
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(10))), [p[1]]);
    assert!((0..100).all(|_| !lab.send(p[1], &frame(ALL, mac(11))).is_empty()), "others are not limited");
}

/// An IGMPv2 message about a group.
fn igmp(kind: u8, group: [u8; 4], from: u8) -> Vec<u8> {
    let mut body = [kind, 0, 0, 0, group[0], group[1], group[2], group[3]];
    let check = vswitch_frame::checksum::checksum(&body);
    body[2..4].copy_from_slice(&check.to_be_bytes());
    to_group(group, from, 2, &body)
}

fn to_group(group: [u8; 4], from: u8, protocol: u8, body: &[u8]) -> Vec<u8> {
    let [_, b, c, d] = group;
    let mut packet = vec![0x45, 0, 0, 20 + body.len() as u8, 0, 0, 0, 0, 1, protocol, 0, 0, 10, 0, 0, from];
    packet.extend(group);
    let check = vswitch_frame::checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    [&[1, 0, 0x5e, b & 0x7f, c, d][..], &mac(from).octets(), &[8, 0], &packet, body].concat()
}

/// A group goes to who asked for it and to routers, reports to routers alone, what is of the link to all; an isolation group holds for
/// it, too.
#[test]
fn snooping() {
    let mut lab = Lab::new(Settings::default());
    let config = NetworkConfig { snooping: Some(SnoopingConfig { querier: true }), ..network("net") };
    let net = lab.datapath.add_network(config).unwrap();
    let mut port = |features| lab.port_of(PortConfig { features, ..PortConfig::new("port", net) }, Offloads::Carried);
    let router = Manner { router: RouterPort::Always, fast_leave: false };
    let p = [
        port(PortFeatures::default()),
        port(PortFeatures::default()),
        port(isolated("x")),
        port(PortFeatures { multicast: router, ..PortFeatures::default() }),
        port(isolated("x")),
    ];
    let group = [239, 1, 2, 3];
    let data = to_group(group, 10, 17, &[0; 8]);
    assert_eq!(lab.ports_reached(p[0], &data).len(), 4, "who is a member is not known yet");
    lab.later(4);
    assert_eq!(lab.ports_reached(p[0], &data), [p[3]]);
    assert_eq!(lab.ports_reached(p[1], &igmp(0x16, group, 11)), [p[3]]);
    assert_eq!(lab.ports_reached(p[2], &igmp(0x16, group, 12)), [p[3]]);
    assert_eq!(lab.ports_reached(p[0], &data), [p[1], p[2], p[3]]);
    assert_eq!(lab.ports_reached(p[4], &to_group(group, 14, 17, &[0; 8])), [p[1], p[3]]);
    assert_eq!(lab.ports_reached(p[0], &to_group([224, 0, 0, 251], 10, 17, &[0; 8])).len(), 4);
    assert_eq!(lab.ports_reached(p[0], &frame(ALL, mac(10))).len(), 4);
    lab.datapath.set_features(p[3], PortFeatures::default()).unwrap();
    lab.assert_dropped(p[0], &to_group([239, 9, 9, 9], 10, 17, &[0; 8]), DropReason::NoMember);
    // A querier's port gets every group while it is heard.
    assert_eq!(lab.ports_reached(p[4], &igmp(0x11, [0; 4], 14)).len(), 3);
    assert_eq!(lab.ports_reached(p[0], &to_group([239, 9, 9, 9], 10, 17, &[0; 8])), [p[4]]);
    let mut broken = igmp(0x16, [239, 9, 9, 9], 11);
    broken[36] ^= 1;
    lab.send(p[1], &broken);
    assert_eq!(lab.datapath.groups(net).len(), 2);
    lab.remove(p[1]);
    assert_eq!(lab.datapath.groups(net).len(), 1);
}

fn vlan_of(vlan: PortVlan) -> PortFeatures {
    PortFeatures { vlan: Some(vlan), ..PortFeatures::default() }
}

fn id(vlan: u16) -> VlanId {
    VlanId::new(vlan).unwrap()
}

fn with_tag(tci: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tci.to_be_bytes(), &frame[12..]].concat()
}

/// One address may be in two VLANs behind two ports; floods, known stations and the gateway stay in their VLAN; each port gets
/// frames in its own form, whoever else has them, too.
#[test]
fn vlans() {
    let access = |vlan| vlan_of(PortVlan::Access(id(vlan)));
    let trunk = vlan_of(PortVlan::Trunk { native: Some(id(30)), tagged: "10,20".parse().unwrap() });
    let (mut lab, p) = ports(&[access(10), access(10), access(20), trunk, PortFeatures::default()]);
    let plain = frame(ALL, mac(10));
    assert_eq!(lab.send(p[0], &plain), [(p[1], plain.clone()), (p[3], with_tag(10, &plain))]);
    assert_eq!(lab.send(p[2], &plain), [(p[3], with_tag(20, &plain))], "the same address in another VLAN");
    let to = |number| frame(mac(10), mac(number));
    assert_eq!(lab.send(p[3], &with_tag(0x600a, &to(11))), [(p[0], to(11))]);
    assert_eq!(lab.send(p[3], &with_tag(20, &to(12))), [(p[2], to(12))]);
    lab.assert_dropped(p[3], &to(13), DropReason::NoReceiver);
    lab.assert_dropped(p[3], &with_tag(40, &to(13)), DropReason::VlanFiltered);
    lab.assert_dropped(p[0], &with_tag(20, &to(13)), DropReason::VlanFiltered);
    lab.assert_dropped(p[4], &frame(ALL, mac(14)), DropReason::NoReceiver);
    let to_gateway = frame(lab::gateway().mac, mac(10));
    assert_eq!(lab.send(p[0], &to_gateway), [(p[1], to_gateway.clone()), (p[3], with_tag(10, &to_gateway))]);
    let net = lab.datapath.snapshot().port(p[0]).unwrap().config.network;
    let known: Vec<_> = lab.datapath.fdb_entries(net).iter().map(|one| (one.mac, one.vlan, one.port)).collect();
    assert!(
        known.contains(&(mac(10), Some(id(10)), p[0])) && known.contains(&(mac(10), Some(id(20)), p[2])),
        "{known:?}"
    );
    // A static entry of the default VLAN does not lead out of it.
    lab.datapath.fdb_add_static(net, mac(50), p[0]).unwrap();
    lab.send(p[4], &frame(mac(50), mac(14)));
    assert_eq!(lab.counters(p[0]).dropped(DropReason::VlanFiltered), 2, "the one above, and this at the exit");
    lab.datapath.set_features(p[2], access(10)).unwrap();
    assert_eq!(lab.ports_reached(p[0], &plain), [p[1], p[2], p[3]]);
    for port in &p {
        lab.datapath.set_features(*port, PortFeatures::default()).unwrap();
    }
    assert_eq!(lab.send(p[0], &with_tag(10, &plain)).len(), 4, "a tag is nobody's business any more");
}

/// A port sends, and is sent, no more than its rates; a super-frame counts by the segment, and others are not held up.
#[test]
fn rates() {
    let limit = |text: &str| Some(text.parse::<Limit>().unwrap());
    let limited = PortFeatures { rate_in: limit("100pps"), rate_out: limit("200pps"), ..PortFeatures::default() };
    let (mut lab, p) = ports(&[limited, PortFeatures::default(), PortFeatures::default()]);
    let sent = (0..100).filter(|_| !lab.send(p[0], &frame(ALL, mac(10))).is_empty()).count();
    assert_eq!((sent, lab.counters(p[0]).dropped(DropReason::RateIn)), (10, 90));
    let got = (0..100).filter(|_| lab.ports_reached(p[1], &frame(ALL, mac(11))).contains(&p[0])).count();
    assert_eq!((got, lab.counters(p[0]).dropped(DropReason::RateOut)), (20, 80));
    assert!((0..100).all(|_| lab.ports_reached(p[1], &frame(ALL, mac(11))).contains(&p[2])));
    lab.later(1);
    assert_eq!(lab.ports_reached(p[1], &frame(mac(10), mac(11))), [p[0]]);
    assert_eq!(lab.ports_reached(p[0], &frame(mac(11), mac(10))), [p[1]]);
}

/// A mirror sees what a port receives and sends, once each, whatever becomes of it and in whatever VLAN, and goes with its port.
#[test]
fn mirrors() {
    let plain = PortFeatures::default();
    let (mut lab, p) = ports(&[plain.clone(), plain.clone(), plain.clone()]);
    let mirror = |received, sent| PortFeatures { mirror: Some(Mirror { to: p[2], received, sent }), ..plain.clone() };
    lab.send(p[1], &frame(ALL, mac(11)));
    lab.send(p[0], &frame(ALL, mac(10)));
    let (there, back) = (frame(mac(11), mac(10)), frame(mac(10), mac(11)));
    lab.datapath.set_features(p[0], mirror(true, true)).unwrap();
    assert_eq!(lab.send(p[0], &there), [(p[1], there.clone()), (p[2], there.clone())]);
    assert_eq!(lab.send(p[1], &back), [(p[0], back.clone()), (p[2], back.clone())]);
    assert_eq!(lab.send(p[0], &frame(mac(10), mac(10))), [(p[2], frame(mac(10), mac(10)))], "also what is dropped");
    lab.datapath.set_features(p[0], mirror(true, false)).unwrap();
    assert_eq!((lab.ports_reached(p[0], &there), lab.ports_reached(p[1], &back)), (vec![p[1], p[2]], vec![p[0]]));
    lab.datapath.set_features(p[0], mirror(false, true)).unwrap();
    assert_eq!((lab.ports_reached(p[0], &there), lab.ports_reached(p[1], &back)), (vec![p[1]], vec![p[0], p[2]]));
    // The port's number is another one's afterwards, who sees nothing.
    let net = lab.datapath.snapshot().port(p[0]).unwrap().config.network;
    lab.remove(p[2]);
    assert_eq!(lab.port(net, None), p[2]);
    assert_eq!(lab.ports_reached(p[1], &back), [p[0]]);
}
