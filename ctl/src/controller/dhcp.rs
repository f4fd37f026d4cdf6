//! Leases of LANs' DHCP servers: taken before an endpoint comes up, renewed while it is there, given back when it goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_blocking};
use vswitch_frame::{MacAddr, NetworkRef, Offload};
use vswitch_switch::{MemoryPeer, Offloads, PortConfig, PortDevice, memory_link};

use super::Controller;
use crate::clock::Stopwatch;
use crate::dhcp::{Conversation, Kind, Lease, Message, Outcome, Wish};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{IpamDriver, StaticAddress};

/// Frames that wait for whoever speaks with a server.
const LINK: usize = 256;

/// The port by which a server is spoken with, in listings. Brackets are in no endpoint's name.
const PORT_NAME: &str = "(dhcp)";

/// Between two tries to renew a lease that has less than this left.
const SHORTEST_WAIT: Duration = Duration::from_secs(10);

/// For a frame to leave before its port is taken away.
const TO_LEAVE: Duration = Duration::from_millis(20);

/// Leases that are kept, by endpoint.
#[derive(Debug, Default)]
pub(super) struct DhcpLeases(Mutex<HashMap<Id, Kept>>);

#[derive(Debug)]
struct Kept {
    lease: Option<Lease>,
    keeper: AbortHandle,
}

/// Who asks, and where.
#[derive(Debug, Clone)]
struct Asker {
    network: NetworkRef,
    /// The switch's own MAC address there.
    own: MacAddr,
    wish: Wish,
}

impl DhcpLeases {
    fn with<T>(&self, look: impl FnOnce(&mut HashMap<Id, Kept>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Controller {
    /// Takes an address for an endpoint that is about to come up, if its network has its addresses from a DHCP server.
    ///
    /// # Errors
    /// When no server gives one.
    pub(super) async fn lease_by_dhcp(&self, id: &Id) -> Result<(), ControlError> {
        let Some(asker) = self.asker(id) else { return Ok(()) };
        let old = asker.wish.address;
        let renewed = match old {
            Some(address) => {
                self.converse(&asker, Conversation::renew(asker.wish.clone(), address, rand::random())).await?
            }
            None => None,
        };
        let lease = match renewed {
            Some(lease) => lease,
            None => {
                let conversation = Conversation::discover(asker.wish.clone(), rand::random());
                let network = self.state().endpoint(id.as_str())?.endpoint.network_name.clone();
                self.converse(&asker, conversation).await?.ok_or_else(|| {
                    ControlError::Conflict(format!(
                        "no DHCP server on network {network} gives an address; see that one is on the LAN of its parent, or use \
                         --ip ADDRESS/LEN"
                    ))
                })?
            }
        };
        if let Some(one) = self.turn().endpoints.get_mut(id) {
            one.endpoint.ipv4 = Some(StaticAddress {
                address: IpAddr::V4(lease.address),
                prefix: Some(lease.prefix),
                gateway: lease.router.map(IpAddr::V4),
            });
        }
        tracing::info!(endpoint = id.short(), address = %lease.address, seconds = lease.seconds, "leased by DHCP");
        self.keep_lease(id, Some(lease));
        Ok(())
    }

    /// Keeps a lease that was taken before this start.
    pub(super) fn keep_old_lease(&self, id: &Id) {
        if self.asker(id).is_some_and(|asker| asker.wish.address.is_some()) {
            self.keep_lease(id, None);
        }
    }

    /// Gives an endpoint's lease back.
    pub(super) fn give_lease_back(&self, id: &Id) {
        let Some(Kept { lease, keeper }) = self.inner.leases.with(|leases| leases.remove(id)) else { return };
        keeper.abort();
        if let (Some(lease), Some(asker)) = (lease, self.asker(id)) {
            let mut message = Message::of(Kind::Release, rand::random(), asker.wish.client);
            (message.current, message.server) = (lease.address, Some(lease.server));
            let controller = self.clone();
            spawn_blocking(move || {
                let said = controller.on_port(&asker, |peer| {
                    let _ = peer.send(&message.frame(asker.own), Offload::NONE);
                    std::thread::sleep(TO_LEAVE);
                });
                if let Err(error) = said {
                    tracing::debug!("a lease runs out by itself: {error}");
                }
            });
        }
    }

    fn keep_lease(&self, id: &Id, lease: Option<Lease>) {
        let keeper = tokio::spawn(self.clone().renew_lease(id.clone(), lease)).abort_handle();
        if let Some(old) = self.inner.leases.with(|leases| leases.insert(id.clone(), Kept { lease, keeper })) {
            old.keeper.abort();
        }
    }

    /// Renews a lease when half of its time is over, and again when half of the rest is, for as long as the endpoint is there.
    async fn renew_lease(self, id: Id, lease: Option<Lease>) {
        let mut first = lease.is_none();
        let mut left = lease.map_or(Duration::ZERO, |lease| Duration::from_secs(lease.seconds.into()));
        loop {
            // What was leased before this start may be over at any time.
            let wait = if first { Duration::ZERO } else { (left / 2).max(SHORTEST_WAIT) };
            first = false;
            tokio::time::sleep(wait).await;
            left = left.saturating_sub(wait);
            let Some(asker) = self.asker(&id) else { return };
            let Some(address) = asker.wish.address else { return };
            let since = Stopwatch::start();
            let renewed = self.converse(&asker, Conversation::renew(asker.wish.clone(), address, rand::random())).await;
            match renewed {
                Ok(Some(lease)) => {
                    left = Duration::from_secs(lease.seconds.into());
                    self.inner.leases.with(|leases| {
                        if let Some(kept) = leases.get_mut(&id) {
                            kept.lease = Some(lease);
                        }
                    });
                    tracing::debug!(endpoint = id.short(), %address, "lease renewed");
                }
                Ok(None) => {
                    left = left.saturating_sub(since.elapsed());
                    if left.is_zero() {
                        tracing::warn!(
                            endpoint = id.short(),
                            %address,
                            "no DHCP server renews the address, which may be another's by now; start the container again for a \
                             new one"
                        );
                    }
                }
                Err(error) => tracing::debug!("a lease is not renewed yet: {error}"),
            }
        }
    }

    /// Who asks for an endpoint; `None`: nobody, for it has its address from elsewhere.
    fn asker(&self, id: &Id) -> Option<Asker> {
        let state = self.state();
        let endpoint = &state.endpoints.get(id)?.endpoint;
        let on = state.networks.get(&endpoint.network)?;
        if on.network.ipam != IpamDriver::Dhcp || endpoint.asked.ipv4 {
            return None;
        }
        let address = match endpoint.ipv4.map(|fixed| fixed.address) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        let wish = Wish { client: endpoint.mac, hostname: Some(endpoint.name.clone()), address };
        let network = self.inner.switch.network(on.index?)?;
        Some(Asker { network, own: on.network.gateway_mac(), wish })
    }

    async fn converse(&self, asker: &Asker, conversation: Conversation) -> Result<Option<Lease>, ControlError> {
        let (controller, asker) = (self.clone(), asker.clone());
        let talk = spawn_blocking(move || controller.on_port(&asker, |peer| talk(peer, asker.own, conversation)));
        talk.await.map_err(|error| ControlError::Internal(format!("the DHCP client failed: {error}")))?
    }

    /// Has a port on the network for as long as `work` takes.
    fn on_port<T>(&self, asker: &Asker, work: impl FnOnce(&MemoryPeer) -> T) -> Result<T, ControlError> {
        let failed =
            |error: std::io::Error| ControlError::Internal(format!("cannot speak with a DHCP server: {error}"));
        let (device, peer) = memory_link(LINK, Offloads::Finished).map_err(failed)?;
        let config = PortConfig::new(PORT_NAME, asker.network.index);
        let port = self.inner.switch.add_port_on(asker.network, config, PortDevice::Memory(device))?;
        let done = work(&peer);
        if let Err(error) = self.inner.switch.remove_port(port) {
            tracing::warn!("the switch could not remove {port}: {error}");
        }
        Ok(done)
    }
}

/// A whole conversation, over a link that begins empty.
fn talk(peer: &MemoryPeer, own: MacAddr, mut conversation: Conversation) -> Option<Lease> {
    let mut outcome = conversation.speak();
    loop {
        match outcome {
            Outcome::Say(message, patience) => {
                let _ = peer.send(&message.frame(own), Offload::NONE);
                outcome = listen(peer, patience, &mut conversation);
            }
            Outcome::Leased(lease) => return Some(lease),
            Outcome::Refused | Outcome::Nothing => return None,
        }
    }
}

/// What comes of the answers within `patience`.
fn listen(peer: &MemoryPeer, patience: Duration, conversation: &mut Conversation) -> Outcome {
    let since = Stopwatch::start();
    loop {
        let left = patience.saturating_sub(since.elapsed());
        let heard = if left.is_zero() { None } else { peer.receive(left) };
        let Some((frame, _)) = heard else { return conversation.speak() };
        match Message::parse(&frame).map(|message| conversation.hear(&message)) {
            None | Some(Outcome::Nothing) => {}
            Some(outcome) => return outcome,
        }
    }
}
