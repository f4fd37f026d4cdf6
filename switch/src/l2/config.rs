//! What control may ask of a port.

use vswitch_frame::MacAddr;

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
}
