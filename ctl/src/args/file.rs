//! The file of `--config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vswitch_switch::nat;

use super::docker::{KEYS, elsewhere, nearest};
use super::{ArgsError, DockerSettings, ProcessSettings};
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
    pub(super) fdb_capacity: Option<usize>,
    pub(super) fdb_ageing: Option<u64>,
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
    /// The same of what is not about networks.
    #[serde(skip)]
    pub(super) process: ProcessSettings,
    /// Which words of dockerd's are left aside.
    #[serde(skip)]
    pub(super) warning: Option<String>,
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
    let bad = |error: toml::de::Error| ArgsError::File { path: path.to_owned(), detail: describe(&error) };
    let mut own: toml::Table = toml::from_str(&text).map_err(bad)?;
    let words = own.len();
    let docker: toml::Table = KEYS.iter().filter_map(|key| own.remove_entry(*key)).collect();
    let process: toml::Table = elsewhere::PROCESS.iter().filter_map(|key| own.remove_entry(*key)).collect();
    let aside = elsewhere::set_aside(|key| own.remove(key).is_some());
    if own.len() == words {
        // The text itself tells better where something is wrong.
        return toml::from_str(&text).map_err(bad);
    }
    Ok(File {
        docker: docker.try_into().map_err(bad)?,
        process: process.try_into().map_err(bad)?,
        warning: aside.map(|text| format!("{}: {text}", path.display())),
        ..own.try_into().map_err(bad)?
    })
}

/// What the parser says, and which of dockerd's words was perhaps meant by one that nobody knows.
fn describe(error: &toml::de::Error) -> String {
    let text = error.to_string().trim_end().to_owned();
    let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match unknown.and_then(nearest) {
        Some(near) => format!("{text} (of dockerd's words: did you mean {near}?)"),
        None => text,
    }
}
