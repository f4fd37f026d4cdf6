//! The data plane (being written).

mod config;
mod handle;
mod stats;
pub mod sys;

pub use config::*;
pub use handle::*;
pub use stats::*;

/// An in-memory port's device.
#[derive(Debug)]
pub struct MemoryDevice;
