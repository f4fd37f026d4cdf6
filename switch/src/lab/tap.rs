//! Which frames somebody wants, and the way of their copies.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use crossbeam_channel::{Receiver, Sender, bounded};
use vswitch_capture::Filter;
use vswitch_frame::{DropReason, NetworkIndex, NetworkRef, Offload, PortId};
use vswitch_nat::NatDrop;
use vswitch_nat::proxy::datagram::DatagramDrop;
use vswitch_nat::proxy::stream::StreamDrop;
use vswitch_nat::route::RouteDrop;
use vswitch_tunnel::TunnelDrop;
use vswitch_wire::WireDrop;

use super::capture::Format;
use super::story::Asks;
use crate::port::{Label, Port};
use crate::trace::Step;
use crate::verdict::Cause;

/// What somebody wants to see.
#[derive(Debug, Clone)]
pub struct CaptureSpec {
    /// Of which ports.
    pub on: On,
    /// At which places.
    pub places: Places,
    /// Which frames.
    pub filter: Filter,
    /// The filter as it was written.
    pub filter_text: String,
    /// Only frames that are dropped for this reason.
    pub reason: Option<ReasonName>,
    /// How many bytes of each frame.
    pub snap_len: usize,
    /// What super-frames are written as.
    pub super_frames: Super,
    /// How many frames, until it ends by itself.
    pub count: Option<u64>,
    /// What comes out.
    pub format: Format,
}

/// The ports that are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// All that there are and will be.
    All,
    /// Those of a network.
    Network(NetworkRef),
    /// These.
    Ports(Vec<PortId>),
}

/// Where a frame is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// From a port into the switch, before anything is decided.
    Up,
    /// On its end in the switch, of the port that it came from; or of the port whose interface did not take it.
    Drop,
    /// Out of the switch to a port.
    Down,
}

/// A set of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(u8);

/// What a super-frame, which a sender leaves to be cut up later, is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Super {
    /// As the packets that it stands for, with finished checksums.
    Segments,
    /// As the one frame that crosses the switch.
    Whole,
}

/// Why a frame ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The switch dropped it.
    Switch(Cause),
    /// A wire lost it.
    Wire(WireDrop),
}

/// The name of a reason for which the switch, one of its engines or a wire drops frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonName(&'static str);

/// There is no such reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing is dropped for the reason {0:?}; 'vswitchctl stats' shows the names")]
pub struct UnknownReason(String);

/// There is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place where frames are seen; say up, drop or down, several with commas")]
pub struct UnknownPlace(String);

/// A wish, as a snapshot has it.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    pub(crate) on: On,
    pub(crate) shared: Arc<Shared>,
}

/// What workers and the capture's end share.
#[derive(Debug)]
pub(crate) struct Shared {
    places: Places,
    filter: Filter,
    reason: Option<ReasonName>,
    snap_len: usize,
    super_frames: Super,
    sender: Sender<Message>,
    /// Whose steps are wanted, too.
    asks: Asks,
    /// Only of the frame with this number, if it is not zero.
    only: AtomicU64,
    /// Bytes of copies that wait.
    held: AtomicUsize,
    /// Frames that found no room, and have not been told of.
    pub(super) lost: AtomicU64,
    closed: AtomicBool,
}

/// What waits for the capture's end.
#[derive(Debug)]
pub(super) enum Message {
    Frame(Copied),
    /// What a frame met.
    Steps {
        number: u64,
        port: Arc<Label>,
        steps: Vec<Step>,
    },
    /// There will be no more.
    End,
}

/// A copy of a frame, and what is known of it.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) label: Arc<Label>,
    pub(super) place: Place,
    pub(super) number: u64,
    pub(super) nanos: u64,
    pub(super) why: Option<Why>,
    pub(super) offload: Offload,
    pub(super) frame: Box<[u8]>,
    pub(super) original_len: usize,
}

/// A frame at a place.
pub(super) struct Sight<'a> {
    pub(super) place: Place,
    pub(super) port: &'a Port,
    pub(super) frame: (&'a [u8], Offload),
    pub(super) number: u64,
    pub(super) why: Option<Why>,
    pub(super) nanos: u64,
}

/// Copies that may wait.
const MOST_WAITING: usize = 32_768;
/// Stories that may wait.
const MOST_STORIES: usize = 1024;
/// No frame has this number.
const NOBODY: u64 = u64::MAX;
/// Bytes of copies.
const MOST_BYTES: usize = 8 << 20;

impl Tap {
    /// A tap, and where its copies come out.
    pub(super) fn new(spec: &CaptureSpec) -> (Tap, Receiver<Message>) {
        Tap::asking(spec, Asks::Nothing)
    }

    /// A tap that wants steps, too.
    pub(super) fn asking(spec: &CaptureSpec, asks: Asks) -> (Tap, Receiver<Message>) {
        let (sender, receiver) = bounded(if asks == Asks::Nothing { MOST_WAITING } else { MOST_STORIES });
        let shared = Shared {
            places: spec.places,
            filter: spec.filter.clone(),
            reason: spec.reason,
            snap_len: spec.snap_len,
            super_frames: spec.super_frames,
            sender,
            asks,
            only: AtomicU64::new(if asks == Asks::One { NOBODY } else { 0 }),
            held: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        };
        (Tap { on: spec.on.clone(), shared: Arc::new(shared) }, receiver)
    }

    /// Whether it wants steps at all.
    pub(super) fn asks(&self) -> bool {
        self.shared.asks != Asks::Nothing && !self.shared.is_closed()
    }

    /// Whether it wants those of a frame that came by a port.
    pub(super) fn asks_of(&self, port: &Port, frame: &[u8], number: u64) -> bool {
        self.asks() && self.on.has(port) && self.shared.asks_of(frame, number)
    }

    /// Takes the steps of a frame that it asked for.
    pub(super) fn tell(&self, port: &Port, number: u64, steps: &[Step]) {
        let is_it = match self.shared.asks {
            Asks::Nothing => false,
            Asks::One => self.shared.only.load(Relaxed) == number,
            Asks::All => self.on.has(port),
        };
        let told = || Message::Steps { number, port: Arc::clone(&port.label), steps: steps.to_vec() };
        if is_it && self.shared.sender.try_send(told()).is_err() {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn wants(&self, place: Place, port: &Port) -> bool {
        self.shared.places.has(place) && self.on.has(port) && !self.shared.is_closed()
    }
}

impl On {
    fn has(&self, port: &Port) -> bool {
        match self {
            On::All => true,
            On::Network(network) => port.config.network == network.index,
            On::Ports(ports) => ports.contains(&port.id),
        }
    }

    /// What is left when a port goes.
    pub(crate) fn without_port(&self, port: PortId) -> Option<On> {
        let On::Ports(ports) = self else { return Some(self.clone()) };
        let rest: Vec<PortId> = ports.iter().copied().filter(|one| *one != port).collect();
        (!rest.is_empty()).then_some(On::Ports(rest))
    }
}

impl On {
    /// What is left when a network goes.
    pub(crate) fn without_network(&self, network: NetworkIndex) -> Option<On> {
        let gone = matches!(self, On::Network(kept) if kept.index == network);
        (!gone).then(|| self.clone())
    }
}

impl Shared {
    /// Takes a copy of a frame that is wanted, if there is room.
    pub(super) fn offer(&self, sight: &Sight<'_>) {
        let Sight { place, port, frame: (frame, offload), number, why, nanos } = *sight;
        let only = self.only.load(Relaxed);
        if only != 0 && only != number {
            return;
        }
        if self.reason.is_some_and(|reason| !why.is_some_and(|why| reason.is_of(why))) || !self.filter.matches(frame) {
            return;
        }
        let unfinished = self.super_frames == Super::Segments && offload != Offload::NONE;
        let length = if unfinished { frame.len() } else { frame.len().min(self.snap_len) };
        let before = self.held.fetch_add(length, Relaxed);
        let room = before + length <= MOST_BYTES && !self.sender.is_full();
        let copied = || Copied {
            label: Arc::clone(&port.label),
            place,
            number,
            nanos,
            why,
            offload,
            frame: frame[..length].into(),
            original_len: frame.len(),
        };
        if !room || self.sender.try_send(Message::Frame(copied())).is_err() {
            self.held.fetch_sub(length, Relaxed);
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// From now on it is about the frame with this number.
    pub(super) fn set_only(&self, number: u64) {
        self.only.store(number, Relaxed);
    }

    /// Whether the steps of a frame are wanted, and there is room for them.
    fn asks_of(&self, frame: &[u8], number: u64) -> bool {
        match self.asks {
            Asks::Nothing => false,
            Asks::One => self.only.load(Relaxed) == number,
            Asks::All if !self.filter.matches(frame) => false,
            Asks::All => {
                let room = !self.sender.is_full();
                self.lost.fetch_add(u64::from(!room), Relaxed);
                room
            }
        }
    }

    /// A copy does not wait any more.
    pub(super) fn taken(&self, copied: &Copied) {
        self.held.fetch_sub(copied.frame.len(), Relaxed);
    }

    /// Takes no more, and lets the other end know.
    pub(crate) fn close(&self) {
        self.closed.store(true, Release);
        // Without room the other end has something to take, and looks at the flag before it waits.
        let _ = self.sender.try_send(Message::End);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }
}

impl Places {
    /// Everywhere.
    pub const ALL: Places = Places(7);
    /// Where frames end.
    pub const DROP: Places = Places(1 << Place::Drop as u8);
    /// Where they leave.
    pub const DOWN: Places = Places(1 << Place::Down as u8);
    /// Where they come in.
    pub const UP: Places = Places(1 << Place::Up as u8);
    /// Nowhere.
    pub const NONE: Places = Places(0);

    /// There as well.
    #[must_use]
    pub const fn and(self, other: Places) -> Places {
        Places(self.0 | other.0)
    }

    fn has(self, place: Place) -> bool {
        self.0 & 1 << place as u8 != 0
    }
}

impl Place {
    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Place::Up => "up",
            Place::Drop => "drop",
            Place::Down => "down",
        }
    }
}

impl FromStr for Places {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Places, UnknownPlace> {
        let places = [Place::Up, Place::Drop, Place::Down];
        text.split(',').try_fold(Places(0), |set, word| {
            let place = places.into_iter().find(|place| place.name() == word.trim());
            place.map(|place| Places(set.0 | 1 << place as u8)).ok_or_else(|| UnknownPlace(word.to_owned()))
        })
    }
}

impl ReasonName {
    fn is_of(self, why: Why) -> bool {
        let cause = match why {
            Why::Switch(cause) => cause,
            Why::Wire(reason) => return reason.name() == self.0,
        };
        cause.reason().name() == self.0 || cause.own_name() == Some(self.0)
    }
}

impl FromStr for ReasonName {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<ReasonName, UnknownReason> {
        let switch = DropReason::ALL.iter().map(|reason| reason.name());
        let router = RouteDrop::ALL.iter().map(|reason| reason.name());
        let nat = NatDrop::ALL.iter().map(|reason| reason.name());
        let tunnel = TunnelDrop::ALL.iter().map(|reason| reason.name());
        let datagrams = DatagramDrop::ALL.iter().map(|reason| reason.name());
        let streams = StreamDrop::ALL.iter().map(|reason| reason.name());
        let wires = WireDrop::ALL.iter().map(|reason| reason.name());
        let mut names = switch.chain(router).chain(nat).chain(tunnel).chain(datagrams).chain(streams).chain(wires);
        names.find(|name| *name == text).map(ReasonName).ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Switch(cause) => cause.fmt(f),
            Why::Wire(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places and reasons are read as they are written, and what is neither is named.
    #[test]
    fn words() {
        assert_eq!("up,drop,down".parse(), Ok(Places::ALL));
        assert_eq!("drop".parse(), Ok(Places::DROP));
        assert!("up".parse::<Places>().is_ok_and(|set| set.has(Place::Up) && !set.has(Place::Drop)));
        assert!("up,left".parse::<Places>().unwrap_err().to_string().contains("\"left\" is no place"));
        let reason: ReasonName = "no-port".parse().unwrap();
        assert!(
            reason.is_of(Why::Switch(NatDrop::NoPort.into())) && !reason.is_of(Why::Switch(DropReason::Runt.into()))
        );
        assert!("untranslated".parse::<ReasonName>().unwrap().is_of(Why::Switch(NatDrop::NoPort.into())));
        assert!("no-remote".parse::<ReasonName>().unwrap().is_of(Why::Switch(TunnelDrop::NoRemote.into())));
        let full: ReasonName = "too-many".parse().unwrap();
        assert!(full.is_of(Why::Switch(StreamDrop::TooMany.into())));
        assert!(!full.is_of(Why::Switch(DatagramDrop::Full.into())));
        assert!("wire-cut".parse::<ReasonName>().unwrap().is_of(Why::Wire(WireDrop::Cut)));
        assert!("rnt".parse::<ReasonName>().unwrap_err().to_string().contains("\"rnt\""));
    }
}
