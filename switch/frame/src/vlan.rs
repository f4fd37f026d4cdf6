//! VLAN tags. Read first: IEEE 802.1Q clause 9.
//!
//! AF_PACKET takes the outer tag out of a frame and reports it beside it (PACKET_AUXDATA); [`VlanTag`] is that report,
//! and [`crate::FrameBuf::insert_vlan`] puts it back.

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
