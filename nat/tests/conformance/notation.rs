//! Packets as text: `tcp A:5000 > S:80 S seq=100`, `udp A:5000 > S:7000 len=8`, `icmp A > S echo id=7`,
//! `icmp R > EXT type=11 code=0 quoting udp EXT:5000 > S:7000`, `proto=99 A > S`.
//!
//! Addresses are names (see [`ADDRESSES`]). TCP flags are letters (S, A, F, R, P, U) or `.` for none. Further words:
//! `seq= ack= win= len= ws= mss= ttl= tos= ip-id= frag=OFFSET more df` and, of the checksum, `partial`, `nosum`, `badsum`.

use std::net::IpAddr;

use vswitch_frame::offload::PartialChecksum;
use vswitch_frame::{EtherType, FrameBuf, Headers, L3, Offload, checksum};

/// The names that packets are written with.
pub(crate) const ADDRESSES: [(&str, &str); 20] = [
    ("A", "10.9.0.2"),
    ("B", "10.9.0.3"),
    ("GW", "10.9.0.1"),
    ("C", "10.8.0.2"),
    ("GW2", "10.8.0.1"),
    ("PRIV", "10.7.0.2"),
    ("OPEN", "192.0.2.2"),
    ("EXT", "203.0.113.1"),
    ("EXT2", "203.0.113.5"),
    ("S", "203.0.113.2"),
    ("S2", "203.0.113.3"),
    ("R", "203.0.113.254"),
    ("A6", "fd00:9::2"),
    ("B6", "fd00:9::3"),
    ("GW6", "fd00:9::1"),
    ("EXT6", "2001:db8::1"),
    ("S6", "2001:db8::2"),
    ("T6", "2001:db8::3"),
    ("R6", "2001:db8::fe"),
    ("LO", "127.0.0.1"),
];

/// A frame with the work that its sender left undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

impl Frame {
    /// As ingress hands it over.
    pub(crate) fn admitted(&self) -> FrameBuf {
        let mut buffer = FrameBuf::from_frame(&self.bytes, self.offload);
        buffer.admit().unwrap();
        buffer
    }
}

pub(crate) fn address(name: &str) -> IpAddr {
    let known = ADDRESSES.iter().find(|(known, _)| *known == name).map(|(_, address)| *address);
    known.unwrap_or(name).parse().unwrap_or_else(|_| panic!("{name:?} is no address"))
}

fn name(address: IpAddr) -> String {
    let text = address.to_string();
    ADDRESSES.iter().find(|(_, known)| *known == text).map_or(text, |(name, _)| (*name).to_owned())
}

fn end(text: &str) -> (IpAddr, u16) {
    match text.split_once(':') {
        Some((host, port)) => (address(host), port.parse().unwrap()),
        None => (address(text), 0),
    }
}

struct Words<'t>(Vec<&'t str>);

impl Words<'_> {
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn number(&self, key: &str) -> Option<u32> {
        let value = self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.parse().unwrap())
    }

    fn or(&self, key: &str, default: u32) -> u32 {
        self.number(key).unwrap_or(default)
    }
}

/// The frame that `text` describes.
pub(crate) fn frame(text: &str) -> Frame {
    let packet = packet(text);
    let ether_type = if packet[0] >> 4 == 4 { EtherType::IPV4 } else { EtherType::IPV6 };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(ether_type.0.to_be_bytes());
    bytes.extend(packet);
    let headers = Headers::parse(&bytes).unwrap();
    let offset = match headers.protocol() {
        6 => Some(16),
        17 => Some(6),
        58 => Some(2),
        _ => None,
    };
    let start = u16::try_from(headers.l4_offset()).unwrap();
    let partial = offset.filter(|_| text.contains(" partial"));
    Frame { bytes, offload: Offload { checksum: partial.map(|offset| PartialChecksum { start, offset }), gso: None } }
}

/// The IP packet that `text` describes.
fn packet(text: &str) -> Vec<u8> {
    let (text, quoted) = match text.split_once(" quoting ") {
        Some((text, quoted)) => (text, Some(packet(quoted))),
        None => (text, None),
    };
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let protocol = words.remove(0);
    let (source, destination) = (end(words[0]), end(words[2]));
    let words = Words(words.split_off(3));
    let v6 = source.0.is_ipv6();
    let payload: Vec<u8> = (0..words.or("len", 4)).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    let mut l4 = Vec::new();
    let (number, at) = match protocol {
        "tcp" => {
            tcp(&mut l4, source.1, destination.1, &words);
            (6, 16)
        }
        "udp" => {
            l4.extend([source.1.to_be_bytes(), destination.1.to_be_bytes()].concat());
            l4.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
            l4.extend([0, 0]);
            (17, 6)
        }
        "sctp" => {
            l4.extend([source.1.to_be_bytes(), destination.1.to_be_bytes()].concat());
            l4.extend([0; 8]);
            (132, 8)
        }
        "icmp" => {
            let echo = if v6 { [128, 129] } else { [8, 0] };
            let kind = if words.has("echo") {
                echo[0]
            } else if words.has("reply") {
                echo[1]
            } else {
                u8::try_from(words.or("type", 0)).unwrap()
            };
            l4.extend([kind, u8::try_from(words.or("code", 0)).unwrap(), 0, 0]);
            let rest = words.number("rest").unwrap_or(words.or("id", 0) << 16 | words.or("seq", 1));
            l4.extend(rest.to_be_bytes());
            (if v6 { 58 } else { 1 }, 2)
        }
        other => (other.strip_prefix("proto=").unwrap().parse().unwrap(), usize::MAX),
    };
    match quoted {
        Some(mut quoted) => {
            quoted.truncate(words.or("quote", 10_000) as usize);
            l4.extend(quoted);
        }
        None if protocol != "tcp" || words.number("len").is_some() => l4.extend(payload),
        None => {}
    }
    finish_l4(&mut l4, (number, at), (source.0, destination.0), &words);
    let (from, to) = fragment_of(&words, l4.len());
    let l4 = &l4[from..to];
    if v6 {
        ipv6(l4, number, (source.0, destination.0), &words)
    } else {
        ipv4(l4, number, (source.0, destination.0), &words)
    }
}

/// Which part of the L4 datagram the packet carries: `frag=OFFSET` with `part=LENGTH`.
fn fragment_of(words: &Words<'_>, length: usize) -> (usize, usize) {
    let from = words.or("frag", 0) as usize;
    let part = words.number("part").map_or(length, |part| part as usize);
    (from.min(length), (from + part).min(length))
}

fn tcp(l4: &mut Vec<u8>, source: u16, destination: u16, words: &Words<'_>) {
    let letters = [('F', 1), ('S', 2), ('R', 4), ('P', 8), ('A', 16), ('U', 32)];
    let is_flags = |word: &&&str| word.chars().all(|c| c == '.' || letters.iter().any(|(letter, _)| *letter == c));
    let flags = words.0.iter().find(is_flags).map_or(0, |word| {
        word.chars().filter_map(|c| letters.iter().find(|(letter, _)| *letter == c)).map(|(_, bit)| bit).sum::<u8>()
    });
    let options: Vec<u8> =
        words.number("ws").map(|shift| vec![1, 3, 3, u8::try_from(shift).unwrap()]).unwrap_or_default();
    let mss: Vec<u8> = words.number("mss").map_or_else(Vec::new, |mss| {
        let [high, low] = u16::try_from(mss).unwrap().to_be_bytes();
        // `odd` puts the value at an odd offset.
        if words.has("odd") { vec![1, 2, 4, high, low, 1, 1, 1] } else { vec![2, 4, high, low] }
    });
    let options = [options, mss].concat();
    l4.extend([source.to_be_bytes(), destination.to_be_bytes()].concat());
    l4.extend(words.or("seq", 0).to_be_bytes());
    l4.extend(words.or("ack", 0).to_be_bytes());
    l4.extend([u8::try_from((20 + options.len()) / 4 * 16).unwrap(), flags]);
    l4.extend(u16::try_from(words.or("win", 65_535)).unwrap().to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(options);
}

fn finish_l4(l4: &mut [u8], (number, at): (u8, usize), (source, destination): (IpAddr, IpAddr), words: &Words<'_>) {
    if number == 132 {
        let crc = crc32c(l4);
        l4[8..12].copy_from_slice(&crc.to_le_bytes());
    }
    if at == usize::MAX || words.has("nosum") || number == 132 {
        return;
    }
    let pseudo = if number == 1 { 0 } else { checksum::pseudo_header(source, destination, number, l4.len()).unwrap() };
    let mut value = match () {
        () if words.has("partial") => checksum::fold(pseudo),
        () => !checksum::fold(pseudo + checksum::sum(l4)),
    };
    if number == 17 && value == 0 && !words.has("partial") {
        value = 0xffff;
    }
    if words.has("badsum") {
        value ^= 0x0101;
    }
    l4[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn ipv4(l4: &[u8], number: u8, (source, destination): (IpAddr, IpAddr), words: &Words<'_>) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else { panic!("mixed families") };
    let options = words.or("options", 0) as usize * 4;
    let mut packet = vec![0; 20 + options];
    packet[20..].fill(1);
    let total = u16::try_from(packet.len() + l4.len()).unwrap();
    vswitch_frame::ipv4::write(
        &mut packet,
        u8::try_from(words.or("tos", 0)).unwrap(),
        total,
        number,
        source,
        destination,
    );
    packet[0] = u8::try_from(0x40 + (20 + options) / 4).unwrap();
    packet[8] = u8::try_from(words.or("ttl", 64)).unwrap();
    packet[4..6].copy_from_slice(&u16::try_from(words.or("ip-id", 0)).unwrap().to_be_bytes());
    let flags = if words.has("more") { 0x2000 } else { 0 } | if words.has("df") { 0x4000 } else { 0 };
    let fragment = flags | u16::try_from(words.or("frag", 0) / 8).unwrap();
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[10..12].fill(0);
    let value = checksum::checksum(&packet) ^ if words.has("badip") { 0x0101 } else { 0 };
    packet[10..12].copy_from_slice(&value.to_be_bytes());
    packet.extend(l4);
    packet
}

fn ipv6(l4: &[u8], number: u8, (source, destination): (IpAddr, IpAddr), words: &Words<'_>) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) else { panic!("mixed families") };
    let mut packet = vec![0; 40];
    let is_fragment = words.has("more") || words.number("frag").is_some();
    let hops = u8::try_from(words.or("ttl", 64)).unwrap();
    let extra = if is_fragment { 8 } else { 0 };
    let length = u16::try_from(l4.len() + extra).unwrap();
    let next = if is_fragment { 44 } else { number };
    vswitch_frame::ipv6::write(&mut packet, length, next, hops, source, destination);
    if is_fragment {
        let word = words.or("frag", 0) | u32::from(words.has("more"));
        packet.extend([number, 0]);
        packet.extend(u16::try_from(word).unwrap().to_be_bytes());
        packet.extend(words.or("ip-id", 0).to_be_bytes());
    }
    packet.extend(l4);
    packet
}

/// What a frame says, in the words of [`frame`], as far as translation can change it.
pub(crate) fn describe(bytes: &[u8]) -> String {
    let headers = Headers::parse(bytes).unwrap();
    if !matches!(headers.l3(), L3::Ipv4 | L3::Ipv6) {
        return format!("{:?}", headers.l3());
    }
    describe_packet(headers.packet(bytes))
}

fn describe_packet(packet: &[u8]) -> String {
    let v6 = packet[0] >> 4 == 6;
    let (source, destination, l4_at, number, offset): (IpAddr, IpAddr, _, _, _) = if v6 {
        let view = vswitch_frame::ipv6::Ipv6::parse_quoted(packet).unwrap();
        let vswitch_frame::ipv6::Walk::Upper { protocol, offset, fragment } = view.upper_layer() else {
            panic!("no L4")
        };
        (view.source().into(), view.destination().into(), 40 + offset, protocol, fragment.map_or(0, |f| f.offset))
    } else {
        let view = vswitch_frame::ipv4::Ipv4::parse_quoted(packet).unwrap();
        assert!(view.checksum_ok(), "IP checksum");
        (view.source().into(), view.destination().into(), view.header_len(), view.protocol(), view.fragment_offset())
    };
    let (from, to) = (name(source), name(destination));
    let l4 = &packet[l4_at..];
    if offset > 0 {
        return format!("frag={offset} {from} > {to}");
    }
    let ports = |l4: &[u8]| (u16::from_be_bytes([l4[0], l4[1]]), u16::from_be_bytes([l4[2], l4[3]]));
    match number {
        6 | 17 | 132 => {
            let (source, destination) = ports(l4);
            let protocol = match number {
                6 => "tcp",
                17 => "udp",
                _ => "sctp",
            };
            let flags = l4.get(13).filter(|_| number == 6).map(|flags| {
                let letters = [(2, 'S'), (1, 'F'), (4, 'R'), (16, 'A')];
                let text: String =
                    letters.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect();
                format!(" {text}")
            });
            format!("{protocol} {from}:{source} > {to}:{destination}{}", flags.unwrap_or_default())
        }
        1 | 58 => match l4[0] {
            8 | 128 => format!("icmp {from} > {to} echo id={}", u16::from_be_bytes([l4[4], l4[5]])),
            0 | 129 => format!("icmp {from} > {to} reply id={}", u16::from_be_bytes([l4[4], l4[5]])),
            kind if (v6 && kind < 5) || matches!(kind, 3 | 4 | 5 | 11 | 12) => {
                format!("icmp {from} > {to} type={kind} code={} quoting {}", l4[1], describe_packet(&l4[8..]))
            }
            kind => format!("icmp {from} > {to} type={kind} code={}", l4[1]),
        },
        other => format!("proto={other} {from} > {to}"),
    }
}

/// SCTP's checksum, bit by bit, over a packet whose checksum field is zero.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
