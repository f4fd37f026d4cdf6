//! What control may ask of a port.

use vswitch_frame::MacAddr;

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
    /// Its VLANs; without, it is in the default one.
    pub vlan: Option<PortVlan>,
    /// How it is treated where its network snoops.
    pub multicast: Manner,
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
