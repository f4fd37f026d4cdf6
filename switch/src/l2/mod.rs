//! What a managed switch does beyond learning: isolation groups, secured addresses, storm control, multicast snooping,
//! VLANs.
//!
//! A port's wishes are its [`PortFeatures`]; control gives them with the port and may change them while traffic runs. What they come to is
//! one [`Features`] of the network, an immutable part of the snapshot: it is `None` where nobody asks for anything, and that is all
//! that such a network pays. State that outlives a change (counts, lists) is shared between the generations.
//!
//! Whatever a network asks for, who announces itself by LLDP is remembered (`lldp`).
//!
//! These places ask it: [`Place::classify`] before the bridge's decision, [`Place::judge`] behind it ([`Place::charge`] where the router
//! decides instead), [`Place::reaches`] where a flood picks its ports and the router leads back into the network, and
//! [`Features::dress`] at the exit, which nothing can leave by in a VLAN that is not the port's.

mod bucket;
mod config;
mod limit;
mod lldp;
mod snooping;
mod storm;
mod violations;
mod vlan;

use std::sync::{Arc, Mutex};

use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{DropReason, FrameBuf, MacAddr, Packet, PortId, Timestamp, VlanId};

use bucket::{Cost, Policer};
pub use config::{Mirror, PortFeatures, Storm};
pub use limit::{Limit, LimitFault};
pub use lldp::LldpNeighbour;
pub(crate) use lldp::Neighbours as LldpNeighbours;
pub use snooping::{GroupMember, Manner, RouterPort, SnoopingConfig};
use snooping::{Origin, Snooping, Spread};
use storm::StormControl;
pub use violations::Violation;
use violations::Violations;
pub(crate) use vlan::{Edit, tag};
pub use vlan::{PortVlan, VlanSet, VlanSetFault};

use crate::NetworkConfig;
use crate::shared::lock;
use crate::snapshot::Network;
use crate::verdict::{Cause, Verdict};

/// What the ports of a network ask for.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Ports that ask for something, by number.
    ports: Vec<Arc<PortState>>,
    violations: Arc<Violations>,
    snooping: Option<Arc<Snooping>>,
    /// Some port has to do with VLANs, so all are asked.
    vlans: bool,
    /// Some port is sent only so much.
    rates: bool,
    /// What some port sends is mirrored.
    mirrors: bool,
}

/// A port that asks for something.
#[derive(Debug)]
struct PortState {
    id: PortId,
    config: PortFeatures,
    storm: Option<StormControl>,
    rate_in: Option<Mutex<Policer>>,
    rate_out: Option<Mutex<Policer>>,
}

/// The features as they are for a frame that came in by one port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'f> {
    features: &'f Features,
    ingress: PortId,
    port: Option<&'f PortState>,
}

impl Features {
    /// What a network asks for itself; `None`: nothing.
    pub(crate) fn of(config: &NetworkConfig) -> Option<Arc<Features>> {
        let snooping = config.snooping.map(|config| Arc::new(Snooping::new(config)));
        Features { snooping, ..Features::default() }.or_nothing()
    }

    /// With these wishes of one port; `None` when nobody wishes for anything.
    pub(crate) fn with(before: Option<&Arc<Features>>, id: PortId, config: PortFeatures) -> Option<Arc<Features>> {
        let mut features = before.map_or_else(Features::default, |before| Features::clone(before));
        features.ports.retain(|port| port.id != id);
        if config != PortFeatures::default() {
            let storm = StormControl::new(&config.storm);
            let [rate_in, rate_out] =
                [config.rate_in, config.rate_out].map(|limit| limit.map(|limit| Mutex::new(Policer::new(limit))));
            features.ports.push(Arc::new(PortState { id, config, storm, rate_in, rate_out }));
            features.ports.sort_unstable_by_key(|port| port.id);
        }
        features.vlans = features.ports.iter().any(|port| port.config.vlan.is_some());
        features.rates = features.ports.iter().any(|port| port.rate_out.is_some());
        let sent = |port: &Arc<PortState>| port.config.mirror.is_some_and(|mirror| mirror.sent);
        features.mirrors = features.ports.iter().any(sent);
        features.or_nothing()
    }

    /// Without mirrors that lead to a port that is gone; `None`: there are none.
    pub(crate) fn without_mirrors_to(self: &Arc<Features>, gone: PortId) -> Option<Option<Arc<Features>>> {
        let leads = |port: &&Arc<PortState>| port.config.mirror.is_some_and(|mirror| mirror.to == gone);
        let mut left = None;
        for port in self.ports.iter().filter(leads) {
            let before = left.unwrap_or_else(|| Some(Arc::clone(self)));
            left = Some(Features::with(before.as_ref(), port.id, PortFeatures { mirror: None, ..port.config.clone() }));
        }
        left
    }

    /// Who sees what a port sends.
    pub(crate) fn mirror_of_sent(&self, port: PortId) -> Option<PortId> {
        let mirror = self.port(port).filter(|_| self.mirrors)?.config.mirror?;
        (mirror.sent && mirror.to != port).then_some(mirror.to)
    }

    /// The same wishes, with no state yet.
    pub(crate) fn apart(&self) -> Option<Arc<Features>> {
        let snooping = self.snooping.as_ref().map(|snooping| Arc::new(Snooping::new(snooping.config)));
        let bare = Features { snooping, ..Features::default() }.or_nothing();
        self.ports.iter().fold(bare, |before, port| Features::with(before.as_ref(), port.id, port.config.clone()))
    }

    /// Without a port that is gone.
    pub(crate) fn without(before: Option<&Arc<Features>>, id: PortId) -> Option<Arc<Features>> {
        let features = Features::with(Some(before?), id, PortFeatures::default())?;
        features.violations.forget(id);
        features.snooping.iter().for_each(|snooping| snooping.forget(id));
        Some(features)
    }

    /// Whose addresses were refused where, the latest first.
    pub(crate) fn violations(&self, port: PortId, now: Timestamp) -> Vec<Violation> {
        self.violations.of(port, now)
    }

    /// Whether what leaves by its ports is looked at.
    pub(crate) const fn dresses(&self) -> bool {
        self.vlans || self.rates || self.mirrors
    }

    /// What is done to a frame so that a port can send it.
    ///
    /// # Errors
    /// The reason why it does not leave there.
    pub(crate) fn dress(&self, port: PortId, buffer: &FrameBuf, now: Timestamp) -> Result<Edit, DropReason> {
        let edit = match self.vlans {
            true => vlan::dress(self.vlan(port), tag(buffer).map_or(0, VlanTag::vid))?,
            false => Edit::Keep,
        };
        let rate = self.port(port).and_then(|port| port.rate_out.as_ref());
        match rate {
            Some(rate) if !lock(rate).passes(Cost::of(&buffer.packet()), now) => Err(DropReason::RateOut),
            _ => Ok(edit),
        }
    }

    fn vlan(&self, port: PortId) -> Option<&PortVlan> {
        self.port(port)?.config.vlan.as_ref()
    }

    /// The VLAN of what comes into a port without a tag, where that is not the default one.
    pub(crate) fn untagged(&self, port: PortId) -> Option<VlanId> {
        self.vlan(port)?.untagged().filter(|vlan| vlan.value() != 1)
    }

    /// The static addresses of a port.
    pub(crate) fn statics(&self, port: PortId) -> Vec<MacAddr> {
        self.port(port).map(|port| port.config.statics.clone()).unwrap_or_default()
    }

    /// Who asked for which group.
    pub(crate) fn groups(&self, now: Timestamp) -> Vec<GroupMember> {
        self.snooping.as_ref().map(|snooping| snooping.groups(now)).unwrap_or_default()
    }

    /// The questions to stations that are due, each a frame.
    pub(crate) fn questions(&self, network: &Network, now: Timestamp) -> Vec<(u16, Box<[u8]>)> {
        let Some(snooping) = &self.snooping else { return Vec::new() };
        let named = self.ports.iter().filter_map(|port| port.config.vlan.as_ref()).flat_map(PortVlan::named);
        // That of frames without a tag is 0 here.
        let mut vlans: Vec<u16> = named.map(|vlan| if vlan == 1 { 0 } else { vlan }).chain([0]).collect();
        vlans.sort_unstable();
        vlans.dedup();
        snooping.tick(network, &vlans, now)
    }

    /// As they are for frames from `ingress`.
    pub(crate) fn at(&self, ingress: PortId) -> Place<'_> {
        Place { features: self, ingress, port: self.port(ingress) }
    }

    fn port(&self, id: PortId) -> Option<&PortState> {
        let at = self.ports.binary_search_by_key(&id, |port| port.id).ok()?;
        Some(&self.ports[at])
    }

    fn or_nothing(self) -> Option<Arc<Features>> {
        (!self.ports.is_empty() || self.snooping.is_some()).then(|| Arc::new(self))
    }
}

impl Place<'_> {
    /// Brings a frame that came in into the form that says its VLAN.
    ///
    /// # Errors
    /// The reason to drop it.
    pub(crate) fn classify(self, buffer: &mut FrameBuf) -> Result<(), DropReason> {
        if !self.features.vlans {
            return Ok(());
        }
        vlan::classify(self.port.and_then(|port| port.config.vlan.as_ref()), buffer)
    }

    /// Who sees what comes in here.
    pub(crate) fn mirror(self) -> Option<PortId> {
        let mirror = self.port?.config.mirror?;
        (mirror.received && mirror.to != self.ingress).then_some(mirror.to)
    }

    /// The VLAN that a frame is in, if it is not the default one.
    pub(crate) fn vlan_of(self, packet: &Packet<'_>) -> Option<VlanId> {
        if !self.features.vlans {
            return None;
        }
        VlanId::new(packet.vlan_tci()? & 0x0fff).ok()
    }

    /// What becomes of the bridge's verdict; `None` is for the gateway. With [`Verdict::Multicast`], `audience` says to whom it goes.
    #[inline(never)]
    pub(crate) fn judge(
        self,
        packet: &Packet<'_>,
        network: &Network,
        verdict: Option<Verdict>,
        now: Timestamp,
        audience: &mut Vec<PortId>,
    ) -> Option<Verdict> {
        let (destination, source) = packet.addresses();
        match verdict {
            Some(Verdict::Drop(cause)) => {
                if let Cause::Switch(DropReason::MacViolation | DropReason::StaticEntry) = cause {
                    self.features.violations.note(self.ingress, source, now);
                }
                return verdict;
            }
            Some(Verdict::Forward(port)) if !self.reaches(port) => return Some(DropReason::Isolated.into()),
            _ => {}
        }
        let flooded = matches!(verdict, Some(Verdict::Flood | Verdict::FloodBut(_)));
        if let Err(reason) = self.charge(packet, flooded, now) {
            return Some(reason.into());
        }
        match (&self.features.snooping, verdict) {
            (Some(snooping), Some(flood))
                if flooded && destination.is_multicast() && destination != MacAddr::BROADCAST =>
            {
                Some(self.spread(snooping, packet, network, flood, now, audience))
            }
            _ => verdict,
        }
    }

    /// Pays for a frame, whoever decides on it.
    ///
    /// # Errors
    /// The reason to drop it: its port has sent as much as it may.
    pub(crate) fn charge(self, packet: &Packet<'_>, flooded: bool, now: Timestamp) -> Result<(), DropReason> {
        let Some(port) = self.port else { return Ok(()) };
        if let Some(rate) = &port.rate_in
            && !lock(rate).passes(Cost::of(packet), now)
        {
            return Err(DropReason::RateIn);
        }
        port.storm.as_ref().map_or(Ok(()), |storm| storm.check(packet, flooded, now))
    }

    /// To whom a flood to a group goes where the network snoops.
    fn spread(
        self,
        snooping: &Snooping,
        packet: &Packet<'_>,
        network: &Network,
        flood: Verdict,
        now: Timestamp,
        audience: &mut Vec<PortId>,
    ) -> Verdict {
        audience.clear();
        let manner = self.port.map(|port| port.config.multicast).unwrap_or_default();
        let vlan = self.vlan_of(packet);
        let origin = Origin { vlan: vlan.map_or(0, VlanId::value), port: self.ingress, manner };
        let spread = snooping.spread(packet, origin, now, audience);
        if spread == Spread::All {
            return flood;
        }
        let always = |port: &&Arc<PortState>| port.config.multicast.router == RouterPort::Always;
        audience.extend(self.features.ports.iter().filter(always).map(|port| port.id));
        // Whoever is behind a leg asks the routers there.
        audience.extend(network.leg.as_ref().map(|leg| leg.port).into_iter().chain(network.lan));
        audience.sort_unstable();
        audience.dedup();
        let but = if let Verdict::FloodBut(port) = flood { port } else { self.ingress };
        audience.retain(|&port| port != self.ingress && port != but && self.reaches(port) && self.is_in(port, vlan));
        match spread {
            _ if !audience.is_empty() => Verdict::Multicast,
            Spread::Report => Verdict::Consumed,
            Spread::All | Spread::Group => DropReason::NoMember.into(),
        }
    }

    /// Whether a port has to do with a VLAN; `None`: with the default one.
    pub(crate) fn is_in(self, egress: PortId, vlan: Option<VlanId>) -> bool {
        !self.features.vlans || vlan::dress(self.features.vlan(egress), vlan.map_or(0, VlanId::value)).is_ok()
    }

    /// Whether what came in here may go out there.
    pub(crate) fn reaches(self, egress: PortId) -> bool {
        let Some(group) = self.port.and_then(|port| port.config.isolation.as_ref()) else { return true };
        self.features.port(egress).is_none_or(|port| port.config.isolation.as_ref() != Some(group))
    }
}
