//! What the rest of vswitchd is told.

use std::path::PathBuf;

use vswitch_switch::{Settings, nat};

use super::DockerConfig;
use crate::api::serve::Clients;
use crate::confinement::Mode;
use crate::log::Level;
use crate::model::{Defaults, Images};
use crate::overlay::{OverlayTable, VtepSpec};
use crate::uplink::Uplink;

/// What vswitchd does, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Control socket.
    pub socket: PathBuf,
    /// State directory.
    pub state_dir: PathBuf,
    /// Of the data plane.
    pub settings: Settings,
    /// Way out of the networks.
    pub uplink: Uplink,
    /// How the uplink's translator behaves.
    pub nat: nat::rules::Settings,
    /// This host's ends of tunnels.
    pub vteps: Vec<VtepSpec>,
    /// Overlay networks that are to exist, with their remotes and entries.
    pub overlays: Vec<OverlayTable>,
    /// Everything goes with vswitchd.
    pub ephemeral: bool,
    /// Everything ends with standard input, the state directory included.
    pub follow_stdin: bool,
    /// Containers outlive a stop.
    pub live_restore: bool,
    /// Group of the socket.
    pub group: Option<String>,
    /// The greatest set of capabilities of a container, by number.
    pub capabilities: Option<Vec<u8>>,
    /// Root directories by name, for Docker's clients.
    pub images: Images,
    /// Whose requests are answered.
    pub clients: Clients,
    /// How far vswitchd restricts itself.
    pub confinement: Mode,
    /// Socket for the Docker Engine API alone.
    pub docker_socket: Option<PathBuf>,
    /// What dockerd's settings mean.
    pub defaults: Defaults,
    /// Where they came from, to read them again.
    pub docker: DockerConfig,
    /// What the user should know of them, a sentence each.
    pub warnings: Vec<String>,
    /// How much is logged.
    pub log: Level,
}
