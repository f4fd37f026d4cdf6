//! Several interfaces as ways out: which network leaves by which one, and what becomes of it when one fails.
//!
//! Every second each is looked at: whether it is there, has a carrier, and whether its next routers answer ARP or Neighbor
//! Discovery. A network leaves by the first of its uplinks that is usable. What goes by one that is not ends, as it has that one's
//! addresses, if its network leaves by another one now; who moves back to a better one keeps what he has, for it still goes.

use std::time::Duration;

use vswitch_switch::Switch;

use super::super::{Controller, state::State};
use super::packet::{OpenPacket, PacketState};
use super::{Health, UplinkState};
use crate::error::ControlError;
use crate::model::{Network, NetworkOptions};

/// How often the interfaces are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The controller's part of uplinks that are interfaces; one at least.
#[derive(Debug)]
pub(in crate::controller) struct Packets {
    each: Vec<PacketState>,
}

impl Packets {
    pub(super) fn new(switch: &Switch, open: Vec<OpenPacket>) -> Result<Packets, ControlError> {
        let each = open.into_iter().enumerate();
        let each = each.map(|(number, open)| PacketState::new(switch, number, open)).collect::<Result<_, _>>()?;
        Ok(Packets { each })
    }

    pub(super) fn each(&self) -> &[PacketState] {
        &self.each
    }

    /// Which ones a network may leave by, its first choice first.
    fn choices<'a>(&'a self, options: &'a NetworkOptions) -> impl Iterator<Item = usize> + 'a {
        let named = options.uplinks.iter().filter_map(|name| self.each.iter().position(|one| one.name() == name));
        let all = 0..if options.uplinks.is_empty() { self.each.len() } else { 0 };
        named.chain(all)
    }

    /// By which one a network leaves; `None`: there is none of those that it names.
    pub(super) fn way(&self, network: &Network) -> Option<usize> {
        let usable = self.choices(&network.options).find(|&way| self.each[way].health() == Health::Usable);
        usable.or_else(|| self.choices(&network.options).next())
    }

    /// Refuses uplinks that there are not.
    fn check(&self, names: &[String]) -> Result<(), ControlError> {
        match names.iter().find(|name| !self.each.iter().any(|one| one.name() == *name)) {
            Some(unknown) => {
                let there: Vec<&str> = self.each.iter().map(PacketState::name).collect();
                Err(ControlError::invalid(format!("there is no uplink {unknown}; name one of {}", there.join(", "))))
            }
            None => Ok(()),
        }
    }
}

impl Controller {
    /// Refuses a network that names uplinks that are none, or of which it can use none.
    pub(in crate::controller) fn check_uplinks(
        &self,
        options: &NetworkOptions,
        internal: bool,
    ) -> Result<(), ControlError> {
        match &self.inner.uplink {
            _ if options.uplinks.is_empty() => Ok(()),
            _ if internal => {
                Err(ControlError::invalid("an internal network has no way out; leave the option uplink out".to_owned()))
            }
            Some(UplinkState::Packet(packets)) => packets.check(&options.uplinks),
            Some(UplinkState::Sockets(_)) | None => Err(ControlError::invalid(
                "the option uplink names an interface, and this vswitchd has none; start it with --uplink \
                 packet:IFACE,address=A/LEN,gateway=A, or leave the option out"
                    .to_owned(),
            )),
        }
    }

    /// Says so when networks name uplinks that are gone since the last start.
    pub(in crate::controller) fn warn_of_lost_uplinks(&self, state: &State) {
        for network in state.networks.values().map(|on| &on.network).filter(|network| !network.internal) {
            if let Err(error) = self.check_uplinks(&network.options, false) {
                tracing::warn!("network {}: {error}", network.name);
            }
        }
    }

    /// Looks after the interfaces for as long as the agent lives: one that vanishes is opened again when it is back, and networks
    /// leave by those that are usable.
    pub(super) async fn keep_interfaces(&self, packets: &Packets) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.agent_closed() => return,
            }
            packets.each.iter().for_each(|one| self.notice_loss(one));
            if packets.each.len() > 1 {
                self.choose_again(packets);
            }
            for one in packets.each.iter().filter(|one| !one.is_there()) {
                self.recover(one).await;
            }
        }
    }

    /// Looks at all, and lets networks leave by the best of theirs.
    fn choose_again(&self, packets: &Packets) {
        let (switch, monitor) = (&self.inner.switch, &self.inner.monitor);
        let looked = packets.each.iter().map(|one| (one, one.look(switch, monitor)));
        let changed: Vec<_> = looked.filter(|(_, changed)| *changed).map(|(one, _)| one).collect();
        if changed.is_empty() {
            return;
        }
        let state = self.state();
        self.refresh_router_anyway(&state);
        let dead = changed.into_iter().filter(|one| one.health() != Health::Usable);
        for (dead, on) in dead.flat_map(|dead| state.networks.values().map(move |on| (dead, on))) {
            let moved = packets.way(&on.network).is_some_and(|way| packets.each[way].index() != dead.index());
            if let Some(index) = on.index.filter(|_| moved) {
                let ended = switch.end_flows_by(dead.index(), index);
                tracing::info!(
                    uplink = dead.name(),
                    network = on.network.name,
                    ended,
                    "the network leaves by another uplink"
                );
            }
        }
    }
}
