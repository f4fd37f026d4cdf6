//! Gateways that share the work of one: each serves some of the addresses inside.
//!
//! Whatever is of one address, its connections, mappings, fragments and published ports, is with one gateway. So their engines know
//! nothing of each other, a worker waits for another one only when both are about addresses of the same gateway, and limits hold in
//! each by itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use vswitch_frame::MacAddr;
use vswitch_nat::proxy::stream::StreamRecord;

use super::{HostGateway, HostGatewaySettings, HostGatewayStats, HostPort, HostPortId, InsideNetwork};
use crate::router::Peers;

/// The gateways. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct HostGateways(Arc<[HostGateway]>);

impl HostGateways {
    /// One gateway for each of these MAC addresses. `settings` are those of each; its MAC address is not looked at.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(settings: &HostGatewaySettings, macs: &[MacAddr], seed: u64) -> io::Result<HostGateways> {
        let count = u32::try_from(macs.len()).map_err(io::Error::other)?;
        let gateway = |(number, &mac): (u32, &MacAddr)| {
            let settings = HostGatewaySettings { mac, ..settings.clone() };
            HostGateway::numbering(settings, seed.wrapping_add(number.into()), count + number, count)
        };
        (0..count).zip(macs).map(gateway).collect::<io::Result<_>>().map(HostGateways)
    }

    /// Each of them, to become a port.
    pub fn each(&self) -> impl Iterator<Item = &HostGateway> {
        self.0.iter()
    }

    /// As [`HostGateway::publish_datagrams`].
    ///
    /// # Errors
    /// When the port cannot be watched.
    pub fn publish_datagrams(&self, port: HostPort) -> io::Result<HostPortId> {
        self.of(port.target.ip())?.publish_datagrams(port)
    }

    /// As [`HostGateway::publish_streams`].
    ///
    /// # Errors
    /// When the port cannot be watched.
    pub fn publish_streams(&self, port: HostPort) -> io::Result<HostPortId> {
        self.of(port.target.ip())?.publish_streams(port)
    }

    /// Closes a published port; `false` when there is none of that number.
    #[must_use]
    pub fn unpublish(&self, port: HostPortId) -> bool {
        let at = usize::try_from(port.0).ok().and_then(|number| number.checked_rem(self.0.len()));
        at.and_then(|at| self.0.get(at)).is_some_and(|gateway| gateway.unpublish(port))
    }

    /// Every TCP connection.
    #[must_use]
    pub fn connections(&self) -> Vec<StreamRecord> {
        self.each().flat_map(HostGateway::connections).collect()
    }

    /// As [`HostGateway::assign`].
    pub fn assign(&self, address: IpAddr, endpoint: u64) {
        if let Ok(gateway) = self.of(address) {
            gateway.assign(address, endpoint);
        }
    }

    /// As [`HostGateway::forget_endpoint`].
    pub fn forget_endpoint(&self, address: IpAddr) {
        if let Ok(gateway) = self.of(address) {
            gateway.forget_endpoint(address);
        }
    }

    /// As [`HostGateway::rebind`].
    #[must_use]
    pub fn rebind(&self, inside: SocketAddr) -> bool {
        self.of(inside.ip()).is_ok_and(|gateway| gateway.rebind(inside))
    }

    /// As [`HostGateway::shrink`].
    pub fn shrink(&self) {
        self.each().for_each(HostGateway::shrink);
    }

    /// As [`HostGateway::set_networks`].
    pub fn set_networks(&self, networks: &[InsideNetwork]) {
        self.each().for_each(|gateway| gateway.set_networks(networks.to_vec()));
    }

    /// Everything that they counted together.
    #[must_use]
    pub fn stats(&self) -> HostGatewayStats {
        let mut sum = HostGatewayStats::default();
        self.each().for_each(|gateway| sum.add(&gateway.stats()));
        sum
    }

    /// The one that serves an address inside.
    fn of(&self, inside: IpAddr) -> io::Result<&HostGateway> {
        self.0.get(Peers::shard(inside, self.0.len())).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests;
