//! Identifiers that the data plane and its control share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A port of the switch: the attachment point of a network. An index into the snapshot's port table; an index is used
/// again only after every worker has let go of the port that had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortId(u32);

impl PortId {
    /// The port with this index.
    #[inline]
    #[must_use]
    pub const fn new(index: u32) -> Self {
        PortId(index)
    }

    /// The number behind the id.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The index into a port table.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// A network (one broadcast domain) inside the switch: an index into the snapshot's network table, and the part of an
/// FDB key that keeps networks apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkIndex(u16);

impl NetworkIndex {
    /// How many networks one switch can hold.
    pub const MAX_NETWORKS: usize = 1 << 16;

    /// The network with this index.
    #[inline]
    #[must_use]
    pub const fn new(index: u16) -> Self {
        NetworkIndex(index)
    }

    /// The number behind the index.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The index into a network table.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A network wherever it is kept beyond a burst: its index may be another's by then, but not with the generation that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkRef {
    /// Its index.
    pub index: NetworkIndex,
    /// The generation that it came with.
    pub since: Generation,
}

/// A VXLAN network identifier: 24 bits (RFC 7348 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

/// The number does not fit into the 24 bits of a VNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("VNI {0} is out of range; use 0 to 16777215")]
pub struct InvalidVni(u32);

impl Vni {
    /// The largest VNI.
    pub const MAX: u32 = (1 << 24) - 1;

    /// The VNI with this number, 0 to 16777215.
    ///
    /// # Errors
    /// When the number needs more than 24 bits.
    pub const fn new(number: u32) -> Result<Self, InvalidVni> {
        if number > Vni::MAX { Err(InvalidVni(number)) } else { Ok(Vni(number)) }
    }

    /// The number, 0 to 16777215.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = InvalidVni;

    fn try_from(number: u32) -> Result<Self, InvalidVni> {
        Vni::new(number)
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the snapshots that control has published; workers compare it between bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(u64);

impl Generation {
    /// The generation with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Generation(number)
    }

    /// The number, counted from zero.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Generation(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A VNI has 24 bits, and the error names the range.
    #[test]
    fn vni_range() {
        assert_eq!(Vni::new(Vni::MAX).unwrap().value(), 16_777_215);
        assert!(Vni::new(Vni::MAX + 1).unwrap_err().to_string().contains("0 to 16777215"));
    }
}
