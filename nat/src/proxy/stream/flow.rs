//! One connection: smoltcp's socket towards the inside, the host's towards the outside, and what flows between them.

use std::io;

use vswitch_frame::{OwnedPacket, Timestamp};

use super::HostSide;
use super::open::{Open, has_ended, may_close};
use super::table::Slot;
use super::wire::{self, Arrived, Ends};
use crate::proxy::shares::Owner;

/// A connection.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) ends: Ends,
    /// Whose it is.
    pub(super) owner: Owner,
    pub(super) phase: Phase,
    /// Who opened it.
    pub(super) opener: Opener,
    /// The most payload of a segment that the endpoint takes.
    pub(super) mss: u16,
    /// The host's socket may have bytes, or its end.
    pub(super) readable: bool,
    /// The host's socket may take bytes.
    pub(super) writable: bool,
    /// It waits in the list of those that may have something to send.
    pub(super) listed: bool,
    /// When the table's timer names it.
    pub(super) due: Option<Timestamp>,
    /// When bytes moved last.
    pub(super) active: Timestamp,
    /// Its rank, as the table has it.
    pub(super) filed: Rank,
    /// Bytes out and in.
    pub(super) bytes: [u64; 2],
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// An endpoint inside.
    Inside,
    /// A client of a published port.
    Outside,
}

/// In which order connections make room for others: those that are not open yet, then those on which no byte has moved for
/// longest, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Connecting(u32),
    Open(u32),
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The host connects; the SYN that asked for it waits, without what came behind its headers.
    Connecting(OwnedPacket, Arrived),
    /// Both sides have a socket.
    Open(Open),
}

/// What became of a connection's outside while bytes were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PumpResult {
    /// It goes on.
    On,
    /// The host's socket is broken.
    Broken,
}

impl Flow {
    /// `mss` is that of the endpoint's SYN; without one yet, nothing is sent that it could bound.
    pub(super) fn new(ends: Ends, owner: Owner, mss: u16, phase: Phase, opener: Opener, now: Timestamp) -> Self {
        Flow {
            ends,
            owner,
            phase,
            opener,
            mss,
            readable: true,
            writable: true,
            listed: false,
            due: None,
            active: now,
            filed: Rank::Connecting(now.as_secs()),
            bytes: [0; 2],
        }
    }

    /// Where it stands among those that might have to make room.
    pub(super) fn rank(&self) -> Rank {
        match self.phase {
            Phase::Connecting(..) => Rank::Connecting(self.active.as_secs()),
            Phase::Open(_) => Rank::Open(self.active.as_secs()),
        }
    }

    pub(super) const fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            Phase::Connecting(..) => None,
        }
    }

    /// Moves what can be moved between the two sockets.
    pub(super) fn pump(&mut self, slot: Slot, outside: &mut impl HostSide, now: Timestamp) -> PumpResult {
        let Phase::Open(open) = &mut self.phase else { return PumpResult::On };
        let before = self.bytes;
        open.inside_ended |= has_ended(open.socket_mut().state());
        while self.writable && open.socket_mut().can_recv() {
            let written = open.socket_mut().recv(|bytes| match outside.write(slot, bytes) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(count)) => {
                    self.bytes[0] += count as u64;
                    open.next = wire::advanced(open.next, count);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return PumpResult::Broken,
                Err(_) => break,
            }
        }
        if open.inside_ended && !open.told_outside && open.socket_mut().recv_queue() == 0 {
            open.told_outside = true;
            outside.finish(slot);
        }
        let mut ended = open.outside_ended;
        let socket = open.socket_mut();
        while self.readable && !ended && socket.may_send() && socket.send_queue() < socket.send_capacity() {
            let read = socket.send(|area| match outside.read(slot, area) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => ended = true,
                Ok(Ok(count)) => self.bytes[1] += count as u64,
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => return PumpResult::Broken,
                Err(_) => break,
            }
        }
        if ended && may_close(socket) {
            socket.close();
        }
        open.outside_ended = ended;
        if self.bytes != before {
            self.active = now;
        }
        PumpResult::On
    }
}
