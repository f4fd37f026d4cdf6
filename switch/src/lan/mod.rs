//! A network's leg on the LAN of an interface of the host, its *parent*.
//!
//! The leg is a port like others, whose device ([`LanDevice`]) is a packet socket on the parent. It sees what comes in by the
//! parent and not what the host itself sends, tags and untags frames where the network is a VLAN of the parent, and takes only
//! what its [`Hearing`] says: the kernel drops the rest before it costs anything ([`filter`]). What a frame between the leg and
//! the other ports may do is the network's [`LanMode`] ([`decide`]). Control says both; a leg whose parent vanishes leaves a
//! network without one, whose mode stays.

mod decide;
mod device;
mod filter;
mod one_mac;

pub(crate) use decide::{decide, isolate};
pub use device::{LanConfig, LanDevice};
pub(crate) use filter::{DEAF, Instruction};
pub use filter::{Hearing, Unicast};

/// How stations of a network with a leg, or that is to have one, meet each other and the LAN. The words are the kernel's
/// macvlan's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanMode {
    /// The leg is a port like others: stations behind it are learned.
    Learning,
    /// The stations are those that control names, and meet here; everything else is behind the leg.
    Bridge,
    /// They never meet, not even by a switch behind the leg that sends frames back.
    Private,
    /// They meet by a switch behind the leg that sends frames back (IEEE 802.1Qbg's reflective relay), and not here.
    Vepa,
    /// There is one station, which gets everything that comes in by the leg.
    Passthru,
}

impl LanMode {
    /// Whether stations of the network meet each other here.
    pub(crate) const fn switches(self) -> bool {
        matches!(self, LanMode::Learning | LanMode::Bridge)
    }
}
