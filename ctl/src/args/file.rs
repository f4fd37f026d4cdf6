//! The file of `--config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vswitch_switch::nat;

use super::docker::KEYS;
use super::{ArgsError, DockerSettings};
use crate::confinement::Mode;
use crate::overlay::OverlayTable;

/// The keys of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) socket: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) workers: Option<usize>,
    pub(super) uplink: Uplinks,
    pub(super) host_loopback: Vec<String>,
    pub(super) vtep: Vec<String>,
    pub(super) ephemeral: bool,
    pub(super) live_restore: bool,
    pub(super) fdb_capacity: Option<usize>,
    pub(super) fdb_ageing: Option<u64>,
    pub(super) group: Option<String>,
    pub(super) allow_from_containers: bool,
    pub(super) allow_cap: Vec<String>,
    /// Directories by name.
    pub(super) images: BTreeMap<String, String>,
    pub(super) confinement: Option<Mode>,
    pub(super) log: Option<String>,
    pub(super) docker_socket: Option<PathBuf>,
    pub(super) config_file: Option<PathBuf>,
    /// How the translator behaves.
    pub(super) nat: nat::rules::Settings,
    /// How many flows are tracked.
    pub(super) flows: nat::table::Limits,
    /// Overlay networks that are to exist.
    pub(super) overlay: Vec<OverlayTable>,
    /// dockerd's settings, in the words of daemon.json.
    #[serde(skip)]
    pub(super) docker: DockerSettings,
}

/// One uplink, or a list of several.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "OneOrMore")]
pub(super) struct Uplinks(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "an uplink, or a list of several")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Uplinks {
    fn from(given: OneOrMore) -> Uplinks {
        Uplinks(match given {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        })
    }
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<File, ArgsError> {
    let unreadable = |source| ArgsError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let bad = |error: toml::de::Error| ArgsError::File {
        path: path.to_owned(),
        detail: error.to_string().trim_end().to_owned(),
    };
    let mut own: toml::Table = toml::from_str(&text).map_err(bad)?;
    let docker: toml::Table = KEYS.iter().filter_map(|key| own.remove_entry(*key)).collect();
    if docker.is_empty() {
        // The text itself tells better where something is wrong.
        return toml::from_str(&text).map_err(bad);
    }
    Ok(File { docker: docker.try_into().map_err(bad)?, ..own.try_into().map_err(bad)? })
}
