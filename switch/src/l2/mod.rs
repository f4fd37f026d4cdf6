//! What a managed switch does beyond learning: isolation groups and secured addresses.
//!
//! A port's wishes are its [`PortFeatures`]; control gives them with the port and may change them while traffic runs. What they come to is
//! one [`Features`] of the network, an immutable part of the snapshot: it is `None` where nobody asks for anything, and that is all
//! that such a network pays. State that outlives a change (counts, lists) is shared between the generations.
//!
//! Two places ask it: [`Place::judge`] behind the bridge's decision, [`Place::reaches`] where a flood picks its ports.

mod config;
mod violations;

use std::sync::Arc;

use vswitch_frame::{DropReason, MacAddr, Packet, PortId, Timestamp};

pub use config::PortFeatures;
pub use violations::Violation;
use violations::Violations;

use crate::verdict::{Cause, Verdict};

/// What the ports of a network ask for.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Ports that ask for something, by number.
    ports: Vec<Arc<PortState>>,
    violations: Arc<Violations>,
}

/// A port that asks for something.
#[derive(Debug)]
struct PortState {
    id: PortId,
    config: PortFeatures,
}

/// The features as they are for a frame that came in by one port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'f> {
    features: &'f Features,
    ingress: PortId,
    port: Option<&'f PortState>,
}

impl Features {
    /// With these wishes of one port; `None` when nobody wishes for anything.
    pub(crate) fn with(before: Option<&Arc<Features>>, id: PortId, config: PortFeatures) -> Option<Arc<Features>> {
        let mut features = before.map_or_else(Features::default, |before| Features::clone(before));
        features.ports.retain(|port| port.id != id);
        if config != PortFeatures::default() {
            features.ports.push(Arc::new(PortState { id, config }));
            features.ports.sort_unstable_by_key(|port| port.id);
        }
        features.or_nothing()
    }

    /// Without a port that is gone.
    pub(crate) fn without(before: Option<&Arc<Features>>, id: PortId) -> Option<Arc<Features>> {
        let features = Features::with(Some(before?), id, PortFeatures::default())?;
        features.violations.forget(id);
        Some(features)
    }

    /// Whose addresses were refused where, the latest first.
    pub(crate) fn violations(&self, port: PortId, now: Timestamp) -> Vec<Violation> {
        self.violations.of(port, now)
    }

    /// The static addresses of a port.
    pub(crate) fn statics(&self, port: PortId) -> Vec<MacAddr> {
        self.port(port).map(|port| port.config.statics.clone()).unwrap_or_default()
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
        (!self.ports.is_empty()).then(|| Arc::new(self))
    }
}

impl Place<'_> {
    /// What becomes of the bridge's verdict; `None` is for the gateway.
    #[inline(never)]
    pub(crate) fn judge(self, packet: &Packet<'_>, verdict: Option<Verdict>, now: Timestamp) -> Option<Verdict> {
        match verdict {
            Some(Verdict::Drop(Cause::Switch(DropReason::MacViolation | DropReason::StaticEntry))) => {
                self.features.violations.note(self.ingress, packet.addresses().1, now);
                verdict
            }
            Some(Verdict::Forward(port)) if !self.reaches(port) => Some(DropReason::Isolated.into()),
            verdict => verdict,
        }
    }

    /// Whether what came in here may go out there.
    pub(crate) fn reaches(self, egress: PortId) -> bool {
        let Some(group) = self.port.and_then(|port| port.config.isolation.as_ref()) else { return true };
        self.features.port(egress).is_none_or(|port| port.config.isolation.as_ref() != Some(group))
    }
}
