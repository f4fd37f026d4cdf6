//! The capture file format of Wireshark, as a stream of blocks.
//!
//! Read first: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface), 4.3 (enhanced packet), 4.5 (names) and 4.6
//! (statistics). Written in little-endian with times in nanoseconds. Every interface says the same link type and snap length, because
//! libpcap refuses a file in which they differ.

use std::net::IpAddr;

use vswitch_frame::MacAddr;

/// The snap length that every interface says: longer than any frame.
pub const SNAP_LEN: u32 = 262_144;

/// Who wrote the file.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The program and its version.
    pub application: &'a str,
    /// The host, as far as it has a name.
    pub host: &'a str,
    /// What was asked for.
    pub comment: &'a str,
}

/// A place where frames were taken.
#[derive(Debug, Clone, Copy)]
pub struct Interface<'a> {
    /// Its name, which Wireshark shows with each frame.
    pub name: &'a str,
    /// What it is.
    pub description: &'a str,
    /// The filter's text.
    pub filter: &'a str,
    /// The station behind it.
    pub mac: Option<MacAddr>,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
}

/// One frame.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Which interface, counted from the first one written.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// The frame, perhaps cut.
    pub frame: &'a [u8],
    /// How long it was.
    pub original_len: usize,
    /// Which way it went, and what was left undone.
    pub flags: Flags,
    /// The same for one frame at every place.
    pub id: u64,
    /// Frames that were lost since the last one of this interface.
    pub lost: u64,
    /// Whether it was dropped.
    pub dropped: bool,
    /// What is to be said of it.
    pub comment: Option<&'a str>,
}

/// Which way a frame went, and what its sender left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// Into the switch or out of it.
    pub direction: Direction,
    /// Its L4 checksum is still partial.
    pub checksum_partial: bool,
    /// It is a super-frame of TCP.
    pub segmented: bool,
}

/// A frame's way, seen from the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    In,
    /// It went out.
    Out,
}

impl Flags {
    const fn bits(self) -> u32 {
        let direction = match self.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        direction | (self.checksum_partial as u32) << 9 | (self.segmented as u32) << 11
    }
}

/// How many frames an interface had.
#[derive(Debug, Clone, Copy)]
pub struct Statistics {
    /// Which interface.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// Frames that were asked for and came.
    pub received: u64,
    /// Frames of these that the capture lost.
    pub lost: u64,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const NAMES: u32 = 4;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
/// `TC_ACT_SHOT` in an `epb_verdict` of Linux's traffic control.
const VERDICT_DROPPED: [u8; 9] = [1, 2, 0, 0, 0, 0, 0, 0, 0];

/// Begins a file.
pub fn section(out: &mut Vec<u8>, section: &Section<'_>) {
    block(out, SECTION, |body| {
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        text(body, 3, section.host);
        text(body, 4, section.application);
        text(body, COMMENT, section.comment);
        end_of_options(body);
    });
}

/// Says that there is one more place.
pub fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, INTERFACE, |body| {
        body.extend(ETHERNET.to_le_bytes());
        body.extend([0; 2]);
        body.extend(SNAP_LEN.to_le_bytes());
        text(body, 2, interface.name);
        text(body, 3, interface.description);
        for address in interface.addresses {
            match address {
                IpAddr::V4(v4) => option(body, 4, &[&v4.octets()[..], &[255; 4]].concat()),
                IpAddr::V6(v6) => option(body, 5, &[&v6.octets()[..], &[128]].concat()),
            }
        }
        if let Some(mac) = interface.mac {
            option(body, 6, &mac.octets());
        }
        option(body, 9, &[9]);
        if !interface.filter.is_empty() {
            option(body, 11, &[&[0], interface.filter.as_bytes()].concat());
        }
        end_of_options(body);
    });
}

/// Says what stations are called, for those who show names.
pub fn names(out: &mut Vec<u8>, name: &str, addresses: &[IpAddr], mac: Option<MacAddr>) {
    block(out, NAMES, |body| {
        let mut entry = |kind, address: &[u8]| {
            option(body, kind, &[address, name.as_bytes(), &[0]].concat());
        };
        for address in addresses {
            match address {
                IpAddr::V4(v4) => entry(1, &v4.octets()),
                IpAddr::V6(v6) => entry(2, &v6.octets()),
            }
        }
        if let Some(mac) = mac {
            entry(3, &mac.octets());
        }
        end_of_options(body);
    });
}

/// Writes one frame.
pub fn packet(out: &mut Vec<u8>, record: &Record<'_>) {
    block(out, PACKET, |body| {
        body.extend(record.interface.to_le_bytes());
        body.extend(halves(record.nanos));
        body.extend(length(record.frame.len()));
        body.extend(length(record.original_len));
        padded(body, record.frame);
        option(body, 2, &record.flags.bits().to_le_bytes());
        if record.lost > 0 {
            option(body, 4, &record.lost.to_le_bytes());
        }
        option(body, 5, &record.id.to_le_bytes());
        if record.dropped {
            option(body, 7, &VERDICT_DROPPED);
        }
        if let Some(comment) = record.comment {
            text(body, COMMENT, comment);
        }
        end_of_options(body);
    });
}

/// Says how many frames there were so far.
pub fn statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    block(out, STATISTICS, |body| {
        body.extend(statistics.interface.to_le_bytes());
        body.extend(halves(statistics.nanos));
        option(body, 4, &statistics.received.to_le_bytes());
        option(body, 5, &statistics.lost.to_le_bytes());
        end_of_options(body);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    fill(out);
    let total = length(out.len() - start + 4);
    out[start + 4..start + 8].copy_from_slice(&total);
    out.extend(total);
}

fn text(body: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        option(body, code, text.as_bytes());
    }
}

/// What is longer than an option can be is cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    padded(body, value);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend_from_slice(bytes);
    body.resize(body.len() + bytes.len().next_multiple_of(4) - bytes.len(), 0);
}

fn length(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

/// A time: the higher half comes first, each in the file's order.
fn halves(nanos: u64) -> [u8; 8] {
    nanos.rotate_left(32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record is laid out as the draft's section 4.3 draws it: lengths at both ends, padding, time halves, options.
    #[test]
    fn a_packet_block() {
        let mut out = Vec::new();
        let flags = Flags { direction: Direction::Out, checksum_partial: true, segmented: false };
        let record = Record {
            interface: 1,
            nanos: 0x0102_0304_0506_0708,
            frame: &[0xaa; 5],
            original_len: 9,
            flags,
            id: 7,
            lost: 3,
            dropped: true,
            comment: Some("why"),
        };
        packet(&mut out, &record);
        let expected = [
            &[6, 0, 0, 0, 100, 0, 0, 0, 1, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 5, 0, 0, 0, 9, 0, 0, 0][..],
            &[0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0, 2, 0, 4, 0, 2, 2, 0, 0],
            &[4, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0],
            &[7, 0, 9, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0, b'w', b'h', b'y', 0],
            &[0, 0, 0, 0, 100, 0, 0, 0],
        ];
        assert_eq!(out, expected.concat());
    }

    /// Every block has the length that it says, at both ends, whatever the lengths of its parts.
    #[test]
    fn blocks_are_whole() {
        for length in 0..9 {
            let name = "x".repeat(length);
            let mut out = Vec::new();
            section(&mut out, &Section { application: &name, host: "h", comment: &name });
            let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
            let mac = Some(MacAddr::new([2; 6]));
            let one = Interface { name: &name, description: "d", filter: &name, mac, addresses: &addresses };
            interface(&mut out, &one);
            names(&mut out, &name, &addresses, mac);
            statistics(&mut out, &Statistics { interface: 0, nanos: 5, received: 1, lost: 0 });
            let mut rest = &out[..];
            let mut kinds = Vec::new();
            while !rest.is_empty() {
                let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
                let total = usize::try_from(word(4)).unwrap();
                assert_eq!((total % 4, word(total - 4)), (0, word(4)));
                kinds.push(word(0));
                rest = &rest[total..];
            }
            assert_eq!(kinds, [SECTION, INTERFACE, NAMES, STATISTICS]);
        }
    }
}
