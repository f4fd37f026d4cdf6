//! MAC addresses (IEEE 802 EUI-48).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An IEEE 802 MAC address. Written `02:42:ac:11:00:02`; `-` is accepted between the octets as well.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// The group of all bridges, to which spanning tree speaks (IEEE 802.1Q table 8-1).
    pub const BRIDGE_GROUP: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]);
    /// 00:00:00:00:00:00, which no station may use.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// The address with these octets, in the order in which they are sent.
    #[inline]
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        MacAddr(octets)
    }

    /// Docker's address for a container: `02:42` and the four octets of its IPv4 address.
    #[must_use]
    pub const fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        MacAddr([0x02, 0x42, a, b, c, d])
    }

    /// The Ethernet group address of an IPv6 multicast address (RFC 2464 section 7).
    #[must_use]
    pub const fn ipv6_multicast(group: Ipv6Addr) -> Self {
        let o = group.octets();
        MacAddr([0x33, 0x33, o[12], o[13], o[14], o[15]])
    }

    /// The octets, in the order in which they are sent.
    #[inline]
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address as the low 48 bits of an integer, first octet highest.
    #[inline]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let o = self.0;
        u64::from_be_bytes([0, 0, o[0], o[1], o[2], o[3], o[4], o[5]])
    }

    /// The address in the low 48 bits of `value`; the high 16 are ignored.
    #[inline]
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// Whether this is a group address (broadcast included): the I/G bit of the first octet.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is 00:00:00:00:00:00.
    #[inline]
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.to_u64() == 0
    }

    /// Whether one station can own this address: neither a group address nor zero.
    #[inline]
    #[must_use]
    pub const fn is_station(self) -> bool {
        !self.is_multicast() && !self.is_zero()
    }

    /// Whether this is one of 01:80:C2:00:00:00 to :0F, which a bridge does not forward (IEEE 802.1Q table 8-1).
    #[inline]
    #[must_use]
    pub const fn is_reserved_multicast(self) -> bool {
        self.to_u64() & !0xf == 0x0180_c200_0000
    }

    /// The link-local IPv6 address that this interface forms for itself (RFC 4291 appendix A, modified EUI-64).
    #[must_use]
    pub const fn link_local_ipv6(self) -> Ipv6Addr {
        let o = self.0;
        Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, o[0] ^ 2, o[1], o[2], 0xff, 0xfe, o[3], o[4], o[5]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a MAC address; write six hexadecimal octets such as 02:42:ac:11:00:02")]
pub struct MacParseError {
    text: String,
}

impl FromStr for MacAddr {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, MacParseError> {
        let error = || MacParseError { text: text.to_owned() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0u8; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(error)?;
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(error());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(MacAddr(octets)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text that is not six two-digit octets is refused, and the message shows it and a good example.
    #[test]
    fn refuses_what_is_not_a_mac_address() {
        for text in [
            "",
            "02:42",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:00:02",
            "02:42:ac:11:00:0g",
            "+2:42:ac:11:00:02",
            "::::::",
        ] {
            let error = text.parse::<MacAddr>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("02:42:ac:11:00:02"), "{error}");
        }
    }

    /// Docker's derived address, the EUI-64 link-local and the group mapping match their published examples.
    #[test]
    fn derived_addresses() {
        let mac = MacAddr::from_ipv4(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(mac.link_local_ipv6(), "fe80::42:acff:fe11:2".parse::<Ipv6Addr>().unwrap());
        let group = MacAddr::ipv6_multicast("ff02::1:ff11:2".parse().unwrap());
        assert_eq!(group.to_string(), "33:33:ff:11:00:02");
    }

    /// Exactly the sixteen addresses of 802.1Q table 8-1 are reserved; the three of L11 are ordinary multicast.
    #[test]
    fn reserved_multicast_is_sixteen_addresses() {
        for last in 0u64..=0x30 {
            assert_eq!(MacAddr::from_u64(0x0180_c200_0000 + last).is_reserved_multicast(), last < 16);
        }
    }

    proptest! {
        /// Text, JSON and integer forms round-trip.
        #[test]
        fn forms_round_trip(octets: [u8; 6]) {
            let mac = MacAddr::new(octets);
            prop_assert_eq!(mac.to_string().parse::<MacAddr>().unwrap(), mac);
            prop_assert_eq!(mac.to_string().replace(':', "-").to_uppercase().parse::<MacAddr>().unwrap(), mac);
            prop_assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
            let json = serde_json::to_string(&mac).unwrap();
            prop_assert_eq!(serde_json::from_str::<MacAddr>(&json).unwrap(), mac);
        }
    }
}
