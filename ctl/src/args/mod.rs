//! What vswitchd is told: flags, then the file of `--config`, then defaults.

mod docker;
mod environment;
mod error;
mod file;
mod flags;
mod options;
#[cfg(test)]
mod tests;

pub use docker::{DockerConfig, DockerConfigError, DockerSettings, Meaning, ProcessSettings};
pub use environment::Environment;
pub use error::ArgsError;
pub use flags::Args;
pub use options::Options;

use vswitch_switch::Settings;

use crate::api::serve::Clients;
use crate::log::NoLevel;
use crate::model::{Faults, Images};
use crate::overlay::file::check_all;
use crate::overlay::vtep;
use crate::uplink::Uplink;

impl Args {
    /// Reads the file, fills in the defaults and checks everything.
    ///
    /// # Errors
    /// One sentence that names the flag.
    pub fn resolve(self, environment: &Environment) -> Result<Options, ArgsError> {
        let file = self.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let defaults = Settings::default();
        let workers = self.workers.or(file.workers);
        check("--workers", workers, 1..=64, "1 to 64")?;
        let capacity = self.fdb_capacity.or(file.fdb_capacity);
        check("--fdb-capacity", capacity, 16..=1 << 24, "16 to 16777216")?;
        let ageing = self.fdb_ageing.or(file.fdb_ageing);
        check("--fdb-ageing", ageing, 1..=1_000_000, "1 to 1000000 seconds")?;
        let uplinks = if self.uplink.is_empty() { file.uplink.0 } else { self.uplink };
        let mut uplink = Uplink::parse_all(uplinks.iter().map(String::as_str))?;
        let loopbacks = if self.host_loopback.is_empty() { file.host_loopback } else { self.host_loopback };
        loopbacks.iter().try_for_each(|address| uplink.share_loopback(address))?;
        let vteps = vtep::parse_all(if self.vtep.is_empty() { &file.vtep } else { &self.vtep })?;
        check_all(&file.overlay)?;
        let docker = DockerConfig::new(self.docker.or(&file.docker), self.config_file.or(file.config_file));
        let Meaning { defaults: networks, process, level, warning } = docker.read()?;
        let file_level = file.process.level().map_err(Faults::one).map_err(DockerConfigError::from)?;
        let log = match self.log.or(file.log) {
            None => file_level.or(level).unwrap_or_default(),
            Some(text) => text.parse().map_err(|NoLevel| ArgsError::Range {
                flag: "--log",
                value: text,
                allowed: "error, warn, info, debug or trace",
            })?,
        };
        let (ephemeral, mut live_restore) = (
            self.ephemeral || self.follow_stdin || file.ephemeral,
            self.live_restore || file.process.live_restore == Some(true),
        );
        if ephemeral && live_restore {
            return Err(ArgsError::Contradiction);
        }
        live_restore |= process.live_restore == Some(true) && !ephemeral;
        let state_dir = match self.state_dir.or(file.state_dir) {
            Some(dir) => dir,
            None => environment.default_state_dir()?,
        };
        let socket = match self.socket.or(file.socket) {
            Some(socket) => socket,
            None => environment.default_socket()?,
        };
        let images = if self.images.is_empty() {
            Images::parse(file.images.iter().map(|(name, directory)| format!("{name}={directory}")))?
        } else {
            Images::parse(&self.images)?
        };
        if networks.remap.is_some() && environment.uid != 0 {
            return Err(ArgsError::Remap);
        }
        Ok(Options {
            defaults: networks,
            docker,
            warnings: file.warning.into_iter().chain(warning).collect(),
            docker_socket: self.docker_socket.or(file.docker_socket),
            socket,
            state_dir,
            settings: Settings {
                workers: workers.or(defaults.workers),
                fdb_capacity: capacity.unwrap_or(defaults.fdb_capacity),
                fdb_ageing_seconds: ageing.unwrap_or(defaults.fdb_ageing_seconds),
                flows: file.flows,
                ..defaults
            },
            nat: file.nat,
            uplink,
            vteps,
            overlays: file.overlay,
            ephemeral,
            follow_stdin: self.follow_stdin,
            live_restore,
            group: self.group.or(file.process.group).or(process.group),
            capabilities: greatest(if self.allow_cap.is_empty() { &file.allow_cap } else { &self.allow_cap })?,
            images,
            clients: if self.allow_from_containers || file.allow_from_containers {
                Clients::Containers
            } else {
                Clients::OwnProcesses
            },
            confinement: self.confinement.or(file.confinement).unwrap_or_default(),
            log,
        })
    }
}

/// What `--allow-cap` lets containers have; `None` without.
fn greatest(named: &[String]) -> Result<Option<Vec<u8>>, ArgsError> {
    if named.is_empty() {
        return Ok(None);
    }
    let allowed = "names of capabilities, such as NET_ADMIN";
    let wrong = |_| ArgsError::Range { flag: "--allow-cap", value: named.join(" "), allowed };
    crate::model::resolve_capabilities(named, &["ALL".to_owned()]).map(Some).map_err(wrong)
}

fn check<T: PartialOrd + ToString>(
    flag: &'static str,
    value: Option<T>,
    range: std::ops::RangeInclusive<T>,
    allowed: &'static str,
) -> Result<(), ArgsError> {
    match value {
        Some(value) if !range.contains(&value) => Err(ArgsError::Range { flag, value: value.to_string(), allowed }),
        _ => Ok(()),
    }
}
