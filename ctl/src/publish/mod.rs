//! Published ports: what `-p` says, and who has which host port.
//!
//! A [`PublishSpec`] is what a user asked for; when the container starts it becomes one or two [`Binding`]s (one for each
//! family) by the [`PortLeases`], which last until the container ends. Both are pure. With the sockets uplink each binding is
//! a socket of the host ([`host`]).

pub mod host;
mod leases;
mod spec;

pub use leases::{Claim, Families, LeaseError, PortLeases, together};
pub use spec::{Exposed, PublishError, PublishSpec, parse, parse_exposed, text};

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;
pub use vswitch_switch::nat::rules::{PortRange, Transport};

/// A host port that leads to a port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    /// The protocol.
    pub transport: Transport,
    /// Where it is reached; `0.0.0.0` and `::` stand for all addresses of the family.
    pub host: IpAddr,
    /// The port there.
    pub host_port: u16,
    /// The container's own port.
    pub target_port: u16,
}

/// Where a binding leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// What is bound.
    pub binding: Binding,
    /// The network on the switch.
    pub network: NetworkIndex,
    /// The address there.
    pub address: IpAddr,
}

impl Binding {
    /// Where it is reached, as Docker writes it: `0.0.0.0:8080`, `[::]:8080`.
    #[must_use]
    pub fn host_text(&self) -> String {
        std::net::SocketAddr::new(self.host, self.host_port).to_string()
    }
}

/// `0.0.0.0:8080->80/tcp`.
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}/{}", self.host_text(), self.target_port, self.transport.protocol())
    }
}
