//! The host's side of connections, as the engine sees it.

use std::io;

#[cfg(doc)]
use super::Streams;
use super::{Ends, Slot};

/// The host's sockets, by connection. Reads and writes never wait.
pub trait HostSide {
    /// Starts to connect a socket to where a connection from inside leads; the news comes by [`Streams::ready`].
    ///
    /// # Errors
    /// When the host refuses at once. A destination that may not be reached is [`io::ErrorKind::PermissionDenied`].
    fn connect(&mut self, slot: Slot, ends: &Ends) -> io::Result<()>;

    /// How the connect went; `None` while it goes on.
    fn connected(&mut self, slot: Slot) -> Option<io::Result<()>>;

    /// Writes as [`io::Write::write`] does.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is no room; anything else breaks the connection.
    fn write(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<usize>;

    /// Reads as [`io::Read::read`] does: nothing means the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there; anything else breaks the connection.
    fn read(&mut self, slot: Slot, area: &mut [u8]) -> io::Result<usize>;

    /// Tells the peer that nothing more will be written.
    fn finish(&mut self, slot: Slot);

    /// Closes the socket, if there is one; the number may be used again.
    fn close(&mut self, slot: Slot, ending: Ending);
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both sides have closed.
    Orderly,
    /// The peer is to see a reset.
    Reset,
}

/// News of a host socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, the end or an error may be read.
    pub readable: bool,
    /// There may be room.
    pub writable: bool,
}
