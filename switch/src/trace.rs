//! What a frame met on its way, step by step, for whoever asks.
//!
//! Deciders tell their steps to a [`Trace`]. For nearly all frames that is [`Untraced`], which is nothing: the code for it is the code
//! without a trace, and what a step would say is not even computed. A [`Recorder`] writes down what is said of the frames that somebody
//! asked about; [`crate::lab`] decides which those are.

use std::fmt;
use std::net::IpAddr;

use vswitch_frame::{DropReason, MacAddr, PortId};

use crate::verdict::{Cause, Verdict};

/// Who is told the steps of frames.
pub(crate) trait Trace {
    /// It, for somebody who is asked on the way.
    type Again<'t>: Trace
    where
        Self: 't;

    /// Whether anybody listens: what is looked up for a step alone is looked up only then.
    const LISTENS: bool;

    /// It, lent.
    fn again(&mut self) -> Self::Again<'_>;

    /// The next steps are of the frame in this buffer.
    fn begin(&mut self, index: u16);

    /// One step.
    fn step(&mut self, step: impl FnOnce() -> Step);
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untraced;

impl Trace for Untraced {
    type Again<'t> = Untraced;

    const LISTENS: bool = false;

    #[inline(always)]
    fn again(&mut self) -> Untraced {
        Untraced
    }

    #[inline(always)]
    fn begin(&mut self, _index: u16) {}

    #[inline(always)]
    fn step(&mut self, _step: impl FnOnce() -> Step) {}
}

/// Something that a frame met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// What it is.
    Parse(String),
    /// Whether its sender may send it.
    Source {
        /// Whom it says that it is from.
        mac: MacAddr,
        /// Whose port it came by, if that speaks for itself alone.
        owner: Option<(MacAddr, Vec<IpAddr>)>,
        /// Why it may not.
        refused: Option<DropReason>,
    },
    /// What the FDB makes of its source.
    Learn {
        /// The address.
        mac: MacAddr,
        /// Where it was before.
        before: Option<PortId>,
        /// Where it is now; without it, it was not learned.
        after: Option<PortId>,
    },
    /// What the FDB knows of its destination.
    Lookup {
        /// The address.
        mac: MacAddr,
        /// Where that is.
        found: Option<PortId>,
    },
    /// It is for a group.
    Group(MacAddr),
    /// It is for the gateway.
    Gateway,
    /// The stations of the network do not reach each other, but for what is open.
    Isolation(Verdict),
    /// What the rules of the network say of it.
    Policy(Option<Cause>),
    /// What the network's further features say of it; `None`: it is for the gateway.
    Features(Option<Verdict>),
    /// It answers a client of a service, and goes back the way of that one's questions.
    Service,
    /// What the router finds wrong with its addresses, if anything.
    Checked,
    /// What the translator makes of it.
    Flow(String),
    /// Where it goes next.
    Hop {
        /// The network.
        network: String,
        /// The station there that has it next.
        neighbour: IpAddr,
        /// How long packets may be there.
        mtu: u32,
    },
    /// How many hops it had left.
    Hops(u8),
    /// It is translated.
    Translated {
        /// What it was.
        before: String,
        /// What it is.
        after: String,
    },
    /// Where the next station is.
    Neighbour(Option<MacAddr>),
    /// It goes out by a port.
    Out(PortId),
    /// What becomes of it.
    Verdict(Verdict),
    /// To whom a flood goes.
    Flooded(Vec<PortId>),
}

impl Step {
    /// What was asked.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Step::Parse(_) => "parse",
            Step::Source { .. } => "anti-spoof",
            Step::Learn { .. } => "learn",
            Step::Lookup { .. } | Step::Group(_) | Step::Gateway => "destination",
            Step::Isolation(_) => "isolation",
            Step::Policy(_) => "policy",
            Step::Features(_) => "features",
            Step::Service => "service",
            Step::Checked => "router",
            Step::Flow(_) => "nat",
            Step::Hop { .. } => "route",
            Step::Hops(_) => "hops",
            Step::Translated { .. } => "translate",
            Step::Neighbour(_) => "neighbour",
            Step::Out(_) | Step::Flooded(_) => "egress",
            Step::Verdict(_) => "verdict",
        }
    }

    /// What the answer was, with ports by their names.
    #[must_use]
    pub fn text(&self, port: &dyn Fn(PortId) -> String) -> String {
        match self {
            Step::Parse(text) | Step::Flow(text) => text.clone(),
            Step::Source { mac, owner, refused } => source(*mac, owner.as_ref(), *refused),
            Step::Learn { mac, before, after } => match (before, after) {
                (_, None) => format!("{mac} is not learned"),
                (None, Some(at)) => format!("{mac} is new, at {}", port(*at)),
                (Some(before), Some(after)) if before == after => format!("{mac} is known, at {}", port(*after)),
                (Some(before), Some(after)) => format!("{mac} moves from {} to {}", port(*before), port(*after)),
            },
            Step::Lookup { mac, found: Some(at) } => format!("{mac} is at {}", port(*at)),
            Step::Lookup { mac, found: None } => format!("{mac} is unknown"),
            Step::Group(mac) => format!("{mac} is a group"),
            Step::Gateway => "the network's gateway".to_owned(),
            Step::Isolation(verdict) => format!("stations are isolated: {}", said(*verdict, port)),
            Step::Policy(None) => "allowed".to_owned(),
            Step::Policy(Some(cause)) => format!("refused: {cause}"),
            Step::Features(None) => "for the gateway".to_owned(),
            Step::Features(Some(verdict)) => said(*verdict, port),
            Step::Service => "answers a client of a service".to_owned(),
            Step::Checked => "addresses and checksum are right".to_owned(),
            Step::Hop { network, neighbour, mtu } => format!("network {network}, next {neighbour}, mtu {mtu}"),
            Step::Hops(left) => format!("{left} left"),
            Step::Translated { before, after } if before == after => "nothing changes".to_owned(),
            Step::Translated { after, .. } => format!("becomes {after}"),
            Step::Neighbour(Some(mac)) => format!("is at {mac}"),
            Step::Neighbour(None) => "is unknown and asked for".to_owned(),
            Step::Out(at) => port(*at),
            Step::Flooded(to) if to.is_empty() => "nobody else is there".to_owned(),
            Step::Flooded(to) => to.iter().map(|&at| port(at)).collect::<Vec<_>>().join(", "),
            Step::Verdict(verdict) => said(*verdict, port),
        }
    }
}

fn source(mac: MacAddr, owner: Option<&(MacAddr, Vec<IpAddr>)>, refused: Option<DropReason>) -> String {
    let own = |(mac, addresses): &(MacAddr, Vec<IpAddr>)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("{mac} {}", addresses.join(" ")).trim_end().to_owned()
    };
    match (owner, refused) {
        (None, None) => format!("anybody may be behind this port; {mac} is a station"),
        (Some(_), None) => "it is from whom it says".to_owned(),
        (Some(owner), Some(reason)) => format!("{reason}: the port's own are {}", own(owner)),
        (None, Some(reason)) => format!("{reason}: {mac} may not send here"),
    }
}

fn said(verdict: Verdict, port: &dyn Fn(PortId) -> String) -> String {
    match verdict {
        Verdict::Forward(to) => format!("forwarded to {}", port(to)),
        Verdict::Flood => "flooded".to_owned(),
        Verdict::FloodBut(but) => format!("flooded, but not to {}", port(but)),
        Verdict::Multicast => "forwarded to the group's members".to_owned(),
        Verdict::Forwarded => "forwarded".to_owned(),
        Verdict::Answer => "answered by the switch".to_owned(),
        Verdict::Consumed => "taken by the switch".to_owned(),
        Verdict::Drop(cause) => format!("dropped {cause}"),
    }
}

/// What was said of frames of a burst that somebody asked about.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// By index of their buffers, and what they are known as.
    asked: Vec<(u16, u64)>,
    current: Option<usize>,
    stories: Vec<(u64, Vec<Step>)>,
}

/// Most steps of one frame; its fragments have theirs.
const MOST_STEPS: usize = 256;

impl Recorder {
    /// Of these frames, by index and number.
    pub(crate) fn of(asked: Vec<(u16, u64)>) -> Recorder {
        let stories = asked.iter().map(|(_, number)| (*number, Vec::new())).collect();
        Recorder { asked, current: None, stories }
    }

    /// Number and steps of each.
    pub(crate) fn into_stories(self) -> Vec<(u64, Vec<Step>)> {
        self.stories
    }
}

impl Trace for &mut Recorder {
    type Again<'t>
        = &'t mut Recorder
    where
        Self: 't;

    const LISTENS: bool = true;

    fn again(&mut self) -> &mut Recorder {
        self
    }

    fn begin(&mut self, index: u16) {
        self.current = self.asked.iter().position(|(asked, _)| *asked == index);
    }

    fn step(&mut self, step: impl FnOnce() -> Step) {
        if let Some(current) = self.current
            && self.stories[current].1.len() < MOST_STEPS
        {
            self.stories[current].1.push(step());
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.text(&|port| port.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps go to the frame that is looked at, if somebody asked about it, and say ports by name.
    #[test]
    fn recorded() {
        let mut recorder = Recorder::of(vec![(3, 41)]);
        let mut trace = &mut recorder;
        trace.begin(2);
        trace.step(|| Step::Gateway);
        trace.begin(3);
        trace.step(|| Step::Out(PortId::new(7)));
        trace.again().step(|| Step::Verdict(DropReason::SpoofedIp.into()));
        let stories = recorder.into_stories();
        let [(41, steps)] = &stories[..] else { panic!("{stories:?}") };
        let text: Vec<String> = steps.iter().map(|step| step.text(&|_| "web".to_owned())).collect();
        assert_eq!(text, ["web", "dropped spoofed-ip"]);
    }
}
