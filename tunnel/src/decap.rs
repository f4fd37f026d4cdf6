//! Decapsulation: which inner frames may come in. Every one that may not has a reason.

use std::net::IpAddr;
use std::sync::Arc;

use vswitch_frame::{Headers, L3, MacAddr, Timestamp, Vni, ethernet, ipv4, ipv6};

use crate::drop::TunnelDrop;
use crate::ecn;
use crate::header::{self, Malformed};
use crate::overlay::Overlay;
use crate::remote::{Amount, Remote};
use crate::spec::InnerVlan;

/// Splits a UDP payload into its VNI and where the inner frame starts.
///
/// # Errors
/// When it is no VXLAN packet.
#[inline]
pub fn open(payload: &[u8]) -> Result<(Vni, usize), TunnelDrop> {
    match header::parse(payload) {
        Ok((vni, _)) => Ok((vni, header::LEN)),
        Err(Malformed::Truncated) => Err(TunnelDrop::Truncated),
        Err(Malformed::NoVni) => Err(TunnelDrop::NoVni),
    }
}

/// Takes in the packets of one network that came together from one source. Dropping it counts them on their remote.
#[derive(Debug)]
pub struct Intake<'o> {
    overlay: &'o Overlay,
    remote: Arc<Remote>,
    outer_tos: u8,
    now: Timestamp,
    amount: Amount,
    /// The last source that was learned.
    heard: Option<MacAddr>,
}

impl<'o> Intake<'o> {
    /// For packets from `source` with this outer TOS or traffic class.
    ///
    /// # Errors
    /// [`TunnelDrop::UnknownRemote`] when the source is not believed.
    pub fn new(overlay: &'o Overlay, source: IpAddr, outer_tos: u8, now: Timestamp) -> Result<Self, TunnelDrop> {
        let remote = overlay.remote(source).ok_or(TunnelDrop::UnknownRemote)?;
        Ok(Intake { overlay, remote, outer_tos, now, amount: Amount::default(), heard: None })
    }

    /// Checks an inner frame, carries a congestion mark into it and learns its source. Returns where its headers lie.
    ///
    /// # Errors
    /// The reason to drop it.
    #[inline]
    pub fn accept(&mut self, inner: &mut [u8]) -> Result<Headers, TunnelDrop> {
        self.amount.packets += 1;
        self.amount.bytes += u64::try_from(inner.len()).unwrap_or(0);
        if inner.len() < ethernet::HEADER_LEN {
            return Err(TunnelDrop::Runt);
        }
        let (_, source) = vswitch_frame::addresses(inner);
        if !source.is_station() {
            return Err(TunnelDrop::InvalidSource);
        }
        let headers = self.check_headers(inner)?;
        if self.heard != Some(source) {
            self.overlay.heard(source, &self.remote, self.now)?;
            self.heard = Some(source);
        }
        Ok(headers)
    }

    /// What needs a look behind the Ethernet header.
    #[inline]
    fn check_headers(&self, inner: &mut [u8]) -> Result<Headers, TunnelDrop> {
        let Ok(headers) = Headers::parse(inner) else { return Err(TunnelDrop::Runt) };
        if headers.vlan_tci().is_some() && self.overlay.spec().inner_vlan == InnerVlan::Drop {
            return Err(TunnelDrop::Tagged);
        }
        match headers.l3() {
            L3::Ipv4 | L3::Ipv6 => {
                let tos = ecn::tos(inner, &headers);
                let goes_on = ecn::decapsulate(self.outer_tos, tos).ok_or(TunnelDrop::NotEct)?;
                if goes_on != tos & 0b11 {
                    ecn::mark(inner, &headers, goes_on);
                }
                Ok(headers)
            }
            // The congestion mark cannot be carried into half a header.
            L3::Malformed if inner.len() < headers.l3_offset() + least_header(&headers) => Err(TunnelDrop::Runt),
            _ => Ok(headers),
        }
    }
}

const fn least_header(headers: &Headers) -> usize {
    match headers.ether_type() {
        vswitch_frame::EtherType::IPV6 => ipv6::HEADER_LEN,
        _ => ipv4::MIN_HEADER_LEN,
    }
}

impl Drop for Intake<'_> {
    fn drop(&mut self) {
        self.remote.received(self.amount, self.now);
    }
}
