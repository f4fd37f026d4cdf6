//! What a new overlay network is like.

use super::super::Controller;
use super::super::state::State;
use super::Vtep;
use crate::error::ControlError;
use crate::model::{Family, MIN_MTU_IPV6, Network, NetworkSpec, Overlay, OverlayWish, free_vni};
use crate::overlay::{Directory, mtu};

impl Controller {
    /// Decides about the tunnel and the MTU of a new network.
    ///
    /// # Errors
    /// When there is no such VTEP, the VNI is taken, or the MTU does not fit.
    pub(in crate::controller) fn plan_overlay(
        &self,
        state: &State,
        wish: OverlayWish,
        spec: &NetworkSpec,
    ) -> Result<(Overlay, u32), ControlError> {
        let vtep = self.wanted_vtep(wish)?;
        let taken = || state.networks.values().filter_map(|on| Some((on.network.overlay.as_ref()?.vni, &on.network)));
        let vni = match wish.vni {
            Some(vni) => match taken().find(|(other, _)| *other == vni) {
                Some((_, network)) => return Err(vni_in_use(vni, network)),
                None => vni,
            },
            None => free_vni(taken().map(|(vni, _)| vni))
                .ok_or_else(|| ControlError::Conflict("all VNIs are in use; remove an overlay network".to_owned()))?,
        };
        if wish.checksum == Some(false) && vtep.spec.address.is_ipv6() {
            return Err(ControlError::invalid(format!(
                "encap-checksum=false is for IPv4 underlays, and VTEP {} is IPv6; leave it out",
                vtep.spec.address
            )));
        }
        let mtu = fitting_mtu(vtep, spec)?;
        let checksum = wish.checksum.unwrap_or(true);
        Ok((Overlay { vni, vtep: wish.vtep, checksum, directory: Directory::default() }, mtu))
    }

    fn wanted_vtep(&self, wish: OverlayWish) -> Result<&Vtep, ControlError> {
        let overlays = &self.inner.overlays;
        overlays.vtep(wish.vtep).ok_or_else(|| match wish.vtep {
            Some(address) if !overlays.vteps.is_empty() => {
                let known: Vec<_> = overlays.vteps.iter().map(|vtep| vtep.spec.address.to_string()).collect();
                ControlError::invalid(format!("vswitchd has no VTEP {address}; use one of {}", known.join(", ")))
            }
            _ => ControlError::invalid(
                "overlay networks need a VTEP; start vswitchd with --vtep ADDRESS, an address of this host that the \
                 other hosts reach",
            ),
        })
    }
}

fn vni_in_use(vni: vswitch_frame::Vni, network: &Network) -> ControlError {
    ControlError::Conflict(format!(
        "VNI {vni} is in use by network {}; choose another with --opt vni=N, on all hosts the same",
        network.name
    ))
}

/// The user's MTU if it fits, otherwise the longest that does.
fn fitting_mtu(vtep: &Vtep, spec: &NetworkSpec) -> Result<u32, ControlError> {
    let Some(underlay) = vtep.sight().last else { return Ok(spec.options.mtu) };
    let longest = mtu::longest(&underlay, vtep.spec.address);
    let (interface, has) = (&underlay.interface, underlay.mtu);
    if spec.options.mtu_given {
        return match spec.options.mtu {
            wanted if wanted > longest => Err(ControlError::invalid(format!(
                "MTU {wanted} does not fit: interface {interface} of VTEP {} has MTU {has}, so use at most {longest}",
                vtep.spec.address
            ))),
            wanted => Ok(wanted),
        };
    }
    if spec.ipv6 != Family::Off && longest < MIN_MTU_IPV6 {
        return Err(ControlError::invalid(format!(
            "IPv6 needs packets of {MIN_MTU_IPV6} bytes, and interface {interface} of VTEP {} with MTU {has} carries \
             {longest} in one packet; raise its MTU, or leave IPv6 out",
            vtep.spec.address
        )));
    }
    Ok(longest)
}
