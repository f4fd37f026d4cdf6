//! VLAN tags. Read first: IEEE 802.1Q clause 9.
//!
//! AF_PACKET takes the outer tag out of a frame and reports it beside it (PACKET_AUXDATA); [`VlanTag`] is that report,
//! and [`crate::FrameBuf::insert_vlan`] puts it back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::EtherType;

/// Bytes of one tag: TPID and TCI.
pub const TAG_LEN: usize = 4;

/// A VLAN tag: its TPID and its tag control information (PCP 3 bits, DEI 1, VID 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag {
    /// What kind of tag: [`EtherType::VLAN`] or [`EtherType::SERVICE_VLAN`].
    pub tpid: EtherType,
    /// Priority, drop eligibility and VLAN id, as they are on the wire.
    pub tci: u16,
}

impl VlanTag {
    /// The VLAN id, 0 (priority tag) to 4095 (reserved).
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The four bytes of the tag on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; TAG_LEN] {
        let [a, b] = self.tpid.0.to_be_bytes();
        let [c, d] = self.tci.to_be_bytes();
        [a, b, c, d]
    }
}

/// A VLAN that stations can be in: 1 to 4094 (IEEE 802.1Q 9.6; 0 tags priority alone, 4095 is reserved).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

/// The number names no VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("VLAN ids are 1 to 4094")]
pub struct VlanIdFault;

impl VlanId {
    /// The VLAN with this id.
    ///
    /// # Errors
    /// When no VLAN has it.
    pub const fn new(id: u16) -> Result<VlanId, VlanIdFault> {
        match id {
            1..=4094 => Ok(VlanId(id)),
            _ => Err(VlanIdFault),
        }
    }

    /// The number behind the id.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = VlanIdFault;

    fn try_from(id: u16) -> Result<VlanId, VlanIdFault> {
        VlanId::new(id)
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> u16 {
        id.0
    }
}

impl FromStr for VlanId {
    type Err = VlanIdFault;

    fn from_str(text: &str) -> Result<VlanId, VlanIdFault> {
        // No sign, no leading zeros: one VLAN, one spelling.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| plain).ok_or(VlanIdFault).and_then(VlanId::new)
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids are 1 to 4094, in one spelling each, and go round.
    #[test]
    fn ids() {
        for text in ["1", "50", "4094"] {
            assert_eq!(text.parse::<VlanId>().unwrap().to_string(), text);
        }
        for text in ["0", "4095", "65586", "-1", "+1", "050", "", "a"] {
            assert_eq!(text.parse::<VlanId>(), Err(VlanIdFault), "{text}");
        }
        assert!(serde_json::from_str::<VlanId>("4095").is_err());
    }
}
