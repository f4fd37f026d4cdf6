//! What a container may try against another one with raw frames: straight at it, by way of the gateway, in somebody
//! else's name, around headers, and as a reflection. Each frame carries a mark of its own, by which it is found wherever
//! it arrives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_frame::checksum;

use crate::frames::BROADCAST;

/// One end of an attack.
#[derive(Debug, Clone, Copy)]
pub struct Station {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// A frame that is tried.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// For a failure's message.
    pub name: &'static str,
    /// What is in it and in no other.
    pub mark: Vec<u8>,
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
    /// It is in somebody else's name, so that nobody at all may get it.
    pub forged: bool,
}

/// Somebody outside.
pub const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// What every mark begins with, and how long one is.
pub const MARK: &[u8] = b"attempt ";
/// See [`MARK`].
pub const MARK_LEN: usize = MARK.len() + 4;

const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Everything that `me` tries against `victim`, with the gateway of `me`'s network.
#[must_use]
pub fn attempts(me: Station, gateway: Station, victim: Station, series: u8) -> Vec<Attempt> {
    let mut list = List { attempts: Vec::new(), series };
    list.plain(me, gateway, victim);
    list.forged(me, gateway, victim);
    list.tagged(me, gateway, victim);
    list.arp(me, gateway, victim);
    list.around_headers(me, gateway, victim);
    list.v6(me, gateway, victim);
    list.attempts
}

/// What opens a connection to `port` of `host` by way of the gateway.
#[must_use]
pub fn knock(me: Station, gateway: Station, (host, port): (Ipv4Addr, u16), series: u8) -> Attempt {
    let mut list = List { attempts: Vec::new(), series };
    list.honest("a SYN by the gateway", |mark| {
        ethernet(gateway.mac, me.mac, IPV4, &v4(me.ipv4, host, 6, &segment((me.ipv4, host), port, 0x02, mark)))
    });
    list.attempts.remove(0)
}

struct List {
    attempts: Vec<Attempt>,
    series: u8,
}

impl List {
    /// Adds what is made around the next mark.
    fn add(&mut self, name: &'static str, forged: bool, make: impl FnOnce(&[u8]) -> Vec<u8>) {
        let number = u8::try_from(self.attempts.len()).expect("fewer than 256");
        let mark = [MARK, &[self.series, number, !self.series, !number][..]].concat();
        let mut frame = make(&mark);
        frame.resize(frame.len().max(60), 0);
        self.attempts.push(Attempt { name, mark, frame, forged });
    }

    fn honest(&mut self, name: &'static str, make: impl FnOnce(&[u8]) -> Vec<u8>) {
        self.add(name, false, make);
    }

    fn lie(&mut self, name: &'static str, make: impl FnOnce(&[u8]) -> Vec<u8>) {
        self.add(name, true, make);
    }

    /// In one's own name: straight, to groups, and through the gateway.
    fn plain(&mut self, me: Station, gateway: Station, victim: Station) {
        let straight = |to: [u8; 6], address: Ipv4Addr| {
            move |mark: &[u8]| ethernet(to, me.mac, IPV4, &v4(me.ipv4, address, UDP, &udp(mark)))
        };
        self.honest("UDP, straight", straight(victim.mac, victim.ipv4));
        self.honest("UDP, to everybody", straight(BROADCAST, victim.ipv4));
        self.honest("UDP, to an IPv4 group's MAC", straight([1, 0, 0x5e, 0, 0, 1], victim.ipv4));
        self.honest("UDP, to an IPv6 group's MAC", straight(ALL_NODES, victim.ipv4));
        self.honest("UDP, to all hosts", straight([1, 0, 0x5e, 0, 0, 1], Ipv4Addr::new(224, 0, 0, 1)));
        self.honest("UDP, to mDNS", straight([1, 0, 0x5e, 0, 0, 0xfb], Ipv4Addr::new(224, 0, 0, 251)));
        self.honest("UDP, limited broadcast", straight(BROADCAST, Ipv4Addr::BROADCAST));
        self.honest("UDP, by the gateway", straight(gateway.mac, victim.ipv4));
        self.honest("UDP, all hosts by the gateway", straight(gateway.mac, Ipv4Addr::new(224, 0, 0, 1)));
        self.honest("UDP, the victim's subnet by the gateway", straight(gateway.mac, subnet_broadcast(victim.ipv4)));
        self.honest("UDP, the own subnet by the gateway", straight(gateway.mac, subnet_broadcast(me.ipv4)));
        for (name, kind) in [("echo request", 8), ("echo reply", 0)] {
            let echo = move |to: [u8; 6]| {
                move |mark: &[u8]| ethernet(to, me.mac, IPV4, &v4(me.ipv4, victim.ipv4, ICMP, &icmp(kind, 0, mark)))
            };
            self.honest(name, echo(victim.mac));
            self.honest(name, echo(gateway.mac));
        }
        for flags in [0x02, 0x10, 0x12, 0x04] {
            self.honest("TCP, by the gateway", |mark| {
                let segment = segment((me.ipv4, victim.ipv4), 80, flags, mark);
                ethernet(gateway.mac, me.mac, IPV4, &v4(me.ipv4, victim.ipv4, 6, &segment))
            });
        }
        for protocol in [0, 2, 4, 41, 47, 50, 132, 255] {
            for to in [gateway.mac, victim.mac] {
                self.honest("another protocol", |mark| {
                    let inner = [&[0x0f, 0xa0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0], mark].concat();
                    ethernet(to, me.mac, IPV4, &v4(me.ipv4, victim.ipv4, protocol, &inner))
                });
            }
        }
        for kind in [0x88b5, 0x0842, 0x9000, 0x888e, 0x8847, 0x8863, 0x88cc, 0x0001, 0x05ff] {
            for to in [victim.mac, BROADCAST, gateway.mac] {
                self.honest("another EtherType", |mark| ethernet(to, me.mac, kind, &[mark, &[0; 40]].concat()));
            }
        }
        self.honest("802.2 with SNAP", |mark| {
            let packet = v4(me.ipv4, victim.ipv4, UDP, &udp(mark));
            ethernet(victim.mac, me.mac, 60, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet].concat())
        });
    }

    /// In the gateway's, the victim's or nobody's name, some of it to be reflected.
    fn forged(&mut self, me: Station, gateway: Station, victim: Station) {
        let from = |mac: [u8; 6], address: Ipv4Addr, to: [u8; 6], destination: Ipv4Addr| {
            move |mark: &[u8]| ethernet(to, mac, IPV4, &v4(address, destination, UDP, &udp(mark)))
        };
        self.lie("the gateway's address, by it", from(me.mac, gateway.ipv4, gateway.mac, victim.ipv4));
        self.lie("the gateway's address, straight", from(me.mac, gateway.ipv4, victim.mac, victim.ipv4));
        self.lie("the gateway's MAC and address", from(gateway.mac, gateway.ipv4, victim.mac, victim.ipv4));
        self.lie("the gateway's, to everybody", from(gateway.mac, gateway.ipv4, BROADCAST, Ipv4Addr::BROADCAST));
        self.lie("the victim's MAC", from(victim.mac, victim.ipv4, gateway.mac, gateway.ipv4));
        self.lie("no MAC", from([0; 6], me.ipv4, victim.mac, victim.ipv4));
        self.lie("a group's MAC", from([1, 2, 3, 4, 5, 6], me.ipv4, victim.mac, victim.ipv4));
        self.lie("no address", from(me.mac, Ipv4Addr::UNSPECIFIED, victim.mac, victim.ipv4));
        self.lie("an address outside", from(me.mac, FAR, gateway.mac, victim.ipv4));
        self.lie("reflected by a closed port", from(me.mac, victim.ipv4, gateway.mac, gateway.ipv4));
        self.lie("reflected by an echo", |mark| {
            ethernet(gateway.mac, me.mac, IPV4, &v4(victim.ipv4, gateway.ipv4, ICMP, &icmp(8, 0, mark)))
        });
        self.lie("reflected by a last hop", |mark| {
            let mut packet = v4(victim.ipv4, FAR, UDP, &udp(mark));
            packet[8] = 1;
            finish_v4(&mut packet);
            ethernet(gateway.mac, me.mac, IPV4, &packet)
        });
        for (name, kind, code) in [("a redirect", 5, 1), ("an unreachable", 3, 1), ("a fragmentation needed", 3, 4)] {
            for (address, to) in [(gateway.ipv4, victim.mac), (victim.ipv4, gateway.mac)] {
                self.lie(name, |mark| {
                    let quoted = v4(victim.ipv4, FAR, UDP, &udp(mark));
                    ethernet(to, me.mac, IPV4, &v4(address, victim.ipv4, ICMP, &icmp(kind, code, &quoted)))
                });
            }
            self.honest(name, |mark| {
                let quoted = v4(victim.ipv4, me.ipv4, UDP, &udp(mark));
                ethernet(gateway.mac, me.mac, IPV4, &v4(me.ipv4, victim.ipv4, ICMP, &icmp(kind, code, &quoted)))
            });
        }
    }

    /// Behind one, two and three tags.
    fn tagged(&mut self, me: Station, gateway: Station, victim: Station) {
        for tags in [&[0_u16][..], &[1], &[100], &[4094], &[4095], &[5, 6], &[1, 2, 3]] {
            for to in [victim.mac, BROADCAST, gateway.mac] {
                self.honest("behind tags", |mark| {
                    let mut payload: Vec<u8> =
                        tags[1..].iter().flat_map(|tag| [0x81_00, *tag]).flat_map(u16::to_be_bytes).collect();
                    payload = [&tags[0].to_be_bytes()[..], &payload, &IPV4.to_be_bytes()].concat();
                    payload.extend(v4(me.ipv4, victim.ipv4, UDP, &udp(mark)));
                    ethernet(to, me.mac, 0x8100, &payload)
                });
            }
        }
        for last in [0, 1, 0x0e] {
            self.lie("to a reserved group", |mark| {
                ethernet([1, 0x80, 0xc2, 0, 0, last], me.mac, 0x88cc, &[mark, &[0; 30]].concat())
            });
        }
    }

    fn arp(&mut self, me: Station, gateway: Station, victim: Station) {
        for to in [BROADCAST, victim.mac] {
            let message = |operation: u8, sender: ([u8; 6], Ipv4Addr), target: Ipv4Addr| {
                move |mark: &[u8]| {
                    let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
                    message.extend(sender.0);
                    message.extend(sender.1.octets());
                    message.extend([0; 6]);
                    message.extend(target.octets());
                    message.extend(mark);
                    ethernet(to, me.mac, 0x0806, &message)
                }
            };
            self.honest("ARP, who has", message(1, (me.mac, me.ipv4), victim.ipv4));
            self.honest("ARP, gratuitous", message(1, (me.mac, me.ipv4), me.ipv4));
            self.honest("ARP, probe", message(1, (me.mac, Ipv4Addr::UNSPECIFIED), victim.ipv4));
            self.lie("ARP, the gateway is here", message(2, (me.mac, gateway.ipv4), victim.ipv4));
            self.lie("ARP, asked in the gateway's name", message(1, (me.mac, gateway.ipv4), victim.ipv4));
            self.lie("ARP, a stranger is here", message(2, (me.mac, FAR), victim.ipv4));
            self.lie("ARP, asked in the victim's name", message(1, (me.mac, victim.ipv4), gateway.ipv4));
        }
    }

    /// Fragments and options.
    fn around_headers(&mut self, me: Station, gateway: Station, victim: Station) {
        for to in [gateway.mac, victim.mac] {
            for (name, field, length) in [
                ("a tiny first fragment", 0x2000_u16, 8),
                ("a later fragment", 1, 40),
                ("an overlapping one", 0x2000, 40),
            ] {
                self.honest(name, |mark| {
                    let piece = [udp(mark), vec![0; 40]].concat();
                    let mut packet = v4(me.ipv4, victim.ipv4, UDP, &piece[..length.max(8 + mark.len()) / 8 * 8]);
                    packet[6..8].copy_from_slice(&field.to_be_bytes());
                    finish_v4(&mut packet);
                    ethernet(to, me.mac, IPV4, &packet)
                });
            }
            for option in [131, 137, 7] {
                self.honest("a route in the options", |mark| {
                    let hop = victim.ipv4.octets();
                    let mut packet =
                        v4(me.ipv4, if to == gateway.mac { gateway.ipv4 } else { victim.ipv4 }, UDP, &udp(mark));
                    packet.splice(20..20, [option, 7, 4, hop[0], hop[1], hop[2], hop[3], 0]);
                    packet[0] = 0x47;
                    finish_v4(&mut packet);
                    ethernet(to, me.mac, IPV4, &packet)
                });
            }
        }
    }

    fn v6(&mut self, me: Station, gateway: Station, victim: Station) {
        let own_link = vswitch_frame::MacAddr::new(me.mac).link_local_ipv6();
        let straight = |to: [u8; 6], from: Ipv6Addr, destination: Ipv6Addr| {
            move |mark: &[u8]| {
                let mut datagram = udp(mark);
                put_checksum(&mut datagram, 6, (from.into(), destination.into(), UDP));
                ethernet(to, me.mac, IPV6, &v6(from, destination, UDP, &datagram))
            }
        };
        self.honest("IPv6, straight", straight(victim.mac, me.ipv6, victim.ipv6));
        self.honest("IPv6, by the gateway", straight(gateway.mac, me.ipv6, victim.ipv6));
        self.honest("IPv6, link-local by the gateway", straight(gateway.mac, own_link, victim.ipv6));
        self.honest("IPv6, all nodes", straight(ALL_NODES, own_link, ALL_NODES_V6));
        self.honest(
            "IPv6, site's group by the gateway",
            straight(gateway.mac, me.ipv6, Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 1)),
        );
        self.honest("IPv6, mapped by the gateway", straight(gateway.mac, me.ipv6, victim.ipv4.to_ipv6_mapped()));
        self.lie("IPv6, the gateway's address", straight(victim.mac, gateway.ipv6, victim.ipv6));
        self.lie("IPv6, reflected", straight(gateway.mac, victim.ipv6, gateway.ipv6));
        for (name, header) in [
            ("IPv6, options", (60, vec![1, 4, 0, 0, 0, 0])),
            ("IPv6, a route in a header", (43, [&[0, 1, 0, 0, 0, 0][..], &victim.ipv6.octets()].concat())),
            ("IPv6, fragment", (44, vec![0, 1, 0, 0, 0, 7])),
        ] {
            self.honest(name, |mark| {
                let units = u8::try_from(header.1.len() / 8).expect("it is short");
                let payload = [&[UDP, if header.0 == 44 { 0 } else { units }][..], &header.1, &udp(mark)].concat();
                ethernet(gateway.mac, me.mac, IPV6, &v6(me.ipv6, victim.ipv6, header.0, &payload))
            });
        }
        let discovery = |to: [u8; 6], from: Ipv6Addr, destination: Ipv6Addr, kind: u8, about: Ipv6Addr| {
            move |mark: &[u8]| {
                let mut message = vec![kind, 0, 0, 0, 0xa0, 0, 0, 0];
                message.extend(about.octets());
                message.extend([if kind == 135 { 1 } else { 2 }, 1]);
                message.extend(me.mac);
                // An option that receivers skip, with the mark in it.
                message.extend([253, 2, 0, 0]);
                message.extend(mark);
                put_checksum(&mut message, 2, (from.into(), destination.into(), ICMPV6));
                let mut packet = v6(from, destination, ICMPV6, &message);
                packet[7] = 255;
                ethernet(to, me.mac, IPV6, &packet)
            }
        };
        self.honest("a solicitation", discovery(victim.mac, me.ipv6, victim.ipv6, 135, victim.ipv6));
        self.lie("an advertisement for the gateway", discovery(victim.mac, me.ipv6, victim.ipv6, 136, gateway.ipv6));
        self.lie("the same, to all nodes", discovery(ALL_NODES, own_link, ALL_NODES_V6, 136, gateway.ipv6));
        for to in [(ALL_NODES, ALL_NODES_V6), (victim.mac, victim.ipv6)] {
            self.lie("a router's advertisement", discovery(to.0, own_link, to.1, 134, me.ipv6));
            self.lie("a router's redirect", discovery(to.0, own_link, to.1, 137, me.ipv6));
        }
    }
}

fn subnet_broadcast(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = address.octets();
    Ipv4Addr::new(a, b, c, 255)
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 77, 0, 0, 64, protocol, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    finish_v4(&mut packet);
    packet
}

/// Sets the length and the checksum.
fn finish_v4(packet: &mut [u8]) {
    let length = u16::try_from(packet.len()).expect("it is short");
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let header = usize::from(packet[0] & 15) * 4;
    let sum = checksum::checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("it is short").to_be_bytes();
    [&[0x60, 0, 0, 0, length[0], length[1], next, 64][..], &from.octets(), &to.octets(), payload].concat()
}

/// A datagram from port 4000 to port 5000, without checksum, which IPv4 allows.
fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("it is short").to_be_bytes();
    [&[0x0f, 0xa0, 0x13, 0x88, length[0], length[1], 0, 0], payload].concat()
}

fn segment((from, to): (Ipv4Addr, Ipv4Addr), port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [4000_u16.to_be_bytes(), port.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    put_checksum(&mut segment, 16, (from.into(), to.into(), 6));
    segment
}

fn icmp(kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 1, 0, 1], payload].concat();
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn put_checksum(bytes: &mut [u8], at: usize, (from, to, protocol): (IpAddr, IpAddr, u8)) {
    let pseudo = checksum::pseudo_header(from, to, protocol, bytes.len()).expect("one family");
    let sum = !checksum::fold(pseudo + checksum::sum(bytes));
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
