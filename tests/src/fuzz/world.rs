//! A switch with networks of every kind on memory ports, and a model of who may hear whom.
//!
//! ```text
//!   blue ── plain ─────────┐  8080/tcp ► blue 0:80
//!   red  ── plain ─────────┤    53/udp ► red 0:53      uplink (packet-level NAT)
//!   iso  ── icc=false ─────┼──── router ──────────────────── world
//!   priv ── internal ──────┘   443/tcp ► iso 0:443
//! ```
//! Whatever an endpoint sends carries its own tag, again and again, and every frame that arrives anywhere is searched for
//! tags. Each is judged twice: by the tags that are in it, and by who sent the frame that made it. The model
//! ([`World::may_hear`]) knows nothing of frames and tables: only networks, published ports, and who has addressed whom.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use vswitch_frame::arp::{self, Arp};
use vswitch_frame::ndp::{self, Neighbor};
use vswitch_frame::{Fragment, FrameBuf, Headers, L3, MacAddr, NetworkIndex, Offload, PortId, Timestamp, offload};
use vswitch_nat::route::Route;
use vswitch_nat::rules::{Addresses, NetworkSpec, Publish, Reach, RulesSpec, SubnetSpec, Translation, Transport};
use vswitch_nat::table::{Leg, Limits};
use vswitch_switch::datapath::Datapath;
use vswitch_switch::pipeline::Pipeline;
use vswitch_switch::router::{Chores, RouterConfig};
use vswitch_switch::sys::burst::Burst;
use vswitch_switch::{
    Gateway, Identity, MemoryPeer, NetworkConfig, Offloads, PortConfig, PortDevice, Settings, memory_link,
};

use super::frames::{Cast, Frame};
use super::input::Input;

/// The networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Net {
    /// Containers talk to each other and outside.
    Blue,
    /// Another of the same kind.
    Red,
    /// Containers talk only outside (icc=false).
    Iso,
    /// Containers talk only to each other (internal).
    Priv,
    /// The uplink.
    World,
}

/// Who sends and receives.
#[derive(Debug)]
struct Endpoint {
    net: Net,
    identity: Identity,
    port: PortId,
    /// `None` once it is gone.
    peer: Option<MemoryPeer>,
    tag: [u8; TAG],
    /// It answers no question for its address.
    deaf: bool,
    /// The last packet that it got.
    last: Option<Vec<u8>>,
}

/// How often something was delivered as the model allows it: proof that the model was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Between endpoints of one network.
    pub within: u64,
    /// From one network to a published port of another, and back.
    pub published: u64,
    /// To the world.
    pub out: u64,
    /// From the world.
    pub back: u64,
}

/// See the module's documentation.
pub struct World {
    datapath: Arc<Datapath>,
    pipeline: Pipeline,
    chores: Chores,
    burst: Burst,
    buffers: Vec<FrameBuf>,
    networks: [NetworkIndex; 5],
    endpoints: Vec<Endpoint>,
    /// Who has addressed whom, in a way that lets the other one answer.
    contacts: BTreeSet<(usize, usize)>,
    tags: StdRng,
    now: Timestamp,
    /// What was delivered.
    pub tally: Tally,
}

/// Bytes of a tag: what a few changed bytes never turn into another one.
const TAG: usize = 16;
/// What all tags begin with, to be found quickly.
const MARK: [u8; 4] = [0xb7, 0x5e, 0xd9, 0x31];
/// Payloads hold this many tags at least, so that changed bytes do not hide them all.
const SHORTEST: usize = 6 * TAG;

/// Published ports: protocol, port of the host, whose they are and where.
const PUBLISHED: [(Transport, u8, u16, Net, u16); 3] = [
    (Transport::Tcp, 6, 8080, Net::Blue, 80),
    (Transport::Udp, 17, 53, Net::Red, 53),
    (Transport::Tcp, 6, 443, Net::Iso, 443),
];

/// Addresses outside.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
const NEXT_HOP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0xfe);

impl Net {
    const ALL: [Net; 5] = [Net::Blue, Net::Red, Net::Iso, Net::Priv, Net::World];

    const fn number(self) -> u8 {
        self as u8 + 1
    }

    fn v4(self, host: u8) -> Ipv4Addr {
        match self {
            Net::World => Ipv4Addr::new(203, 0, 113, host),
            _ => Ipv4Addr::new(10, self.number(), 0, host),
        }
    }

    fn v6(self, host: u8) -> Ipv6Addr {
        match self {
            Net::World => Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, host.into()),
            _ => Ipv6Addr::new(0xfd00, self.number().into(), 0, 0, 0, 0, 0, host.into()),
        }
    }

    fn gateway(self) -> Gateway {
        Gateway {
            mac: MacAddr::from_ipv4(self.v4(1)),
            ipv4: Some((self.v4(1), 24)),
            ipv6: Some((self.v6(1), 64)),
            also: Vec::new(),
            proxied: Vec::new(),
            beyond: Vec::new(),
            mesh: None,
        }
    }

    fn config(self) -> NetworkConfig {
        NetworkConfig {
            gateway: Some(self.gateway()),
            inter_port: self != Net::Iso,
            mtu: if self == Net::World { 1400 } else { 1500 },
            ..NetworkConfig::new(format!("{self:?}"))
        }
    }
}

impl World {
    /// All networks with two endpoints each, and one outside.
    #[must_use]
    pub fn new(seed: u64) -> World {
        let flows = Limits { flows: 256, flows_per_endpoint: 64, events: 16 };
        let settings = Settings { fdb_capacity: 64, burst: BUFFERS, flows, seed: Some(seed), ..Settings::default() };
        let datapath = Datapath::new(settings, 1);
        let networks = Net::ALL.map(|net| datapath.add_network(net.config()).unwrap());
        datapath.set_router(Some(router(networks))).unwrap();
        let mut world = World {
            pipeline: Pipeline::new(Arc::clone(&datapath), 0),
            chores: Chores::new(&datapath),
            datapath,
            burst: Burst::new(BUFFERS),
            buffers: std::iter::repeat_with(FrameBuf::new).take(BUFFERS).collect(),
            networks,
            endpoints: Vec::new(),
            contacts: BTreeSet::new(),
            tags: StdRng::seed_from_u64(seed),
            now: Timestamp::from_millis(1000),
            tally: Tally::default(),
        };
        for net in Net::ALL {
            for host in [2, 3] {
                if net != Net::World || host == 2 {
                    world.plug(net, host, if host == 2 { Offloads::Carried } else { Offloads::Finished });
                }
            }
        }
        world
    }

    fn plug(&mut self, net: Net, host: u8, offloads: Offloads) {
        let (device, peer) = memory_link(64, offloads).unwrap();
        let mac = MacAddr::from_ipv4(net.v4(host));
        let identity = Identity { mac, ipv4: Some(net.v4(host)), ipv6: Some(net.v6(host)) };
        let checked = (net != Net::World).then_some(identity);
        let config =
            PortConfig { identity: checked, ..PortConfig::new(format!("{net:?}{host}"), self.networks[net as usize]) };
        let port = self.datapath.add_port(config, PortDevice::Memory(device)).unwrap().id;
        let mut tag = [0; TAG];
        self.tags.fill_bytes(&mut tag);
        tag[..MARK.len()].copy_from_slice(&MARK);
        let identity =
            if net == Net::World { Identity { ipv4: Some(FAR), ipv6: Some(FAR_V6), ..identity } } else { identity };
        self.endpoints.push(Endpoint { net, identity, port, peer: Some(peer), tag, deaf: false, last: None });
    }

    /// Does what `input` says until it is used up.
    ///
    /// # Panics
    /// When somebody hears what the model does not allow, or a frame is not accounted for.
    pub fn run(&mut self, input: &mut Input<'_>, steps: usize) {
        for _ in 0..steps {
            if input.is_empty() {
                break;
            }
            self.step(input);
        }
        self.accounts();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let live: Vec<usize> = (0..self.endpoints.len()).filter(|&one| self.endpoints[one].peer.is_some()).collect();
        let who = input.pick(&live);
        match input.below(16) {
            15 => {
                let wait = input.pick(&[100, 1, 1000, 3000, 35_000, 400_000]);
                self.now = self.now + Duration::from_millis(wait);
                self.chores.run(&self.datapath, self.now);
                self.deliver(None);
            }
            14 => self.endpoints[who].deaf ^= true,
            13 if self.endpoints.len() < 40 => self.replace(who, input),
            9..=12 => {
                let Some(last) = self.endpoints[who].last.clone() else { return };
                let tag = self.endpoints[who].tag;
                let answer = super::frames::Answer {
                    payload: &tag,
                    length: SHORTEST + input.below(200),
                    flags: None,
                    ahead: 0,
                    window: 0xffff,
                };
                if let Some(frame) = Frame::answering(&last, &answer) {
                    self.send(who, &frame);
                }
            }
            _ => {
                let frame = self.frame(who, input);
                self.send(who, &frame);
            }
        }
    }

    /// Takes an endpoint away, and puts another in its port's place.
    fn replace(&mut self, who: usize, input: &mut Input<'_>) {
        let net = input.pick(&[Net::Blue, Net::Red, Net::Iso, Net::Priv]);
        if self.endpoints[who].net == Net::World {
            return;
        }
        let port = self.datapath.take_port(self.endpoints[who].port).unwrap();
        self.pipeline.refresh();
        self.datapath.release_port(&port);
        self.endpoints[who].peer = None;
        let host = u8::try_from(self.endpoints.len()).unwrap() + 10;
        self.plug(net, host, Offloads::Carried);
    }

    fn frame(&self, who: usize, input: &mut Input<'_>) -> Frame {
        let me = &self.endpoints[who];
        let gateway = me.net.gateway().mac;
        // Most frames go to the gateway or to a neighbour.
        let mut macs = vec![gateway; 6];
        macs.extend([
            MacAddr::BROADCAST,
            MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
            MacAddr::new([1, 0x80, 0xc2, 0, 0, 0]),
        ]);
        macs.extend(Net::ALL.map(|net| net.gateway().mac));
        let (mut v4, mut v6) = (vec![Net::World.v4(1); 4], vec![Net::World.v6(1); 4]);
        v4.extend([FAR, FAR, FAR, NEXT_HOP, Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1)]);
        v6.extend([
            FAR_V6,
            FAR_V6,
            FAR_V6,
            NEXT_HOP_V6,
            Ipv6Addr::UNSPECIFIED,
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        ]);
        v6.push(me.net.v4(3).to_ipv6_mapped());
        for net in Net::ALL {
            v4.extend([net.v4(1), net.v4(255)]);
            v6.push(net.v6(1));
        }
        for other in self.endpoints.iter().filter(|other| other.peer.is_some()) {
            let times = if other.net == me.net { 3 } else { 1 };
            macs.extend(std::iter::repeat_n(other.identity.mac, times));
            v4.extend(std::iter::repeat_n(other.identity.ipv4.unwrap(), times));
            v6.extend(std::iter::repeat_n(other.identity.ipv6.unwrap(), times));
        }
        let cast = Cast {
            own: Some(me.identity),
            macs: &macs,
            v4: &v4,
            v6: &v6,
            ports: &[8080, 53, 443, 80, 40_000, 40_001, 1024],
            payload: &me.tag,
            shortest: SHORTEST,
        };
        Frame::new(input, &cast)
    }

    /// Lets an endpoint send a frame, and everybody who is asked for an address answer.
    fn send(&mut self, who: usize, frame: &Frame) {
        if frame.bytes.len() > vswitch_frame::buffer::MAX_FRAME_LEN {
            return;
        }
        self.note_contact(who, &frame.bytes);
        self.put(who, &frame.bytes, frame.offload);
        let mut answers = self.deliver(Some(who));
        for _ in 0..4 {
            for (who, answer) in std::mem::take(&mut answers) {
                self.put(who, &answer, Offload::NONE);
                answers.extend(self.deliver(Some(who)));
            }
        }
    }

    fn put(&mut self, who: usize, frame: &[u8], offload: Offload) {
        self.buffers[0].fill(frame, offload);
        self.pipeline.refresh();
        let ingress = self.pipeline.port(self.endpoints[who].port).expect("it is plugged in");
        self.pipeline.process(&ingress, &mut self.buffers, 1, self.now);
        self.pipeline.flush(&mut self.burst, &mut self.buffers);
    }

    /// Takes note of whom a packet addresses, as far as that lets the other one answer.
    fn note_contact(&mut self, who: usize, frame: &[u8]) {
        let Ok(headers) = Headers::parse(frame) else { return };
        let destination: IpAddr = match headers.l3() {
            L3::Ipv4 => headers.destination_v4(frame).into(),
            L3::Ipv6 => headers.destination_v6(frame).into(),
            _ => return,
        };
        if !is_inside(destination) {
            let outside = self.endpoints.iter().position(|one| one.net == Net::World).expect("there is a world");
            self.contacts.insert((who, outside));
        }
        let port = headers.l4(frame).get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
        if headers.fragment() != Fragment::Later {
            for (target, _) in self.targets().filter(|(_, rule)| rule.1 == headers.protocol() && rule.2 == port) {
                self.contacts.insert((who, target));
            }
        }
    }

    /// The endpoints that have published ports, with these.
    fn targets(&self) -> impl Iterator<Item = (usize, (Transport, u8, u16, Net, u16))> + use<> {
        // Each network's first endpoint; their order is that of the networks, two a network.
        PUBLISHED.into_iter().map(|rule| (2 * (rule.3 as usize), rule))
    }

    /// Judges everything that arrived, and returns the answers to questions for addresses. `cause` is who sent the frame
    /// that made it arrive; nobody, when time did.
    fn deliver(&mut self, cause: Option<usize>) -> Vec<(usize, Vec<u8>)> {
        let mut answers = Vec::new();
        for to in 0..self.endpoints.len() {
            while let Some((frame, offload)) = self.endpoints[to].peer.as_ref().and_then(MemoryPeer::try_receive) {
                self.judge(cause, to, &frame, offload);
                if !self.endpoints[to].deaf
                    && let Some(answer) = answer_neighbour(&self.endpoints[to], &frame)
                {
                    answers.push((to, answer));
                } else {
                    self.endpoints[to].last = Some(frame.into_vec());
                }
            }
        }
        answers
    }

    fn judge(&mut self, cause: Option<usize>, to: usize, frame: &[u8], offload: Offload) {
        let senders = self.senders_in(frame);
        for &from in &senders {
            assert!(
                self.may_hear(from, to) || self.hears_by_gateway(from, to, frame),
                "{} heard {}, in a frame that {} made arrive: {}",
                self.name(to),
                self.name(from),
                cause.map_or_else(|| "time".to_owned(), |cause| self.name(cause)),
                shown(frame),
            );
            self.count(from, to);
            self.check_identity(from, to, frame, offload);
        }
        // A frame without a payload tells something, too; but a router may ask who has an address.
        if let Some(cause) = cause.filter(|&cause| senders.is_empty() && !self.may_hear(cause, to)) {
            assert!(
                self.hears_by_gateway(cause, to, frame) || is_gateways_question(self.endpoints[to].net, frame),
                "{} got a frame because of {}: {}",
                self.name(to),
                self.name(cause),
                shown(frame),
            );
        }
        if self.endpoints[to].net == Net::World {
            let headers = Headers::parse(frame).expect("a frame");
            let source: Option<IpAddr> = match headers.l3() {
                L3::Ipv4 => Some(headers.source_v4(frame).into()),
                L3::Ipv6 => Some(headers.source_v6(frame).into()),
                _ => None,
            };
            // A router answers for itself whoever asks; nobody else's address is shown.
            let own = |address: IpAddr| Net::ALL.iter().any(|net| net.gateway().owns(address));
            let shows = source.is_some_and(|source| is_inside(source) && !own(source));
            assert!(!shows, "an inside address left: {}", shown(frame));
        }
    }

    /// The model: whether `to` may hear what `from` sends.
    fn may_hear(&self, from: usize, to: usize) -> bool {
        let (sender, receiver) = (self.endpoints[from].net, self.endpoints[to].net);
        let is_target = |one: usize| self.targets().any(|(target, _)| target == one);
        if from == to {
            return true;
        }
        match (sender, receiver) {
            (Net::Iso, Net::Iso) => false,
            _ if sender == receiver => true,
            (Net::Priv, _) | (_, Net::Priv) => false,
            (_, Net::World) => true,
            // By a published port, or in answer.
            _ => is_target(to) && self.contacts.contains(&(from, to)) || self.contacts.contains(&(to, from)),
        }
    }

    /// Whether `to` may hear `from` of its own isolated network, as this frame comes by the gateway: to a published port, which is
    /// open to everybody, or in answer.
    fn hears_by_gateway(&self, from: usize, to: usize, frame: &[u8]) -> bool {
        let (sender, receiver) = (self.endpoints[from].net, self.endpoints[to].net);
        let is_target = |one: usize| self.targets().any(|(target, _)| target == one);
        let by_gateway = vswitch_frame::addresses(frame).1 == receiver.gateway().mac;
        let asked = is_target(to) && self.contacts.contains(&(from, to));
        let answers = is_target(from) && self.contacts.contains(&(to, from));
        sender == receiver && by_gateway && (asked || answers)
    }

    fn count(&mut self, from: usize, to: usize) {
        let (sender, receiver) = (self.endpoints[from].net, self.endpoints[to].net);
        let counter = match (sender, receiver) {
            _ if from == to => return,
            _ if sender == receiver => &mut self.tally.within,
            (Net::World, _) => &mut self.tally.back,
            (_, Net::World) => &mut self.tally.out,
            _ => &mut self.tally.published,
        };
        *counter += 1;
    }

    /// A frame that was switched is from whom it says, also after the receiver's kernel has finished its checksum.
    fn check_identity(&self, from: usize, to: usize, frame: &[u8], mut offload: Offload) {
        let (sender, receiver) = (&self.endpoints[from], &self.endpoints[to]);
        let mut frame = frame.to_vec();
        if offload.gso.is_none() {
            offload::complete_checksum(&mut frame, &mut offload);
        }
        let (_, source) = vswitch_frame::addresses(&frame);
        if sender.net != receiver.net || from == to || sender.net == Net::World || source == sender.net.gateway().mac {
            return;
        }
        assert_eq!(source, sender.identity.mac, "{} forged: {}", self.name(from), shown(&frame));
        let Ok(headers) = Headers::parse(&frame) else { return };
        let own = match headers.l3() {
            L3::Ipv4 => sender.identity.ipv4 == Some(headers.source_v4(&frame)),
            L3::Ipv6 => {
                let source = headers.source_v6(&frame);
                [sender.identity.ipv6, Some(sender.identity.mac.link_local_ipv6()), Some(Ipv6Addr::UNSPECIFIED)]
                    .contains(&Some(source))
            }
            L3::Arp => Arp::parse(headers.packet(&frame)).is_ok_and(|message| {
                let sender_ip = message.sender_ip();
                message.sender_mac() == sender.identity.mac
                    && (Some(sender_ip) == sender.identity.ipv4 || sender_ip.is_unspecified())
            }),
            _ => true,
        };
        assert!(own, "{} forged: {}", self.name(from), shown(&frame));
    }

    /// Whose tags are in these bytes.
    fn senders_in(&self, bytes: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| byte == MARK[0]) {
            rest = &rest[at..];
            let tag = rest.get(..TAG);
            match self.endpoints.iter().position(|one| tag == Some(&one.tag)) {
                Some(from) => {
                    if !found.contains(&from) {
                        found.push(from);
                    }
                    rest = &rest[TAG..];
                }
                None => rest = &rest[1..],
            }
        }
        found
    }

    /// Every frame that came in ended in one verdict.
    fn accounts(&self) {
        for port in &self.datapath.stats().ports {
            let counters = &port.counters;
            let ended = counters.forwarded + counters.consumed + counters.total_dropped();
            assert!(ended >= counters.in_frames, "frames of {} are not accounted for: {counters:?}", port.name);
        }
    }

    fn name(&self, who: usize) -> String {
        let one = &self.endpoints[who];
        format!("{:?} {}", one.net, one.identity.ipv4.unwrap())
    }
}

/// A burst of one frame, and buffers for what the router makes of it.
const BUFFERS: usize = 8;

fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.segments()[0] == 0xfd00 || v6.to_ipv4_mapped().is_some_and(|v4| v4.octets()[0] == 10),
    }
}

fn router(networks: [NetworkIndex; 5]) -> RouterConfig {
    let inside = [Net::Blue, Net::Red, Net::Iso, Net::Priv];
    let subnets = |net: Net| -> Vec<(ipnet::IpNet, IpAddr)> {
        let v4 = ipnet::Ipv4Net::new(net.v4(0), 24).unwrap();
        let v6 = ipnet::Ipv6Net::new(net.v6(0), 64).unwrap();
        vec![(v4.into(), net.v4(1).into()), (v6.into(), net.v6(1).into())]
    };
    let spec = |net: Net| NetworkSpec {
        index: networks[net as usize],
        subnets: subnets(net)
            .into_iter()
            .map(|(net, gateway)| SubnetSpec { net, gateway: Some(gateway), translation: Translation::Masquerade })
            .collect(),
        reach: if net == Net::Priv { Reach::Internal } else { Reach::Uplink },
        addresses: Addresses::Shared,
    };
    let publish = PUBLISHED.into_iter().flat_map(|(transport, _, host_port, net, port)| {
        [IpAddr::from(net.v4(2)), net.v6(2).into()].map(|target| Publish {
            transport,
            host: None,
            host_ports: host_port.to_string().parse().unwrap(),
            target,
            network: None,
            target_ports: port.to_string().parse().unwrap(),
        })
    });
    let mut routes: Vec<Route> = inside
        .iter()
        .flat_map(|&net| subnets(net).into_iter().map(move |(destination, _)| (destination, net)))
        .map(|(destination, net)| Route { destination, leg: Leg::Inside(networks[net as usize]), via: None })
        .collect();
    routes.extend(subnets(Net::World).into_iter().map(|(destination, _)| Route {
        destination,
        leg: Leg::Uplink,
        via: None,
    }));
    for (everything, via) in [("0.0.0.0/0", IpAddr::from(NEXT_HOP)), ("::/0", NEXT_HOP_V6.into())] {
        routes.push(Route { destination: everything.parse().unwrap(), leg: Leg::Uplink, via: Some(via) });
    }
    RouterConfig {
        uplink: Some(networks[Net::World as usize]),
        rules: RulesSpec {
            networks: inside.into_iter().map(spec).collect(),
            external: vec![Net::World.v4(1).into(), Net::World.v6(1).into()],
            publish: publish.collect(),
            ..RulesSpec::default()
        },
        routes,
        ..RouterConfig::default()
    }
}

/// What an endpoint answers to a question for its address, as a kernel does.
fn answer_neighbour(one: &Endpoint, frame: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(frame).ok()?;
    let (mac, world) = (one.identity.mac, one.net == Net::World);
    let mut answer = vswitch_frame::addresses(frame).1.octets().to_vec();
    answer.extend(mac.octets());
    if headers.l3() == L3::Arp {
        let question = Arp::parse(headers.packet(frame)).ok()?;
        let target = question.target_ip();
        let ours = Some(target) == one.identity.ipv4 || world && target == NEXT_HOP;
        if question.operation() != arp::REQUEST || !ours {
            return None;
        }
        let mut message = [0; arp::LEN];
        arp::write(&mut message, 2, (mac, target), (question.sender_mac(), question.sender_ip()));
        answer.extend([0x08, 0x06]);
        answer.extend(message);
        return Some(answer);
    }
    let question = Neighbor::parse(headers.l4(frame)).ok()?;
    let target = question.target();
    let ours = Some(target) == one.identity.ipv6 || world && target == NEXT_HOP_V6;
    if headers.l3() != L3::Ipv6 || headers.protocol() != 58 || !question.is_solicitation() || !ours {
        return None;
    }
    let mut packet = [0; 72];
    ndp::write_host_advertisement(&mut packet, mac, target, headers.source_v6(frame), true);
    answer.extend([0x86, 0xdd]);
    answer.extend(packet);
    Some(answer)
}

/// Whether a gateway asks for an address in its own name.
fn is_gateways_question(net: Net, frame: &[u8]) -> bool {
    let Ok(headers) = Headers::parse(frame) else { return false };
    let from_gateway = vswitch_frame::addresses(frame).1 == net.gateway().mac;
    let asks = match headers.l3() {
        L3::Arp => Arp::parse(headers.packet(frame)).is_ok_and(|message| message.operation() == arp::REQUEST),
        L3::Ipv6 => headers.protocol() == 58 && headers.l4(frame).first() == Some(&135),
        _ => false,
    };
    from_gateway && asks
}

fn shown(frame: &[u8]) -> String {
    crate::frames::hex(&frame[..frame.len().min(160)])
}
