//! UDP headers. Read first: RFC 768; RFC 8200 section 8.1 for the checksum over IPv6.

use crate::{Malformed, be16, put16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum field lies in the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// A view of a UDP datagram with a whole header.
#[derive(Debug)]
pub struct Udp<T>(T);

impl<T: AsRef<[u8]>> Udp<T> {
    /// Checks that the header lies in the slice and that the length field covers it and lies in the slice.
    ///
    /// # Errors
    /// When one of these does not hold.
    pub fn parse(datagram: T) -> Result<Self, Malformed> {
        let bytes = datagram.as_ref();
        if bytes.len() < HEADER_LEN {
            return Err(Malformed::Truncated("UDP"));
        }
        if !(HEADER_LEN..=bytes.len()).contains(&usize::from(be16(bytes, 4))) {
            return Err(Malformed::Field("UDP", "length"));
        }
        Ok(Udp(datagram))
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        be16(self.0.as_ref(), 0)
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        be16(self.0.as_ref(), 2)
    }

    /// Length of header and payload in bytes.
    pub fn length(&self) -> usize {
        usize::from(be16(self.0.as_ref(), 4))
    }

    /// The checksum field as it stands; zero over IPv4 means that the sender made none.
    pub fn checksum(&self) -> u16 {
        be16(self.0.as_ref(), CHECKSUM_OFFSET)
    }

    /// The bytes behind the header up to the length field.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.length()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Udp<T> {
    /// Sets the length field, without touching the checksum.
    pub fn set_length(&mut self, length: u16) {
        put16(self.0.as_mut(), 4, length);
    }

    /// Sets the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put16(self.0.as_mut(), CHECKSUM_OFFSET, checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields of a datagram are read where RFC 768 puts them, and padding is not payload.
    #[test]
    fn fixture() {
        let bytes = [0x13, 0x88, 0x00, 0x35, 0x00, 0x0a, 0xab, 0xcd, 1, 2, 0, 0];
        let datagram = Udp::parse(&bytes[..]).unwrap();
        assert_eq!((datagram.source_port(), datagram.destination_port()), (5000, 53));
        assert_eq!((datagram.length(), datagram.checksum(), datagram.payload()), (10, 0xabcd, &[1u8, 2][..]));
    }

    proptest! {
        /// Every length and content is viewed within the slice or refused.
        #[test]
        fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(datagram) = Udp::parse(&bytes[..]) {
                prop_assert!(datagram.payload().len() + HEADER_LEN <= bytes.len());
            }
        }
    }
}
