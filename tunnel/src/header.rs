//! The VXLAN header (RFC 7348 section 5).

use std::ops::RangeInclusive;

use vswitch_frame::Vni;

/// Bytes of the VXLAN header.
pub const LEN: usize = 8;
/// The destination UDP port that IANA assigned (RFC 7348 section 5).
pub const PORT: u16 = 4789;
/// Bytes that encapsulation adds to an inner IP packet over IPv4: Ethernet, VXLAN, UDP, IPv4.
pub const OVERHEAD_V4: u32 = 14 + 8 + 8 + 20;
/// The same over IPv6.
pub const OVERHEAD_V6: u32 = 14 + 8 + 8 + 40;

/// The I flag: the VNI is valid.
const FLAG_VNI: u8 = 0x08;
/// The dynamic ports that the outer source port is taken from (RFC 7348 section 5, RFC 6335).
const FIRST_SOURCE_PORT: u16 = 49_152;
/// How many paths flows are spread over: each has a source port of its own, taken from a range of its own.
pub const PATHS: u16 = 512;
/// Ports of a path's range, in case that other programs use some.
const PORTS_OF_PATH: u16 = 16_384 / PATHS;

/// Why a UDP payload is no VXLAN packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the header.
    #[error("the VXLAN header is cut short")]
    Truncated,
    /// The I flag is not set, so there is no VNI.
    #[error("the VXLAN header names no VNI")]
    NoVni,
}

/// Splits a UDP payload into its VNI and the inner frame. Reserved bits are ignored, as section 5 wants it.
///
/// # Errors
/// When the payload is shorter than the header, or the header names no VNI.
pub fn parse(payload: &[u8]) -> Result<(Vni, &[u8]), Malformed> {
    let (header, inner) = payload.split_first_chunk::<LEN>().ok_or(Malformed::Truncated)?;
    if header[0] & FLAG_VNI == 0 {
        return Err(Malformed::NoVni);
    }
    let number = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    let vni = Vni::new(number).expect("three bytes are 24 bits");
    Ok((vni, inner))
}

/// The header for `vni`, reserved bits zero.
#[must_use]
pub const fn encode(vni: Vni) -> [u8; LEN] {
    let [_, a, b, c] = vni.value().to_be_bytes();
    [FLAG_VNI, 0, 0, 0, a, b, c, 0]
}

/// The path that an inner flow with this hash takes, below [`PATHS`]: the underlay spreads paths and keeps each in order.
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the value is below PATHS")]
pub const fn path(flow_hash: u32) -> u16 {
    // Both factors are below 2^32, so the product's upper half is below PATHS.
    ((flow_hash as u64 * PATHS as u64) >> 32) as u16
}

/// The source ports of a path, to be tried in order.
#[must_use]
pub fn source_ports(path: u16) -> RangeInclusive<u16> {
    let first = FIRST_SOURCE_PORT + path % PATHS * PORTS_OF_PATH;
    first..=first + (PORTS_OF_PATH - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The header of figure 1 in RFC 7348 with VNI 22, byte by byte.
    #[test]
    fn fixture() {
        assert_eq!(encode(Vni::new(22).unwrap()), [8, 0, 0, 0, 0, 0, 22, 0]);
        assert_eq!(parse(&[8, 0, 0, 0, 0x12, 0x34, 0x56, 0, 0xaa]), Ok((Vni::new(0x12_3456).unwrap(), &[0xaa][..])));
        assert_eq!(
            parse(&[0xff, 9, 9, 9, 0, 0, 1, 7]),
            Ok((Vni::new(1).unwrap(), &[][..])),
            "reserved bits are ignored"
        );
    }

    /// Cut headers and headers without a VNI are refused.
    #[test]
    fn refused() {
        for length in 0..LEN {
            assert_eq!(parse(&[8; LEN][..length]), Err(Malformed::Truncated));
        }
        assert_eq!(parse(&[0xf7; LEN]), Err(Malformed::NoVni));
    }

    /// V6: every path's ports are dynamic ones and no other path's, and hashes reach the first and the last path.
    #[test]
    fn source_ports_of_paths() {
        assert_eq!((path(0), path(u32::MAX)), (0, PATHS - 1));
        let all: Vec<u16> = (0..PATHS).flat_map(source_ports).collect();
        assert_eq!(all, (49_152..=u16::MAX).collect::<Vec<_>>());
    }

    proptest! {
        /// Every VNI and inner frame survives.
        #[test]
        fn round_trip(number in 0..=Vni::MAX, inner in proptest::collection::vec(any::<u8>(), 0..100)) {
            let vni = Vni::new(number).unwrap();
            let mut packet = encode(vni).to_vec();
            packet.extend(&inner);
            prop_assert_eq!(parse(&packet), Ok((vni, &inner[..])));
        }
    }
}
