//! How control changes who looks and what happens on wires.

use std::net::IpAddr;
use std::sync::Arc;

use vswitch_capture::Filter;
use vswitch_frame::PortId;
use vswitch_wire::{Change, Sender};

use super::story::{Asks, Tracer};
use super::wires::{Direction, DueBack, PortWire, WireReport, Wires};
use super::{Capture, CaptureSpec, Lab, MOST_CAPTURES, On, Places, Shared, Tap};
use crate::SwitchError;
use crate::datapath::Datapath;
use crate::shared::lock;
use crate::snapshot::{Snapshot, put};

/// Most changes that wait to be taken back.
const MOST_DUE_BACK: usize = 1024;

impl Datapath {
    /// Begins a capture, which workers follow from their next burst on.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn capture(self: &Arc<Self>, spec: CaptureSpec) -> Result<Capture, SwitchError> {
        let (tap, capture) = Capture::new(self, spec);
        self.add_tap(tap)?;
        Ok(capture)
    }

    /// Begins to look at single frames, which workers follow from their next burst on.
    ///
    /// # Errors
    /// When there are as many who look as there may be.
    pub(super) fn add_tracer(
        self: &Arc<Self>,
        on: On,
        places: Places,
        filter: Filter,
        asks: Asks,
    ) -> Result<Tracer, SwitchError> {
        let (tap, tracer) = Tracer::new(self, on, places, filter, asks);
        self.add_tap(tap)?;
        Ok(tracer)
    }

    /// Lets a tap see frames from the next burst of each worker on.
    fn add_tap(&self, tap: Tap) -> Result<(), SwitchError> {
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let mut lab = self.lab(&next);
        if lab.taps.len() >= MOST_CAPTURES {
            return Err(SwitchError::TooManyCaptures);
        }
        lab.taps.push(tap);
        next.lab = Some(Arc::new(lab));
        self.publish(next);
        Ok(())
    }

    fn lab(&self, snapshot: &Snapshot) -> Lab {
        snapshot.lab.as_ref().map_or_else(|| Lab::new(Arc::clone(self.wires())), |lab| Lab::clone(lab))
    }

    /// Takes a tap away, if it is still there.
    pub(crate) fn remove_tap(&self, shared: &Arc<Shared>) {
        let _control = self.control();
        let mut next = Snapshot::clone(&self.snapshot());
        let other = |tap: &Tap| (!Arc::ptr_eq(&tap.shared, shared)).then(|| tap.on.clone());
        if !next.retain_taps(other).is_empty() {
            self.publish(next);
        }
    }

    /// Changes what happens on the wires of these ports, in these directions, all at once; after so many nanoseconds it is taken back.
    /// It is in force when this returns and workers have the newest snapshot.
    ///
    /// # Errors
    /// When there is no such port, or too much is to be taken back later.
    pub fn change_wires(
        &self,
        ports: &[PortId],
        directions: &[Direction],
        change: &Change,
        time: Option<u64>,
    ) -> Result<(), SwitchError> {
        let _control = self.control();
        let wires = self.wires();
        let mut due_back = lock(&wires.due_back);
        if time.is_some() && due_back.len() + ports.len() * directions.len() > MOST_DUE_BACK {
            return Err(SwitchError::TooManyChanges);
        }
        let all = self.wires_of(ports)?;
        let now = wires.now();
        for wire in &all {
            for &direction in directions {
                let (before, applied) = wire.change(direction, now, |impairment| impairment.change(change));
                if let Some(time) = time {
                    let (at, wire) = (now.saturating_add(time), Arc::downgrade(wire));
                    due_back.push(DueBack { at, wire, direction, before, applied });
                }
            }
        }
        drop(due_back);
        self.publish_wires();
        wires.wake();
        Ok(())
    }

    /// Lets the endpoints of some ports not hear those of others, in one direction.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn cut(&self, senders: &[PortId], receivers: &[PortId]) -> Result<(), SwitchError> {
        let _control = self.control();
        let snapshot = self.snapshot();
        let mut cut = Vec::new();
        for &id in senders {
            let port = snapshot.port(id).ok_or(SwitchError::UnknownPort(id))?;
            let Some(identity) = port.config.identity else { return Err(SwitchError::UnknownPort(id)) };
            let v4 = identity.ipv4.map(IpAddr::V4);
            let addresses = v4.into_iter().chain(identity.ipv6.map(IpAddr::V6)).collect();
            cut.push((id, Sender { mac: identity.mac, addresses }));
        }
        for (wire, receiver) in self.wires_of(receivers)?.into_iter().zip(receivers) {
            wire.set_cuts(|cuts| {
                cuts.retain(|(id, _)| !senders.contains(id));
                cuts.extend(cut.iter().filter(|(id, _)| id != receiver).cloned());
            });
        }
        self.publish_wires();
        Ok(())
    }

    /// Lets everybody hear everybody again, or only these ports, whomever they did not hear and whoever did not hear them.
    pub fn heal(&self, ports: Option<&[PortId]>) {
        let _control = self.control();
        for (&receiver, wire) in &*lock(&self.wires().known) {
            let all = ports.is_none_or(|ports| ports.contains(&receiver));
            wire.set_cuts(|cuts| cuts.retain(|(id, _)| !all && !ports.is_some_and(|ports| ports.contains(id))));
        }
        self.publish_wires();
    }

    /// Begins everything that happens by chance again, from this seed.
    pub fn reseed_wires(&self, seed: u64) {
        let _control = self.control();
        self.wires().reseed(seed);
    }

    /// Both directions of each wire on which something happens or has happened, by port.
    #[must_use]
    pub fn wire_reports(&self) -> Vec<WireReport> {
        let known = lock(&self.wires().known);
        known.iter().flat_map(|(&port, wire)| Direction::BOTH.map(|direction| wire.report(port, direction))).collect()
    }

    /// A port is about to go, and its wire with it.
    pub(crate) fn forget_wire(&self, snapshot: &mut Snapshot, port: PortId) {
        lock(&self.wires().known).remove(&port);
        lock(&self.wires().replays).iter().filter(|running| running.port == port).for_each(|running| running.gone());
        for wire in lock(&self.wires().known).values() {
            wire.set_cuts(|cuts| cuts.retain(|(id, _)| *id != port));
        }
        if let Some(lab) = &snapshot.lab
            && lab.wire(port).is_some()
        {
            let mut lab = Lab::clone(lab);
            lab.wires[port.index()] = None;
            snapshot.lab = lab.or_none();
        }
    }

    fn wires_of(&self, ports: &[PortId]) -> Result<Vec<Arc<PortWire>>, SwitchError> {
        let snapshot = self.snapshot();
        let wire = |&id: &PortId| {
            let port = snapshot.port(id).ok_or(SwitchError::UnknownPort(id))?;
            let network = snapshot.network(port.config.network).map_or("", |network| network.config.name.as_str());
            Ok(self.wires().of(port, network))
        };
        ports.iter().map(wire).collect()
    }

    /// Lets workers see the wires on which something happens, and those only. Control is held.
    fn publish_wires(&self) {
        let mut next = Snapshot::clone(&self.snapshot());
        let mut lab = self.lab(&next);
        let mut changed = false;
        for (&port, wire) in &*lock(&self.wires().known) {
            let active = !wire.is_idle();
            if active != lab.wire(port).is_some() {
                changed = true;
                put(&mut lab.wires, port.index(), active.then(|| Arc::clone(wire)));
            }
        }
        if changed {
            next.lab = lab.or_none();
            self.publish(next);
        }
    }

    /// Nothing waits any more: wires on which nothing happens are nobody's business now.
    pub(super) fn let_go_of_idle_wires(&self) {
        let idle = |lab: &Arc<Lab>| lab.wires.iter().flatten().any(|wire| wire.is_idle());
        if self.snapshot().lab.as_ref().is_some_and(idle) {
            let _control = self.control();
            self.publish_wires();
        }
    }

    /// All wires that there are.
    pub(super) fn all_wires(&self) -> Vec<(PortId, Arc<PortWire>)> {
        let known = lock(&self.wires().known);
        known.iter().map(|(&port, wire)| (port, Arc::clone(wire))).collect()
    }

    /// When something is to be done for wires.
    pub(super) fn next_due(&self) -> Option<u64> {
        let wires: &Wires = self.wires();
        let due = lock(&wires.known).values().map(|wire| wire.next_due()).min();
        let back = lock(&wires.due_back).iter().map(|back| back.at).min();
        let replays = lock(&wires.replays).iter().filter_map(|running| running.next_due()).min();
        due.into_iter().chain(back).chain(replays).min().filter(|due| *due != u64::MAX)
    }

    /// Takes back the changes whose time is over.
    pub(super) fn take_back(&self, now: u64) {
        let wires = self.wires();
        let over: Vec<DueBack> = {
            let mut waiting = lock(&wires.due_back);
            let (over, rest) = std::mem::take(&mut *waiting).into_iter().partition(|back| back.at <= now);
            *waiting = rest;
            over
        };
        if over.is_empty() {
            return;
        }
        let _control = self.control();
        for back in over {
            if let Some(wire) = back.wire.upgrade() {
                wire.change(back.direction, now, |impairment| impairment.take_back(&back.before, &back.applied));
            }
        }
        self.publish_wires();
    }
}
