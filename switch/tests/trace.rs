//! Single frames that are injected, followed, foreseen and expected on a running switch with a router.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lab::{arp, plain, station, udp4};
use vswitch_frame::{MacAddr, NetworkIndex, Offload, PortId};
use vswitch_switch::capture::Filter;
use vswitch_switch::lab::{Direction, Expected, Heard, On, Place, Places, Story};
use vswitch_switch::nat::route::Route;
use vswitch_switch::nat::rules::{Addresses, NetworkSpec, Reach, RulesSpec, SubnetSpec, Translation};
use vswitch_switch::nat::table::{FlowFilter, Leg};
use vswitch_switch::router::RouterConfig;
use vswitch_switch::wire::{Change, words};
use vswitch_switch::{
    Gateway, Identity, MemoryPeer, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, Stats, Switch,
    memory_link,
};

const PATIENCE: Duration = Duration::from_secs(20);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const UPLINK_MAC: MacAddr = MacAddr::new([2, 0x42, 203, 0, 113, 1]);
const ROUTER_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 254]);

/// Stations 2 and 3 on a network with a gateway, which leads to an uplink.
struct Site {
    switch: Switch,
    net: NetworkIndex,
    uplink: NetworkIndex,
    two: (PortId, MemoryPeer),
    three: (PortId, MemoryPeer),
    outside: (PortId, MemoryPeer),
}

fn add(switch: &Switch, name: &str, network: NetworkIndex, identity: Option<Identity>) -> (PortId, MemoryPeer) {
    let (device, peer) = memory_link(64, Offloads::Carried).unwrap();
    let config = PortConfig { identity, ..PortConfig::new(name, network) };
    (switch.add_port(config, PortDevice::Memory(device)).unwrap(), peer)
}

fn site() -> Site {
    let switch = Switch::start(Settings { workers: Some(1), ..Settings::default() }).unwrap();
    let net = switch.add_network(lab::network("net")).unwrap();
    let leg = Gateway {
        mac: UPLINK_MAC,
        ipv4: Some((EXTERNAL, 24)),
        ipv6: None,
        also: Vec::new(),
        proxied: Vec::new(),
        beyond: Vec::new(),
        mesh: None,
    };
    let uplink = switch.add_network(NetworkConfig { gateway: Some(leg), ..NetworkConfig::new("uplink") }).unwrap();
    let [two, three] = [("two", 2), ("three", 3)].map(|(name, number)| add(&switch, name, net, Some(station(number))));
    let outside = add(&switch, "outside", uplink, None);
    let subnet = SubnetSpec {
        net: "10.0.0.0/24".parse().unwrap(),
        gateway: lab::gateway().ipv4.map(|(address, _)| address.into()),
        translation: Translation::Masquerade,
    };
    let networks =
        vec![NetworkSpec { index: net, subnets: vec![subnet], reach: Reach::Uplink, addresses: Addresses::Shared }];
    let rules = RulesSpec { networks, external: vec![EXTERNAL.into()], ..RulesSpec::default() };
    let route = |net: &str, leg, via| Route { destination: net.parse().unwrap(), leg, via };
    let routes = vec![
        route("0.0.0.0/0", Leg::Uplink, Some(IpAddr::V4(ROUTER))),
        route("203.0.113.0/24", Leg::Uplink, None),
        route("10.0.0.0/24", Leg::Inside(net), None),
    ];
    switch.set_router(Some(RouterConfig { uplink: Some(uplink), rules, routes, ..RouterConfig::default() })).unwrap();
    Site { switch, net, uplink, two, three, outside }
}

impl Site {
    fn inject(&self, frame: &[u8]) -> Story {
        self.switch.inject(self.two.0, Direction::Up, frame, PATIENCE).unwrap()
    }

    /// Everything that a frame could change.
    fn state(&self) -> String {
        let flows = self.switch.flows(&FlowFilter::default());
        let entries: Vec<_> =
            [self.net, self.uplink].map(|network| self.switch.fdb_entries(network)).into_iter().flatten().collect();
        let fixed: Vec<String> =
            entries.iter().map(|entry| format!("{} {} {:?}", entry.mac, entry.port, entry.kind)).collect();
        let flows: Vec<String> =
            flows.iter().map(|flow| format!("{} {} {:?}", flow.original, flow.reply, flow.traffic)).collect();
        format!(
            "{fixed:?}\n{flows:?}\n{:?}\n{:?}",
            Stats { uptime_ms: 0, ..self.switch.stats() },
            self.switch.lost_ports()
        )
    }
}

/// A packet for somewhere far, by the gateway.
fn outward() -> Vec<u8> {
    let far = Identity { mac: lab::gateway().mac, ipv4: Some(Ipv4Addr::new(198, 51, 100, 9)), ipv6: None };
    udp4(&station(2), &far, b"far")
}

fn said(story: &Story) -> Vec<String> {
    story.steps.iter().map(|step| format!("{}: {}", step.step, step.text)).collect()
}

#[track_caller]
fn has(story: &Story, step: &str, text: &str) {
    assert!(story.steps.iter().any(|one| one.step == step && one.text.contains(text)), "{step} {text}: {:#?}", story);
}

/// An injected frame is told step by step, by the names of ports, and really arrives; one that is refused says why, with what the
/// port's own would be.
#[test]
fn injected() {
    let site = site();
    let frame = udp4(&station(2), &station(3), b"hello");
    let story = site.inject(&frame);
    assert!(story.complete && story.number > 0, "{story:#?}");
    has(&story, "parse", "udp 10.0.0.2:1000 > 10.0.0.3:2000");
    has(&story, "learn", "is new, at two");
    has(&story, "destination", "is unknown");
    has(&story, "egress", "three");
    assert_eq!(
        story.ends.iter().map(|end| (end.place, end.port.as_str())).collect::<Vec<_>>(),
        [(Place::Down, "three")]
    );
    assert_eq!(&site.three.1.receive(PATIENCE).unwrap().0[..], frame);
    has(&site.inject(&frame), "learn", "is known, at two");
    let refused =
        site.inject(&udp4(&Identity { ipv4: Some(Ipv4Addr::new(10, 0, 0, 9)), ..station(2) }, &station(3), b"no"));
    has(&refused, "anti-spoof", "10.0.0.2");
    has(&refused, "verdict", "dropped spoofed-ip");
    let [end] = &refused.ends[..] else { panic!("{refused:#?}") };
    assert_eq!((end.place, end.reason.as_deref()), (Place::Drop, Some("spoofed-ip")));
    let towards = site.switch.inject(site.three.0, Direction::Down, &frame, PATIENCE).unwrap();
    assert_eq!((towards.complete, towards.ends.len()), (true, 1));
}

/// A packet through the gateway is followed over its translation to the uplink.
#[test]
fn translated() {
    let site = site();
    let story = site.inject(&outward());
    has(&story, "nat", "new flow, masquerade");
    has(&story, "route", "next 203.0.113.254");
    has(&story, "neighbour", "unknown and asked for");
    let (question, _) = site.outside.1.receive(PATIENCE).unwrap();
    assert_eq!(question[12..14], [8, 6]);
    assert!(site.outside.1.send(&arp(2, (ROUTER_MAC, ROUTER), (UPLINK_MAC, EXTERNAL)), Offload::NONE));
    let (waited, _) = site.outside.1.receive(PATIENCE).unwrap();
    assert_eq!(waited[26..30], EXTERNAL.octets());
    let story = site.inject(&outward());
    has(&story, "nat", "known flow, masquerade, original direction");
    has(&story, "translate", "203.0.113.1");
    let [end] = &story.ends[..] else { panic!("{story:#?}") };
    assert!(end.port == "outside" && end.frame.contains("203.0.113.1:"), "{end:?}");
}

/// A dry run says the same and changes nothing: no station is learned, no flow made, nothing counted, nothing sent, nobody asked.
#[test]
fn foreseen() {
    let site = site();
    let frames = [
        udp4(&station(2), &station(3), b"hello"),
        udp4(&station(9), &station(3), b"no"),
        outward(),
        plain(MacAddr::BROADCAST, station(2).mac),
        arp(1, (station(2).mac, station(2).ipv4.unwrap()), (MacAddr::ZERO, Ipv4Addr::new(10, 0, 0, 1))),
        vec![0xff; 14],
    ];
    let before = site.state();
    let foreseen = frames.each_ref().map(|frame| site.switch.foresee(site.two.0, frame).unwrap());
    assert_eq!(site.state(), before);
    assert!(site.three.1.receive(Duration::ZERO).is_none() && site.outside.1.receive(Duration::ZERO).is_none());
    has(&foreseen[2], "nat", "new flow, masquerade");
    // What has come to pass since is in the next one.
    for (frame, foreseen) in frames.iter().zip(&foreseen) {
        let again = site.switch.foresee(site.two.0, frame).unwrap();
        assert_eq!(said(&again), said(foreseen));
    }
    let story = site.inject(&frames[0]);
    assert_eq!(said(&story), said(&foreseen[0]));
    has(&site.switch.foresee(site.two.0, &frames[0]).unwrap(), "learn", "is known, at two");
    assert_eq!(
        said(&site.inject(&outward())),
        said(&foreseen[2]).iter().map(|step| step.replace("is new, at", "is known, at")).collect::<Vec<_>>()
    );
    let before = site.state();
    has(&site.switch.foresee(site.two.0, &outward()).unwrap(), "nat", "known flow");
    assert_eq!(site.state(), before);
}

/// What a wire does to an injected frame is in its story: lost, or late, and then what the switch did with it.
#[test]
fn along_wires() {
    let site = site();
    let impair = |text: &str| {
        let change = Change::parse(&words::split(text), &|_| Err("no filters here".to_owned())).unwrap();
        site.switch.change_wires(&[site.two.0], &[Direction::Up], &change, None).unwrap();
    };
    let frame = udp4(&station(2), &station(3), b"hello");
    impair("drop 1");
    let story = site.inject(&frame);
    assert_eq!(said(&story), ["wire-up: drop 1: lost, wire-listed"]);
    assert!(story.complete);
    impair("drop none delay 5ms");
    let story = site.inject(&frame);
    has(&story, "wire-up", "delay 5ms: it passed");
    has(&story, "egress", "three");
    assert_eq!(story.ends.len(), 1);
    impair("delay 3600s");
    let story = site.switch.inject(site.two.0, Direction::Up, &frame, Duration::from_millis(20)).unwrap();
    assert_eq!((said(&story), story.complete), (vec!["wire-up: delay 3600s: it waits there".to_owned()], false));
}

/// The steps of real frames are told as they come, those that are asked about.
#[test]
fn live() {
    let site = site();
    let tracer = site.switch.trace(On::All, Filter::new("udp").unwrap()).unwrap();
    assert!(site.two.1.send(&plain(station(3).mac, station(2).mac), Offload::NONE));
    assert!(site.two.1.send(&udp4(&station(2), &station(3), b"hello"), Offload::NONE));
    let Heard::Story(story) = tracer.next(PATIENCE) else { panic!("no story") };
    has(&story, "parse", "udp 10.0.0.2:1000");
    has(&story, "learn", "is known, at two");
    assert!(matches!(tracer.next(Duration::ZERO), Heard::Nothing));
    tracer.stop().stop();
    assert!(matches!(tracer.next(PATIENCE), Heard::End));
}

/// What is expected counts from when it was armed; what did not come is told with what came instead and what became of injected frames.
#[test]
fn expectations() {
    let site = site();
    let expected = |text: &str, count, within| Expected {
        filter: Filter::new(text).unwrap(),
        filter_text: text.to_owned(),
        count,
        within,
    };
    let at_three = |expected| site.switch.expect(On::Ports(vec![site.three.0]), Places::DOWN, expected).unwrap();
    let frame = udp4(&station(2), &station(3), b"hello");
    site.inject(&frame);
    let moment = Duration::from_millis(1);
    let none = at_three(expected("udp", 1, moment)).wait();
    assert!(!none.met && none.count == 0, "what came before does not count: {none:?}");
    let armed = at_three(expected("udp dst port 2000", 1, PATIENCE));
    assert!(site.two.1.send(&frame, Offload::NONE));
    let came = armed.wait();
    assert!(came.met && came.matched[0].frame == frame, "{came:?}");
    let armed = at_three(expected("udp dst port 53 and src host 10.0.0.2", 1, moment));
    site.inject(&frame);
    site.inject(&udp4(&station(9), &station(3), b"no"));
    let failed = armed.wait();
    assert!(!failed.met);
    assert_eq!(failed.nearest[0].1, ["dst port 53"]);
    assert_eq!(failed.injected.len(), 2);
    has(&failed.injected[1], "verdict", "dropped spoofed-mac");
    let armed = at_three(expected("udp", 0, PATIENCE));
    site.inject(&frame);
    let unwanted = armed.wait();
    assert!(!unwanted.met && unwanted.count == 1);
    assert!(at_three(expected("arp", 0, moment)).wait().met);
}
