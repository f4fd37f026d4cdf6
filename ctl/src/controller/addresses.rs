//! Who has which address on a network.
//!
//! As with Docker, an address that was asked for belongs to whoever runs: several containers may have been created with it, and of
//! those one may be started. Nobody gets it by chance. An address that was given by chance is kept as long as its endpoint is there,
//! unless somebody runs with it when its container is started.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use vswitch_frame::MacAddr;

use super::state::{NetworkState, State};
use crate::error::ControlError;
use crate::ids::Id;
use crate::ipam::{ClaimError, Leases, random_local};
use crate::model::{Endpoint, IpamDriver, Owner, StaticAddress};

impl State {
    /// Makes a container that is to be started the only one with its addresses.
    pub(super) fn take_addresses(&mut self, container: &Id) -> Result<(), ControlError> {
        let endpoints = self.container_by_id(container)?.endpoints.clone();
        endpoints.iter().try_for_each(|id| self.take_addresses_of(id))
    }

    /// The same of one endpoint. What was asked for is refused if somebody active has it; what was not makes way.
    pub(super) fn take_addresses_of(&mut self, id: &Id) -> Result<(), ControlError> {
        let Some(mut endpoint) = self.endpoints.get(id).map(|one| one.endpoint.clone()) else { return Ok(()) };
        let Some(on) = self.networks.get(&endpoint.network) else { return Ok(()) };
        // The host is there whether anybody runs or not.
        let host = on.endpoints.iter().filter_map(|id| self.endpoints.get(id));
        let host = host.filter(|one| one.endpoint.owner == Owner::Host);
        let others = self.active_endpoints(on).chain(host).map(|one| &one.endpoint).filter(|other| other.id != *id);
        let (mut addresses, mut station) = (BTreeSet::new(), None);
        for other in others {
            addresses.extend(other.addresses().filter(|address| endpoint.addresses().any(|own| own == *address)));
            if other.mac == endpoint.mac {
                station = Some(other.name.clone());
            }
        }
        // There the user gives addresses alone, and answers for them.
        if on.network.ipam == IpamDriver::Null {
            addresses.clear();
        }
        if addresses.is_empty() && station.is_none() {
            return Ok(());
        }
        let asked = |address: &&IpAddr| if address.is_ipv4() { endpoint.asked.ipv4 } else { endpoint.asked.ipv6 };
        if let Some(address) = addresses.iter().find(asked) {
            let network = on.network.name.clone();
            return Err(ControlError::AddressInUse { address: address.to_string(), network });
        }
        if let Some(owner) = station.clone().filter(|_| endpoint.asked.mac) {
            return Err(on.mac_in_use(endpoint.mac, owner));
        }
        let Some(on) = self.networks.get_mut(&endpoint.network) else { return Ok(()) };
        make_way(on, &mut endpoint, &addresses, station.is_some())?;
        if let Some(one) = self.endpoints.get_mut(id) {
            one.endpoint = endpoint;
        }
        Ok(())
    }
}

/// Other addresses than those that somebody else has.
fn make_way(
    on: &mut NetworkState,
    endpoint: &mut Endpoint,
    addresses: &BTreeSet<IpAddr>,
    station: bool,
) -> Result<(), ControlError> {
    for fixed in [&mut endpoint.ipv4, &mut endpoint.ipv6] {
        if let Some(old) = fixed.filter(|fixed| addresses.contains(&fixed.address)) {
            *fixed = on.lease(None, old.address.is_ipv4())?;
            on.give_back(Some(old));
        }
    }
    if station {
        on.release_mac(endpoint.mac, &endpoint.id);
        endpoint.mac = on.free_mac(endpoint.ipv4);
        on.hold_mac(endpoint.mac, &endpoint.id);
    }
    Ok(())
}

impl NetworkState {
    pub(super) fn leases(&mut self, address: IpAddr) -> Option<&mut Leases> {
        if address.is_ipv4() { self.ipv4.as_mut() } else { self.ipv6.as_mut() }
    }

    pub(super) fn give_back(&mut self, leased: Option<StaticAddress>) {
        if let Some(leased) = leased
            && let Some(leases) = self.leases(leased.address)
        {
            leases.release(leased.address);
        }
    }

    /// Takes an address for a service: the wanted one, or the next free one of a family that the network has.
    pub(super) fn claim(&mut self, wanted: Option<IpAddr>, ipv4: bool) -> Result<Option<IpAddr>, ControlError> {
        let network = self.network.name.clone();
        let outside = |address| {
            ControlError::invalid(format!(
                "{address} is in no subnet of network {network}; leave the address of the service out, or use one of the network's"
            ))
        };
        let leases = if ipv4 { self.ipv4.as_mut() } else { self.ipv6.as_mut() };
        let claimed = leases.map(|leases| leases.claim(wanted));
        match (claimed, wanted) {
            (Some(Ok(Some(address))), _) => Ok(Some(address)),
            (Some(Err(ClaimError::Taken)), Some(address)) => {
                Err(ControlError::AddressInUse { address: address.to_string(), network })
            }
            (None | Some(Err(_)), Some(address)) => Err(outside(address)),
            (None, None) => Ok(None),
            (Some(_), _) => Err(ControlError::NoAddress {
                family: if ipv4 { "IPv4" } else { "IPv6" },
                network,
                id: self.network.id.to_string(),
            }),
        }
    }

    /// Gives back what was claimed.
    pub(super) fn surrender(&mut self, address: IpAddr) {
        if let Some(leases) = self.leases(address) {
            leases.surrender(address);
        }
    }

    /// An address of one family for a new endpoint: the wanted one, or the lowest free one, or none.
    pub(super) fn lease(
        &mut self,
        wanted: Option<StaticAddress>,
        ipv4: bool,
    ) -> Result<Option<StaticAddress>, ControlError> {
        if let Some(wanted) = wanted {
            return self.lease_static(wanted).map(Some);
        }
        let leases = if ipv4 { self.ipv4.as_mut() } else { self.ipv6.as_mut() };
        let Some(leases) = leases else { return Ok(None) };
        let address = leases.allocate().ok_or_else(|| ControlError::NoAddress {
            family: if ipv4 { "IPv4" } else { "IPv6" },
            network: self.network.name.clone(),
            id: self.network.id.to_string(),
        })?;
        Ok(Some(StaticAddress { address, prefix: None, gateway: None }))
    }

    fn lease_static(&mut self, wanted: StaticAddress) -> Result<StaticAddress, ControlError> {
        let StaticAddress { address, prefix, gateway } = wanted;
        if self.network.predefined() {
            return Err(ControlError::invalid("user specified IP address is supported on user defined networks only"));
        }
        let plan = if address.is_ipv4() { self.network.ipv4.as_ref() } else { self.network.ipv6.as_ref() };
        let length = prefix.or(plan.map(|plan| plan.net.prefix_len()));
        check_gateway(address, length, gateway)?;
        if matches!(self.network.ipam, IpamDriver::Null | IpamDriver::Dhcp) {
            if prefix.is_none() {
                return Err(ControlError::invalid(format!(
                    "network {} gives no addresses, so {address} needs its prefix length: write {address}/24",
                    self.network.name
                )));
            }
            return Ok(wanted);
        }
        match plan {
            Some(plan) if !plan.given => {
                return Err(ControlError::invalid(
                    "user specified IP address is supported only when connecting to networks with user configured \
                     subnets",
                ));
            }
            Some(plan)
                if self.network.options.rest_proxied && !plan.range.is_some_and(|range| range.contains(&address)) =>
            {
                return Err(ControlError::invalid(format!(
                    "{address} is outside of network {}, of which its range is all; use an address of that",
                    self.network.name
                )));
            }
            Some(plan) if plan.net.contains(&address) => {}
            _ => return Err(ControlError::invalid(format!("no configured subnet contains IP address {address}"))),
        }
        let network = self.network.name.clone();
        match self.leases(address).map(|leases| leases.hold(address)) {
            Some(Ok(())) => Ok(wanted),
            Some(Err(ClaimError::Taken)) => Err(ControlError::AddressInUse { address: address.to_string(), network }),
            Some(Err(ClaimError::Outside)) | None => {
                Err(ControlError::invalid(format!("no configured subnet contains IP address {address}")))
            }
        }
    }

    /// The switch's own address on this network.
    pub(super) fn gateway_mac(&self) -> MacAddr {
        self.network.gateway_mac()
    }

    /// Whether an endpoint of this network may have this MAC address; `name` names those that are there.
    pub(super) fn check_mac(&self, mac: MacAddr, name: impl Fn(&Id) -> Option<String>) -> Result<(), ControlError> {
        match self.macs.get(&mac).and_then(BTreeSet::first) {
            Some(id) => Err(self.mac_in_use(mac, name(id).unwrap_or_else(|| id.short().to_owned()))),
            None => self.check_station(mac),
        }
    }

    /// Whether any endpoint of this network may have this MAC address.
    pub(super) fn check_station(&self, mac: MacAddr) -> Result<(), ControlError> {
        match self.has_gateway() && mac == self.gateway_mac() {
            true => Err(self.mac_in_use(mac, "the gateway".to_owned())),
            false => Ok(()),
        }
    }

    fn mac_in_use(&self, mac: MacAddr, owner: String) -> ControlError {
        ControlError::MacInUse { mac: mac.to_string(), owner, network: self.network.name.clone() }
    }

    pub(super) fn hold_mac(&mut self, mac: MacAddr, id: &Id) {
        self.macs.entry(mac).or_default().insert(id.clone());
    }

    pub(super) fn release_mac(&mut self, mac: MacAddr, id: &Id) {
        if let Some(holders) = self.macs.get_mut(&mac) {
            holders.remove(id);
            if holders.is_empty() {
                self.macs.remove(&mac);
            }
        }
    }

    fn has_gateway(&self) -> bool {
        self.network.subnets().next().is_some()
    }

    /// Docker's address derived from IPv4; a random one where there is no IPv4 or somebody took the derived one.
    pub(super) fn free_mac(&self, ipv4: Option<StaticAddress>) -> MacAddr {
        let derived = match ipv4.map(|leased| leased.address) {
            Some(IpAddr::V4(address)) => Some(MacAddr::from_ipv4(address)),
            _ => None,
        };
        let free = |mac: &MacAddr| self.check_mac(*mac, |_| None).is_ok();
        derived.filter(free).unwrap_or_else(|| {
            let mut rng = rand::rng();
            std::iter::repeat_with(|| random_local(&mut rng)).find(free).expect("2^46 addresses are never all taken")
        })
    }
}

/// A gateway of its own must be reachable from the address, and be another one.
fn check_gateway(address: IpAddr, length: Option<u8>, gateway: Option<IpAddr>) -> Result<(), ControlError> {
    let (Some(gateway), Some(length)) = (gateway, length) else { return Ok(()) };
    let reachable = IpNet::new(address, length).is_ok_and(|net| net.contains(&gateway));
    if reachable && gateway != address {
        Ok(())
    } else {
        Err(ControlError::invalid(format!("invalid gateway {gateway}: it is not a neighbour of {address}/{length}")))
    }
}
