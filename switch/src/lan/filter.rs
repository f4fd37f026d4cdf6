//! What a leg hears of its parent, as a program that the kernel runs on each frame before anything else is done with it. Read
//! first: Linux `Documentation/networking/filter.rst` (classic BPF), `net/core/filter.c` (the ancillary loads).

use std::collections::{BTreeMap, BTreeSet};

use std::net::IpAddr;

use vswitch_frame::{EtherType, MacAddr, VlanId};

/// What a leg is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hearing {
    /// Frames for single stations.
    pub unicast: Unicast,
    /// Spanning tree's, beside those for groups that are not reserved.
    pub bpdus: bool,
}

/// Which frames for single stations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unicast {
    /// For these.
    For(Vec<MacAddr>),
    /// For this MAC address and one of these addresses, of an IPv6 one the last four bytes.
    At(MacAddr, Vec<IpAddr>),
    /// For everybody: stations behind the other ports are not all known.
    All,
}

impl Hearing {
    /// Nothing but what is for all.
    pub const GROUPS: Hearing = Hearing { unicast: Unicast::For(Vec::new()), bpdus: false };
}

/// One instruction of classic BPF: code, jumps if true and if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// Most instructions of a program (`BPF_MAXINSNS`).
const MOST: usize = 4096;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Of frames whose tag the kernel has taken out: its control information, and whether there was one (`SKF_AD_OFF` plus
/// `SKF_AD_VLAN_TAG` and `SKF_AD_VLAN_TAG_PRESENT`).
const TAG: u32 = 0xffff_f000 + 44;
const TAGGED: u32 = 0xffff_f000 + 48;

/// The whole frame, and nothing of it.
const TAKE: Instruction = (RETURN, 0, 0, u32::MAX);
const LEAVE: Instruction = (RETURN, 0, 0, 0);

/// Takes nothing: for a socket about which nothing is known yet.
pub(crate) const DEAF: [Instruction; 1] = [LEAVE];

/// The program for a leg in this VLAN of its parent; without one, in what has no tag or one of priority alone.
pub(crate) fn program(hearing: &Hearing, vlan: Option<VlanId>) -> Vec<Instruction> {
    let vid = vlan.map_or(0, VlanId::value);
    let untagged = if vlan.is_some() { 3 } else { 4 };
    let mut program = vec![
        (LOAD_WORD, 0, 0, TAGGED),
        (IF_EQUAL, untagged, 0, 0),
        (LOAD_WORD, 0, 0, TAG),
        (AND, 0, 0, 0x0fff),
        (IF_EQUAL, 1, 0, u32::from(vid)),
        LEAVE,
    ];
    let more = u8::from(hearing.bpdus);
    program.extend([(LOAD_BYTE, 0, 0, 0), (IF_BITS, 0, 6 + more, 1)]);
    // A group: reserved ones are the first sixteen of these.
    program.extend([(LOAD_WORD, 0, 0, 0), (IF_EQUAL, 0, 3 + more, 0x0180_c200), (LOAD_HALF, 0, 0, 4)]);
    program.push((IF_BITS, 1 + more, 0, 0xfff0));
    if hearing.bpdus {
        program.push((IF_EQUAL, 1, 0, 0));
    }
    program.extend([LEAVE, TAKE]);
    match &hearing.unicast {
        Unicast::All => program.push(TAKE),
        Unicast::For(stations) => stations_of(&mut program, stations),
        Unicast::At(mac, addresses) => addresses_at(&mut program, *mac, addresses),
    }
    program
}

/// Takes what is for one of the addresses at `mac`; what is for any where they are too many.
fn addresses_at(program: &mut Vec<Instruction>, mac: MacAddr, addresses: &[IpAddr]) {
    let [a, b, rest @ ..] = mac.octets();
    program.extend([(LOAD_HALF, 0, 0, 0), (IF_EQUAL, 1, 0, u32::from_be_bytes([0, 0, a, b])), LEAVE]);
    program.extend([(LOAD_WORD, 0, 0, 2), (IF_EQUAL, 1, 0, u32::from_be_bytes(rest)), LEAVE]);
    let mut words: [BTreeSet<u32>; 2] = Default::default();
    for address in addresses {
        match address {
            IpAddr::V4(address) => words[0].insert(address.to_bits()),
            IpAddr::V6(address) => {
                let [.., a, b, c, d] = address.octets();
                words[1].insert(u32::from_be_bytes([a, b, c, d]))
            }
        };
    }
    let [ipv4, ipv6] = words;
    if program.len() + 4 * (ipv4.len() + ipv6.len()) + 20 > MOST {
        program.push(TAKE);
        return;
    }
    // Where the destination is, the target of ARP's, or the end of IPv6's.
    let kinds = [(EtherType::IPV4, 30, &ipv4), (EtherType::ARP, 38, &ipv4), (EtherType::IPV6, 50, &ipv6)];
    program.push((LOAD_HALF, 0, 0, 12));
    for (kind, at, words) in kinds {
        let past = u32::try_from(2 + 2 * words.len()).unwrap_or_default();
        program.extend([(IF_EQUAL, 1, 0, u32::from(kind.0)), (JUMP, 0, 0, past), (LOAD_WORD, 0, 0, at)]);
        words.iter().for_each(|word| program.extend([(IF_EQUAL, 0, 1, *word), TAKE]));
        program.push(LEAVE);
    }
    program.push(LEAVE);
}

/// Takes what is for one of the stations; what is for any where they are too many.
fn stations_of(program: &mut Vec<Instruction>, stations: &[MacAddr]) {
    let mut halves: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for station in stations {
        let [a, b, rest @ ..] = station.octets();
        halves.entry(u32::from_be_bytes([0, 0, a, b])).or_default().insert(u32::from_be_bytes(rest));
    }
    let needed: usize = halves.values().map(|rests| 4 + 2 * rests.len()).sum();
    if program.len() + needed + 2 > MOST {
        program.push(TAKE);
        return;
    }
    program.push((LOAD_HALF, 0, 0, 0));
    for (first, rests) in halves {
        let past = u32::try_from(2 + 2 * rests.len()).unwrap_or_default();
        program.extend([(IF_EQUAL, 1, 0, first), (JUMP, 0, 0, past), (LOAD_WORD, 0, 0, 2)]);
        for rest in rests {
            program.extend([(IF_EQUAL, 0, 1, rest), TAKE]);
        }
        program.push(LEAVE);
    }
    program.push(LEAVE);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with a frame whose tag it has taken out.
    fn takes(program: &[Instruction], frame: &[u8], tag: Option<u16>) -> bool {
        let (mut at, mut value) = (0, 0u32);
        loop {
            let (code, yes, no, operand) = program[at];
            at += 1;
            let from = operand as usize;
            let jump = |holds: bool| usize::from(if holds { yes } else { no });
            match code {
                LOAD_WORD if operand == TAGGED => value = u32::from(tag.is_some()),
                LOAD_WORD if operand == TAG => value = u32::from(tag.unwrap_or_default()),
                LOAD_WORD => value = u32::from_be_bytes(frame[from..from + 4].try_into().unwrap()),
                LOAD_HALF => value = u32::from(u16::from_be_bytes([frame[from], frame[from + 1]])),
                LOAD_BYTE => value = u32::from(frame[from]),
                AND => value &= operand,
                JUMP => at += from,
                IF_EQUAL => at += jump(value == operand),
                IF_BITS => at += jump(value & operand != 0),
                RETURN => return operand != 0,
                _ => unreachable!("{code:#x}"),
            }
        }
    }

    fn to(text: &str) -> Vec<u8> {
        let mac: MacAddr = text.parse().unwrap();
        [&mac.octets()[..], &[2, 0, 0, 0, 0, 9, 8, 0]].concat()
    }

    /// Broadcast, groups that are not reserved and the stations' own frames are taken, of whatever beginnings, and nothing else.
    #[test]
    fn stations_and_groups() {
        let stations = ["02:42:0a:00:00:02", "02:42:0a:00:00:03", "06:00:00:00:00:01"];
        let hearing =
            Hearing { unicast: Unicast::For(stations.iter().map(|mac| mac.parse().unwrap()).collect()), bpdus: false };
        let plain = program(&hearing, None);
        let with_bpdus = program(&Hearing { bpdus: true, ..hearing.clone() }, None);
        let all = program(&Hearing { unicast: Unicast::All, bpdus: false }, None);
        for mac in stations.into_iter().chain(["ff:ff:ff:ff:ff:ff", "33:33:ff:00:00:02", "01:00:5e:00:00:fb"]) {
            assert!(takes(&plain, &to(mac), None) && takes(&with_bpdus, &to(mac), None), "{mac}");
        }
        for mac in ["02:42:0a:00:00:04", "02:43:0a:00:00:02", "06:00:00:00:00:02", "01:80:c2:00:00:0e"] {
            assert!(!takes(&plain, &to(mac), None) && !takes(&with_bpdus, &to(mac), None), "{mac}");
        }
        let bpdu = to("01:80:c2:00:00:00");
        assert_eq!([&plain, &with_bpdus, &all].map(|program| takes(program, &bpdu, None)), [false, true, false]);
        assert!(takes(&plain, &to("01:80:c2:00:00:10"), None) && takes(&all, &to("06:00:00:00:00:02"), None));
        assert!(!takes(&program(&Hearing::GROUPS, None), &to(stations[0]), None));
        assert!(!takes(&DEAF, &to("ff:ff:ff:ff:ff:ff"), None));
    }

    /// Where all have one MAC address, frames for the addresses that are here are taken, and the host's own are left to it.
    #[test]
    fn addresses() {
        let mac: MacAddr = "06:00:00:00:00:01".parse().unwrap();
        let here = ["10.0.0.7".parse().unwrap(), "fd00::1:7".parse().unwrap()];
        let program = program(&Hearing { unicast: Unicast::At(mac, here.into()), bpdus: false }, None);
        let frame = |to: &str, kind: u16, at: usize, word: [u8; 4]| {
            let mut frame = to_padded(to);
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
            frame[at..at + 4].copy_from_slice(&word);
            takes(&program, &frame, None)
        };
        let own = "06:00:00:00:00:01";
        for (kind, at, word) in [(0x0800, 30, [10, 0, 0, 7]), (0x0806, 38, [10, 0, 0, 7]), (0x86dd, 50, [0, 1, 0, 7])] {
            assert!(frame(own, kind, at, word) && !frame(own, kind, at, [10, 0, 0, 8]), "{kind:#x}");
            assert!(!frame("06:00:00:00:00:02", kind, at, word) && !frame("06:01:00:00:00:01", kind, at, word));
        }
        assert!(!frame(own, 0x88cc, 30, [10, 0, 0, 7]) && frame("ff:ff:ff:ff:ff:ff", 0x0800, 30, [9; 4]));
    }

    fn to_padded(text: &str) -> Vec<u8> {
        [&to(text)[..], &[0; 50]].concat()
    }

    /// A leg hears its own VLAN; one without a VLAN what is in none.
    #[test]
    fn vlans() {
        let all = to("ff:ff:ff:ff:ff:ff");
        let own = program(&Hearing::GROUPS, Some(VlanId::new(50).unwrap()));
        let none = program(&Hearing::GROUPS, None);
        let of = |program: &[Instruction]| {
            [None, Some(0), Some(50), Some(0xa032), Some(51)].map(|tag| takes(program, &all, tag))
        };
        assert_eq!(of(&own), [false, false, true, true, false]);
        assert_eq!(of(&none), [true, true, false, false, false]);
    }

    /// More stations than a program has room for are all stations.
    #[test]
    fn too_many() {
        let stations = |count: u64| (0..count).map(|n| MacAddr::from_u64(0x0200_0000_0000 + n)).collect();
        let of = |count| program(&Hearing { unicast: Unicast::For(stations(count)), bpdus: true }, None);
        let (many, most) = (of(2030), of(2100));
        assert!(many.len() <= MOST && most.len() <= MOST);
        let (last, stranger) = (to("02:00:00:00:07:ed"), to("02:00:00:00:ff:ff"));
        assert_eq!([&many, &most].map(|program| takes(program, &last, None)), [true, true]);
        assert_eq!([&many, &most].map(|program| takes(program, &stranger, None)), [false, true]);
    }
}
