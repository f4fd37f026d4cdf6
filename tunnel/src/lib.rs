//! VXLAN, the pure part: what lies between a frame of an overlay network and a packet of the underlay.
//!
//! The question that this crate answers: *which remote does a frame go to, in which packets, and what may come in from
//! whom?* It does no I/O and reads no clock; sockets and threads are in vswitch-switch (`overlay`, `sys::trains`).
//!
//! Read first: RFC 7348, sections 4 to 6; RFC 6040, section 4.
//!
//! # Nouns
//!
//! - An [`Overlay`] is one network: its [`OverlaySpec`], its remotes, its entries, its counters. Workers and control share
//!   it.
//! - A [`Remote`] is another VTEP. Only remotes that control named are believed: those of the *flood list*, which get a
//!   copy of every broadcast, multicast and unknown unicast (head-end replication), and those that an entry names.
//! - An *entry* says which remote a station is behind. It is learned, static or a control plane's ([`Origin`]); the latter
//!   two bind the station and answer questions for its addresses ([`suppress`]).
//! - A *train* is a row of packets that one system call sends or receives ([`encap`]); a *path* is one of the outer source
//!   ports that flows are spread over ([`flow`], [`header`]).
//!
//! # Life of a frame
//!
//! ```text
//!  out:  flow::hash ─► View::towards ─► Packer::push ─► trains of (VXLAN header, finished segment)
//!        path          remotes          segment::write_headers: payload is named, not copied
//!
//!  in:   decap::open ─► Intake::accept ─────────────────► Coalescer::join ─► super-frame or frame
//!        VNI            believed? runt? source? tag? ECN   inner_offload::infer_offload
//!                       bound elsewhere? learn
//! ```
//!
//! Every drop has a [`TunnelDrop`] and is counted: on the network, or on the VTEP where no network is known yet. Split
//! horizon is the bridge's: nothing goes back to its ingress port, and all remotes are behind one port.
//!
//! # Limits
//!
//! [`MAX_REMOTES`] and [`MAX_ENTRIES`] a network; learned entries up to [`OverlaySpec::capacity`], the longest silent of a
//! few then gives way; a train has at most 64 packets and what a UDP datagram holds; a [`encap::Packer`] is bounded.
//!
//! # Deliberately absent
//!
//! Multicast groups as flood list, GPE and group policy bits (ignored when received, never sent), outer fragmentation (the
//! kernel's, where it cannot be avoided).

pub mod coalesce;
pub mod decap;
pub mod drop;
pub mod ecn;
pub mod encap;
pub mod flow;
pub mod header;
pub mod inner_offload;
mod overlay;
mod remote;
mod spec;
mod stations;
pub mod suppress;

pub use drop::{DropCounters, TunnelDrop};
pub use overlay::*;
pub use remote::{Amount, Remote, RemoteStats};
pub use spec::*;
