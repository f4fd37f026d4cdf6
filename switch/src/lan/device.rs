//! The leg's device: a packet socket on the parent.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Mutex;

use arc_swap::ArcSwap;
use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{EtherType, FrameBuf, MacAddr, VlanId};

use super::filter::{Hearing, Unicast, program};
use super::one_mac::{self, Replaced};
use crate::port::Received;
use crate::shared::lock;
use crate::sys::burst::Burst;
use crate::sys::packet::{self, Membership};

/// What a leg is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanConfig {
    /// The VLAN of the parent that the network is; the leg tags what leaves and untags what comes in.
    pub vlan: Option<VlanId>,
    /// All stations have this MAC address on the LAN, the parent's own.
    pub one_mac: Option<MacAddr>,
}

/// A packet socket on a parent, from [`packet::open_deaf`].
#[derive(Debug)]
pub struct LanDevice {
    socket: OwnedFd,
    config: LanConfig,
    /// What the parent's hardware was asked to pass on.
    memberships: Mutex<Vec<Membership>>,
    /// Whose addresses are here, where all have one MAC address.
    stations: ArcSwap<BTreeMap<IpAddr, MacAddr>>,
}

/// Frames as they were before they were made ready for the LAN, in the order of the list that leaves.
pub(crate) type Dressed = Vec<Replaced>;

impl LanDevice {
    /// A leg that hears nothing yet.
    #[must_use]
    pub fn new(socket: OwnedFd, config: LanConfig) -> LanDevice {
        LanDevice { socket, config, memberships: Mutex::default(), stations: ArcSwap::default() }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Hears from now on what `hearing` says, while traffic runs. `stations` says where which address is.
    pub(crate) fn hear(&self, hearing: &Hearing, stations: BTreeMap<IpAddr, MacAddr>) -> io::Result<()> {
        let hearing = match self.config.one_mac {
            Some(mac) => &Hearing { unicast: Unicast::At(mac, stations.keys().copied().collect()), ..hearing.clone() },
            None => hearing,
        };
        let wanted = match &hearing.unicast {
            Unicast::All => vec![Membership::Everybody, Membership::Groups],
            Unicast::For(macs) => {
                let stations = macs.iter().map(|mac| Membership::Station(*mac));
                stations.chain([Membership::Groups]).collect()
            }
            Unicast::At(..) => vec![Membership::Groups],
        };
        let mut memberships = lock(&self.memberships);
        self.stations.store(stations.into());
        packet::filter(self.socket(), &program(hearing, self.config.vlan))?;
        for new in wanted.iter().filter(|one| !memberships.contains(one)) {
            packet::join(self.socket(), *new)?;
        }
        for old in memberships.iter().filter(|one| !wanted.contains(one)) {
            packet::leave(self.socket(), *old)?;
        }
        *memberships = wanted;
        Ok(())
    }

    /// Receives as a packet socket does; what is not the network's is left empty.
    #[inline]
    pub(crate) fn receive(&self, burst: &mut Burst, buffers: &mut [FrameBuf]) -> io::Result<Received> {
        let received = burst.receive(self.socket(), buffers)?;
        let stations = self.config.one_mac.map(|own| (own, self.stations.load()));
        for buffer in &mut buffers[..received.frames] {
            // What the kernel queued before it had the filter.
            let tag = buffer.remove_vlan().map_or(0, VlanTag::vid);
            let ours = tag == self.config.vlan.map_or(0, VlanId::value)
                && stations
                    .as_ref()
                    .is_none_or(|(own, stations)| one_mac::into_network(buffer.frame_mut(), *own, stations));
            if !ours {
                buffer.truncate(0);
            }
        }
        Ok(received)
    }

    /// Makes frames ready for the LAN, in the buffers that other ports may send, too. [`LanDevice::undress`] must follow.
    #[inline]
    pub(crate) fn dress(&self, buffers: &mut [FrameBuf], indices: &[u16]) -> Dressed {
        let mut dressed = Dressed::new();
        if let Some(own) = self.config.one_mac {
            dressed.extend(indices.iter().map(|&index| {
                let buffer = &mut buffers[usize::from(index)];
                let partial = buffer.offload.checksum.is_some();
                one_mac::onto_lan(buffer.frame_mut(), own, partial)
            }));
        }
        if let Some(vlan) = self.config.vlan {
            let tag = VlanTag { tpid: EtherType::VLAN, tci: vlan.value() };
            for &index in indices {
                let buffer = &mut buffers[usize::from(index)];
                if !buffer.insert_vlan(tag) {
                    // The kernel refuses nothing, which is better than the frame in another VLAN.
                    buffer.truncate(0);
                }
            }
        }
        dressed
    }

    /// Makes of the frames what they were.
    #[inline]
    pub(crate) fn undress(&self, buffers: &mut [FrameBuf], indices: &[u16], dressed: Dressed) {
        if self.config.vlan.is_some() {
            for &index in indices {
                buffers[usize::from(index)].remove_vlan();
            }
        }
        for (replaced, &index) in dressed.into_iter().zip(indices) {
            replaced.put_back(buffers[usize::from(index)].frame_mut());
        }
    }
}
