//! VXLAN, the pure part: what lies between a frame of an overlay network and a packet of the underlay.

pub mod coalesce;
pub mod decap;
pub mod drop;
pub mod ecn;
pub mod encap;
pub mod flow;
pub mod header;
mod overlay;
mod remote;
mod spec;
mod stations;
pub mod suppress;
pub mod undone;

pub use drop::{DropCounters, TunnelDrop};
pub use overlay::*;
pub use remote::{Amount, Remote, RemoteStats};
pub use spec::*;
