//! What became of single frames: the steps of whoever decided on them, and where they were seen since.
//!
//! A [`Tracer`] is a tap that wants steps, too: those of frames that a filter selects, or of the one frame that somebody injects, which it
//! follows by its number through router, translator and wires.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use vswitch_capture::Filter;
use vswitch_capture::describe::describe;
use vswitch_frame::{Offload, PacketMut, PortId};

use super::tap::{Copied, Message, Shared, Tap};
use super::{Format, On, Place, Places, Super, Why};
use crate::clock::Clock;
use crate::datapath::Datapath;
use crate::lab::CaptureSpec;
use crate::shared::lock;
use crate::snapshot::Snapshot;
use crate::trace::Step;
use crate::verdict::Verdict;

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Story {
    /// What it is known as, also in captures; 0 for one that was only thought of.
    pub number: u64,
    /// The port that it came by, or was sent towards.
    pub port: String,
    /// What it met, in order.
    pub steps: Vec<Told>,
    /// Where it was seen since.
    pub ends: Vec<End>,
    /// Nothing more is to come.
    pub complete: bool,
}

/// A step, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What was asked.
    pub step: String,
    /// What the answer was.
    pub text: String,
}

/// Where a frame left, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// [`Place::Down`] or [`Place::Drop`].
    pub place: Place,
    /// By which port, or of which.
    pub port: String,
    /// What it was then.
    pub frame: String,
    /// Why it ended.
    pub reason: Option<String>,
}

/// Follows frames.
#[derive(Debug)]
pub struct Tracer {
    datapath: Arc<Datapath>,
    pub(super) shared: Arc<Shared>,
    receiver: Receiver<Message>,
}

/// What a [`Tracer`] hears.
#[derive(Debug)]
pub enum Heard {
    /// The steps of a frame that was decided on.
    Story(Story),
    /// A frame at a place.
    Seen(Seen),
    /// Nothing, for as long as was waited.
    Nothing,
    /// What it looks at is gone.
    End,
}

/// A frame at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is known as.
    pub number: u64,
    /// Where.
    pub place: Place,
    /// At which port.
    pub port: String,
    /// Its bytes, with a finished checksum.
    pub frame: Vec<u8>,
    /// In one line.
    pub line: String,
    /// Why it ended there.
    pub reason: Option<String>,
}

impl Tracer {
    /// One that sees these frames at these places, and hears the steps of all if it `asks` for them.
    pub(super) fn new(datapath: &Arc<Datapath>, on: On, places: Places, filter: Filter, asks: Asks) -> (Tap, Tracer) {
        let spec = CaptureSpec {
            on,
            places,
            filter,
            filter_text: String::new(),
            reason: None,
            snap_len: usize::MAX,
            super_frames: Super::Whole,
            count: None,
            format: Format::Text,
        };
        let (tap, receiver) = Tap::asking(&spec, asks);
        let shared = Arc::clone(&tap.shared);
        (tap, Tracer { datapath: Arc::clone(datapath), shared, receiver })
    }

    /// What ends it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> super::CaptureStop {
        super::CaptureStop::of(&self.shared)
    }

    /// How many frames it had no room for since it was asked last.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.swap(0, Relaxed)
    }

    /// What comes next, within a time.
    #[must_use]
    pub fn next(&self, within: Duration) -> Heard {
        match self.hear(within) {
            Ok(Message::Steps { number, port, steps }) => {
                let snapshot = self.datapath.snapshot();
                Heard::Story(Story { complete: true, ..story(&snapshot, number, port.name.clone(), &steps) })
            }
            Ok(Message::Frame(copied)) => {
                self.shared.taken(&copied);
                Heard::Seen(seen(copied))
            }
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// What became of the frames that were injected after so many.
    pub(super) fn injected_since(&self, before: u64) -> Vec<Story> {
        let stories = lock(&self.datapath.wires().stories);
        stories.iter().filter(|(sequence, _)| *sequence > before).map(|(_, story)| story.clone()).collect()
    }

    fn hear(&self, within: Duration) -> Result<Message, RecvTimeoutError> {
        match self.receiver.try_recv() {
            Ok(message) => Ok(message),
            Err(_) if self.shared.is_closed() => Err(RecvTimeoutError::Disconnected),
            Err(_) => self.receiver.recv_timeout(within),
        }
    }

    /// Follows the frame with this number, for at most so long.
    pub(super) fn follow(&self, number: u64, port: String, towards: bool, patience: Duration) -> Story {
        let clock = Clock::start();
        let mut story = Story { number, port, ..Story::default() };
        // How often it goes out by which ports.
        let mut expected: Option<BTreeMap<PortId, usize>> = None;
        let mut outs = 0;
        // By the wire that it came along.
        let mut lost_before = false;
        loop {
            let spent = Duration::from_nanos(clock.nanos());
            let Some(left) = patience.checked_sub(spent).filter(|left| !left.is_zero()) else { return story };
            match self.hear(left) {
                Ok(Message::Steps { steps, port, .. }) => {
                    let snapshot = self.datapath.snapshot();
                    story.steps = self::story(&snapshot, number, port.name.clone(), &steps).steps;
                    expected = Some(ways_out(&steps));
                    outs = expected.iter().flat_map(BTreeMap::values).sum();
                }
                Ok(Message::Frame(copied)) => {
                    self.shared.taken(&copied);
                    lost_before |= expected.is_none() && matches!(copied.why, Some(Why::Wire(_)));
                    let Seen { place, port, line, reason, .. } = seen(copied);
                    story.ends.push(End { place, port, frame: line, reason });
                }
                Ok(Message::End) | Err(_) => return story,
            }
            let gone = towards && !story.ends.is_empty();
            if lost_before || gone || expected.is_some() && story.ends.len() >= outs {
                story.complete = true;
                return story;
            }
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.shared.close();
        self.datapath.remove_tap(&self.shared);
    }
}

/// Whose steps are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nobody's.
    Nothing,
    /// Of all that the filter selects.
    All,
    /// Of one frame, whose number is not known yet.
    One,
}

/// Steps in words.
pub(super) fn story(snapshot: &Snapshot, number: u64, port: String, steps: &[Step]) -> Story {
    let name = |id: PortId| snapshot.port(id).map_or_else(|| id.to_string(), |port| port.config.name.clone());
    let told = |step: &Step| Told { step: step.name().to_owned(), text: step.text(&name) };
    Story { number, port, steps: steps.iter().map(told).collect(), ..Story::default() }
}

/// By which ports a frame with these steps goes out.
fn ways_out(steps: &[Step]) -> BTreeMap<PortId, usize> {
    let mut ways = BTreeMap::new();
    for step in steps {
        match step {
            Step::Out(port) | Step::Verdict(Verdict::Forward(port)) => *ways.entry(*port).or_default() += 1,
            Step::Flooded(ports) => ports.iter().for_each(|port| *ways.entry(*port).or_default() += 1),
            _ => {}
        }
    }
    ways
}

fn seen(copied: Copied) -> Seen {
    let mut frame = Vec::from(copied.frame);
    let mut offload = copied.offload;
    let checked = PacketMut::admit(&mut frame, offload).map(|packet| packet.view().offload()).ok();
    if let Some(checked) = checked
        && offload != Offload::NONE
    {
        offload = checked;
        vswitch_frame::offload::complete_checksum(&mut frame, &mut offload);
    }
    let line = describe(&frame);
    let reason = copied.why.map(|why| why.to_string());
    Seen { number: copied.number, place: copied.place, port: copied.label.name.clone(), frame, line, reason }
}
