//! Watches the interfaces that have the VTEPs' addresses.

use std::sync::PoisonError;

use super::super::Controller;
use super::Vtep;
use crate::model::Network;
use crate::overlay::mtu;
use crate::overlay::underlay::Monitor;

impl Controller {
    /// Looks once, so that the first network knows its MTU.
    pub(in crate::controller) fn look_at_underlays(&self, monitor: &Monitor) {
        for vtep in &self.inner.overlays.vteps {
            vtep.look(monitor);
        }
    }

    /// Looks again whenever an interface or address changes, for as long as the agent lives.
    pub(in crate::controller) async fn keep_underlays(self) {
        let monitor = &self.inner.monitor;
        if self.inner.overlays.vteps.is_empty() {
            return;
        }
        let changes = match monitor.changes() {
            Ok(changes) => changes,
            Err(error) => return tracing::error!("changes of the underlay go unnoticed: {error}"),
        };
        // What changed between the first look and now.
        self.look_at_underlays(monitor);
        loop {
            tokio::select! {
                () = changes.notified() => self.look_at_underlays(monitor),
                () = self.agent_closed() => return,
            }
        }
    }

    /// The MTU that a new endpoint of a network gets: the underlay may have shrunk since the network was made.
    pub(in crate::controller) fn endpoint_mtu(&self, network: &Network) -> u32 {
        let vtep = network.overlay.as_ref().and_then(|overlay| self.inner.overlays.vtep(overlay.vtep));
        let longest = vtep.and_then(|vtep| Some(mtu::longest(&vtep.sight().last?, vtep.spec.address)));
        longest.map_or(network.options.mtu, |longest| longest.min(network.options.mtu))
    }
}

impl Vtep {
    fn look(&self, monitor: &Monitor) {
        let address = self.spec.address;
        let found = match monitor.find(address) {
            Ok(found) => found,
            Err(error) => return tracing::warn!("VTEP {address}: {error}"),
        };
        let mut sight = self.underlay.lock().unwrap_or_else(PoisonError::into_inner);
        if sight.now == found {
            return;
        }
        match (&sight.now, &found) {
            (_, None) => tracing::warn!(%address, "no interface has the VTEP's address any more; its tunnels are down"),
            (Some(old), Some(new)) if old.mtu != new.mtu => {
                tracing::info!(%address, interface = new.interface, mtu = new.mtu, before = old.mtu, "the underlay's MTU changed");
            }
            (_, Some(new)) => {
                tracing::info!(%address, interface = new.interface, mtu = new.mtu, "the VTEP's address is there");
            }
        }
        sight.last = found.clone().or(sight.last.take());
        sight.now = found;
    }
}
