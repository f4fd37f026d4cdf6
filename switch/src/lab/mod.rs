//! What looks at frames without being asked for by them: captures.
//!
//! A snapshot has a [`Lab`] only while somebody looks; without one, a burst costs one look at a pointer here and an egress list
//! another one. A [`tap`] says which frames are wanted and takes copies of them; a [`capture`] is the other end, where copies become
//! a file. Nobody in the data path waits for either: what finds no room is lost to the capture alone, and counted there.

pub mod capture;
mod tap;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use vswitch_frame::{DropReason, FrameBuf};

pub use capture::{Capture, CaptureStop, Format};
pub use tap::{CaptureSpec, On, Place, Places, ReasonName, Super};
pub(crate) use tap::{Shared, Tap};

use crate::clock;
use crate::port::Port;
use crate::shared::wide;
use crate::verdict::Cause;

/// Most captures at a time.
pub const MOST_CAPTURES: usize = 16;

/// Everybody who looks.
#[derive(Debug, Clone, Default)]
pub struct Lab {
    pub(crate) taps: Vec<Tap>,
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

    /// The burst is over.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, index: u16, lab: &Lab) -> u64 {
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
            self.lab.dropped(port, reason.into(), &buffers[usize::from(index)], index, self.numbers);
        }
    }
}

impl Lab {
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
        self.show(Place::Drop, port, Some(cause), std::iter::once((buffer, number)));
    }

    fn show<'f>(
        &self,
        place: Place,
        port: &Port,
        cause: Option<Cause>,
        frames: impl Iterator<Item = (&'f FrameBuf, u64)>,
    ) {
        let mut wanting = self.taps.iter().filter(|tap| tap.wants(place, port)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let wanting: Vec<&Tap> = wanting.collect();
        let nanos = clock::wall_nanos();
        for (buffer, number) in frames {
            for tap in &wanting {
                tap.shared.offer(&tap::Sight { place, port, buffer, number, cause, nanos });
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
        let lab = (!taps.is_empty()).then(|| Arc::new(Lab { taps, numbers: Arc::clone(&self.numbers) }));
        (lab, gone)
    }
}
