//! A small world around the translator: three networks, an uplink, a clock, and eyes on everything that leaves.

use std::net::IpAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use vswitch_frame::{Fragment, Headers, NetworkIndex, PacketMut, Timestamp, checksum, offload};
use vswitch_nat::rules::{Addresses, NetworkSpec, PortRange, Publish, Reach, SubnetSpec, Translation, Transport};
use vswitch_nat::table::{FlowFilter, FlowRecord, Leg, Limits, Timeouts};
use vswitch_nat::translate::FragmentLimits;
use vswitch_nat::{Context, Decision, Nat, Rebound, Rules, RulesSpec};

use super::notation::{Frame, address, crc32c, describe, frame};

/// The legs of the world's networks.
pub(crate) const NET: Leg = Leg::Inside(NetworkIndex::new(9));
pub(crate) const NET2: Leg = Leg::Inside(NetworkIndex::new(8));
pub(crate) const PRIVATE: Leg = Leg::Inside(NetworkIndex::new(7));
pub(crate) const ROUTED: Leg = Leg::Inside(NetworkIndex::new(6));

pub(crate) struct World {
    pub(crate) nat: Nat,
    pub(crate) rules: Rules,
    pub(crate) now: Timestamp,
    rng: StdRng,
}

/// A publish rule in Docker's words: `EXT:8080:B:80/tcp`, `8080-8082:B:80-82/udp`.
pub(crate) fn publish(text: &str) -> Publish {
    let (ports, transport) = text.split_once('/').unwrap();
    let mut parts: Vec<&str> = ports.split(':').collect();
    let host = (parts.len() == 4).then(|| address(parts.remove(0)));
    Publish {
        network: None,
        transport: match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => Transport::Sctp,
        },
        host,
        host_ports: parts[0].parse::<PortRange>().unwrap(),
        target: address(parts[1]),
        target_ports: parts[2].parse::<PortRange>().unwrap(),
    }
}

/// The world's rules, with the given ports published.
pub(crate) fn spec(publishes: &[&str]) -> RulesSpec {
    let subnet = |net: &str, gateway: &str, translation| SubnetSpec {
        net: net.parse().unwrap(),
        gateway: Some(address(gateway)),
        translation,
    };
    let network = |leg, reach, subnets| {
        let Leg::Inside(index) = leg else { panic!("the uplink is no network") };
        NetworkSpec { index, subnets, reach, addresses: Addresses::Shared }
    };
    let (masquerade, routed) = (Translation::Masquerade, Translation::Routed);
    let both = vec![subnet("10.9.0.0/24", "GW", masquerade), subnet("fd00:9::/64", "GW6", masquerade)];
    RulesSpec {
        networks: vec![
            network(NET, Reach::Uplink, both),
            network(NET2, Reach::Uplink, vec![subnet("10.8.0.0/24", "GW2", masquerade)]),
            network(PRIVATE, Reach::Internal, vec![subnet("10.7.0.0/24", "10.7.0.1", masquerade)]),
            network(ROUTED, Reach::Uplink, vec![subnet("192.0.2.0/24", "192.0.2.1", routed)]),
        ],
        external: vec![address("EXT"), address("EXT6")],
        publish: publishes.iter().map(|text| publish(text)).collect(),
        ..RulesSpec::default()
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::publishing(&[])
    }

    pub(crate) fn publishing(publishes: &[&str]) -> World {
        World::with(spec(publishes))
    }

    pub(crate) fn with(spec: RulesSpec) -> World {
        World::limited(spec, Limits::default())
    }

    pub(crate) fn linux() -> World {
        let mut spec = spec(&[]);
        spec.settings.timeouts = Timeouts::LINUX;
        World::with(spec)
    }

    pub(crate) fn limited(spec: RulesSpec, limits: Limits) -> World {
        World {
            nat: Nat::new(limits, FragmentLimits::default(), 42),
            rules: spec.try_into().unwrap(),
            now: Timestamp::from_millis(1_000_000),
            rng: StdRng::seed_from_u64(7),
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.nat.handle_timeout(self.now);
    }

    /// Gives flows other external ports.
    pub(crate) fn rebind(&mut self, filter: &FlowFilter) -> Rebound {
        self.nat.rebind(&self.rules, filter, self.now, &mut self.rng)
    }

    /// Sends a packet from the network that its source is in.
    pub(crate) fn send(&mut self, text: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| *word == ">").unwrap() - 1;
        let source = address(words[at].split(':').next().unwrap());
        let leg = self.rules.network_of(source).map_or(Leg::Uplink, Leg::Inside);
        self.send_from(leg, text)
    }

    /// Sends a packet on a leg and says what became of it: what leaves and where, `self`, `held`, or the drop's name.
    pub(crate) fn send_from(&mut self, leg: Leg, text: &str) -> String {
        let mut sent = frame(text);
        self.send_frame(leg, &mut sent)
    }

    pub(crate) fn send_frame(&mut self, leg: Leg, sent: &mut Frame) -> String {
        let mut packet = match PacketMut::admit(&mut sent.bytes, sent.offload) {
            Ok(packet) => packet,
            Err(reason) => return reason.name().to_owned(),
        };
        sent.offload = packet.view().offload();
        let context = Context { rules: &self.rules, ingress: leg, now: self.now };
        match self.nat.lookup(&context, &packet.view()) {
            Ok(Decision::ToSelf) => "self".to_owned(),
            Ok(Decision::Held) => "held".to_owned(),
            Err(reason) => reason.name().to_owned(),
            Ok(Decision::Forward(path)) => {
                let (egress, destination) = (path.egress(), path.destination());
                let outcome = self.nat.translate(&context, path, &mut packet, &mut self.rng);
                match outcome {
                    Err(reason) => reason.name().to_owned(),
                    Ok(()) => {
                        self.inspect(egress, destination, sent);
                        let leg = match egress {
                            Leg::Uplink => "up".to_owned(),
                            Leg::Further(number) => format!("further{number}"),
                            Leg::UplinkOf(network) => format!("up{}", network.value()),
                            Leg::Inside(network) => format!("net{}", network.value()),
                        };
                        format!("{leg}: {}", describe(&sent.bytes))
                    }
                }
            }
        }
    }

    /// What holds for every frame that leaves.
    fn inspect(&self, egress: Leg, destination: IpAddr, sent: &Frame) {
        let headers = Headers::parse(&sent.bytes).unwrap();
        let (source, to) = headers.ip_addresses(&sent.bytes);
        assert_eq!(to, destination, "the path names the destination");
        let text = describe(&sent.bytes);
        if matches!(egress, Leg::Uplink | Leg::Further(_)) {
            let routed = address("OPEN");
            assert!(self.rules.network_of(source).is_none() || source == routed, "inside source leaves: {text}");
            for inside in [" A:", " B:", " A ", " B ", " C:", " A6:", " B6:", "PRIV"] {
                assert!(!text.contains(inside), "inside address leaves: {text}");
            }
        }
        if headers.fragment() == Fragment::None {
            verify_checksums(sent, &text);
        }
    }

    pub(crate) fn flows(&self) -> Vec<FlowRecord> {
        self.nat.table().list(&FlowFilter::default(), self.now)
    }

    /// The one flow there is, as `conntrack -L` prints it.
    pub(crate) fn flow(&self) -> String {
        let flows = self.flows();
        assert_eq!(flows.len(), 1, "{flows:#?}");
        flows[0].to_string()
    }

    /// State and timer of the one flow there is.
    pub(crate) fn state(&self) -> String {
        let flow = &self.flows()[0];
        format!("{} {}", flow.state.map_or("-", vswitch_nat::table::tcp::TcpState::name), flow.timeout.0)
    }

    pub(crate) fn count(&self) -> usize {
        self.nat.table().len()
    }
}

/// Completes a partial checksum as a device would, and verifies what then leaves (C6).
fn verify_checksums(sent: &Frame, text: &str) {
    let mut frame = sent.clone();
    let was_partial = frame.offload.checksum.is_some();
    frame.offload.gso = None;
    offload::complete_checksum(&mut frame.bytes, &mut frame.offload);
    let headers = Headers::parse(&frame.bytes).unwrap();
    let l4 = headers.l4(&frame.bytes);
    let pseudo = |length| {
        let (source, destination) = headers.ip_addresses(&frame.bytes);
        checksum::pseudo_header(source, destination, headers.protocol(), length).unwrap()
    };
    let good = match headers.protocol() {
        17 if l4[6..8] == [0, 0] => !was_partial,
        6 | 17 | 58 => checksum::fold(pseudo(l4.len()) + checksum::sum(l4)) == 0xffff,
        1 => checksum::checksum(l4) == 0,
        132 => {
            let stored = [l4[8], l4[9], l4[10], l4[11]];
            let mut zeroed = l4.to_vec();
            zeroed[8..12].fill(0);
            crc32c(&zeroed).to_le_bytes() == stored
        }
        _ => true,
    };
    assert!(good, "checksum of {text} (partial: {was_partial})");
}
