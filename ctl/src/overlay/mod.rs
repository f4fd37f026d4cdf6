//! Overlay networks, as far as they are decided here: what a VTEP is, which remotes there are, where stations are.
//!
//! # Nouns
//! - A *VTEP* ([`VtepSpec`], `--vtep`) is an address of the host with a UDP port: vswitchd's end of every tunnel. Its
//!   socket is bound before privileges go and shared by all overlay networks that use it.
//! - A *remote* is another host's VTEP. An *entry* binds a station's MAC address, and perhaps its IP addresses, to a
//!   remote. Both together are a network's [`Directory`].
//! - A [`ControlPlane`] says what a directory holds and is told of local stations. There are two today, both
//!   [`StaticPlane`]s: the operator's commands, kept in the store, and the `[[overlay]]` tables of `--config`. What all
//!   planes say is merged; the first plane that binds a MAC address wins.
//! - The *underlay* ([`underlay`]) is the interface that has a VTEP's address. Its MTU bounds the overlay's.
//!
//! # Files and invariants
//! Everything here but [`underlay`] and the binding of sockets is pure. The controller (`controller/overlay.rs`) owns the
//! planes, tells the switch what they say and is the only one to write to the operator's.
//!
//! # Deliberately absent
//! Packets: those are the switch's and the tunnel engine's.

pub mod control_plane;
pub mod directory;
pub mod file;
pub mod mtu;
pub mod underlay;
pub mod vtep;

pub use control_plane::{ControlPlane, Origin, StaticPlane, Station};
pub use directory::{Directory, DirectoryError, Entry};
pub use file::{OverlayTable, TableError};
pub use vtep::{OpenVtep, VtepError, VtepSpec};

/// The name of an overlay network's tunnel port wherever ports are named. Brackets are in no endpoint's name.
pub const PORT_NAME: &str = "(tunnel)";
