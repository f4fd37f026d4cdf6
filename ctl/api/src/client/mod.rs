//! The client of the control socket.
//!
//! One connection a call: the daemon is on the same host, a connect costs microseconds, and a call that waits for hours
//! (a container's exit) holds up nobody. [`Client`] is a path and nothing else, so it is free to clone and to share.
//!
//! - `transport` connects, sends one request and reads one answer;
//! - `networks`, `volumes`, `tunnels`, `containers`, `usage`, `archive`, `endpoints`, `system` are one method a route;
//! - [`Session`] is a call that was upgraded: a process with the caller's own standard streams.

mod archive;
mod capture;
mod containers;
mod endpoints;
mod engines;
mod flows;
mod frames;
mod machines;
mod networks;
mod services;
mod session;
mod socket;
mod streams;
mod system;
mod transport;
mod tunnels;
mod usage;
mod volumes;
mod wires;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use containers::ContainerOutput;
pub use engines::EngineLease;
pub use flows::FlowEvents;
pub use machines::MachineHold;
pub use networks::Filters;
pub use session::{Session, Streams};
use socket::Named;
pub use socket::{NoRuntimeDirectory, SOCKET_VARIABLE, own_socket};
pub use streams::{Frames, OutputQuery, Piece, StreamsWanted};

use crate::ClientError;

/// How long the daemon may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the daemon may take to answer a call that does not wait for a process.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Speaks to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    named: Named,
}

impl Client {
    /// A client for the daemon at `socket`, which the user named. Connects with the first call, so this cannot fail.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client { socket: socket.into(), named: Named::Explicitly }
    }

    /// A client for this user's daemon: at `$VSWITCH_SOCKET`, or at [`own_socket`].
    ///
    /// # Errors
    /// When the user has no folder for a socket.
    pub fn of_this_user() -> Result<Self, ClientError> {
        let (socket, named) = socket::default_socket()?;
        Ok(Client { socket, named })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}
