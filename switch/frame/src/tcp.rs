//! TCP headers. Read first: RFC 9293 section 3.1; RFC 7323 (window scale), RFC 2018 (SACK).

use crate::checksum::Update;
use crate::{Malformed, be16, be32, put16};

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Where the checksum field lies in the header.
pub const CHECKSUM_OFFSET: usize = 16;
/// Where the header's own length lies in the header, in the upper four bits.
pub const DATA_OFFSET: usize = 12;

/// Where the window field lies in the header.
const WINDOW_OFFSET: usize = 14;

/// Control bits of byte 13.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// A view of a TCP segment with a whole header.
#[derive(Debug)]
pub struct Tcp<T>(T);

impl<T: AsRef<[u8]>> Tcp<T> {
    /// Checks that the header, options included, lies in the slice.
    ///
    /// # Errors
    /// When it does not, or the data offset is below five words.
    pub fn parse(segment: T) -> Result<Self, Malformed> {
        let bytes = segment.as_ref();
        if bytes.len() < MIN_HEADER_LEN {
            return Err(Malformed::Truncated("TCP"));
        }
        let header_len = usize::from(bytes[12] >> 4) * 4;
        if header_len < MIN_HEADER_LEN || header_len > bytes.len() {
            return Err(Malformed::Field("TCP", "data offset"));
        }
        Ok(Tcp(segment))
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        be16(self.0.as_ref(), 0)
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        be16(self.0.as_ref(), 2)
    }

    /// Sequence number.
    pub fn sequence(&self) -> u32 {
        be32(self.0.as_ref(), 4)
    }

    /// Acknowledgment number.
    pub fn acknowledgment(&self) -> u32 {
        be32(self.0.as_ref(), 8)
    }

    /// Header length in bytes, 20 to 60.
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[12] >> 4) * 4
    }

    /// Control bits; see [`flag`].
    pub fn flags(&self) -> u8 {
        self.0.as_ref()[13]
    }

    /// The window field, unscaled.
    pub fn window(&self) -> u16 {
        be16(self.0.as_ref(), WINDOW_OFFSET)
    }

    /// The checksum field as it stands.
    pub fn checksum(&self) -> u16 {
        be16(self.0.as_ref(), CHECKSUM_OFFSET)
    }

    /// The header's options, possibly none.
    pub fn options(&self) -> &[u8] {
        &self.0.as_ref()[MIN_HEADER_LEN..self.header_len()]
    }

    /// The bytes behind the header.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Tcp<T> {
    /// Sets the sequence number, without touching the checksum.
    pub fn set_sequence(&mut self, sequence: u32) {
        self.0.as_mut()[4..8].copy_from_slice(&sequence.to_be_bytes());
    }

    /// Sets the control bits, without touching the checksum.
    pub fn set_flags(&mut self, flags: u8) {
        self.0.as_mut()[13] = flags;
    }

    /// Sets the window field, without touching the checksum.
    pub fn set_window(&mut self, window: u16) {
        put16(self.0.as_mut(), WINDOW_OFFSET, window);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }
}

/// One option of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// The option's kind (IANA TCP parameters).
    pub kind: u8,
    /// Its data, without kind and length.
    pub data: &'a [u8],
    /// Where the option starts in the options.
    pub at: usize,
}

/// Kinds of options that the switch reads.
pub mod option {
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WINDOW_SCALE: u8 = 3;
    /// SACK permitted.
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgment.
    pub const SACK: u8 = 5;
}

/// Walks the options of a header; ends at the end-of-options mark, and at the first option that does not fit.
pub fn options(bytes: &[u8]) -> impl Iterator<Item = TcpOption<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while bytes.get(at) == Some(&1) {
            at += 1;
        }
        let (&kind, &length) = (bytes.get(at)?, bytes.get(at + 1)?);
        let end = at + usize::from(length);
        if kind == 0 || length < 2 || end > bytes.len() {
            return None;
        }
        let found = TcpOption { kind, data: &bytes[at + 2..end], at };
        at = end;
        Some(found)
    })
}

/// Replaces a 16-bit word of a header under a finished or partial checksum and returns the change; the caller applies
/// it. `at` is the word's offset in `bytes` and even within the checksummed data.
pub fn replace_word(bytes: &mut [u8], at: usize, value: u16) -> Update {
    let old = be16(bytes, at);
    put16(bytes, at, value);
    Update::new().word(old, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields of a segment made by etherparse are read as it wrote them, options included.
    #[test]
    fn fixture() {
        use etherparse::TcpOptionElement::{MaximumSegmentSize, Noop, WindowScale};
        let mut header = etherparse::TcpHeader::new(4000, 80, 0x0102_0304, 0xfff0);
        header.syn = true;
        header.ack = true;
        header.acknowledgment_number = 7;
        header.set_options(&[MaximumSegmentSize(1460), Noop, WindowScale(7)]).unwrap();
        let bytes = header.to_bytes();
        let segment = Tcp::parse(&bytes[..]).unwrap();
        assert_eq!((segment.source_port(), segment.destination_port()), (4000, 80));
        assert_eq!((segment.sequence(), segment.acknowledgment(), segment.window()), (0x0102_0304, 7, 0xfff0));
        assert_eq!(segment.flags(), flag::SYN | flag::ACK);
        let found: Vec<_> = options(segment.options()).map(|o| (o.kind, o.data.to_vec())).collect();
        assert_eq!(found, [(option::MSS, vec![0x05, 0xb4]), (option::WINDOW_SCALE, vec![7])]);
        for length in 0..header.header_len() {
            assert!(Tcp::parse(&bytes[..length]).is_err(), "cut to {length}");
        }
    }

    proptest! {
        /// Options of any bytes end, and stay within the slice.
        #[test]
        fn option_noise(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut end = 0;
            for option in options(&bytes) {
                prop_assert!(option.at >= end && option.at + 2 + option.data.len() <= bytes.len());
                end = option.at + 2 + option.data.len();
            }
            if let Ok(segment) = Tcp::parse(&bytes[..]) {
                prop_assert_eq!(segment.header_len() + segment.payload().len(), bytes.len());
            }
        }
    }
}
