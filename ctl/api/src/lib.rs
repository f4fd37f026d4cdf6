//! The control vocabulary of vswitch: what a client and `vswitchd` say to each other.
//!
//! The control socket speaks HTTP/1.1 with JSON over a Unix socket. Two dialects share it:
//!
//! - `/networks…`, `/containers…`, `/events`, `/info`, `/version`, `/_ping` (each also behind `/v1.NN`) follow the Docker
//!   Engine API: the shapes are in [`network`] and [`docker`], the field names are Docker's, errors are [`ErrorBody`];
//! - everything of vswitch's own lives under [`PREFIX`]: [`capture`], [`container`], [`endpoint`], [`engine`], [`fdb`], [`flow`], [`service`],
//!   [`stats`], [`tunnel`], [`version`].
//!   Field names are `snake_case`.
//!
//! Wire types carry addresses as text. The daemon turns them into domain types once, where it answers with one sentence
//! per fault; clients print them as they are. [`client`] is the one client that every command line of the project uses,
//! and [`stdio`] says how a container's standard streams are handed over.
//!
//! Deliberately absent: any knowledge of namespaces, frames in flight or stored state.

pub mod capture;
pub mod client;
pub mod container;
pub mod docker;
pub mod endpoint;
pub mod engine;
mod error;
pub mod fdb;
pub mod flow;
pub mod frame;
pub mod human;
pub mod keys;
pub mod machine;
pub mod network;
pub mod port;
pub mod service;
pub mod signal;
pub mod stats;
pub mod stdio;
pub mod text;
pub mod topology;
pub mod tunnel;
pub mod version;
pub mod wire;

pub use client::Client;
pub use error::{ClientError, ErrorBody};

/// Path prefix of vswitch's own API.
pub const PREFIX: &str = "/vswitch/v1";

/// The newest Docker Engine API version that is spoken.
pub const DOCKER_API_VERSION: &str = "1.50";

/// The oldest: the shapes are the same as far as vswitch speaks them.
pub const DOCKER_MIN_API_VERSION: &str = "1.24";

/// Longest request body that the daemon reads, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
