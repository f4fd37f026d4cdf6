//! Subnets for networks whose user named none: from the operator's pools, or else from Docker's default pools first and
//! then from a pool large enough for thousands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::ranges::{Ranges, address, bounds};

/// Cut from a base into subnets of one size, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    base: IpNet,
    size: u8,
}

/// A subnet size that does not fit its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("size={size} does not fit base={base}; write a prefix length from {} to {}", base.prefix_len(), base.max_prefix_len())]
pub struct PoolFault {
    base: IpNet,
    size: u8,
}

impl Pool {
    /// Subnets with prefixes of `size` bits out of `base`.
    ///
    /// # Errors
    /// When such a subnet is larger than the base, or than the whole address space.
    pub fn new(base: IpNet, size: u8) -> Result<Pool, PoolFault> {
        match (base.prefix_len()..=base.max_prefix_len()).contains(&size) {
            true => Ok(Pool { base: base.trunc(), size }),
            false => Err(PoolFault { base, size }),
        }
    }

    /// What it is cut from.
    #[must_use]
    pub const fn base(&self) -> IpNet {
        self.base
    }

    /// Prefix length of its subnets.
    #[must_use]
    pub const fn size(&self) -> u8 {
        self.size
    }

    /// Whether its subnets are IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.base.addr().is_ipv4()
    }
}

/// Docker's local pools in Docker's order (`ipamutils/utils.go`), then 10.0.0.0/8 in /24 blocks: 31 + 65,536 networks.
const DEFAULT_POOLS: [(Ipv4Addr, u8, u8); 7] = [
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 15, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 28, 0, 0), 14, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
    (Ipv4Addr::new(10, 0, 0, 0), 8, 24),
];

/// The pools of a daemon that was told of none.
pub fn default_pools() -> impl Iterator<Item = Pool> {
    DEFAULT_POOLS.into_iter().map(|(base, length, size)| {
        let base = IpNet::new(IpAddr::V4(base), length).expect("pool lengths are at most 32");
        Pool { base, size }
    })
}

/// Successive /64 of a ULA prefix.
#[must_use]
pub fn ula_pool(prefix: Ipv6Net) -> Pool {
    Pool { base: IpNet::V6(prefix), size: 64 }
}

/// The first subnet of these pools that meets nothing in `used`.
#[must_use]
pub fn choose(mut pools: impl Iterator<Item = Pool>, used: &Ranges) -> Option<IpNet> {
    pools.find_map(|pool| first_free_block(pool, used))
}

/// A ULA /48 (RFC 4193 section 3.2.1) with these 40 random bits.
#[must_use]
pub fn ula_prefix(random: [u8; 5]) -> Ipv6Net {
    let [a, b, c, d, e] = random;
    let mut octets = [0u8; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    Ipv6Net::new(Ipv6Addr::from_octets(octets), 48).expect("48 is at most 128")
}

fn first_free_block(Pool { base, size }: Pool, used: &Ranges) -> Option<IpNet> {
    let (start, end) = bounds(base);
    let step = 1u128.checked_shl(u32::from(base.max_prefix_len() - size))?;
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
            let next = choose(default_pools(), &used).unwrap();
            assert!(!used.overlaps(bounds(next).0, bounds(next).1));
            used.insert_net(next);
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
        assert_eq!(choose(default_pools(), &used).unwrap().to_string(), "172.18.0.0/16");
        used.insert_net(net("172.16.0.0/12"));
        used.insert_net(net("192.168.17.1/32"));
        assert_eq!(choose(default_pools(), &used).unwrap().to_string(), "192.168.0.0/20");
        used.insert_net(net("192.168.0.0/20"));
        assert_eq!(choose(default_pools(), &used).unwrap().to_string(), "192.168.32.0/20");
        used.insert_net(net("0.0.0.0/0"));
        assert_eq!(choose(default_pools(), &used), None);
    }

    /// IPv6 networks get successive /64 of one ULA /48.
    #[test]
    fn ula_blocks() {
        let prefix = ula_prefix([1, 2, 3, 4, 5]);
        assert_eq!(prefix.to_string(), "fd01:203:405::/48");
        let mut used = Ranges::new();
        assert_eq!(choose([ula_pool(prefix)].into_iter(), &used).unwrap().to_string(), "fd01:203:405::/64");
        used.insert_net(net("fd01:203:405::/64"));
        assert_eq!(choose([ula_pool(prefix)].into_iter(), &used).unwrap().to_string(), "fd01:203:405:1::/64");
    }

    /// The operator's pools are used in their order, and a size must fit its base.
    #[test]
    fn pools_of_the_operator() {
        let pools = [Pool::new(net("10.200.0.0/30"), 31).unwrap(), Pool::new(net("10.100.0.0/16"), 24).unwrap()];
        let mut used = Ranges::new();
        let all = std::iter::from_fn(|| {
            let next = choose(pools.into_iter(), &used)?;
            used.insert_net(next);
            Some(next.to_string())
        });
        let all: Vec<String> = all.collect();
        assert_eq!(all[..3], ["10.200.0.0/31", "10.200.0.2/31", "10.100.0.0/24"]);
        assert_eq!(all.len(), 2 + 256);
        let fault = Pool::new(net("10.0.0.0/16"), 8).unwrap_err().to_string();
        assert_eq!(fault, "size=8 does not fit base=10.0.0.0/16; write a prefix length from 16 to 32");
        assert!(Pool::new(net("10.0.0.0/16"), 33).is_err());
        let top = Pool::new(net("ffff:ffff::/32"), 32).unwrap();
        used.insert_net(net("ffff:ffff::/32"));
        assert_eq!(choose([top].into_iter(), &used), None);
    }
}
