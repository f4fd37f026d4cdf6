//! Frames by which a container tries to reach whom it may not, or to be whom it is not, and what honest stacks leave undone.

use vswitch_frame::crc32c::crc32c;
use vswitch_frame::offload::{Offload, PartialChecksum};
use vswitch_frame::tcp::flag;
use vswitch_frame::{Headers, checksum};
use vswitch_tests::hosts::Hosts;
use vswitch_tests::{Container, Site, Vswitch, eventually, frames, guard};

fn mac(container: &Container<'_>, network: &str) -> [u8; 6] {
    frames::mac(&container.endpoint(network).mac_address)
}

/// The MAC address that a container has for an address on its network.
fn neighbour(container: &Container<'_>, address: &str) -> [u8; 6] {
    container.pings(address);
    let words = container.ok(&format!("ip neigh show {address}"));
    frames::mac(words.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap())
}

/// With icc=false, frames to the gateway's MAC address bring nothing to another container of the network; its published port
/// is open, as with Docker.
#[test]
fn isolation_has_no_way_round_by_the_gateway() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create iso --ipv6 --subnet 10.201.4.0/24 --subnet fd00:4::/64 --opt icc=false");
        let a = site.vs.container("a", "--network iso");
        let b = site.web("b", "--network iso -p 8080:80");
        let gateway = neighbour(&a, "10.201.4.1");
        b.pings("10.201.4.1");
        b.pings("fd00:4::1");
        let me = mac(&a, "iso");
        let sniffer = b.sniff();
        let words = b"words for nobody";
        let udp4 = frames::udp4((me, a.ipv4("iso")), (gateway, b.ipv4("iso")), words);
        let udp6 = frames::udp6((me, a.ipv6("iso")), (gateway, b.ipv6("iso")), words);
        let syn = frames::tcp4((me, a.ipv4("iso")), (gateway, b.ipv4("iso")), 80, flag::SYN);
        a.sends(3, &[&udp4, &udp6, &syn]);
        site.vs.expect_drops("a", "iso", "isolated", 9);
        assert_eq!(a.ok("curl -sS -m 15 http://10.99.0.1:8080/page"), "page-of-b\n");
        assert!(!sniffer.has_seen(words), "a frame of a's came through");
    });
}

/// On the packet uplink, a published port of another network is no way out of an internal one.
#[test]
fn internal_networks_reach_no_published_port() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create --internal --subnet 10.201.3.0/24 closed");
        site.vs.ok("network create --subnet 10.201.2.0/24 open");
        let server = site.web("server", "--network open -p 8080:80");
        let (inside, beside) =
            (site.vs.container("inside", "--network closed"), site.vs.container("beside", "--network open"));
        let gateway = neighbour(&inside, "10.201.3.1");
        let me = (mac(&inside, "closed"), inside.ipv4("closed"));
        let to = |address: &str| frames::tcp4(me, (gateway, address.parse().unwrap()), 8080, flag::SYN);
        inside.sends(3, &[&to("10.99.0.1"), &to("10.201.2.1"), &to("10.201.3.1")]);
        site.vs.expect_drops("inside", "closed", "untranslated", 9);
        assert_eq!(site.router().nat_drops.get("internal"), Some(&9));
        assert_eq!(beside.ok("curl -sS -m 15 http://10.99.0.1:8080/page"), "page-of-server\n");
        assert!(!server.ok("cat /mnt/server.log").contains("10.201.3."));
    });
}

/// A frame behind the virtio-net header that says its checksum is still to be made.
fn unfinished(frame: &[u8], start: u16, offset: u16) -> Vec<u8> {
    let offload = Offload { checksum: Some(PartialChecksum { start, offset }), gso: None };
    [&offload.encode()[..], frame].concat()
}

/// Into an overlay, whose other end is the kernel's: a "checksum" over the source address is refused, and what Linux's SCTP
/// leaves undone is a CRC there.
#[test]
fn what_enters_a_tunnel_is_checked_and_finished() {
    guard(|| {
        let hosts = Hosts::new(2);
        let vs = hosts.daemon(1);
        vs.ok("network create -d overlay --subnet 10.201.0.0/16 --ip-range 10.201.1.0/24 --opt vni=4097 n");
        vs.ok("tunnel remote add n 10.77.0.2");
        let (evil, victim) = (vs.container("evil", "--network n"), vs.container("victim", "--network n"));
        let far = hosts.kernel(2, 4097, ("10.201.99.9/16", 1450), &["10.77.0.1"], "").station;
        let (own, forged) = (evil.ipv4("n"), victim.ipv4("n"));
        let to = (neighbour(&evil, "10.201.99.9"), "10.201.99.9".parse().unwrap());
        let watch = far.spawn("vswitch-probe eth0 sniff 60");
        eventually("the far end watches", 10, || watch.output().starts_with("ready"));

        // A datagram that is the victim's once the two bytes at 28, the lower half of the source address, are "completed" to
        // what the word at 42 makes of them.
        let mut lie = frames::udp4((mac(&evil, "n"), forged), to, b"\0\0 forged words");
        lie[26..30].copy_from_slice(&own.octets());
        lie[40..44].fill(0);
        let wanted = !u16::from_be_bytes([forged.octets()[2], forged.octets()[3]]);
        let sum = checksum::fold(checksum::sum(&lie[20..]));
        lie[42..44].copy_from_slice(&checksum::fold(u64::from(wanted) + u64::from(!sum)).to_be_bytes());
        assert_eq!(checksum::checksum(&lie[20..]).to_be_bytes(), forged.octets()[2..]);

        let chunk = [1, 0, 0, 20, 0x11, 0x22, 0x33, 0x44, 0, 0, 0xff, 0xff, 0, 10, 0, 10, 0, 0, 0x10, 0];
        let header = [&7000u16.to_be_bytes()[..], &7u16.to_be_bytes(), &[0; 8]].concat();
        let mut init = Vec::new();
        etherparse::PacketBuilder::ethernet2(mac(&evil, "n"), to.0)
            .ipv4(own.octets(), std::net::Ipv4Addr::octets(&to.1), 64)
            .write(&mut init, etherparse::IpNumber::SCTP, &[&header[..], &chunk].concat())
            .unwrap();
        let mut finished = init.clone();
        let headers = Headers::parse(&init).unwrap();
        finished[42..46].copy_from_slice(&crc32c(&[headers.l4(&init)]).to_le_bytes());

        let before = vs.drops("evil", "n", "bad-offload");
        let whole = [unfinished(&lie, 20, 8), unfinished(&init, 34, 8)].map(|frame| frames::hex(&frame));
        evil.ok(&format!("vswitch-probe eth0 raw 3 {}", whole.join(" ")));
        vs.expect_drops("evil", "n", "bad-offload", before + 3);
        // What came before it would be there by now.
        let last = frames::hex(&finished);
        eventually("the far end gets SCTP", 10, || watch.output().lines().filter(|line| *line == last).count() == 3);
        assert!(!watch.output().contains(&frames::hex(b"forged words")), "{}", watch.output());
    });
}

/// A tunnel between two containers of one network carries more than pings: what a veth would leave to the switch, and no
/// virtio-net header can say, the containers' stacks do, and the rest is finished at ingress.
#[test]
fn tunnels_inside_containers() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let [a, b] = ["a", "b"].map(|name| vs.container(name, "--network n --cap-add NET_ADMIN"));
        for (container, other, address) in [(&a, &b, "10.55.0.1"), (&b, &a, "10.55.0.2")] {
            container.ok(&format!(
                "ip link add nest type vxlan id 9 remote {} dstport 4790 dev eth0 && ip addr add {address}/24 dev nest && \
                 ip link set nest up",
                other.ipv4("n")
            ));
        }
        a.pings("10.55.0.2");
        let server = b.spawn("exec iperf3 -s -1");
        b.listens(5201);
        // Retransmissions alone would take minutes, which no command is given.
        a.ok("iperf3 -n 20M -c 10.55.0.2");
        server.wait(std::time::Duration::from_secs(30)).ok();
        for container in ["a", "b"] {
            for reason in ["bad-offload", "egress-error"] {
                assert_eq!(vs.drops(container, "n", reason), 0, "{container}: {reason}");
            }
        }
    });
}
