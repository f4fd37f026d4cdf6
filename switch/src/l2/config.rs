//! What control may ask of a port.

use vswitch_frame::{MacAddr, PortId};

use super::{Limit, Manner, PortVlan};

/// What a port asks for beyond learning and flooding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortFeatures {
    /// The isolation group: its members reach everybody but each other.
    pub isolation: Option<String>,
    /// Most learned addresses, instead of what the port came with.
    pub mac_limit: Option<usize>,
    /// Learned addresses stay, as many as this; frames from further ones are refused.
    pub sticky: Option<usize>,
    /// Addresses that are behind it and nowhere else, whether they speak or not.
    pub statics: Vec<MacAddr>,
    /// How much of what goes to many it may send.
    pub storm: Storm,
    /// How much it may send in all.
    pub rate_in: Option<Limit>,
    /// How much is sent to it.
    pub rate_out: Option<Limit>,
    /// Who sees its frames, too.
    pub mirror: Option<Mirror>,
    /// Its VLANs; without, it is in the default one.
    pub vlan: Option<PortVlan>,
    /// How it is treated where its network snoops.
    pub multicast: Manner,
}

/// Copies of a port's frames for another port. Forgotten when that one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Where they go.
    pub to: PortId,
    /// Of what comes in.
    pub received: bool,
    /// Of what leaves.
    pub sent: bool,
}

/// Limits of storm control.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Storm {
    /// Of broadcasts.
    pub broadcast: Option<Limit>,
    /// Of what is for groups.
    pub multicast: Option<Limit>,
    /// Of what is for stations that nobody knows, and thus flooded.
    pub unknown: Option<Limit>,
}
