//! The way out of the networks: what `--uplink` says, and the files that go with it.
//!
//! - [`Uplink`] is what the flag says, checked ([`spec`], [`sockets`]);
//! - [`router`] makes what the switch's router is to do out of networks, uplink and published ports;
//! - [`journal`] carries the router's flows over a restart of vswitchd.
//!
//! Opening the interface is the agent's work, keeping it the controller's.

pub mod journal;
pub mod router;
mod sockets;
mod spec;

pub use sockets::{PingSockets, PublishSource, SocketsUplink, UdpFilter};
pub(crate) use spec::is_name;
pub use spec::{Addresses, PacketUplink, StaticRoute, Uplink, UplinkError};
