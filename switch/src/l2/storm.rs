//! Storm control: how much of what goes to many a port may send.

use std::sync::Mutex;

use vswitch_frame::{DropReason, MacAddr, Packet, Timestamp};

use super::bucket::{Cost, Policer};
use super::config::Storm;
use crate::shared::lock;

/// The limits of a port, which its worker alone counts against, so that the locks are free.
#[derive(Debug)]
pub(super) struct StormControl {
    broadcast: Option<Mutex<Policer>>,
    multicast: Option<Mutex<Policer>>,
    unknown: Option<Mutex<Policer>>,
}

impl StormControl {
    /// `None` where nothing is limited.
    pub(super) fn new(storm: &Storm) -> Option<StormControl> {
        let [broadcast, multicast, unknown] = [storm.broadcast, storm.multicast, storm.unknown]
            .map(|limit| limit.map(|limit| Mutex::new(Policer::new(limit))));
        let some = broadcast.is_some() || multicast.is_some() || unknown.is_some();
        some.then_some(StormControl { broadcast, multicast, unknown })
    }

    /// Pays for a frame that came in, for the gateway, too.
    ///
    /// # Errors
    /// The reason to drop it.
    pub(super) fn check(&self, packet: &Packet<'_>, flooded: bool, now: Timestamp) -> Result<(), DropReason> {
        let (policer, reason) = match packet.addresses().0 {
            MacAddr::BROADCAST => (&self.broadcast, DropReason::StormBroadcast),
            mac if mac.is_multicast() => (&self.multicast, DropReason::StormMulticast),
            _ if flooded => (&self.unknown, DropReason::StormUnknown),
            _ => return Ok(()),
        };
        let passes = policer.as_ref().is_none_or(|policer| lock(policer).passes(Cost::of(packet), now));
        if passes { Ok(()) } else { Err(reason) }
    }
}
