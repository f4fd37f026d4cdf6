//! What vswitchd is told: flags, then the file of `--config`, then defaults.

use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;
use vswitch_switch::{Settings, nat};

use crate::uplink::{Uplink, UplinkError};

/// The vswitch daemon: a userspace virtual switch for containers.
#[derive(Debug, Default, Parser)]
#[command(name = "vswitchd", version, about)]
pub struct Args {
    /// Control socket [default: $VSWITCH_SOCKET, $XDG_RUNTIME_DIR/vswitch/vswitch.sock or /run/vswitch/vswitch.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where networks, containers and leases are kept [default: /var/lib/vswitch or $XDG_STATE_HOME/vswitch]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// TOML file with these flags as keys (flags win), and tables [nat] and [flows] for the uplink's translator
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Pipelines [default: number of cores, at most 4]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Way out of the networks: none, or packet:IFACE,address=A/LEN[,gateway=A][,mac=M][,mtu=N][,route=CIDR@ROUTER], where
    /// address, gateway and route may repeat [default: none]
    #[arg(long, value_name = "UPLINK")]
    pub uplink: Option<String>,
    /// Take everything down when vswitchd ends, however it ends
    #[arg(long)]
    pub ephemeral: bool,
    /// Let containers run on when vswitchd is stopped
    #[arg(long)]
    pub live_restore: bool,
    /// Most entries of the forwarding database [default: 65536]
    #[arg(long, value_name = "N")]
    pub fdb_capacity: Option<usize>,
    /// Seconds after which an address that was not seen is forgotten [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub fdb_ageing: Option<u64>,
    /// Give the control socket to this group, too
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// What to log to standard error: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

/// The keys of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    workers: Option<usize>,
    uplink: Option<String>,
    ephemeral: bool,
    live_restore: bool,
    fdb_capacity: Option<usize>,
    fdb_ageing: Option<u64>,
    group: Option<String>,
    log: Option<String>,
    /// How the translator behaves.
    nat: nat::rules::Settings,
    /// How many flows are tracked.
    flows: nat::table::Limits,
}

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
    /// Everything goes with vswitchd.
    pub ephemeral: bool,
    /// Containers outlive a stop.
    pub live_restore: bool,
    /// Group of the socket.
    pub group: Option<String>,
    /// Log filter.
    pub log: String,
}

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
    /// Two flags contradict each other.
    #[error("--ephemeral takes everything down and --live-restore keeps it; use one of them")]
    Contradiction,
    /// The uplink makes no sense.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// Nowhere to put something.
    #[error("there is no home directory to keep state in; name one with --state-dir")]
    NoHome,
}

/// The environment that defaults depend on.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Effective user.
    pub uid: u32,
    /// `$VSWITCH_SOCKET`.
    pub socket: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// This process's.
    #[must_use]
    pub fn of_process() -> Self {
        let path = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        Environment {
            uid: rustix::process::geteuid().as_raw(),
            socket: path("VSWITCH_SOCKET"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
        }
    }

    fn default_socket(&self) -> PathBuf {
        match (&self.socket, self.uid, &self.runtime_dir) {
            (Some(socket), _, _) => socket.clone(),
            (None, 0, _) => "/run/vswitch/vswitch.sock".into(),
            (None, _, Some(dir)) => dir.join("vswitch/vswitch.sock"),
            (None, uid, None) => format!("/tmp/vswitch-{uid}/vswitch.sock").into(),
        }
    }

    fn default_state_dir(&self) -> Result<PathBuf, ArgsError> {
        match (self.uid, &self.state_home, &self.home) {
            (0, _, _) => Ok("/var/lib/vswitch".into()),
            (_, Some(state), _) => Ok(state.join("vswitch")),
            (_, None, Some(home)) => Ok(home.join(".local/state/vswitch")),
            (_, None, None) => Err(ArgsError::NoHome),
        }
    }
}

impl Args {
    /// Reads the file, fills in the defaults and checks everything.
    ///
    /// # Errors
    /// One sentence that names the flag.
    pub fn resolve(self, environment: &Environment) -> Result<Options, ArgsError> {
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let defaults = Settings::default();
        let workers = self.workers.or(file.workers);
        check("--workers", workers, 1..=64, "1 to 64")?;
        let capacity = self.fdb_capacity.or(file.fdb_capacity);
        check("--fdb-capacity", capacity, 16..=1 << 24, "16 to 16777216")?;
        let ageing = self.fdb_ageing.or(file.fdb_ageing);
        check("--fdb-ageing", ageing, 1..=1_000_000, "1 to 1000000 seconds")?;
        let uplink = self.uplink.or(file.uplink).map_or(Ok(Uplink::None), |text| text.parse())?;
        let log = self.log.or(file.log).unwrap_or_else(|| "info".to_owned());
        if tracing_subscriber::EnvFilter::try_new(&log).is_err() {
            return Err(ArgsError::Range { flag: "--log", value: log, allowed: "error, warn, info, debug or trace" });
        }
        let (ephemeral, live_restore) = (self.ephemeral || file.ephemeral, self.live_restore || file.live_restore);
        if ephemeral && live_restore {
            return Err(ArgsError::Contradiction);
        }
        let state_dir = match self.state_dir.or(file.state_dir) {
            Some(dir) => dir,
            None => environment.default_state_dir()?,
        };
        Ok(Options {
            socket: self.socket.or(file.socket).unwrap_or_else(|| environment.default_socket()),
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
            ephemeral,
            live_restore,
            group: self.group.or(file.group),
            log,
        })
    }
}

fn read(path: &Path) -> Result<File, ArgsError> {
    let unreadable = |source| ArgsError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text)
        .map_err(|error| ArgsError::File { path: path.to_owned(), detail: error.to_string().trim_end().to_owned() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(line: &[&str], environment: &Environment) -> Result<Options, ArgsError> {
        Args::try_parse_from([&["vswitchd"], line].concat()).unwrap().resolve(environment)
    }

    fn user() -> Environment {
        Environment { uid: 1000, home: Some("/home/u".into()), ..Environment::default() }
    }

    /// Root, a user with a runtime directory and one without each get their own paths.
    #[test]
    fn default_paths() {
        let root = resolve(&[], &Environment::default()).unwrap();
        assert_eq!(root.socket, Path::new("/run/vswitch/vswitch.sock"));
        assert_eq!(root.state_dir, Path::new("/var/lib/vswitch"));
        let options = resolve(&[], &user()).unwrap();
        assert_eq!(options.socket, Path::new("/tmp/vswitch-1000/vswitch.sock"));
        assert_eq!(options.state_dir, Path::new("/home/u/.local/state/vswitch"));
        let seated =
            Environment { runtime_dir: Some("/run/user/1000".into()), state_home: Some("/s".into()), ..user() };
        let options = resolve(&[], &seated).unwrap();
        assert_eq!(options.socket, Path::new("/run/user/1000/vswitch/vswitch.sock"));
        assert_eq!(options.state_dir, Path::new("/s/vswitch"));
        let named = Environment { socket: Some("/x.sock".into()), ..seated };
        assert_eq!(resolve(&[], &named).unwrap().socket, Path::new("/x.sock"));
        assert_eq!(resolve(&["--socket", "/y.sock"], &named).unwrap().socket, Path::new("/y.sock"));
        let homeless = Environment { uid: 1000, ..Environment::default() };
        assert!(matches!(resolve(&[], &homeless), Err(ArgsError::NoHome)));
    }

    /// The file has the flags' names, flags win over it, and an unknown key is refused with the known ones.
    #[test]
    fn the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vswitchd.toml");
        let config = path.to_str().unwrap();
        std::fs::write(&path, "workers = 2\nfdb-capacity = 1000000\nlive-restore = true\nstate-dir = \"/s\"\n")
            .unwrap();
        let options = resolve(&["--config", config, "--workers", "3"], &user()).unwrap();
        assert_eq!((options.settings.workers, options.settings.fdb_capacity), (Some(3), 1_000_000));
        assert!(options.live_restore && options.state_dir == Path::new("/s"));
        std::fs::write(&path, "worker = 2\n").unwrap();
        let error = resolve(&["--config", config], &user()).unwrap_err().to_string();
        assert!(error.contains("unknown field `worker`") && error.contains("`fdb-capacity`"), "{error}");
        assert!(resolve(&["--config", "/nonexistent"], &user()).is_err());
    }

    /// Values out of range and contradictions are refused.
    #[test]
    fn refusals() {
        for line in [
            &["--workers", "0"][..],
            &["--fdb-capacity", "1"],
            &["--fdb-ageing", "0"],
            &["--uplink", "sockets"],
            &["--log", "a=b=c"],
            &["--ephemeral", "--live-restore"],
        ] {
            assert!(resolve(line, &user()).is_err(), "{line:?}");
        }
    }
}
