//! What a container may try with raw frames, and who may get to see it.

use vswitch_tests::attack::{Attempt, MARK, MARK_LEN, Station, attempts, knock};
use vswitch_tests::container::Sniffer;
use vswitch_tests::{Container, Site, eventually, frames, guard};

/// A network and what it promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Net {
    Blue,
    Red,
    Iso,
    Priv,
}

impl Net {
    const ALL: [Net; 4] = [Net::Blue, Net::Red, Net::Iso, Net::Priv];

    fn name(self) -> &'static str {
        match self {
            Net::Blue => "blue",
            Net::Red => "red",
            Net::Iso => "iso",
            Net::Priv => "priv",
        }
    }

    fn flags(self) -> &'static str {
        match self {
            Net::Blue | Net::Red => "",
            Net::Iso => "--opt icc=false",
            Net::Priv => "--internal",
        }
    }

    /// Whether a container on this network may be heard by another one on `other`, other than by a published port.
    fn is_heard_on(self, other: Net) -> bool {
        self == other && self != Net::Iso
    }
}

fn station(container: &Container<'_>, net: Net) -> Station {
    let endpoint = container.endpoint(net.name());
    Station {
        mac: frames::mac(&endpoint.mac_address),
        ipv4: container.ipv4(net.name()),
        ipv6: container.ipv6(net.name()),
    }
}

/// The gateway of a container's network: the first addresses of its subnets.
fn gateway(container: &Container<'_>, net: Net) -> Station {
    let me = station(container, net);
    let [a, b, c, _] = me.ipv4.octets();
    let mut groups = me.ipv6.segments();
    groups[7] = 1;
    let ipv4 = std::net::Ipv4Addr::new(a, b, c, 1);
    container.pings(ipv4);
    let words = container.ok(&format!("ip neigh show {ipv4}"));
    let mac = frames::mac(words.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap());
    Station { mac, ipv4, ipv6: groups.into() }
}

/// Sends everything, and waits until the switch has taken it.
fn send(site: &Site, from: &Container<'_>, net: Net, tried: &[Attempt]) {
    let before = site.vs.port(from.name(), net.name()).in_frames;
    from.sends(1, &tried.iter().map(|one| &one.frame[..]).collect::<Vec<_>>());
    let all = before + u64::try_from(tried.len()).unwrap();
    eventually("the frames are taken", 10, || site.vs.port(from.name(), net.name()).in_frames >= all);
}

/// From an ordinary, an isolated (icc=false) and an internal network: no frame reaches another network or the uplink, none
/// reaches an isolated neighbour, and none in somebody else's name reaches anybody. What is allowed arrives: a neighbour's
/// frames, and connections outside and to published ports, but for the internal network.
#[test]
fn raw_frames_cross_no_boundary() {
    guard(|| {
        let site = Site::start();
        for net in Net::ALL {
            site.vs.ok(&format!("network create {} --ipv6 {}", net.name(), net.flags()));
        }
        let victims = Net::ALL.map(|net| {
            let publish = if net == Net::Red { "-p 8080:80" } else { "" };
            let flags = format!("--network {} {publish}", net.name());
            (net, site.vs.container(&format!("victim-{}", net.name()), &flags))
        });
        let sniffers: Vec<_> = victims.iter().map(|(_, victim)| victim.sniff()).collect();
        let uplink = Sniffer::new(site.outside.spawn("vswitch-probe out0 sniff 60"));
        let mut series = 0;
        let mut sent = Vec::new();
        for net in [Net::Blue, Net::Iso, Net::Priv] {
            let name = format!("attacker-{}", net.name());
            let attacker = site.vs.container(&name, &format!("--network {}", net.name()));
            let (me, router) = (station(&attacker, net), gateway(&attacker, net));
            for (of, victim) in &victims {
                series += 1;
                let tried = attempts(me, router, station(victim, *of), series);
                send(&site, &attacker, net, &tried);
                sent.push((net, tried));
            }
            series += 1;
            let published = knock(me, router, ("10.99.0.1".parse().unwrap(), 8080), series);
            let outside = knock(me, router, ("10.99.0.2".parse().unwrap(), 8000), series + 100);
            send(&site, &attacker, net, &[published.clone(), outside.clone()]);
            if net == Net::Priv {
                sent.push((net, vec![published, outside]));
            } else {
                eventually("the published port is reached", 10, || sniffers[1].has_seen(&published.mark));
                eventually("the outside is reached", 10, || uplink.has_seen(&outside.mark));
            }
        }
        // An answer to each watcher comes after all that came before.
        for (net, victim) in &victims {
            let router = gateway(victim, *net).ipv4;
            victim.ok(&format!("ping -n -c 1 -W 5 -p 6c617374206f6e65 {router}"));
        }
        site.outside.ok("ping -n -c 1 -W 5 -p 6c617374206f6e65 10.99.0.1");
        for sniffer in sniffers.iter().chain([&uplink]) {
            eventually("everything has arrived", 10, || sniffer.has_seen(b"last one"));
        }
        let heard: Vec<_> = sniffers.iter().map(|sniffer| sniffer.pieces(MARK, MARK_LEN)).collect();
        let left = uplink.pieces(MARK, MARK_LEN);
        let mut faults = Vec::new();
        for (from, one) in sent.iter().flat_map(|(from, tried)| tried.iter().map(move |one| (from, one))) {
            if left.contains(&one.mark) {
                faults.push(format!("{} from {from:?} left by the uplink", one.name));
            }
            for ((to, _), heard) in victims.iter().zip(&heard) {
                if heard.contains(&one.mark) && (one.forged || !from.is_heard_on(*to)) {
                    faults.push(format!("{} from {from:?} reached {to:?}: {}", one.name, frames::hex(&one.frame)));
                }
            }
        }
        assert!(faults.is_empty(), "{} frames too many:\n{}", faults.len(), faults.join("\n"));
        // The watchers watched: a neighbour's frame arrives where it may.
        for (from, tried, at) in [(Net::Blue, &sent[0].1, 0), (Net::Priv, &sent[sent.len() - 2].1, 3)] {
            assert!(heard[at].contains(&tried[0].mark), "{} from {from:?} should arrive", tried[0].name);
        }
        site.finish();
    });
}
