//! Frames that are nearly right, made of arbitrary bytes: what lies behind a parser's first check, and behind a
//! checksum, is only reached by frames that pass it.
//!
//! Most frames are what some stack could send; a few have one thing wrong: a forged sender, a length, an offload that points
//! elsewhere, changed or missing bytes. Every family has its fragments, extension headers and options, and ICMP errors
//! quote packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vswitch_frame::offload::{GsoKind, PartialChecksum};
use vswitch_frame::tcp::{Tcp, flag};
use vswitch_frame::{Fragment, Gso, Headers, L3, MacAddr, Offload, arp, checksum, ipv4};
use vswitch_switch::Identity;

use super::input::Input;

/// A frame and the work left undone on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// As a kernel would say.
    pub offload: Offload,
}

/// Who may appear in frames, and what they carry.
#[derive(Debug, Clone, Copy)]
pub struct Cast<'c> {
    /// Whom most frames are from.
    pub own: Option<Identity>,
    /// Stations and groups.
    pub macs: &'c [MacAddr],
    /// Sources and destinations.
    pub v4: &'c [Ipv4Addr],
    /// Sources and destinations.
    pub v6: &'c [Ipv6Addr],
    /// Ports of either end.
    pub ports: &'c [u16],
    /// What every payload repeats.
    pub payload: &'c [u8],
    /// Payloads are at least this long.
    pub shortest: usize,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const FRAGMENT: u8 = 44;

/// Lengths of payload: none, odd ones, those around a fragment's unit and an MTU, and super-frames.
const LENGTHS: [usize; 14] = [0, 100, 1, 7, 8, 16, 512, 1400, 1460, 1472, 3000, 9000, 30_000, 60_000];

/// What one packet may hold behind its headers.
const LONGEST: usize = 65_000;

/// Above IP: its bytes, and where its checksum lies, if it has one.
struct Upper {
    protocol: u8,
    bytes: Vec<u8>,
    checksum: Option<usize>,
}

/// Where a fragment lies in its datagram: units of 8 bytes, whether more follow, the datagram's number.
#[derive(Clone, Copy)]
struct Piece {
    offset: u16,
    more: bool,
    id: u8,
}

impl Frame {
    /// A frame as `input` says.
    #[must_use]
    pub fn new(input: &mut Input<'_>, cast: &Cast<'_>) -> Frame {
        let forged = cast.own.is_none() || input.one_in(12);
        let mut frame = input.pick(cast.macs).octets().to_vec();
        frame.extend(match cast.own {
            Some(own) if !forged || input.one_in(2) => own.mac.octets(),
            _ => input.pick(cast.macs).octets(),
        });
        if input.one_in(16) {
            for _ in 0..=input.below(3) {
                frame.extend(input.pick(&[[0x81, 0x00], [0x88, 0xa8]]));
                frame.extend(input.array::<2>());
            }
        }
        let mut offload = Offload::NONE;
        match input.below(24) {
            23 => question(input, cast, &mut frame),
            22 => {
                frame.extend(input.pick(&[0x88b5_u16, 0x8847, 0x0800, 0x86dd, 0x0806, 0x05dc, 0x8035]).to_be_bytes());
                frame.extend(cast.carried(46));
            }
            kind if kind % 3 == 2 => v6(input, cast, forged, &mut frame, &mut offload),
            _ => v4(input, cast, forged, &mut frame, &mut offload),
        }
        spoil(input, &mut frame, &mut offload);
        Frame { bytes: frame, offload }
    }
}

/// What an answer to a packet is to say.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'c> {
    /// Its payload, repeated to `length` bytes.
    pub payload: &'c [u8],
    /// How long that is.
    pub length: usize,
    /// TCP's control bits; `None`: those of a server that takes what it is offered.
    pub flags: Option<u8>,
    /// By how much the sequence number differs from what the other side expects.
    pub ahead: u32,
    /// TCP's window.
    pub window: u16,
}

impl Frame {
    /// What the receiver of `frame` could answer: a segment, a datagram or an echo reply that belongs to it. `None` when
    /// nothing answers such a packet.
    #[must_use]
    pub fn answering(frame: &[u8], answer: &Answer<'_>) -> Option<Frame> {
        let headers = Headers::parse(frame).ok()?;
        if headers.fragment() != Fragment::None || headers.vlan_tci().is_some() {
            return None;
        }
        let l4 = headers.l4(frame);
        let mut upper = Vec::with_capacity(answer.length + 20);
        let (protocol, checksum_at) = (
            headers.protocol(),
            match headers.protocol() {
                TCP => 16,
                UDP => 6,
                _ => 2,
            },
        );
        match protocol {
            TCP => {
                let segment = Tcp::parse(l4).ok()?;
                let opening = segment.flags() & flag::SYN != 0;
                let extra = u32::from(opening) + u32::from(segment.flags() & flag::FIN != 0);
                let taken = u32::try_from(segment.payload().len()).ok()?.wrapping_add(extra);
                let usual = if opening { flag::SYN | flag::ACK } else { flag::ACK | flag::PSH };
                upper.extend([&l4[2..4], &l4[..2]].concat());
                upper.extend(segment.acknowledgment().wrapping_add(answer.ahead).to_be_bytes());
                upper.extend(segment.sequence().wrapping_add(taken).to_be_bytes());
                upper.extend([0x50, answer.flags.unwrap_or(usual)]);
                upper.extend(answer.window.to_be_bytes());
                upper.extend([0; 4]);
            }
            UDP if l4.len() >= 8 => {
                upper.extend([&l4[2..4], &l4[..2]].concat());
                upper.extend(u16::try_from(8 + answer.length).ok()?.to_be_bytes());
                upper.extend([0, 0]);
            }
            ICMP | ICMPV6 if l4.len() >= 8 && matches!(l4[0], 8 | 128) => {
                upper.extend([if l4[0] == 8 { 0 } else { 129 }, 0, 0, 0]);
                upper.extend(&l4[4..8]);
            }
            _ => return None,
        }
        upper.extend(repeated(answer.payload, answer.length));
        let (to, from) = vswitch_frame::addresses(frame);
        let mut bytes = [from.octets(), to.octets()].concat();
        let length = u16::try_from(upper.len()).ok()?;
        let (source, destination): (IpAddr, IpAddr) = match headers.l3() {
            L3::Ipv4 => {
                let (source, destination) = (headers.destination_v4(frame), headers.source_v4(frame));
                bytes.extend([0x08, 0x00]);
                let mut header = [0; 20];
                ipv4::write(&mut header, 0, length.checked_add(20)?, protocol, source, destination);
                bytes.extend(header);
                (source.into(), destination.into())
            }
            L3::Ipv6 => {
                let (source, destination) = (headers.destination_v6(frame), headers.source_v6(frame));
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.extend([protocol, 64]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                (source.into(), destination.into())
            }
            _ => return None,
        };
        let pseudo =
            if protocol == ICMP { 0 } else { checksum::pseudo_header(source, destination, protocol, upper.len())? };
        let sum = !checksum::fold(pseudo + checksum::sum(&upper));
        upper[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(upper);
        Some(Frame { bytes, offload: Offload::NONE })
    }
}

impl Cast<'_> {
    /// A payload.
    fn carried(&self, length: usize) -> Vec<u8> {
        repeated(self.payload, length.max(self.shortest))
    }
}

/// Bytes again and again, up to a length. By whole blocks: most of a frame is made here.
fn repeated(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut all = bytes.repeat(length.div_ceil(bytes.len().max(1)));
    all.truncate(length);
    all
}

/// An ARP message.
fn question(input: &mut Input<'_>, cast: &Cast<'_>, frame: &mut Vec<u8>) {
    let own = cast.own.filter(|_| !input.one_in(3));
    let sender = (
        own.map_or_else(|| input.pick(cast.macs), |own| own.mac),
        own.and_then(|own| own.ipv4).unwrap_or_else(|| input.pick(cast.v4)),
    );
    let mut message = [0; arp::LEN];
    let operation = input.pick(&[1, 2, 0, 3]);
    arp::write(&mut message, operation, sender, (input.pick(cast.macs), input.pick(cast.v4)));
    frame.extend([0x08, 0x06]);
    frame.extend(message);
    frame.extend(cast.carried(18));
}

fn v4(input: &mut Input<'_>, cast: &Cast<'_>, forged: bool, frame: &mut Vec<u8>, offload: &mut Offload) {
    let own = cast.own.and_then(|own| own.ipv4).filter(|_| !forged);
    let source = own.unwrap_or_else(|| input.pick(cast.v4));
    let destination = input.pick(cast.v4);
    let mut upper = upper(input, cast, ICMP);
    let piece = piece(input);
    let options: &[u8] = match input.below(16) {
        15 => input.pick(&[&[131, 7, 4, 10, 1, 0, 3, 0][..], &[137, 7, 4, 10, 3, 0, 3, 1], &[7, 7, 4, 0, 0, 0, 0, 1]]),
        14 => &[148, 4, 0, 0],
        _ => &[],
    };
    let start = frame.len() + 2 + 20 + options.len();
    finish(input, &mut upper, (source.into(), destination.into()), piece, start, offload);
    frame.extend([0x08, 0x00]);
    let header = frame.len();
    let whole = u16::try_from(20 + options.len() + upper.bytes.len()).unwrap_or(u16::MAX);
    let length = if input.one_in(40) { input.word() } else { whole };
    frame.push(0x45 + u8::try_from(options.len() / 4).unwrap_or_default());
    frame.push(0);
    frame.extend(length.to_be_bytes());
    frame.extend([0, piece.map_or(7, |piece| piece.id)]);
    let dont = if input.one_in(3) { 0x4000 } else { 0 };
    let flags = piece.map_or(dont, |piece| piece.offset & 0x1fff | u16::from(piece.more) << 13);
    frame.extend(flags.to_be_bytes());
    frame.extend([input.pick(&[64, 64, 64, 255, 2, 1, 0]), upper.protocol, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(options);
    if !input.one_in(40) {
        let sum = checksum::checksum(&frame[header..]);
        frame[header + 10..header + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame.extend(upper.bytes);
}

fn v6(input: &mut Input<'_>, cast: &Cast<'_>, forged: bool, frame: &mut Vec<u8>, offload: &mut Offload) {
    let own = cast.own.filter(|_| !forged);
    let own = own.and_then(|own| if input.one_in(6) { Some(own.mac.link_local_ipv6()) } else { own.ipv6 });
    let source = own.unwrap_or_else(|| input.pick(cast.v6));
    let destination = input.pick(cast.v6);
    let mut upper = upper(input, cast, ICMPV6);
    let piece = piece(input);
    // Each header names the next one, so they are written back to front.
    let (mut next, mut extensions) = (upper.protocol, Vec::new());
    if let Some(piece) = piece {
        let field = (piece.offset & 0x1fff) << 3 | u16::from(piece.more);
        let [high, low] = field.to_be_bytes();
        extensions.extend([next, 0, high, low, 0, 0, 0, piece.id]);
        next = FRAGMENT;
    }
    if input.one_in(10) {
        for _ in 0..=input.below(4) {
            let units = u8::from(input.one_in(3));
            let mut header = vec![next, units];
            header.extend(match input.below(3) {
                0 => [1, 4, 0, 0, 0, 0],
                1 => [5, 2, 0, 0, 1, 0],
                _ => input.array(),
            });
            header.resize(8 + 8 * usize::from(units), 0);
            extensions.splice(..0, header);
            next = input.pick(&[0, 60, 43, 135]);
        }
    }
    let start = frame.len() + 2 + 40 + extensions.len();
    finish(input, &mut upper, (source.into(), destination.into()), piece, start, offload);
    let whole = u16::try_from(extensions.len() + upper.bytes.len()).unwrap_or(u16::MAX);
    let length = if input.one_in(40) { input.word() } else { whole };
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([next, input.pick(&[64, 64, 255, 255, 2, 1, 0])]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(extensions);
    frame.extend(upper.bytes);
}

/// What an IP packet carries, without its checksum.
fn upper(input: &mut Input<'_>, cast: &Cast<'_>, icmp: u8) -> Upper {
    let protocol = input.pick(&[TCP, UDP, UDP, TCP, icmp, TCP, UDP, icmp, SCTP, 47, 4, 0, 255]);
    let (from, to) = (input.pick(cast.ports).to_be_bytes(), input.pick(cast.ports).to_be_bytes());
    let length = input.pick(&LENGTHS);
    let mut bytes = Vec::with_capacity(length + 100);
    let checksum = match protocol {
        TCP => {
            tcp(input, &mut bytes, from, to);
            Some(16)
        }
        UDP => {
            bytes.extend([from, to].concat());
            let true_length = u16::try_from(8 + length.max(cast.shortest)).unwrap_or(u16::MAX);
            bytes.extend(if input.one_in(24) { input.array() } else { true_length.to_be_bytes() });
            bytes.extend([0, 0]);
            // Zero says that there is none, which only IPv4 allows.
            (!input.one_in(8)).then_some(6)
        }
        ICMP | ICMPV6 => {
            let kind = if protocol == ICMP {
                input.pick(&[8, 0, 3, 11, 5, 12, 4, 13])
            } else {
                input.pick(&[128, 129, 1, 2, 3, 135, 136, 133, 134, 137, 143, 4])
            };
            bytes.extend([kind, if input.one_in(4) { input.byte() & 7 } else { 0 }, 0, 0]);
            bytes.extend(input.pick(&[[0, 1, 0, 1], [0, 7, 0, 2], [0, 0, 5, 0], [0x60, 0, 0, 0]]));
            match kind {
                3 | 4 | 5 | 11 | 12 if protocol == ICMP => quoted_v4(input, cast, &mut bytes),
                1..=4 if protocol == ICMPV6 => quoted_v6(input, cast, &mut bytes),
                135 | 136 => {
                    bytes.extend(input.pick(cast.v6).octets());
                    bytes.extend([kind - 134, 1]);
                    let mac =
                        cast.own.filter(|_| !input.one_in(4)).map_or_else(|| input.pick(cast.macs), |own| own.mac);
                    bytes.extend(mac.octets());
                }
                _ => {}
            }
            Some(2)
        }
        SCTP => {
            bytes.extend([from, to].concat());
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, input.pick(&[1, 2, 0, 14, 7]), 0, 0, 16]);
            None
        }
        _ => None,
    };
    bytes.extend(cast.carried(length));
    bytes.truncate(LONGEST);
    Upper { protocol, bytes, checksum }
}

fn tcp(input: &mut Input<'_>, bytes: &mut Vec<u8>, from: [u8; 2], to: [u8; 2]) {
    let options: &[u8] = match input.below(6) {
        1 => &[2, 4, 5, 0xb4],
        2 => &[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1],
        3 => &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9],
        4 => {
            let length = 4 * input.below(11);
            input.take(length)
        }
        _ => &[],
    };
    let options = &options[..options.len() & !3];
    bytes.extend([from, to].concat());
    for likely in [&[0, 1, 2, 100, 0xffff_fff0, 0x7fff_ffff][..], &[0, 1, 2, 101, 0xffff_ffff, 0x8000_0000]] {
        let number: u32 = if input.one_in(6) { input.long() } else { input.pick(likely) };
        bytes.extend(number.to_be_bytes());
    }
    let words = 5 + u8::try_from(options.len() / 4).unwrap_or_default();
    bytes.push(if input.one_in(24) { input.byte() } else { words << 4 });
    bytes.push(input.pick(&[0x02, 0x10, 0x12, 0x18, 0x11, 0x04, 0x14, 0x00, 0xff, 0x29]));
    bytes.extend(input.pick(&[[0xff, 0xff], [0, 0], [0, 1], [4, 0]]));
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(options);
}

/// The packet that an ICMP error is about.
fn quoted_v4(input: &mut Input<'_>, cast: &Cast<'_>, bytes: &mut Vec<u8>) {
    let at = bytes.len();
    bytes.extend([0x45, 0, 0, 60, 0, 1, 0, 0, 63, input.pick(&[TCP, UDP, ICMP, 47]), 0, 0]);
    bytes.extend(input.pick(cast.v4).octets());
    bytes.extend(input.pick(cast.v4).octets());
    let sum = checksum::checksum(&bytes[at..]);
    bytes[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    quoted_ports(input, cast, bytes);
}

fn quoted_v6(input: &mut Input<'_>, cast: &Cast<'_>, bytes: &mut Vec<u8>) {
    bytes.extend([0x60, 0, 0, 0, 0, 20, input.pick(&[TCP, UDP, ICMPV6, FRAGMENT]), 63]);
    bytes.extend(input.pick(cast.v6).octets());
    bytes.extend(input.pick(cast.v6).octets());
    quoted_ports(input, cast, bytes);
}

fn quoted_ports(input: &mut Input<'_>, cast: &Cast<'_>, bytes: &mut Vec<u8>) {
    bytes.extend(input.pick(cast.ports).to_be_bytes());
    bytes.extend(input.pick(cast.ports).to_be_bytes());
    bytes.extend([0, 20, 0, 0, 0, 0, 0, 1]);
}

fn piece(input: &mut Input<'_>) -> Option<Piece> {
    input.one_in(6).then(|| Piece {
        offset: if input.one_in(4) { input.word() } else { input.pick(&[0, 1, 2, 185, 186, 8000, 8191]) },
        more: input.one_in(2),
        id: input.byte() % 3,
    })
}

/// Puts the checksum in: whole, or the sum of the pseudo-header alone with an offload that asks for the rest.
fn finish(
    input: &mut Input<'_>,
    upper: &mut Upper,
    (source, destination): (IpAddr, IpAddr),
    piece: Option<Piece>,
    start: usize,
    offload: &mut Offload,
) {
    let Some(at) = upper.checksum.filter(|at| at + 2 <= upper.bytes.len() && !input.one_in(24)) else { return };
    let pseudo = match upper.protocol {
        ICMP => 0,
        protocol => checksum::pseudo_header(source, destination, protocol, upper.bytes.len()).unwrap_or_default(),
    };
    let partial = piece.is_none() && matches!(upper.protocol, TCP | UDP) && input.one_in(3);
    let sum = if partial {
        let start = u16::try_from(start).unwrap_or_default();
        offload.checksum = Some(PartialChecksum { start, offset: u16::try_from(at).unwrap_or_default() });
        if input.one_in(2) {
            let kind = match (upper.protocol, source) {
                (UDP, _) => GsoKind::Udp,
                (_, IpAddr::V4(_)) => GsoKind::TcpV4,
                _ => GsoKind::TcpV6,
            };
            let header_len = if input.one_in(4) { input.word() } else { start + 20 };
            let size = input.pick(&[1460, 1400, 536, 1, 8, 100, 9000, 65_535]);
            offload.gso = Some(Gso { kind, size, header_len, ecn: input.one_in(8) });
        }
        checksum::fold(pseudo)
    } else {
        !checksum::fold(pseudo + checksum::sum(&upper.bytes))
    };
    upper.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// One thing wrong, sometimes.
fn spoil(input: &mut Input<'_>, frame: &mut Vec<u8>, offload: &mut Offload) {
    // A partial checksum that points anywhere: at addresses, at the middle of the payload, across the end.
    if input.one_in(16) {
        let start = u16::try_from(input.below(frame.len().min(96))).unwrap_or_default();
        offload.checksum = Some(PartialChecksum { start, offset: input.pick(&[6, 16, 0, 2, 8, 12, 20, 28]) });
    }
    if offload.gso.is_some() && input.one_in(16) {
        offload.gso =
            offload.gso.map(|gso| Gso { kind: input.pick(&[GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp]), ..gso });
    }
    if input.one_in(8) {
        for _ in 0..=input.below(4) {
            let at = input.below(frame.len().min(120));
            frame[at] = input.byte();
        }
    }
    if input.one_in(24) {
        let length = input.below(frame.len() + 1);
        frame.truncate(length);
    }
    // The kernel, and `Offload::decode`, refuse what points out of the frame.
    if offload.checksum.is_some_and(|c| usize::from(c.start) + usize::from(c.offset) + 2 > frame.len()) {
        *offload = Offload::NONE;
    }
}

/// Stations, addresses and ports that the engines' targets share.
pub(super) const USUAL: Cast<'_> = Cast {
    own: None,
    macs: &[
        MacAddr::new([2, 0x42, 10, 1, 0, 2]),
        MacAddr::new([2, 0x42, 10, 1, 0, 1]),
        MacAddr::new([2, 0, 0, 0, 0, 2]),
        MacAddr::BROADCAST,
        MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
        MacAddr::ZERO,
    ],
    v4: &[
        Ipv4Addr::new(10, 1, 0, 2),
        Ipv4Addr::new(203, 0, 113, 1),
        Ipv4Addr::new(198, 51, 100, 9),
        Ipv4Addr::new(10, 2, 0, 2),
        Ipv4Addr::new(10, 4, 0, 2),
        Ipv4Addr::new(10, 1, 0, 1),
        Ipv4Addr::new(10, 1, 0, 255),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(192, 0, 2, 7),
    ],
    v6: &[
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2),
        Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9),
        Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2),
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x42, 0x0aff, 0xfe01, 2),
        Ipv6Addr::LOCALHOST,
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a01, 2),
    ],
    ports: &[80, 8080, 53, 443, 40_000, 40_001, 0, 1, 4789, 65_535],
    payload: &[0x5a, 0xa5, 0x00, 0xff, 0x17],
    shortest: 0,
};
