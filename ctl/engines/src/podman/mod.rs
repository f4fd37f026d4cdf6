//! podman's helpers. Read first: containers.conf(5) (`helper_binaries_dir`), and the types of netavark's
//! `src/network/types.rs`.

mod create;
pub mod netavark;
pub mod plugin;
mod reservation;
pub mod rootlessport;
mod translate;
pub mod way_out;
mod wire;

/// What vswitchd knows podman by.
const ENGINE: &str = "podman";

/// Largest request, bytes.
const LONGEST: u64 = 16 << 20;
