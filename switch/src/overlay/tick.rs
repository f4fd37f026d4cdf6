//! What overlay networks have to do when time passes, or when control changes them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use vswitch_frame::{PortId, Timestamp};
use vswitch_tunnel::{Rebound, suppress};

use super::{OverlayLeg, Vtep};
use crate::datapath::Datapath;
use crate::egress::Outlet;
use crate::snapshot::Snapshot;
use crate::sys::udp;

/// Seconds between two looks at entries that grow old, for each tenth of the ageing time, and their bounds.
const SWEEPS: std::ops::RangeInclusive<u32> = 1..=10;

/// Does what is due every second: forgets old entries, looks at the underlay's path MTUs.
pub(crate) fn tick(snapshot: &Snapshot, now: Timestamp) {
    let mut known = HashMap::new();
    for (_, leg) in snapshot.legs() {
        let every = (leg.overlay.spec().ageing_seconds / 10).clamp(*SWEEPS.start(), *SWEEPS.end());
        if now.as_secs().is_multiple_of(every) {
            leg.overlay.sweep(now);
        }
        // Networks share remotes; each is asked about once.
        let vtep = leg.vtep();
        for remote in leg.overlay.remotes() {
            let path = known.entry((vtep.id, remote)).or_insert_with(|| path_mtu(&vtep, remote));
            if let Some(mtu) = *path {
                leg.overlay.set_path_mtu(remote, mtu);
            }
        }
    }
}

/// The underlay's path MTU from a VTEP to a remote. Without a route there is nothing to know; sending says so.
pub(crate) fn path_mtu(vtep: &Vtep, remote: IpAddr) -> Option<u32> {
    let to = SocketAddr::new(remote, vtep.config.address.port());
    udp::path_mtu(vtep.config.address.ip(), to).ok()
}

/// Asks the kernel for the path MTU towards every remote of a leg.
pub(crate) fn learn_paths(leg: &Arc<OverlayLeg>) {
    let vtep = leg.vtep();
    for remote in leg.overlay.remotes() {
        leg.learn_path(&vtep, remote);
    }
}

/// Tells the local stations of a leg's network whose addresses are now others'. `sender` is the caller's index among those
/// who count on a port.
pub(crate) fn announce(datapath: &Datapath, leg: PortId, rebounds: &[Rebound], sender: usize) {
    let snapshot = datapath.snapshot();
    let Some(port) = snapshot.port(leg) else { return };
    let Some(network) = snapshot.network(port.config.network) else { return };
    let mut outlet = Outlet::new(sender);
    for &rebound in rebounds {
        suppress::announce(rebound, outlet.buffer());
        outlet.send(&snapshot, network.members.iter().copied().filter(|&member| member != leg));
    }
}
