//! The Internet checksum. Read first: RFC 1071 (the sum), RFC 1624 (incremental update, equation 3).
//!
//! Two kinds of field are on the wire, and mixing them up is the classic fault of a userspace switch:
//! - a *finished* checksum, the complement of the sum: updated by [`Update::finished`];
//! - a *partial* one (the sender left the work to a device): the field holds only the folded, **not** complemented sum
//!   of the pseudo-header: updated by [`Update::partial`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Folds a sum of 16-bit words to 16 bits with end-around carry.
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "three folds bring any 64-bit sum below 2^16")]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The unfolded one's complement sum of `bytes` as big-endian 16-bit words, an odd last byte padded with zero
/// (RFC 1071 section 1). Sums of pieces with an even length may be added; [`fold`] ends the work.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    // RFC 1071 section 2(B): the sum may be made of wider words, and of words in the machine's own byte order if the
    // result is swapped. 32-bit words in 64-bit sums cannot overflow below 16 GiB of input; eight sums side by side are
    // what the vector units take.
    const LANES: usize = 8;
    let mut lanes = [0u64; LANES];
    let mut blocks = bytes.chunks_exact(4 * LANES);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let mut words = blocks.remainder().chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let rest = words.remainder();
    let mut last = [0u8; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    u64::from(fold(total).to_be())
}

/// The finished checksum over `bytes`: the complement of the folded sum. Zero over bytes that already hold their right
/// checksum.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The unfolded sum of the IPv4 pseudo-header (RFC 9293 section 3.1, RFC 768). `length` is that of the L4 header and
/// payload, in bytes.
#[inline]
#[must_use]
pub fn pseudo_header_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> u64 {
    sum(&source.octets()) + sum(&destination.octets()) + u64::from(protocol) + length as u64
}

/// The unfolded sum of the IPv6 pseudo-header (RFC 8200 section 8.1). `length` as for [`pseudo_header_v4`].
#[inline]
#[must_use]
pub fn pseudo_header_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: usize) -> u64 {
    sum(&source.octets()) + sum(&destination.octets()) + u64::from(protocol) + length as u64
}

/// The unfolded pseudo-header sum for either family; `None` when the families differ.
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Option<u64> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some(pseudo_header_v4(source, destination, protocol, length)),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Some(pseudo_header_v6(source, destination, protocol, length)),
        _ => None,
    }
}

/// A change of 16-bit words under a checksum: `sum(~old) + sum(new)`, collected once and applied to as many fields as
/// cover the words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Update(u64);

impl Update {
    /// No change.
    #[must_use]
    pub const fn new() -> Self {
        Update(0)
    }

    /// Adds the replacement of one 16-bit word.
    #[inline]
    #[must_use]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Update(self.0 + (!old) as u64 + new as u64)
    }

    /// Adds the replacement of `old` by `new`: the same even number of bytes, starting at an even offset.
    #[inline]
    #[must_use]
    pub fn bytes(self, old: &[u8], new: &[u8]) -> Self {
        debug_assert!(old.len() == new.len() && old.len().is_multiple_of(2));
        Update(self.0 + u64::from(!fold(sum(old))) + sum(new))
    }

    /// Adds another update.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Update) -> Self {
        Update(self.0 + other.0)
    }

    /// A finished checksum after the change: HC' = ~(~HC + ~m + m') (RFC 1624 equation 3).
    #[inline]
    #[must_use]
    pub const fn finished(self, checksum: u16) -> u16 {
        !fold(!checksum as u64 + self.0)
    }

    /// A partial checksum after the change: P' = P + ~m + m', no complement, because the field is not complemented.
    #[inline]
    #[must_use]
    pub const fn partial(self, pseudo_sum: u16) -> u16 {
        fold(pseudo_sum as u64 + self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 3's worked example: the words 0001 f203 f4f5 f6f7 sum to ddf2.
    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    /// RFC 1624 section 4's example, where RFC 1141's formula is wrong: 0xDD2F, 0x5555 → 0x3285 gives 0x0000.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(Update::new().word(0x5555, 0x3285).finished(0xdd2f), 0x0000);
    }

    /// C1: the pseudo-header sum that Linux leaves in a 40-byte SYN from 10.7.0.1 to 10.7.0.2 is 0x143f.
    #[test]
    fn c1_partial_field_of_linux() {
        let sum = pseudo_header_v4(Ipv4Addr::new(10, 7, 0, 1), Ipv4Addr::new(10, 7, 0, 2), 6, 40);
        assert_eq!(fold(sum), 0x143f);
    }

    /// The sum, one word at a time, as RFC 1071 writes it: the model for the fast form.
    fn sum_by_the_book(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        u16::try_from(total).unwrap()
    }

    /// One's complement has two zeros; a checksum of either form verifies.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
        /// The wide sum equals the word-by-word sum for every length and content.
        #[test]
        fn sum_equals_the_model(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(fold(sum(&bytes)), sum_by_the_book(&bytes));
        }

        /// An incremental update equals a full recomputation, for finished and for partial fields.
        #[test]
        fn incremental_equals_full(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..200),
            at in 0usize..200, new: [u8; 4],
        ) {
            if bytes.len() % 2 == 1 { bytes.pop(); }
            let at = (at % (bytes.len() - 4)) & !1;
            let before = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&new);
            let update = Update::new().bytes(&before[at..at + 4], &new);
            prop_assert!(same(update.finished(checksum(&before)), checksum(&bytes)));
            prop_assert!(same(update.partial(fold(sum(&before))), fold(sum(&bytes))));
            // The inverse change restores a verifying checksum.
            let back = Update::new().bytes(&new, &before[at..at + 4]);
            prop_assert!(same(back.finished(update.finished(checksum(&before))), checksum(&before)));
        }
    }
}
