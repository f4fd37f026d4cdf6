//! What can be wrong with the command line and the file.

use std::path::PathBuf;

use super::DockerConfigError;
use crate::model::ImageError;
use crate::overlay::VtepError;
use crate::overlay::file::TablesError;
use crate::uplink::UplinkError;

/// Why the arguments make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// The file cannot be read.
    #[error("cannot read {path} ({source}); see --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is no configuration of vswitchd: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the parser said; it lists the known keys.
        detail: String,
    },
    /// A value is out of range.
    #[error("{flag} {value} is out of range; use {allowed}")]
    Range {
        /// Which.
        flag: &'static str,
        /// As given.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// An image makes no sense.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Two flags contradict each other.
    #[error("--ephemeral takes everything down and --live-restore keeps it; use one of them")]
    Contradiction,
    /// Only root has ids of others to give.
    #[error(
        "userns-remap is for root's vswitchd; containers of an ordinary user are in a user namespace without it, so leave \
         it out"
    )]
    Remap,
    /// The uplink makes no sense.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// dockerd's settings make no sense.
    #[error(transparent)]
    Docker(#[from] DockerConfigError),
    /// A VTEP makes no sense.
    #[error(transparent)]
    Vtep(#[from] VtepError),
    /// Overlay networks contradict each other.
    #[error(transparent)]
    Overlays(#[from] TablesError),
    /// Nowhere to put the socket.
    #[error(transparent)]
    NoRuntimeDirectory(#[from] vswitch_api::client::NoRuntimeDirectory),
    /// Nowhere to put something.
    #[error("there is no home directory to keep state in; name one with --state-dir")]
    NoHome,
}
