//! The addresses of one subnet: which are taken, and which is next.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ranges::{Ranges, address, bounds, number};

/// A network's subnet of one address family, as decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPlan {
    /// The subnet; host bits are zero.
    pub net: IpNet,
    /// Automatic addresses come from here, if set.
    pub range: Option<IpNet>,
    /// The gateway's address.
    pub gateway: IpAddr,
    /// Who has it.
    #[serde(default)]
    pub leg: GatewayLeg,
    /// Never leased, by name.
    pub aux: BTreeMap<String, IpAddr>,
    /// The user named the subnet (static addresses are allowed).
    pub given: bool,
}

impl SubnetPlan {
    /// `ADDRESS/LEN` of an address in this subnet.
    #[must_use]
    pub fn with_length(&self, address: IpAddr) -> String {
        format!("{address}/{}", self.net.prefix_len())
    }

    /// The subnet without some of its addresses.
    #[must_use]
    pub fn without(&self, addresses: &[IpAddr]) -> Vec<IpNet> {
        let mut pieces = vec![self.net];
        for &address in addresses {
            let Some(found) = pieces.iter().position(|piece| piece.contains(&address)) else { continue };
            let mut piece = pieces.swap_remove(found);
            while let Ok(mut halves) = piece.subnets(piece.prefix_len() + 1)
                && let (Some(low), Some(high)) = (halves.next(), halves.next())
            {
                let (inside, outside) = if low.contains(&address) { (low, high) } else { (high, low) };
                pieces.push(outside);
                piece = inside;
            }
        }
        pieces.sort_unstable();
        pieces
    }

    /// The switch's own address in it.
    #[must_use]
    pub fn own(&self) -> Option<IpAddr> {
        (self.leg == GatewayLeg::Switch).then_some(self.gateway)
    }

    /// Where default routes lead: to the gateway, unless an auxiliary address says otherwise.
    #[must_use]
    pub fn router(&self) -> Option<IpAddr> {
        let name = if self.net.addr().is_ipv4() { DEFAULT_GATEWAY_V4 } else { DEFAULT_GATEWAY_V6 };
        let named = self.aux.get(name).copied();
        named.or_else(|| (self.leg != GatewayLeg::Nobody).then_some(self.gateway))
    }
}

/// Who is the gateway of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GatewayLeg {
    /// The switch.
    #[default]
    Switch,
    /// Somebody else on the network, to whom default routes lead.
    Elsewhere,
    /// Nobody: the address is one like others, and there is no default route.
    Nobody,
}

/// The auxiliary address of this name is the router of a network's containers (`bridge` driver of Docker).
pub const DEFAULT_GATEWAY_V4: &str = "DefaultGatewayIPv4";
/// The same for IPv6.
pub const DEFAULT_GATEWAY_V6: &str = "DefaultGatewayIPv6";

/// Why an address cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Not in the subnet.
    #[error("the address is outside the subnet")]
    Outside,
    /// Reserved.
    #[error("the address is in use")]
    Taken,
}

/// What is taken in one subnet. Lowest free address first, as Docker does it.
#[derive(Debug, Clone)]
pub struct Leases {
    net: IpNet,
    first: u128,
    last: u128,
    reserved: Ranges,
    taken: Ranges,
    /// How many further ones hold an address that is taken.
    shared: BTreeMap<u128, usize>,
}

impl Leases {
    /// Nothing leased yet: only the network, broadcast, gateway and auxiliary addresses are taken.
    #[must_use]
    pub fn new(plan: &SubnetPlan) -> Self {
        let mut reserved = unusable(plan.net);
        let gateway = (plan.leg != GatewayLeg::Nobody).then_some(&plan.gateway);
        for address in plan.aux.values().chain(gateway) {
            reserved.insert(number(*address), number(*address));
        }
        let (first, last) = bounds(plan.range.unwrap_or(plan.net));
        Leases { net: plan.net, first, last, taken: reserved.clone(), reserved, shared: BTreeMap::new() }
    }

    /// Takes the lowest free address of the range.
    pub fn allocate(&mut self) -> Option<IpAddr> {
        let value = self.taken.lowest_free(self.first, self.last)?;
        self.taken.insert(value, value);
        Some(address(value, self.net.network()))
    }

    /// Holds this address, perhaps together with others; it may lie outside the range of automatic ones.
    ///
    /// # Errors
    /// When it is outside the subnet or reserved.
    pub fn hold(&mut self, wanted: IpAddr) -> Result<(), ClaimError> {
        if !self.net.contains(&wanted) {
            return Err(ClaimError::Outside);
        }
        let value = number(wanted);
        if self.reserved.contains(value) {
            return Err(ClaimError::Taken);
        }
        if self.taken.contains(value) {
            *self.shared.entry(value).or_default() += 1;
        } else {
            self.taken.insert(value, value);
        }
        Ok(())
    }

    /// Takes this address, or the lowest free one of the range, for one holder alone: nobody else may hold it until it is
    /// surrendered. `None`: no address is left.
    ///
    /// # Errors
    /// When it is outside the subnet, reserved, or held by somebody.
    pub fn claim(&mut self, wanted: Option<IpAddr>) -> Result<Option<IpAddr>, ClaimError> {
        let value = match wanted {
            Some(wanted) if !self.net.contains(&wanted) => return Err(ClaimError::Outside),
            Some(wanted) => number(wanted),
            None => match self.taken.lowest_free(self.first, self.last) {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        if self.taken.contains(value) {
            return Err(ClaimError::Taken);
        }
        self.taken.insert(value, value);
        self.reserved.insert(value, value);
        Ok(Some(address(value, self.net.network())))
    }

    /// Gives back an address that was claimed.
    pub fn surrender(&mut self, claimed: IpAddr) {
        let value = number(claimed);
        if self.net.contains(&claimed) {
            self.reserved.remove(value);
            self.taken.remove(value);
        }
    }

    /// Gives an address back; it is free when the last one has. Reserved ones stay taken, and giving back twice is harmless.
    pub fn release(&mut self, leased: IpAddr) {
        let value = number(leased);
        if let Some(others) = self.shared.get_mut(&value).filter(|_| self.net.contains(&leased)) {
            *others -= 1;
            if *others == 0 {
                self.shared.remove(&value);
            }
        } else if self.net.contains(&leased) && !self.reserved.contains(value) {
            self.taken.remove(value);
        }
    }

    /// Whether an automatic address is left.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.taken.lowest_free(self.first, self.last).is_some()
    }
}

/// The first usable address of `net` that is not an auxiliary one: the gateway, where the user named none. Docker takes
/// the first of `--ip-range` instead, which may look like a network address.
#[must_use]
pub fn default_gateway(net: IpNet, aux: &BTreeMap<String, IpAddr>) -> Option<IpAddr> {
    let mut taken = unusable(net);
    for address in aux.values() {
        taken.insert(number(*address), number(*address));
    }
    let (first, last) = bounds(net);
    taken.lowest_free(first, last).map(|value| address(value, net.network()))
}

/// Network and broadcast address (for IPv6 the subnet-router anycast address), except where the subnet is a
/// point-to-point link or a single host (RFC 3021, RFC 6164).
fn unusable(net: IpNet) -> Ranges {
    let mut ranges = Ranges::new();
    let (first, last) = bounds(net);
    if net.prefix_len() + 2 <= net.max_prefix_len() {
        ranges.insert(first, first);
        if matches!(net, IpNet::V4(_)) {
            ranges.insert(last, last);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plan(net: &str) -> SubnetPlan {
        let net: IpNet = net.parse().unwrap();
        let aux = BTreeMap::new();
        SubnetPlan {
            net,
            range: None,
            gateway: default_gateway(net, &aux).unwrap(),
            leg: GatewayLeg::Switch,
            aux,
            given: true,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Addresses come lowest first, a released one is the next, and the reserved ones never come.
    #[test]
    fn lowest_free_first() {
        let mut leases = Leases::new(&plan("10.1.0.0/29"));
        let all: Vec<_> = std::iter::from_fn(|| leases.allocate()).map(|ip| ip.to_string()).collect();
        assert_eq!(all, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        leases.release(ip("10.1.0.4"));
        leases.release(ip("10.1.0.1"));
        leases.release(ip("10.1.0.7"));
        assert_eq!(leases.allocate(), Some(ip("10.1.0.4")));
        assert_eq!(leases.allocate(), None);
    }

    /// What is claimed is nobody else's until it is surrendered, and what somebody holds is not to be claimed.
    #[test]
    fn claims_are_exclusive() {
        let mut leases = Leases::new(&plan("10.1.0.0/29"));
        assert_eq!(leases.claim(None), Ok(Some(ip("10.1.0.2"))));
        assert_eq!(leases.claim(Some(ip("10.1.0.5"))), Ok(Some(ip("10.1.0.5"))));
        for taken in ["10.1.0.2", "10.1.0.5"] {
            assert_eq!(leases.hold(ip(taken)), Err(ClaimError::Taken));
            leases.release(ip(taken));
            assert_eq!(leases.claim(Some(ip(taken))), Err(ClaimError::Taken));
        }
        leases.hold(ip("10.1.0.3")).unwrap();
        assert_eq!(leases.claim(Some(ip("10.1.0.3"))), Err(ClaimError::Taken));
        assert_eq!(leases.claim(Some(ip("10.1.0.1"))), Err(ClaimError::Taken));
        assert_eq!(leases.claim(Some(ip("10.2.0.3"))), Err(ClaimError::Outside));
        leases.surrender(ip("10.1.0.5"));
        leases.hold(ip("10.1.0.5")).unwrap();
        let left: Vec<_> = std::iter::from_fn(|| leases.claim(None).unwrap()).map(|ip| ip.to_string()).collect();
        assert_eq!(left, ["10.1.0.4", "10.1.0.6"]);
    }

    /// An automatic address comes from the range; a static one may lie beside it, not outside the subnet.
    #[test]
    fn ranges_bind_automatic_addresses_only() {
        let mut plan = plan("10.1.0.0/16");
        plan.range = Some("10.1.5.0/30".parse().unwrap());
        plan.aux.insert("printer".into(), ip("10.1.5.1"));
        let mut leases = Leases::new(&plan);
        assert_eq!(leases.allocate(), Some(ip("10.1.5.0")));
        assert_eq!(leases.allocate(), Some(ip("10.1.5.2")));
        assert_eq!(leases.hold(ip("10.1.0.77")), Ok(()));
        assert_eq!(leases.hold(ip("10.1.5.1")), Err(ClaimError::Taken));
        assert_eq!(leases.hold(ip("10.1.0.1")), Err(ClaimError::Taken));
        assert_eq!(leases.hold(ip("10.2.0.1")), Err(ClaimError::Outside));
        assert_eq!(leases.hold(ip("fd00::1")), Err(ClaimError::Outside));
    }

    /// Small subnets: a /31 holds gateway and one container, a /32 and a /128 have no room, a /127 has.
    #[test]
    fn small_subnets() {
        for (net, gateway, rest) in [
            ("10.0.0.0/30", "10.0.0.1", vec!["10.0.0.2"]),
            ("10.0.0.0/31", "10.0.0.0", vec!["10.0.0.1"]),
            ("10.0.0.0/32", "10.0.0.0", vec![]),
            ("fd00::/126", "fd00::1", vec!["fd00::2", "fd00::3"]),
            ("fd00::/127", "fd00::", vec!["fd00::1"]),
            ("fd00::/128", "fd00::", vec![]),
        ] {
            let plan = plan(net);
            assert_eq!(plan.gateway.to_string(), gateway, "{net}");
            let mut leases = Leases::new(&plan);
            let all: Vec<_> = std::iter::from_fn(|| leases.allocate()).map(|ip| ip.to_string()).collect();
            assert_eq!(all, rest, "{net}");
        }
    }

    /// A /16 is handed out completely, and quickly enough that a test can do it.
    #[test]
    fn a_full_sixteen() {
        let mut leases = Leases::new(&plan("172.17.0.0/16"));
        let all: BTreeSet<_> = std::iter::from_fn(|| leases.allocate()).collect();
        assert_eq!(all.len(), 65_533);
        assert!(!leases.has_room());
    }

    proptest! {
        /// Whatever is allocated, held and released: no address is given that somebody holds, none is reserved, all are inside.
        #[test]
        fn no_address_is_out_twice(steps in proptest::collection::vec((0u8..3, 0u32..16), 0..80)) {
            let plan = plan("10.9.0.0/28");
            let mut leases = Leases::new(&plan);
            let mut out: BTreeMap<IpAddr, usize> = BTreeMap::new();
            for (kind, offset) in steps {
                let address = IpAddr::V4((u32::from_be_bytes([10, 9, 0, 0]) + offset).into());
                let usable = !matches!(offset, 0 | 1 | 15);
                match kind {
                    0 => {
                        let lowest = (2..15u32).map(|o| IpAddr::V4((u32::from_be_bytes([10, 9, 0, 0]) + o).into()))
                            .find(|ip| !out.contains_key(ip));
                        prop_assert_eq!(leases.allocate(), lowest);
                        out.extend(lowest.map(|ip| (ip, 1)));
                    }
                    1 => {
                        prop_assert_eq!(leases.hold(address).is_ok(), usable);
                        if usable {
                            *out.entry(address).or_default() += 1;
                        }
                    }
                    _ => {
                        leases.release(address);
                        if let Some(count) = out.get_mut(&address) {
                            *count -= 1;
                        }
                        out.retain(|_, count| *count > 0);
                    }
                }
            }
        }
    }
}
