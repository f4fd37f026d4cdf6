//! Filters select what tcpdump selects.
//!
//! A corpus of frames of many kinds, whole and cut, is written as pcapng, which `tcpdump -r` reads; each of some hundred filters, made
//! of primitives and pairs of them, must pick the same frames in both. What tcpdump's optimizer makes of a frame that ends in the middle
//! of what is asked depends on the order that it chooses, so with it only others are compared. `VSWITCH_JUDGE` says how many
//! filters; more take longer.

#![allow(
    clippy::unwrap_used,
    clippy::semicolon_if_nothing_returned,
    reason = "a test that cannot build its frames has failed"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};

use etherparse::PacketBuilder;
use vswitch_capture::Filter;
use vswitch_capture::pcapng::{self, Direction, Flags, Interface, Record, Section};

/// Questions of one kind each.
const PRIMITIVES: &[&str] = &[
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "esp",
    "ah",
    "pim",
    "vrrp",
    "stp",
    "pppoed",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst host 10.0.0.2",
    "src or dst host 10.0.0.2",
    "src and dst host 10.0.0.1",
    "ip host 10.0.0.1",
    "arp host 10.0.0.1",
    "rarp host 10.0.0.1",
    "src 10.0.0.1",
    "dst 10.0.0.2",
    "host 10.0",
    "host 10",
    "net 10",
    "net 10.0",
    "net 10.0.0.0/24",
    "net 10.0.0.0 mask 255.255.255.0",
    "src net 10.0.0.0/31",
    "dst net 192.168",
    "net 0.0.0.0/0",
    "host fd00::1",
    "src host fd00::1",
    "dst fd00::2",
    "ip6 host fd00::2",
    "net fd00::/16",
    "ip6 net fd00::/127",
    "net ::/0",
    "ether host 2:0:0:0:0:1",
    "ether src 02:00:00:00:00:01",
    "ether dst 2-0-0-0-0-2",
    "ether broadcast",
    "broadcast",
    "multicast",
    "ether multicast",
    "ip multicast",
    "ip6 multicast",
    "port 53",
    "src port 53",
    "dst port 53",
    "src or dst port 80",
    "src and dst port 53",
    "tcp port 80",
    "udp port 53",
    "sctp port 80",
    "tcp src port 80",
    "udp dst port domain",
    "port http",
    "port domain",
    "portrange 50-80",
    "tcp portrange 1-100",
    "udp src portrange 4000-4001",
    "portrange 80-50",
    "portrange 53",
    "proto 6",
    "proto 17",
    "ip proto 6",
    "ip proto \\icmp",
    "ip6 proto 58",
    "ip6 proto 17",
    "ether proto 0x0806",
    "ether proto \\ip6",
    "ether proto 0x42",
    "ether proto 6",
    "ether proto 70000",
    "proto 300",
    "less 60",
    "greater 100",
    "len = 60",
    "len > 60",
    "len >= 60",
    "len < 60",
    "len <= 60",
    "len != 60",
    "len - 100 > 10",
    "len * 2 > 120",
    "len / 7 = 8",
    "len % 7 = 3",
    "len & 1 = 0",
    "len | 1 = 61",
    "len ^ 60 = 0",
    "len << 1 = 120",
    "len >> 3 = 7",
    "-1 < len",
    "len + 1 ^ 1 = 61",
    "2 + 3 * 4 = 14",
    "60 = len",
    "1 = 1",
    "(len) = 60",
    "(len + 2) * 2 > 124",
    "ip[0] & 0xf != 5",
    "ip[0] = 0x45",
    "ip[6:2] & 0x1fff = 0",
    "ip[6:2] & 0x2000 != 0",
    "ip[8] < 64",
    "ip[2:2] > 50",
    "ip[16:4] = 0x0a000002",
    "ip[ip[0] & 0xf] > 1",
    "ip[100] = 7",
    "tcp[13] & 2 != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
    "tcp[tcpflags] = tcp-ack",
    "tcp[0:2] = 80",
    "tcp[2:2] > 1024",
    "tcp[12] >> 4 > 5",
    "(tcp[12] & 0xf0) >> 2 = 20",
    "tcp[60] = 0",
    "udp[0:2] = 4000",
    "udp[4:2] > 12",
    "udp[8:4] = 0",
    "icmp[icmptype] = icmp-echo",
    "icmp[0] = 8",
    "icmp[icmptype] != icmp-echo",
    "icmp6[icmp6type] = icmp6-echo",
    "icmp6[0] = 135",
    "icmp6[icmp6type] != icmp6-neighborsolicit",
    "ip6[6] = 58",
    "ip6[7] > 63",
    "ip6[40] = 128",
    "ip6[8:4] = 0xfd000000",
    "ether[0] & 1 = 0",
    "ether[12:2] = 0x800",
    "ether[50:4] = 0",
    "arp[6:2] = 1",
    "arp[14:4] = 0x0a000001",
    "sctp[0:2] = 80",
    "igmp[0] = 0x16",
    "vlan",
    "vlan 5",
    "vlan and ip",
    "vlan 5 and tcp port 80",
    "vlan and vlan",
    "vlan and vlan 7 and udp",
    "vlan and not ip",
    "vlan or vlan",
    "vlan 5 and ether[16:2] = 0x800",
    "vlan and host 10.0.0.1",
    "vlan 5 and ether host 2:0:0:0:0:1",
    "port 80 or 53",
    "port 80 or 53 and host 10.0.0.1",
    "tcp port (80 or 443)",
    "host 10.0.0.1 and (port 80 or 53)",
    "host (10.0.0.1 or 10.0.0.9)",
    "not tcp",
    "! udp",
    "not not tcp",
    "not (tcp or udp)",
    "port not 53",
    "host 10.0.0.1 and not 10.0.0.2",
    "(tcp)",
    "((udp)) and (port 53)",
    "tcp or udp and port 53",
    "tcp and port 80 or udp",
    "host 10.0.0.1 and (tcp) or 10.0.0.2",
    "tcp && port 80 || icmp",
    "proto 6 or 17",
    "src port 80 or 53",
    "not port 53 and udp",
    "src net 10 or fd00::/16",
    "udp and ip[4:2] != 0",
];

/// What no filter is, for either.
const WRONG: &[&str] = &[
    "10.0.0.1",
    "tcp and 80",
    "port",
    "port 70000",
    "tcp host 10.0.0.1",
    "icmp port 3",
    "net 10.0.0.1/8",
    "host 10.0.0.0/8",
    "ether",
    "src host 1:2:3:4:5:6",
    "len",
    "tcp 80",
    "not 80",
    "(tcp",
    "tcp)",
    "tcp udp",
    "1 / 0 = 1",
    "ip[0:3] = 1",
    "vlan 5000",
    "port 10.0.0.1",
    "net fd00::1/64",
    "host fd00::/64",
    "ip host fd00::1",
    "tcp or",
    "and tcp",
    "ip[ = 1",
    "TCP",
    "len = ",
    "portrange a-b",
    "proto",
    "src proto 6",
    "net 10.0.0.0/33",
    "arp port 53",
    "tcp multicast",
    "ip6 host 10.0.0.1",
];

#[test]
fn filters_select_what_tcpdump_selects() {
    let wanted: usize =
        std::env::var("VSWITCH_JUDGE").map_or(320, |text| text.parse().expect("VSWITCH_JUDGE is a number"));
    let (corpus, whole) = corpus();
    let mut capture = tempfile::tempfile().unwrap();
    capture.write_all(&written(&corpus)).unwrap();
    let mut filters: Vec<String> = PRIMITIVES.iter().map(|text| (*text).to_owned()).collect();
    let mut step = 1;
    'all: loop {
        for (index, one) in PRIMITIVES.iter().enumerate() {
            if filters.len() >= wanted {
                break 'all;
            }
            let other = PRIMITIVES[(index * 7 + step * 13) % PRIMITIVES.len()];
            filters.push(match (index + step) % 4 {
                0 => format!("({one}) and not ({other})"),
                1 => format!("({one}) or ({other})"),
                2 => format!("not ({one}) and ({other})"),
                _ => format!("not (({one}) or not ({other}))"),
            });
        }
        step += 1;
    }
    let mut selected = 0;
    for text in &filters {
        let optimized = tcpdump(&capture, &["-n"], text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let theirs =
            tcpdump(&capture, &["-O"], text).unwrap_or_else(|error| panic!("tcpdump refuses {text:?}: {error}"));
        let filter = Filter::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let ours: BTreeSet<usize> = (0..corpus.len()).filter(|index| filter.matches(&corpus[*index])).collect();
        let differ: Vec<_> = ours.symmetric_difference(&theirs).collect();
        let shown = differ.first().map(|index| (*index, theirs.contains(index), &corpus[**index]));
        assert!(
            differ.is_empty(),
            "{text:?} differs in frames {differ:?}; the first (tcpdump selects it: .1): {shown:02x?}"
        );
        let decided = |index: &usize| *index < whole && filter.decide(&corpus[*index]).is_some();
        let optimized: BTreeSet<usize> = optimized.into_iter().filter(decided).collect();
        let ours: BTreeSet<usize> = ours.into_iter().filter(decided).collect();
        assert_eq!(ours, optimized, "{text:?}, optimized by tcpdump");
        selected += ours.len();
    }
    assert!(selected > filters.len() * 5, "the corpus has something for most filters: {selected}");
    let taken = |text: &&&str| tcpdump(&capture, &["-O"], text).is_ok();
    assert_eq!(WRONG.iter().filter(taken).collect::<Vec<_>>(), [&""; 0], "tcpdump takes these");
    assert_eq!(WRONG.iter().filter(|text| Filter::new(text).is_ok()).collect::<Vec<_>>(), [&""; 0], "these are taken");
}

/// The frames that tcpdump selects, or what it says.
fn tcpdump(mut capture: &File, option: &[&str], filter: &str) -> Result<BTreeSet<usize>, String> {
    capture.seek(SeekFrom::Start(0)).unwrap();
    let output = Command::new("tcpdump")
        .args(option)
        .args(["-r", "-", "-w", "-", "--", filter])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::from(capture.try_clone().unwrap()))
        .output()
        .expect("tcpdump is installed");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return if said.contains("rejects all packets") { Ok(BTreeSet::new()) } else { Err(said) };
    }
    let mut bytes = &output.stdout[..];
    let mut header = [0; 24];
    bytes.read_exact(&mut header).expect("a pcap file");
    let mut found = BTreeSet::new();
    while !bytes.is_empty() {
        let word = |at: usize| usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap();
        let (micros, length) = (word(4), word(8));
        found.insert(micros);
        bytes = &bytes[16 + length..];
    }
    Ok(found)
}

/// Frame `n` is of the microsecond `n`.
fn written(corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    pcapng::section(&mut out, &Section { application: "judge", host: "", comment: "" });
    pcapng::interface(&mut out, &Interface { name: "one", description: "", filter: "", mac: None, addresses: &[] });
    for (index, frame) in corpus.iter().enumerate() {
        let flags = Flags { direction: Direction::In, checksum_partial: false, segmented: false };
        let nanos = u64::try_from(index).unwrap() * 1000;
        let id = nanos;
        pcapng::packet(
            &mut out,
            &Record {
                interface: 0,
                nanos,
                frame,
                original_len: frame.len(),
                flags,
                id,
                lost: 0,
                dropped: false,
                comment: None,
            },
        );
    }
    out
}

/// Frames, and how many of them come first that are whole.
fn corpus() -> (Vec<Vec<u8>>, usize) {
    let mut frames = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frames.push(frame);
    };
    let macs = [
        ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
        ([2, 0, 0, 0, 0, 2], [0xff; 6]),
        ([2, 0, 0, 0, 0, 3], [1, 0, 0x5e, 0, 0, 1]),
    ];
    let v4 = [([10, 0, 0, 1], [10, 0, 0, 2]), ([10, 0, 0, 1], [10, 0, 0, 1]), ([192, 168, 1, 9], [224, 0, 0, 251])];
    let mut here = [0; 16];
    here[0] = 0xfd;
    here[15] = 1;
    let mut there = here;
    there[15] = 2;
    let mut group = [0; 16];
    group[0] = 0xff;
    let v6 = [(here, there), (there, here), (here, group)];
    for (index, (source, destination)) in macs.into_iter().enumerate() {
        let link = || PacketBuilder::ethernet2(source, destination);
        let ((from, to), (from6, to6)) = (v4[index], v6[index]);
        for (sport, dport, size) in [(4000, 53, 5), (53, 4001, 18), (80, 40000, 100), (53, 53, 1)] {
            let payload = vec![0; size];
            add(&|out| link().ipv4(from, to, 64).udp(sport, dport).write(out, &payload).unwrap());
            add(&|out| link().ipv6(from6, to6, 63).udp(sport, dport).write(out, &payload).unwrap());
            add(&|out| link().ipv4(from, to, 1).tcp(dport, sport, 7, 9).syn().write(out, &payload).unwrap());
            add(&|out| link().ipv6(from6, to6, 64).tcp(sport, dport, 7, 9).ack(1).write(out, &payload).unwrap());
            add(&|out| {
                link()
                    .ipv4(from, to, 64)
                    .tcp(sport, 80, 7, 9)
                    .ack(3)
                    .psh()
                    .options_raw(&[1; 12])
                    .unwrap()
                    .write(out, &payload)
                    .unwrap()
            });
            add(&|out| {
                link()
                    .single_vlan(5.try_into().unwrap())
                    .ipv4(from, to, 64)
                    .tcp(sport, 80, 7, 9)
                    .write(out, &payload)
                    .unwrap()
            });
            add(&|out| {
                link()
                    .double_vlan(6.try_into().unwrap(), 7.try_into().unwrap())
                    .ipv4(from, to, 9)
                    .udp(sport, dport)
                    .write(out, &payload)
                    .unwrap();
            });
            add(&|out| {
                link()
                    .single_vlan(5.try_into().unwrap())
                    .ipv6(from6, to6, 64)
                    .udp(sport, dport)
                    .write(out, &payload)
                    .unwrap()
            });
        }
        add(&|out| link().ipv4(from, to, 64).icmpv4_echo_request(1, 2).write(out, &[7; 10]).unwrap());
        add(&|out| link().ipv4(from, to, 64).icmpv4_echo_reply(1, 2).write(out, &[7; 56]).unwrap());
        add(&|out| link().ipv6(from6, to6, 64).icmpv6_echo_request(1, 2).write(out, &[7; 10]).unwrap());
        add(&|out| link().ipv6(from6, to6, 255).icmpv6_raw(135, 0, [0; 4]).write(out, &[7; 16]).unwrap());
        for protocol in [2, 50, 51, 103, 112, 132, 6, 17, 47, 9] {
            add(&|out| {
                link()
                    .ipv4(from, to, 64)
                    .write(out, protocol.into(), &[0, 80, 0, 80, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0])
                    .unwrap()
            });
            add(&|out| {
                link().ipv6(from6, to6, 64).write(out, protocol.into(), &[0x16, 80, 0, 53, 0, 0, 0, 0]).unwrap()
            });
            // A fragment header, with that protocol behind it.
            add(&|out| {
                link()
                    .ipv6(from6, to6, 64)
                    .write(out, 44.into(), &[protocol, 0, 0, 1, 0, 0, 0, 9, 0, 80, 0, 53])
                    .unwrap()
            });
        }
        for operation in [1, 2] {
            for ether_type in [0x0806_u16, 0x8035] {
                add(&|out| {
                    out.extend([destination, source].concat());
                    out.extend(ether_type.to_be_bytes());
                    out.extend([0, 1, 8, 0, 6, 4, 0, operation]);
                    out.extend([&source[..], &from[..], &destination[..], &to[..]].concat());
                });
            }
        }
        for ether_type in [0x88cc_u16, 0x8863, 0x0026, 0x9100, 0x1170] {
            for service in [0x42, 0x06, 0xaa] {
                add(&|out| {
                    out.extend([destination, source].concat());
                    out.extend(ether_type.to_be_bytes());
                    out.extend([service, service, 3, 0, 0, 0, 8, 0]);
                    out.resize(60, 0);
                });
            }
        }
    }
    // Fragments, options, and frames that end where they should not.
    let whole = frames.clone();
    for (index, frame) in whole.iter().enumerate() {
        if frame[12..14] == [8, 0] && index % 3 == 0 {
            let mut fragment = frame.clone();
            fragment[20..22].copy_from_slice(&[[0x20, 0], [0x20, 5], [0, 99]][index / 3 % 3]);
            frames.push(fragment);
            let mut options = frame.clone();
            options[14] = 0x46 + u8::try_from(index % 5).unwrap();
            frames.push(options);
        }
    }
    let complete = frames.len();
    for (index, frame) in whole.iter().enumerate() {
        if index % 4 == 0 {
            frames.push(frame[..(14 + index * 5 % 47).min(frame.len())].to_vec());
        }
    }
    (frames, complete)
}
