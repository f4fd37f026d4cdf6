//! The way out over ordinary host sockets: pure engines.

pub mod datagram;
pub mod destinations;
pub mod reassembly;
pub mod shares;
pub mod stream;
