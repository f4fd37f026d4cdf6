//! The way to the service at a gateway's address and back, past the router ([`crate::port::services`]).

use rand::RngCore;
use vswitch_frame::{DropReason, FrameBuf, Offload, PortId, Timestamp};
use vswitch_nat::proxy::datagram::wire;
use vswitch_nat::route::{Fit, check, fit};

use super::{BufferRef, Members, Pipeline};
use crate::fdb::FdbKey;
use crate::port::{Port, services};
use crate::router::Spare;
use crate::snapshot::{Network, Snapshot};
use crate::trace::Untraced;
use crate::verdict::Verdict;

/// The verdict on a packet for the service at a gateway's address: to the service's `port`, if a router would believe it.
pub(super) fn ask(port: PortId, network: &Network, buffer: &mut FrameBuf) -> Verdict {
    if let Err(reason) = check(&network.interface, &buffer.packet()) {
        return reason.into();
    }
    buffer.network = Some(network.to_ref());
    Verdict::Forward(port)
}

impl Pipeline {
    /// Sends what a service answered to the stations that asked.
    pub(super) fn answer_by_service(
        &mut self,
        ingress: &Port,
        snapshot: &Snapshot,
        frames: &mut [FrameBuf],
        spare: &mut Spare<'_>,
        now: Timestamp,
    ) {
        let mut forwarded = 0;
        for (index, buffer) in frames.iter_mut().enumerate() {
            let index = u16::try_from(index).expect("a burst is small");
            let verdict = self.answer_to_station(snapshot, buffer, spare, now).unwrap_or_else(Verdict::from);
            let members = Members { all: &[], place: None };
            forwarded += self.settle(verdict, ingress, members, BufferRef { buffer, index }, Untraced);
        }
        ingress.counters.of(self.worker).forwarded(forwarded);
    }

    fn answer_to_station(
        &mut self,
        snapshot: &Snapshot,
        buffer: &mut FrameBuf,
        spare: &mut Spare<'_>,
        now: Timestamp,
    ) -> Result<Verdict, DropReason> {
        // The network may be gone, and its index another's.
        let network = buffer.network.and_then(|network| snapshot.network_of(network));
        let packet = buffer.admit()?;
        let (station, _) = packet.addresses();
        let (source, _) = packet.ip_addresses();
        let network = network.filter(|network| network.interface.has(source)).ok_or(DropReason::NoReceiver)?;
        let gateway = network.config.gateway.as_ref().ok_or(DropReason::NoReceiver)?;
        services::set_addresses(buffer.frame_mut(), station, gateway.mac);
        let port = self.datapath.fdb.lookup(FdbKey::new(network.index, station), now);
        let port = port.filter(|port| snapshot.port(*port).is_some_and(|port| port.overlay().is_none()));
        let port = port.ok_or(DropReason::NoReceiver)?;
        let mtu = u16::try_from(network.config.mtu).unwrap_or(u16::MAX);
        if fit(&buffer.packet(), mtu) == Fit::Fits {
            return Ok(Verdict::Forward(port));
        }
        let parts = wire::fragments(&buffer.packet(), mtu, self.rng.next_u32());
        if parts.is_empty() {
            return Err(DropReason::OverMtu);
        }
        for part in parts {
            let (buffer, index) = spare.take().ok_or(DropReason::NoBuffer)?;
            buffer.fill(&part, Offload::NONE);
            self.egress.push(port, index);
        }
        Ok(Verdict::Forwarded)
    }
}
