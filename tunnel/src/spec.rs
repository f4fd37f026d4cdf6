//! What control says about an overlay network.

use std::net::IpAddr;

use vswitch_frame::{MacAddr, Vni};

/// One overlay network as control wants it. Remotes and entries come and go while it runs ([`crate::Overlay`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySpec {
    /// Its number on the wire; not 0.
    pub vni: Vni,
    /// Whether outer UDP headers carry a checksum.
    pub checksum: OuterChecksum,
    /// What happens to inner frames with a VLAN tag.
    pub inner_vlan: InnerVlan,
    /// Whether senders' places are learned from their frames.
    pub learning: Learning,
    /// Seconds after which a learned place that sent nothing is forgotten.
    pub ageing_seconds: u32,
    /// Most learned places.
    pub capacity: usize,
}

impl OverlaySpec {
    /// The network with this number and the usual settings.
    #[must_use]
    pub const fn new(vni: Vni) -> Self {
        OverlaySpec {
            vni,
            checksum: OuterChecksum::Computed,
            inner_vlan: InnerVlan::Drop,
            learning: Learning::On,
            ageing_seconds: 300,
            capacity: 16_384,
        }
    }
}

/// The checksum of outer UDP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OuterChecksum {
    /// Computed, mostly by the interface; what Linux does. Packets may leave in trains.
    Computed,
    /// Zero, as RFC 7348 section 4.3 would have it; only over IPv4. The kernel then takes packets one by one.
    Zero,
}

/// Inner VLAN tags (RFC 7348 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InnerVlan {
    /// Tagged frames are dropped, both ways.
    Drop,
    /// Tags are carried through, as Linux does.
    Carry,
}

/// Learning from the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Learning {
    /// The inner source is behind the outer source.
    On,
    /// Only entries from control say where stations are.
    Off,
}

/// Who says where a station is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Its own frames.
    Learned,
    /// A person: command line or file.
    Static,
    /// A store that hosts share.
    ControlPlane,
}

impl Origin {
    /// The name that the API and the command line use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Learned => "learned",
            Origin::Static => "static",
            Origin::ControlPlane => "control-plane",
        }
    }
}

/// Where a station is, said by control: frames to it go to one remote, frames from elsewhere with its address are dropped,
/// and questions for its IP addresses are answered here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySpec {
    /// The station.
    pub mac: MacAddr,
    /// Its IP addresses, possibly none.
    pub addresses: Vec<IpAddr>,
    /// The VTEP that it is behind.
    pub remote: IpAddr,
    /// Who says so; not [`Origin::Learned`].
    pub origin: Origin,
}

/// Why an overlay, a remote or an entry was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// VNI 0.
    #[error("VNI 0 is reserved; use 1 to 16777215")]
    ReservedVni,
    /// No room for anything.
    #[error("an overlay network needs room for at least one learned address")]
    NoCapacity,
    /// RFC 8200 section 8.1.
    #[error("outer checksums cannot be left out over an IPv6 underlay; leave encap-checksum on")]
    ChecksumNeeded,
    /// Not the address of one host.
    #[error("{0} is no address of a single host, so it cannot be a remote")]
    NotAHost(IpAddr),
    /// The VTEP's own address.
    #[error("{0} is this host's own VTEP address; name the other host")]
    OwnAddress(IpAddr),
    /// IPv4 remote with an IPv6 VTEP, or the reverse.
    #[error("remote {remote} and this host's VTEP address {local} are of different families")]
    OtherFamily {
        /// The remote.
        remote: IpAddr,
        /// The VTEP.
        local: IpAddr,
    },
    /// Too many remotes.
    #[error("an overlay network has at most {0} remotes; remove some")]
    TooManyRemotes(usize),
    /// Too many entries.
    #[error("an overlay network has at most {0} static and control-plane entries; remove some")]
    TooManyEntries(usize),
    /// A group or zero address.
    #[error("{0} is no unicast address, so it cannot be an entry")]
    NotAStation(MacAddr),
    /// An address that no station has.
    #[error("{0} is no unicast address, so no entry can have it")]
    NotAnAddress(IpAddr),
    /// Two entries with one IP address.
    #[error("{address} already belongs to the entry of {mac}; remove that first")]
    AddressTaken {
        /// The IP address.
        address: IpAddr,
        /// Whose it is.
        mac: MacAddr,
    },
    /// An entry that claims to be learned.
    #[error("an entry from control is static or from the control plane")]
    NotFromControl,
}

/// Checks that `remote` can be a remote of a VTEP at `local`.
///
/// # Errors
/// Says which rule it breaks.
pub fn check_remote(remote: IpAddr, local: IpAddr) -> Result<(), OverlayError> {
    let broadcast = matches!(remote, IpAddr::V4(address) if address.is_broadcast());
    if remote.is_unspecified() || remote.is_multicast() || remote.is_loopback() != local.is_loopback() || broadcast {
        return Err(OverlayError::NotAHost(remote));
    }
    if remote.is_ipv4() != local.is_ipv4() {
        return Err(OverlayError::OtherFamily { remote, local });
    }
    if remote == local { Err(OverlayError::OwnAddress(remote)) } else { Ok(()) }
}

impl OverlaySpec {
    pub(crate) fn check(&self, local: IpAddr) -> Result<(), OverlayError> {
        if self.vni.value() == 0 {
            return Err(OverlayError::ReservedVni);
        }
        if self.capacity == 0 {
            return Err(OverlayError::NoCapacity);
        }
        if self.checksum == OuterChecksum::Zero && local.is_ipv6() {
            return Err(OverlayError::ChecksumNeeded);
        }
        Ok(())
    }
}

impl EntrySpec {
    pub(crate) fn check(&self, local: IpAddr) -> Result<(), OverlayError> {
        check_remote(self.remote, local)?;
        if !self.mac.is_station() {
            return Err(OverlayError::NotAStation(self.mac));
        }
        if self.origin == Origin::Learned {
            return Err(OverlayError::NotFromControl);
        }
        let bad = self.addresses.iter().find(|address| address.is_unspecified() || address.is_multicast());
        bad.map_or(Ok(()), |&address| Err(OverlayError::NotAnAddress(address)))
    }
}
