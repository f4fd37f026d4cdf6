//! podman's helpers. Read first: containers.conf(5) (`helper_binaries_dir`), and the types of netavark's
//! `src/network/types.rs`.

pub mod netavark;
pub mod rootlessport;
mod wire;

/// What vswitchd knows podman by.
const ENGINE: &str = "podman";
