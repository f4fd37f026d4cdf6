//! What ports may ask for beyond learning: isolation groups, secured addresses.

mod lab;

use lab::{Lab, network, station};
use vswitch_frame::{DropReason, MacAddr, PortId};
use vswitch_switch::l2::PortFeatures;
use vswitch_switch::{FdbKind, Offloads, PortConfig, Settings};

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
