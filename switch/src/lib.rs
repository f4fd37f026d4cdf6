//! The data plane of vswitch: many ports, learned stations, one decision per frame.
//!
//! # Nouns
//!
//! - A [`Switch`] runs *workers*; each receives from its own ports and may send to any.
//! - A *network* is one broadcast domain; it may have a [`Gateway`], the switch's own leg in it.
//! - A *port* attaches a device ([`PortDevice`]: AF_PACKET on a veth, TAP, memory) to a network. With an [`Identity`] it
//!   is checked for spoofing.
//! - [`l2`] is what ports may ask for beyond learning: isolation groups, secured addresses.
//! - A [`lab`] is there while somebody looks at frames or makes wires worse: captures, impairments.
//! - The [`fdb`] says which port a station is behind. A [`snapshot`] is what control told the workers.
//!
//! # Life of a frame
//!
//! ```text
//!  recvmmsg ─► FrameBuf::admit ─► bridge::decide ─► Verdict ─► Pipeline::settle ─► Egress ─► sendmmsg, same buffer
//!  (port,      (headers, offload     │ for the          ▲       (carries it out,   (the lists
//!   sys)        checked: Packet)     ▼ gateway          │        and counts it)     of ports)
//!                                  a service there, the router, the gateway
//! ```
//!
//! A burst is received, checked, decided on, carried out and sent before the next one is received ([`worker`], [`pipeline`]):
//! buffers never change hands. A frame that goes from port to port is neither copied nor costs an allocation; one that has to
//! wait (for a neighbour, for its first fragment), that an ICMP error quotes or that a memory port takes finished is copied.
//!
//! # Shared state
//!
//! Workers share the FDB (sharded, with a cache of each worker's own), the snapshot (immutable, replaced as a whole) and
//! the ports. Each counts in cells of its own. Control changes things through [`datapath`] and a worker's mailbox; it
//! waits for workers. What they share with it behind a lock (neighbours, the ledger of the FDB, the engines of the sockets uplink) is
//! held for one look or change.
//!
//! # Limits
//!
//! FDB entries and learned addresses per port are bounded (`Settings::fdb_capacity`, `PortConfig::mac_limit`), a mailbox
//! holds 1,024 commands, a burst has `Settings::burst` frames and an egress list no more than a burst.
//!
//! # Deliberately absent
//!
//! Namespaces and links (the agent makes them and passes descriptors), addresses to lease, names, persistence.

mod anti_spoof;
pub mod bridge;
mod clock;
mod config;
mod counters;
pub mod datapath;
mod egress;
pub mod fdb;
mod gateway;
mod handle;
pub mod kernel;
pub mod l2;
pub mod lab;
pub mod lan;
mod openings;
pub mod overlay;
pub mod pipeline;
pub mod port;
pub mod router;
mod shared;
pub mod snapshot;
mod stats;
pub mod supervise;
pub mod sys;
mod ticker;
mod timer;
pub(crate) mod trace;
mod verdict;
pub mod worker;

pub use clock::Clock;
pub use config::*;
pub use handle::*;
pub use openings::{Opening, Openings, Station};
/// Filters of captures, for those who ask for one.
pub use vswitch_capture as capture;
/// The translator's vocabulary, for those who configure the router.
pub use vswitch_nat as nat;
/// The tunnel's vocabulary, for those who configure overlay networks.
pub use vswitch_tunnel as tunnel;
/// What happens on wires, for those who want something to.
pub use vswitch_wire as wire;

pub use port::{
    Budget, Clients, DatagramStats, HostGateway, HostGatewaySettings, HostGatewayStats, HostGateways, HostPort,
    HostPortId, InsideNetwork, Service, ServiceDatagram, ServicePort, ServiceStats, ServiceStream, ShellCounters,
    SpareSockets, StreamStats,
};
pub use port::{MachineDevice, MachineEnd, Parting};
pub use port::{MemoryDevice, MemoryFrame, MemoryPeer, Offloads, memory_link};
pub use stats::*;
pub use trace::Step;
pub use verdict::{Cause, Verdict};
