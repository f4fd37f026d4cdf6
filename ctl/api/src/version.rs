//! Who answers: `GET /vswitch/v1/version`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The daemon, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// vswitch's version.
    pub version: String,
    /// Docker Engine API version whose network shapes are spoken.
    pub docker_api_version: String,
    /// Process id of vswitchd.
    pub pid: u32,
    /// Pipelines.
    pub workers: usize,
    /// `none`, or `packet:IFACE,…` as it was written.
    pub uplink: String,
    /// Absolute path.
    pub state_dir: String,
    /// Whether containers live in a user namespace of the agent's own.
    pub rootless: bool,
    /// What vswitchd cannot do, besides having no capability.
    pub confinement: Confinement,
}

/// What vswitchd cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Confinement {
    /// What happens to a system call that it does not need (seccomp).
    pub system_calls: SystemCalls,
    /// The ABI version of landlock, which restricts it to its own files; `null` without landlock.
    pub landlock: Option<u32>,
}

/// What happens to a system call that vswitchd does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SystemCalls {
    /// It fails.
    Refused,
    /// It ends vswitchd.
    Fatal,
    /// Nothing.
    Unrestricted,
}

impl std::fmt::Display for Confinement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.system_calls {
            SystemCalls::Refused => "seccomp (other calls are refused), ",
            SystemCalls::Fatal => "seccomp (another call ends vswitchd), ",
            SystemCalls::Unrestricted => "no seccomp, ",
        })?;
        match self.landlock {
            Some(abi) => write!(f, "landlock (ABI {abi})"),
            None => f.write_str("no landlock"),
        }
    }
}
