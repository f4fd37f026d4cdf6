//! What would become of a frame: it is decided on by the same code, over a copy of everything that deciding reads and changes.
//!
//! The copy is made for one frame and thrown away; nothing of it is sent. So a dry run changes nothing, whatever deciders come to do. What
//! is shared is what nobody changes (configurations, other ports, which only an exit would touch). Chance, at egress and on wires, is not
//! drawn.

use std::sync::{Arc, Mutex};

use vswitch_frame::{FrameBuf, Offload, Packet, PortId};
use vswitch_nat::table::FlowFilter;

use super::Story;
use super::story::story;
use crate::datapath::Datapath;
use crate::fdb::FdbKey;
use crate::pipeline::Pipeline;
use crate::port::{Offloads, Port, memory_link};
use crate::shared::lock;
use crate::snapshot::{Network, Snapshot, put};
use crate::trace::Recorder;
use crate::{FdbKind, PortDevice, SwitchError};

impl Datapath {
    /// What would become of a frame that came by a port now.
    ///
    /// # Errors
    /// When there is no such port, or what decides there cannot be copied.
    pub(crate) fn foresee(&self, id: PortId, frame: &[u8]) -> Result<Story, SwitchError> {
        let now = self.clock().now();
        let real = self.snapshot();
        let port = real.port(id).ok_or(SwitchError::UnknownPort(id))?;
        let network = real.network(port.config.network).ok_or(SwitchError::UnknownPort(id))?;
        refuse_what_is_not_copied(network, frame)?;
        let shadow = Datapath::new(self.settings.clone(), 1);
        let io = |source| SwitchError::Io { action: "make a copy of the port", source };
        let (device, _peer) = memory_link(1, Offloads::Carried).map_err(io)?;
        let ingress = Port::new(id, port.config.clone(), PortDevice::Memory(device), 0, 4);
        let mut next = Snapshot { lab: None, service: None, ..Snapshot::clone(&real) };
        put(&mut next.ports, id.index(), Some(Arc::new(ingress)));
        for copied in next.networks.iter_mut().flatten() {
            let neighbours = Arc::new(Mutex::new(lock(&copied.neighbours).apart()));
            let features = copied.features.as_ref().and_then(|features| features.apart());
            let fresh = Network { neighbours, features, retired: Arc::default(), ..Network::clone(copied) };
            *copied = Arc::new(fresh);
        }
        if let Some(plan) = &real.router {
            let plan = plan.apart();
            let flows = self.router.nat.table().list(&FlowFilter::default(), now);
            shadow.router.restore(&flows, &plan, now);
            next.router = Some(Arc::new(plan));
        }
        self.copy_stations(&shadow, &next, now);
        shadow.publish(next);
        let mut pipeline = Pipeline::new(Arc::clone(&shadow), 0);
        let mut buffers: Vec<FrameBuf> = std::iter::repeat_with(FrameBuf::new).take(1 + crate::worker::SPARE).collect();
        buffers[0].fill(frame, Offload::NONE);
        let asks_service = asks_service(&real, network, &mut buffers[0]);
        let mut recorder = Recorder::of(vec![(0, 0)]);
        pipeline.decide_alone(&mut buffers, now, id, &mut recorder);
        let steps = recorder.into_stories().pop().map(|(_, steps)| steps).unwrap_or_default();
        let mut told = Story { complete: true, ..story(&real, 0, port.config.name.clone(), &steps) };
        if asks_service && let Some(at) = told.steps.iter().position(|step| step.text == "the network's gateway") {
            told.steps.truncate(at + 1);
            told.steps.push(super::Told {
                step: "verdict".to_owned(),
                text: "taken by the switch: it asks a service at the gateway".to_owned(),
            });
        }
        Ok(told)
    }

    fn copy_stations(&self, shadow: &Datapath, networks: &Snapshot, now: vswitch_frame::Timestamp) {
        for network in networks.networks.iter().flatten() {
            for entry in self.fdb.entries(network.index, now) {
                let domain = match entry.vlan {
                    Some(vlan) => shadow.fdb.domain(network.index, vlan),
                    None => Some(network.index),
                };
                match entry.kind {
                    FdbKind::Static => _ = shadow.fdb.add_static(network.index, entry.mac, entry.port),
                    FdbKind::Learned | FdbKind::Sticky => {
                        let Some(domain) = domain else { continue };
                        shadow.fdb.stick_port(entry.port, entry.kind == FdbKind::Sticky);
                        _ = shadow.fdb.learn(FdbKey::new(domain, entry.mac), entry.port, now);
                    }
                }
            }
        }
        // Limits afterwards: what is there already was within them.
        for port in networks.ports.iter().flatten() {
            shadow.fdb.limit_port(port.id, port.config.mac_limit);
            shadow.fdb.stick_port(port.id, port.config.features.sticky.is_some());
        }
    }
}

fn refuse_what_is_not_copied(network: &Network, frame: &[u8]) -> Result<(), SwitchError> {
    let group = frame.first().is_some_and(|first| first & 1 != 0) && !frame.starts_with(&[0xff; 6]);
    if network.leg.is_some() {
        return Err(SwitchError::NoDryRun("an overlay network's other hosts decide, too"));
    }
    if network.config.snooping.is_some() && group {
        return Err(SwitchError::NoDryRun("who is in which group changes with every frame that is looked at"));
    }
    Ok(())
}

/// Whether a frame is a question for a service at the gateway's address, which has no copy.
fn asks_service(real: &Snapshot, network: &Network, buffer: &mut FrameBuf) -> bool {
    let asks = |packet: &Packet<'_>| {
        let service = real.service().is_some_and(|(_, service)| service.is_asked(&network.interface, packet));
        service && real.router.as_ref().is_none_or(|plan| !plan.is_uplink(network.index))
    };
    buffer.admit().is_ok_and(|packet| asks(&packet))
}
