//! Subnets for networks whose user named none: Docker's default pools first, then a pool large enough for thousands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::ranges::{Ranges, address, bounds};

/// Cut from a base into subnets of one size, lowest first.
#[derive(Debug, Clone, Copy)]
struct Pool {
    base: Ipv4Addr,
    base_len: u8,
    size: u8,
}

/// Docker's local pools in Docker's order (`ipamutils/utils.go`), then 10.0.0.0/8 in /24 blocks: 31 + 65,536 networks.
const POOLS: [Pool; 7] = [
    Pool { base: Ipv4Addr::new(172, 17, 0, 0), base_len: 16, size: 16 },
    Pool { base: Ipv4Addr::new(172, 18, 0, 0), base_len: 15, size: 16 },
    Pool { base: Ipv4Addr::new(172, 20, 0, 0), base_len: 14, size: 16 },
    Pool { base: Ipv4Addr::new(172, 24, 0, 0), base_len: 14, size: 16 },
    Pool { base: Ipv4Addr::new(172, 28, 0, 0), base_len: 14, size: 16 },
    Pool { base: Ipv4Addr::new(192, 168, 0, 0), base_len: 16, size: 20 },
    Pool { base: Ipv4Addr::new(10, 0, 0, 0), base_len: 8, size: 24 },
];

/// The first subnet of the default pools that meets nothing in `used`.
#[must_use]
pub fn choose_ipv4(used: &Ranges) -> Option<Ipv4Net> {
    POOLS.iter().find_map(|pool| {
        let base = IpNet::new(IpAddr::V4(pool.base), pool.base_len).expect("pool lengths are at most 32");
        let first = first_free_block(base, pool.size, used)?;
        match first {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    })
}

/// The first /64 of `prefix` that meets nothing in `used`.
#[must_use]
pub fn choose_ipv6(prefix: Ipv6Net, used: &Ranges) -> Option<Ipv6Net> {
    match first_free_block(IpNet::V6(prefix), 64, used)? {
        IpNet::V6(net) => Some(net),
        IpNet::V4(_) => None,
    }
}

/// A ULA /48 (RFC 4193 section 3.2.1) with these 40 random bits.
#[must_use]
pub fn ula_prefix(random: [u8; 5]) -> Ipv6Net {
    let [a, b, c, d, e] = random;
    let mut octets = [0u8; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    Ipv6Net::new(Ipv6Addr::from_octets(octets), 48).expect("48 is at most 128")
}

fn first_free_block(base: IpNet, size: u8, used: &Ranges) -> Option<IpNet> {
    let (start, end) = bounds(base);
    let step = 1u128 << (base.max_prefix_len() - size);
    let mut block = start;
    while block <= end {
        let last = block + (step - 1);
        match used.end_of(block, last) {
            None => {
                let network = address(block, base.network());
                return Some(IpNet::new(network, size).expect("pool sizes are valid lengths"));
            }
            // Go on with the block after the one in which the obstacle ends.
            Some(obstacle) => {
                let past = obstacle.max(last);
                block = start + (past - start) / step * step;
                block = block.checked_add(step)?;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// The first thirty-one automatic subnets are Docker's, in its order, and far more than a thousand follow.
    #[test]
    fn order_of_the_default_pools() {
        let mut used = Ranges::new();
        let mut chosen = Vec::new();
        for _ in 0..1100 {
            let next = choose_ipv4(&used).unwrap();
            assert!(!used.overlaps(bounds(next.into()).0, bounds(next.into()).1));
            used.insert_net(next.into());
            chosen.push(next.to_string());
        }
        assert_eq!(chosen[0], "172.17.0.0/16");
        assert_eq!(chosen[14], "172.31.0.0/16");
        assert_eq!(chosen[15], "192.168.0.0/20");
        assert_eq!(chosen[30], "192.168.240.0/20");
        assert_eq!(chosen[31], "10.0.0.0/24");
        assert_eq!(chosen[32], "10.0.1.0/24");
    }

    /// A host route larger or smaller than the blocks only costs the blocks that it meets.
    #[test]
    fn host_routes_are_skipped() {
        let mut used = Ranges::new();
        used.insert_net(net("172.17.5.0/24"));
        assert_eq!(choose_ipv4(&used).unwrap().to_string(), "172.18.0.0/16");
        used.insert_net(net("172.16.0.0/12"));
        used.insert_net(net("192.168.17.1/32"));
        assert_eq!(choose_ipv4(&used).unwrap().to_string(), "192.168.0.0/20");
        used.insert_net(net("192.168.0.0/20"));
        assert_eq!(choose_ipv4(&used).unwrap().to_string(), "192.168.32.0/20");
        used.insert_net(net("0.0.0.0/0"));
        assert_eq!(choose_ipv4(&used), None);
    }

    /// IPv6 networks get successive /64 of one ULA /48.
    #[test]
    fn ula_blocks() {
        let prefix = ula_prefix([1, 2, 3, 4, 5]);
        assert_eq!(prefix.to_string(), "fd01:203:405::/48");
        let mut used = Ranges::new();
        assert_eq!(choose_ipv6(prefix, &used).unwrap().to_string(), "fd01:203:405::/64");
        used.insert_net(net("fd01:203:405::/64"));
        assert_eq!(choose_ipv6(prefix, &used).unwrap().to_string(), "fd01:203:405:1::/64");
    }
}
