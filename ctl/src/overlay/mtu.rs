//! How long packets of an overlay network may be.

use std::net::IpAddr;

use super::underlay::Underlay;

/// Outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348 section 5).
const OVERHEAD_V4: u32 = 14 + 20 + 8 + 8;
/// With IPv6 instead of IPv4.
const OVERHEAD_V6: u32 = 14 + 40 + 8 + 8;
/// The longest IP packet, which bounds what an interface such as loopback may claim.
const LONGEST_PACKET: u32 = 65_535;

/// The longest inner IP packet that fits into one packet of the underlay.
#[must_use]
pub fn longest(underlay: &Underlay, vtep: IpAddr) -> u32 {
    let overhead = if vtep.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
    underlay.mtu.min(LONGEST_PACKET).saturating_sub(overhead)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50 bytes less over IPv4, 70 over IPv6 (V14), and never longer than one packet can carry.
    #[test]
    fn overhead() {
        let underlay = |mtu| Underlay { interface: "eth0".into(), mtu };
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!((longest(&underlay(1500), v4), longest(&underlay(1500), v6)), (1450, 1430));
        assert_eq!(longest(&underlay(65_536), v4), 65_485);
    }
}
