//! The agent: the only process that creates namespaces, interfaces and container processes.
//!
//! ```text
//! vswitchd ══ SEQPACKET ══ agent ─── network thread: namespaces, interfaces, packet sockets
//!                            ├────── a thread for each start: container processes
//!                            └────── helper spawner (ordinary users only) ── a helper for each foreign user namespace
//! ```
//!
//! Started as root it acts in the host's user namespace; started by an ordinary user it first enters a user namespace in
//! which that user is root. From there on both do the same.

pub mod client;
mod data;
mod entry;
mod failure;
pub(crate) mod files;
mod foreign;
mod freezer;
mod host;
mod host_names;
mod ids;
mod key;
mod listen;
mod network;
pub(crate) mod orders;
mod orphans;
pub mod output;
mod parent;
mod pidfd;
mod ping;
mod processes;
pub mod protocol;
pub(crate) mod resolv;
mod server;
mod sizes;
mod socket;
mod survivors;
mod terminal;
mod uplink;
mod user;
mod users;
pub(crate) mod wire;

pub use entry::main;
