//! Encapsulation: frames become trains of VXLAN packets.
//!
//! A *train* is a row of packets to one remote by one path, all of one length but for the last, which may be shorter: what
//! one system call with UDP_SEGMENT takes. A super-frame is cut into the segments that its sender asked for, and these
//! make a train; so do frames of equal length that follow each other.
//!
//! Nothing but headers and short frames is copied. A [`Packer`] collects *pieces*: ranges of its own arena (VXLAN headers,
//! finished inner headers, short frames whole) and ranges of the frames, which must stay as they are until the trains are
//! sent. Everything is bounded; [`Packer::push`] says where to go on after the trains so far are sent.

use std::ops::Range;
use std::sync::Arc;

use vswitch_frame::{Packet, Vni, checksum, segment};

use crate::drop::TunnelDrop;
use crate::header::{self, LEN};
use crate::remote::{Amount, Remote};

/// Most packets of a train: Linux before 6.9 takes no more (UDP_MAX_SEGMENTS).
const MAX_PACKETS: usize = 64;
/// Most bytes of a train: what a UDP datagram over IPv4 holds.
const MAX_BYTES: usize = 65_507;
/// A frame no longer than this, and a payload no longer than half of it, is copied rather than named.
const SHORT: usize = 512;
/// Most trains, pieces and arena bytes before they must be sent.
const MAX_TRAINS: usize = 64;
const MAX_PIECES: usize = 4096;
const ARENA: usize = 256 << 10;
/// Room that the headers of any packet need: Ethernet with tags, IPv6 with extension headers, TCP with options.
const MAX_HEADERS: usize = 22 + 40 + 256 + 60;

/// Some bytes of a train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// In [`Packer::arena`].
    Own(Range<usize>),
    /// In a frame, named by the index that [`Packer::push`] was given.
    Frame(u16, Range<usize>),
}

impl Piece {
    /// Bytes of it.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Piece::Own(range) | Piece::Frame(_, range) => range.len(),
        }
    }

    /// Whether it has none; a packer makes no such piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Packets for one system call.
#[derive(Debug)]
pub struct Train {
    /// Where they go.
    pub remote: Arc<Remote>,
    /// Which path they take ([`header::source_ports`]).
    pub path: u16,
    /// The outer TOS or traffic class.
    pub tos: u8,
    /// Length of every packet but the last, in bytes.
    pub size: usize,
    /// Packets and bytes.
    pub amount: Amount,
    /// Frames, counted where their first packet is, and their bytes.
    pub frames: Amount,
    /// Longer than the path MTU, so that the underlay has to fragment it; such a packet travels alone.
    pub fragmented: bool,
    pieces: Range<usize>,
    open: bool,
}

/// A frame to send.
#[derive(Debug, Clone, Copy)]
pub struct Job<'f> {
    /// It itself.
    pub packet: Packet<'f>,
    /// The name that pieces give it.
    pub index: u16,
    /// Where it goes.
    pub remote: &'f Arc<Remote>,
    /// Whether it is to be counted among the frames: of a flood, only the first copy is.
    pub counted: bool,
}

/// How the packets of a frame travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Which path they take ([`header::source_ports`]).
    pub path: u16,
    /// The outer TOS or traffic class.
    pub tos: u8,
}

/// Whether packets may be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// Into trains.
    Trains,
    /// Each packet alone: the kernel cannot cut trains, or leaves outer checksums out.
    Alone,
}

/// How far [`Packer::push`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The frame is in the trains.
    Done,
    /// There is no room: send the trains, then push the frame again from this segment on.
    Full(usize),
}

/// Collects packets into trains.
#[derive(Debug)]
pub struct Packer {
    header: [u8; LEN],
    joining: Joining,
    arena: Vec<u8>,
    pieces: Vec<Piece>,
    trains: Vec<Train>,
}

impl Default for Packer {
    fn default() -> Self {
        Packer {
            header: [0; LEN],
            joining: Joining::Alone,
            arena: Vec::with_capacity(ARENA),
            pieces: Vec::with_capacity(MAX_PIECES),
            trains: Vec::with_capacity(MAX_TRAINS),
        }
    }
}

impl Packer {
    /// Starts anew, for frames of one network.
    pub fn begin(&mut self, vni: Vni, joining: Joining) {
        self.clear();
        self.header = header::encode(vni);
        self.joining = joining;
    }

    /// Forgets the trains.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.pieces.clear();
        self.trains.clear();
    }

    /// The trains so far, in the order in which they are to be sent.
    #[must_use]
    pub fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// The bytes that [`Piece::Own`] names.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// The pieces of a train, in order.
    #[must_use]
    pub fn pieces(&self, train: &Train) -> &[Piece] {
        &self.pieces[train.pieces.clone()]
    }

    /// The pieces of one packet of a train, for those who have to send it alone.
    pub fn packet(&self, train: &Train, packet: usize) -> impl Iterator<Item = Piece> {
        let (from, to) = (packet * train.size, (packet + 1) * train.size);
        let mut at = 0;
        self.pieces(train).iter().filter_map(move |piece| {
            let range = match piece {
                Piece::Own(range) | Piece::Frame(_, range) => range,
            };
            let (start, end) = (at, at + range.len());
            at = end;
            let part = from.max(start)..to.min(end);
            let part = (!part.is_empty()).then(|| range.start + part.start - start..range.start + part.end - start)?;
            Some(match piece {
                Piece::Own(_) => Piece::Own(part),
                Piece::Frame(index, _) => Piece::Frame(*index, part),
            })
        })
    }

    /// Puts a frame into the trains, from its segment `from` on (0 for all of it).
    ///
    /// # Errors
    /// When the frame cannot be sent at all.
    #[inline]
    pub fn push(&mut self, job: &Job<'_>, route: Route, from: usize) -> Result<Pushed, TunnelDrop> {
        if job.packet.offload().gso.is_some() {
            return self.push_segments(job, route, from);
        }
        let length = LEN + job.packet.frame().len();
        if length > MAX_BYTES {
            return Err(TunnelDrop::TooBig);
        }
        if self.is_full() {
            return Ok(Pushed::Full(0));
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(&self.header);
        let copied = if job.packet.frame().len() <= SHORT { job.packet.frame().len() } else { self.head_of(job) };
        self.arena.extend_from_slice(&job.packet.frame()[..copied]);
        self.finish_checksum(job, start + LEN, copied);
        let counted = if job.counted { 1 } else { 0 };
        let frames = Amount { packets: counted, bytes: counted * wide(job.packet.frame().len()) };
        self.add(job, route, start, copied..job.packet.frame().len(), frames);
        Ok(Pushed::Done)
    }

    fn push_segments(&mut self, job: &Job<'_>, route: Route, from: usize) -> Result<Pushed, TunnelDrop> {
        let segments = segment::segment(&job.packet).map_err(|_| TunnelDrop::BadOffload)?;
        if LEN + segments.max_len() > MAX_BYTES || segments.header_len() > MAX_HEADERS {
            return Err(TunnelDrop::TooBig);
        }
        for index in from..segments.count() {
            if self.is_full() {
                return Ok(Pushed::Full(index));
            }
            let start = self.arena.len();
            self.arena.extend_from_slice(&self.header);
            self.arena.resize(start + LEN + segments.header_len(), 0);
            let payload = segments.write_headers(index, &mut self.arena[start + LEN..]);
            let payload = if payload.len() <= SHORT / 2 {
                self.arena.extend_from_slice(&job.packet.frame()[payload.clone()]);
                payload.end..payload.end
            } else {
                payload
            };
            let counted = if job.counted && index == 0 { 1 } else { 0 };
            let frames = Amount { packets: counted, bytes: counted * wide(job.packet.frame().len()) };
            self.add(job, route, start, payload, frames);
        }
        Ok(Pushed::Done)
    }

    /// How much of a long frame goes into the arena: nothing, or as much as holds the checksum to finish.
    fn head_of(&self, job: &Job<'_>) -> usize {
        let field = job
            .packet
            .offload()
            .checksum
            .map_or(0, |partial| usize::from(partial.start) + usize::from(partial.offset) + 2);
        field.min(job.packet.frame().len()).min(MAX_HEADERS)
    }

    /// Finishes a partial checksum in the copy of a frame's first bytes at `at`.
    fn finish_checksum(&mut self, job: &Job<'_>, at: usize, copied: usize) {
        let Some(partial) = job.packet.offload().checksum else { return };
        let field = usize::from(partial.start) + usize::from(partial.offset);
        if field + 2 > copied {
            return;
        }
        let value = !checksum::fold(checksum::sum(&job.packet.frame()[usize::from(partial.start)..]));
        let is_udp = usize::from(partial.offset) == vswitch_frame::udp::CHECKSUM_OFFSET;
        let value = if value == 0 && is_udp { 0xffff } else { value };
        self.arena[at + field..at + field + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Adds a packet: the arena from `start` on, and a range of the frame. It joins the last train if it fits there.
    #[inline]
    fn add(&mut self, job: &Job<'_>, route: Route, start: usize, payload: Range<usize>, frames: Amount) {
        let Route { path, tos } = route;
        let own = start..self.arena.len();
        let length = own.len() + payload.len();
        let fragmented = length > job.remote.longest_packet();
        let joins = |train: &Train| {
            train.open
                && train.path == path
                && train.tos == tos
                && length <= train.size
                && !fragmented
                && train.amount.packets < wide(MAX_PACKETS)
                && train.amount.bytes + wide(length) <= wide(MAX_BYTES)
                && Arc::ptr_eq(&train.remote, job.remote)
        };
        if !self.trains.last().is_some_and(joins) {
            let pieces = self.pieces.len()..self.pieces.len();
            let (none, open) = (Amount::default(), !fragmented && self.joining == Joining::Trains);
            let remote = Arc::clone(job.remote);
            self.trains.push(Train {
                remote,
                path,
                tos,
                size: length,
                amount: none,
                frames: none,
                fragmented,
                pieces,
                open,
            });
        }
        let train = self.trains.last_mut().expect("one was pushed if there was none");
        match self.pieces.last_mut() {
            // What lies side by side in the arena is one piece.
            Some(Piece::Own(last)) if last.end == own.start && !train.pieces.is_empty() => last.end = own.end,
            _ => self.pieces.push(Piece::Own(own)),
        }
        if !payload.is_empty() {
            self.pieces.push(Piece::Frame(job.index, payload));
        }
        train.pieces.end = self.pieces.len();
        train.amount.packets += 1;
        train.amount.bytes += wide(length);
        train.frames.packets += frames.packets;
        train.frames.bytes += frames.bytes;
        // A shorter packet is the last of its train.
        train.open &= length == train.size;
    }

    fn is_full(&self) -> bool {
        self.trains.len() >= MAX_TRAINS
            || self.pieces.len() + 2 > MAX_PIECES
            || self.arena.len() + LEN + MAX_HEADERS + SHORT > ARENA
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
