//! What control asks of single frames.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::bounded;
use vswitch_capture::Filter;
use vswitch_frame::{MacAddr, PortId};

use super::expect::{Expectation, Expected};
use super::story::{Asks, Told, Tracer};
use super::wires::{Direction, Injection, WireReport};
use super::{On, Place, Places, Story};
use crate::handle::PATIENCE;
use crate::shared::lock;
use crate::worker::Command;
use crate::{Gateway, Identity, Switch, SwitchError};

/// Who is at a port, and on its network.
#[derive(Debug, Clone)]
pub struct Neighbourhood {
    /// Whose port it is.
    pub own: Option<Identity>,
    /// The network's gateway.
    pub gateway: Option<Gateway>,
    /// Who else is known to be there.
    pub others: Vec<Identity>,
}

impl Neighbourhood {
    /// The MAC address of whose port it is.
    #[must_use]
    pub fn own_mac(&self) -> Option<MacAddr> {
        self.own.map(|own| own.mac)
    }

    /// Its address of a family.
    #[must_use]
    pub fn own_address(&self, v4: bool) -> Option<IpAddr> {
        let own = self.own?;
        if v4 { own.ipv4.map(IpAddr::V4) } else { own.ipv6.map(IpAddr::V6) }
    }

    /// The gateway's address of a family.
    #[must_use]
    pub fn gateway_address(&self, v4: bool) -> Option<IpAddr> {
        let gateway = self.gateway.as_ref()?;
        let v6 = || gateway.ipv6.map(|(address, _)| IpAddr::V6(address));
        if v4 { gateway.ipv4.map(|(address, _)| IpAddr::V4(address)) } else { v6() }
    }

    /// The MAC address that a packet for an address goes to: that of who has it, or of the gateway if it is on another network.
    #[must_use]
    pub fn station_for(&self, address: IpAddr) -> Option<MacAddr> {
        let has =
            |one: &&Identity| one.ipv4.map(IpAddr::V4) == Some(address) || one.ipv6.map(IpAddr::V6) == Some(address);
        let here = self.others.iter().chain(&self.own).find(has).map(|one| one.mac);
        let gateway = self.gateway.as_ref();
        let elsewhere =
            |gateway: &&Gateway| gateway.answers_for(address) || !gateway.nets().any(|net| net.contains(&address));
        here.or_else(|| gateway.filter(elsewhere).map(|gateway| gateway.mac))
    }
}

/// Stories that are kept for whoever expected something else.
const MOST_STORIES: usize = 16;

impl Switch {
    /// Lets a frame in as if the endpoint behind a port had sent it, or sends one towards that endpoint, and says what became of it in at
    /// most `patience`.
    ///
    /// # Errors
    /// When there is no such port, no thread is left, as many look at frames as can, or a worker does not answer.
    pub fn inject(
        &self,
        id: PortId,
        direction: Direction,
        frame: &[u8],
        patience: Duration,
    ) -> Result<Story, SwitchError> {
        let port = self.datapath.snapshot().port(id).cloned().ok_or(SwitchError::UnknownPort(id))?;
        self.start_departures()?;
        let ends = Places::DROP.and(Places::DOWN);
        let tracer = self.tracer(On::All, ends, everything(), Asks::One)?;
        let (done, answer) = bounded(1);
        let injection = Injection { port: id, direction, frame: frame.into(), only: Arc::clone(&tracer.shared), done };
        let wires = self.datapath.wires();
        lock(&wires.injections).push_back(injection);
        wires.wake();
        let number = answer.recv_timeout(PATIENCE).map_err(|_| SwitchError::WorkerBusy)?;
        let number = number.ok_or(SwitchError::UnknownPort(id))?;
        let towards = direction == Direction::Down;
        let mut story = tracer.follow(number, port.config.name.clone(), towards, patience);
        drop(tracer);
        if !towards {
            self.tell_of_wire(id, &mut story);
        }
        let sequence = wires.injected.fetch_add(1, Relaxed) + 1;
        let mut stories = lock(&wires.stories);
        stories.push_back((sequence, story.clone()));
        if stories.len() > MOST_STORIES {
            stories.pop_front();
        }
        Ok(story)
    }

    /// What would become of a frame that came by a port now. Nothing changes.
    ///
    /// # Errors
    /// When there is no such port, or what decides there cannot be copied.
    pub fn foresee(&self, id: PortId, frame: &[u8]) -> Result<Story, SwitchError> {
        let mut story = self.datapath.foresee(id, frame)?;
        if let Some(report) = self.up_wire(id) {
            story
                .steps
                .insert(0, Told { step: "wire-up".to_owned(), text: format!("{}: not drawn", settings(&report)) });
        }
        Ok(story)
    }

    /// Hears the steps of frames from now on, as far as somebody keeps up with them.
    ///
    /// # Errors
    /// When as many look at frames as can, or a worker does not answer.
    pub fn trace(&self, on: On, filter: Filter) -> Result<Tracer, SwitchError> {
        self.tracer(on, Places::NONE, filter, Asks::All)
    }

    /// Looks for frames from now on.
    ///
    /// # Errors
    /// When as many look at frames as can, or a worker does not answer.
    pub fn expect(&self, on: On, places: Places, expected: Expected) -> Result<Expectation, SwitchError> {
        let before = self.datapath.wires().injected.load(Relaxed);
        let tracer = self.tracer(on, places, everything(), Asks::Nothing)?;
        Ok(Expectation::new(tracer, expected, before))
    }

    fn tracer(&self, on: On, places: Places, filter: Filter, asks: Asks) -> Result<Tracer, SwitchError> {
        let tracer = self.datapath.add_tracer(on, places, filter, asks)?;
        self.ask_all(Command::Refresh).wait(PATIENCE)?;
        Ok(tracer)
    }

    /// Who is at a port and around it, for whoever makes frames.
    #[must_use]
    pub fn neighbourhood(&self, id: PortId) -> Option<Neighbourhood> {
        let snapshot = self.datapath.snapshot();
        let port = snapshot.port(id)?;
        let network = snapshot.network(port.config.network)?;
        let others = network.members.iter().filter(|member| **member != id);
        let others = others.filter_map(|&member| snapshot.port(member)?.config.identity).collect();
        Some(Neighbourhood {
            own: port.config.identity.or(port.label.identity),
            gateway: network.config.gateway.clone(),
            others,
        })
    }

    fn up_wire(&self, id: PortId) -> Option<WireReport> {
        let up = |report: &WireReport| report.port == id && report.direction == Direction::Up;
        self.wire_reports().into_iter().find(up).filter(|report| !report.impairment.is_none())
    }

    /// Says what the frame met before the switch.
    fn tell_of_wire(&self, id: PortId, story: &mut Story) {
        let Some(report) = self.up_wire(id) else { return };
        let lost = story.ends.iter().find(|end| end.place == Place::Drop).and_then(|end| end.reason.clone());
        let became = match (&story.steps[..], lost) {
            ([], Some(reason)) => format!("lost, {reason}"),
            ([], None) => "it waits there".to_owned(),
            _ => "it passed".to_owned(),
        };
        story.steps.insert(0, Told { step: "wire-up".to_owned(), text: format!("{}: {became}", settings(&report)) });
    }
}

/// A filter that selects all.
fn everything() -> Filter {
    Filter::new("").unwrap_or_default()
}

fn settings(report: &WireReport) -> String {
    let all: Vec<String> =
        report.impairment.texts.iter().map(|(kind, text)| format!("{} {text}", kind.name())).collect();
    all.join(", ")
}
