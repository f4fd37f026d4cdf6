//! What looks at frames without being asked for by them, captures, and what happens to them before they are the switch's, or when
//! they are not any more: wires.
//!
//! A snapshot has a [`Lab`] only while somebody looks or something happens on a wire; without one, a burst costs one look at a pointer
//! here and an egress list another one. A [`tap`] says which frames are wanted and takes copies of them; a [`capture`] is the other end, where copies become
//! a file. Nobody in the data path waits for either: what finds no room is lost to the capture alone, and counted there.

pub mod capture;
mod control;
pub mod departures;
mod expect;
mod replay;
mod shadow;
mod story;
mod switch;
mod tap;
pub mod wires;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use vswitch_frame::{DropReason, FrameBuf, PortId};
use vswitch_wire::Told as LossTold;

pub use capture::{Capture, CaptureStop, Format};
pub use expect::{Expectation, Expected, MOST_KEPT, Outcome};
pub use replay::{Pace, Replay, ReplayStop, Replayed};
pub use story::{End, Heard, Seen, Story, Told, Tracer};
pub use switch::Neighbourhood;
pub use tap::{CaptureSpec, On, Place, Places, ReasonName, Super};
pub(crate) use tap::{Shared, Tap, Why};
pub use wires::{Direction, WireReport, Wires};

use crate::clock;
use crate::port::Port;
use crate::shared::wide;
use crate::trace::Step;
use crate::verdict::Cause;

/// Most captures at a time.
pub const MOST_CAPTURES: usize = 16;

/// Everybody who looks, and every wire on which something happens.
#[derive(Debug, Clone)]
pub struct Lab {
    pub(crate) taps: Vec<Tap>,
    /// By port.
    wires: Vec<Option<Arc<wires::PortWire>>>,
    common: Arc<Wires>,
    /// Numbers for frames, so that one can be followed from place to place.
    numbers: Arc<AtomicU64>,
}

/// Frames of one burst by the indices of their buffers, as they are known in captures. Zero is none yet.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Vec<u64>);

impl Numbers {
    /// What is in this buffer is another frame than the one that came.
    pub(crate) fn forget(&mut self, index: u16) {
        if let Some(number) = self.0.get_mut(usize::from(index)) {
            *number = 0;
        }
    }

    /// The frames of a burst are known as these.
    pub(crate) fn set(&mut self, numbers: &[u64]) {
        self.0.clear();
        self.0.extend(numbers);
    }

    /// The burst is over.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn of(&mut self, index: u16, lab: &Lab) -> u64 {
        let index = usize::from(index);
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        if self.0[index] == 0 {
            self.0[index] = lab.numbers.fetch_add(1, Relaxed) + 1;
        }
        self.0[index]
    }
}

/// Who looks at what leaves.
pub(crate) struct Watch<'w> {
    pub(crate) lab: &'w Lab,
    pub(crate) numbers: &'w mut Numbers,
}

impl Watch<'_> {
    /// Shows frames that go out by a port.
    #[cold]
    pub(crate) fn down(&mut self, port: &Port, buffers: &[FrameBuf], indices: &[u16]) {
        let Watch { lab, numbers } = self;
        let frames = indices.iter().map(|&index| (&buffers[usize::from(index)], numbers.of(index, lab)));
        lab.show(Place::Down, port, None, frames);
    }

    /// Shows frames that a port's interface did not take.
    #[cold]
    pub(crate) fn refused(&mut self, port: &Port, reason: DropReason, buffers: &[FrameBuf], indices: &[u16]) {
        for &index in indices {
            self.refused_one(port, reason.into(), &buffers[usize::from(index)], index);
        }
    }

    /// Shows the frame in buffer `index`, which what is behind a port did not take.
    #[cold]
    pub(crate) fn refused_one(&mut self, port: &Port, cause: Cause, buffer: &FrameBuf, index: u16) {
        self.lab.dropped(port, cause, buffer, index, self.numbers);
    }
}

impl Lab {
    fn new(common: Arc<Wires>) -> Lab {
        let numbers = Arc::clone(&common.numbers);
        Lab { taps: Vec::new(), wires: Vec::new(), common, numbers }
    }

    /// It, if anybody needs it.
    fn or_none(self) -> Option<Arc<Lab>> {
        let needed = !self.taps.is_empty() || self.wires.iter().any(Option::is_some);
        needed.then(|| Arc::new(self))
    }

    fn wire(&self, port: PortId) -> Option<&Arc<wires::PortWire>> {
        self.wires.get(port.index())?.as_ref()
    }

    /// Shows the frames that came from a port and lets them go along its wire. Those that go on are moved to the front; returns how
    /// many they are.
    #[cold]
    pub(crate) fn arrive(&self, port: &Port, frames: &mut [FrameBuf], numbers: &mut Numbers) -> usize {
        self.up(port, frames, numbers);
        self.along(port, frames, numbers)
    }

    /// As [`Lab::arrive`], for one frame that came by nothing but somebody's wish.
    #[cold]
    pub(crate) fn let_in(&self, port: &Port, frame: &mut [FrameBuf], number: u64, numbers: &mut Numbers) -> usize {
        numbers.set(&[number]);
        self.show(Place::Up, port, None, frame.iter().map(|buffer| (buffer, number)));
        self.along(port, frame, numbers)
    }

    /// A number for a frame that has none.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed) + 1
    }

    /// Whether somebody wants steps.
    pub(crate) fn asks(&self) -> bool {
        self.taps.iter().any(Tap::asks)
    }

    /// The frames of a burst whose steps somebody wants, and what they are known as.
    #[cold]
    pub(crate) fn asked(&self, port: &Port, frames: &[FrameBuf], numbers: &mut Numbers) -> Vec<(u16, u64)> {
        let mut asked = Vec::new();
        for (index, buffer) in (0..).zip(frames) {
            let number = numbers.of(index, self);
            if self.taps.iter().any(|tap| tap.asks_of(port, buffer.frame(), number)) {
                asked.push((index, number));
            }
        }
        asked
    }

    /// Tells the steps of frames to who asked.
    #[cold]
    pub(crate) fn tell(&self, port: &Port, stories: &[(u64, Vec<Step>)]) {
        for (number, steps) in stories {
            self.taps.iter().for_each(|tap| tap.tell(port, *number, steps));
        }
    }

    fn along(&self, port: &Port, frames: &mut [FrameBuf], numbers: &mut Numbers) -> usize {
        let Some(wire) = self.wire(port.id) else { return frames.len() };
        let known: Vec<u64> = (0..).zip(&*frames).map(|(index, _)| numbers.of(index, self)).collect();
        let mut on = Vec::with_capacity(frames.len());
        let packets = frames.iter_mut().zip(known).map(|(buffer, number)| (buffer.admit().ok(), number));
        let outcome = wire.offer(&self.common, Direction::Up, self.watches_losses(port), packets, |goes| on.push(goes));
        let mut kept = 0;
        for (index, goes) in on.into_iter().enumerate() {
            if goes {
                frames.swap(kept, index);
                numbers.0.swap(kept, index);
                kept += 1;
            }
        }
        // What is behind them serves for other frames.
        numbers.0.truncate(kept);
        self.show_losses(port, &outcome.losses);
        kept
    }

    /// Lets the frames that leave by a port go along its wire; those that go on at once stay in `list`.
    #[cold]
    pub(crate) fn leave(&self, port: &Port, buffers: &[FrameBuf], list: &mut Vec<u16>, numbers: &mut Numbers) {
        let Some(wire) = self.wire(port.id) else { return };
        let mut on = Vec::with_capacity(list.len());
        let packets = list.iter().map(|&index| (Some(buffers[usize::from(index)].packet()), numbers.of(index, self)));
        let outcome =
            wire.offer(&self.common, Direction::Down, self.watches_losses(port), packets, |goes| on.push(goes));
        let mut on = on.into_iter();
        list.retain(|_| on.next().unwrap_or(true));
        self.show_losses(port, &outcome.losses);
    }

    fn watches_losses(&self, port: &Port) -> bool {
        self.taps.iter().any(|tap| tap.wants(Place::Drop, port))
    }

    /// Shows what a wire lost.
    pub(crate) fn show_losses(&self, port: &Port, losses: &[LossTold]) {
        if losses.is_empty() {
            return;
        }
        let wanting: Vec<&Tap> = self.taps.iter().filter(|tap| tap.wants(Place::Drop, port)).collect();
        let nanos = clock::wall_nanos();
        for told in losses {
            let LossTold { reason, frame, offload, number } = told;
            let (why, frame) = (Some(Why::Wire(*reason)), (&frame[..], *offload));
            for tap in &wanting {
                tap.shared.offer(&tap::Sight { place: Place::Drop, port, frame, number: *number, why, nanos });
            }
        }
    }

    /// Shows the frames that came from a port, and gives them numbers.
    #[cold]
    pub(crate) fn up(&self, port: &Port, frames: &[FrameBuf], numbers: &mut Numbers) {
        let first = self.numbers.fetch_add(wide(frames.len()), Relaxed) + 1;
        numbers.0.clear();
        numbers.0.extend((first..).take(frames.len()));
        self.show(Place::Up, port, None, frames.iter().zip(numbers.0.iter().copied()));
    }

    /// Shows a frame that is dropped.
    #[cold]
    pub(crate) fn dropped(&self, port: &Port, cause: Cause, buffer: &FrameBuf, index: u16, numbers: &mut Numbers) {
        let number = numbers.of(index, self);
        self.show(Place::Drop, port, Some(Why::Switch(cause)), std::iter::once((buffer, number)));
    }

    fn show<'f>(&self, place: Place, port: &Port, why: Option<Why>, frames: impl Iterator<Item = (&'f FrameBuf, u64)>) {
        let mut wanting = self.taps.iter().filter(|tap| tap.wants(place, port)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let wanting: Vec<&Tap> = wanting.collect();
        let nanos = clock::wall_nanos();
        for (buffer, number) in frames {
            for tap in &wanting {
                let frame = (buffer.frame(), buffer.offload);
                tap.shared.offer(&tap::Sight { place, port, frame, number, why, nanos });
            }
        }
    }

    /// The lab with those taps of which `rest` leaves something; the others are handed out.
    pub(crate) fn without(&self, rest: impl Fn(&Tap) -> Option<On>) -> (Option<Arc<Lab>>, Vec<Arc<Shared>>) {
        let (mut taps, mut gone) = (Vec::new(), Vec::new());
        for tap in &self.taps {
            match rest(tap) {
                Some(on) => taps.push(Tap { on, shared: Arc::clone(&tap.shared) }),
                None => gone.push(Arc::clone(&tap.shared)),
            }
        }
        (Lab { taps, ..self.clone() }.or_none(), gone)
    }
}
