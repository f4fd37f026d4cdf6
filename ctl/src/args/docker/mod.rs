//! dockerd's network settings: as flags of dockerd's names, and as a file in the form of `daemon.json`. What is said in
//! one place must not be said in the other; SIGHUP reads the file again.

pub(super) mod elsewhere;
mod meaning;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use elsewhere::ProcessSettings;
pub use settings::DockerSettings;

use crate::log::Level;
use crate::model::{Defaults, Faults, closest};
pub(super) use settings::KEYS;

/// Where the settings come from; they can be read more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerConfig {
    flags: DockerSettings,
    file: Option<PathBuf>,
}

/// What the settings mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// For networks and containers.
    pub defaults: Defaults,
    /// For vswitchd itself.
    pub process: ProcessSettings,
    /// How much is logged, if that is said.
    pub level: Option<Level>,
    /// What the user should know.
    pub warning: Option<String>,
}

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// The file cannot be read.
    #[error("unable to configure vswitchd with file {path}: {source}; see --config-file")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is no such JSON.
    #[error("unable to configure vswitchd with file {path}: {detail}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        detail: String,
    },
    /// Keys that nobody knows.
    #[error(
        "unable to configure vswitchd with file {path}: the following directives don't match any configuration option: \
         {unknown} (the options are {}, {}, and those of dockerd's that vswitchd does without)",
        KEYS.join(", "),
        elsewhere::PROCESS.join(", ")
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The keys.
        unknown: String,
    },
    /// Said twice.
    #[error(
        "unable to configure vswitchd with file {path}: the following directives are specified both as a flag and in the \
         configuration file: {twice}; leave one of them out"
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// `dns: (from flag: […], from file: […])`, comma separated.
        twice: String,
    },
    /// Values that make no sense.
    #[error(transparent)]
    Values(#[from] Faults),
}

impl DockerConfig {
    /// These flags, and this file besides.
    #[must_use]
    pub const fn new(flags: DockerSettings, file: Option<PathBuf>) -> Self {
        DockerConfig { flags, file }
    }

    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file and says what all settings together mean.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn read(&self) -> Result<Meaning, DockerConfigError> {
        let (settings, process, warning) = match &self.file {
            None => (self.flags.clone(), ProcessSettings::default(), None),
            Some(path) => self.merge(path)?,
        };
        let level = process.level().map_err(Faults::one)?;
        Ok(Meaning { defaults: meaning::parse(settings)?, process, level, warning })
    }

    fn merge(&self, path: &Path) -> Result<(DockerSettings, ProcessSettings, Option<String>), DockerConfigError> {
        let path = path.to_owned();
        let json = |error: serde_json::Error| DockerConfigError::Json { path: path.clone(), detail: error.to_string() };
        let Some(mut all) = read_object(&path)? else {
            return Ok((self.flags.clone(), ProcessSettings::default(), None));
        };
        // What is null was not said.
        all.retain(|_, value| !value.is_null());
        let warning =
            elsewhere::set_aside(|key| all.remove(key).is_some()).map(|text| format!("{}: {text}", path.display()));
        let process = elsewhere::take(&mut all).map_err(json)?;
        let unknown: Vec<String> =
            all.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| describe(key)).collect();
        if !unknown.is_empty() {
            return Err(DockerConfigError::Unknown { path, unknown: unknown.join(", ") });
        }
        let flags = self.flags.said();
        let twice: Vec<String> = flags
            .iter()
            .filter_map(|(key, flag)| Some(format!("{key}: (from flag: {flag}, from file: {})", all.get(key)?)))
            .collect();
        if !twice.is_empty() {
            return Err(DockerConfigError::Twice { path, twice: twice.join(", ") });
        }
        all.extend(flags);
        Ok((serde_json::from_value(Value::Object(all)).map_err(json)?, process, warning))
    }
}

/// The object in the file; `None` for an empty file, which says nothing.
fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, DockerConfigError> {
    let json = |detail: String| DockerConfigError::Json { path: path.to_owned(), detail };
    let unreadable = |source| DockerConfigError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    match serde_json::from_str(&text).map_err(|error| json(error.to_string()))? {
        Value::Object(map) => Ok(Some(map)),
        _ => Err(json("it is no JSON object; write one such as {\"mtu\": 1400}".to_owned())),
    }
}

fn describe(key: &str) -> String {
    match nearest(key) {
        Some(near) => format!("{key} (did you mean {near}?)"),
        None => key.to_owned(),
    }
}

/// The word of dockerd's that was perhaps meant.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    closest(key, KEYS.into_iter().chain(elsewhere::PROCESS).chain(elsewhere::NEEDLESS))
}
