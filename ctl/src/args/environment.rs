//! The environment that defaults depend on.

use std::path::PathBuf;

use vswitch_api::client::own_socket;

use super::ArgsError;

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

    pub(super) fn default_socket(&self) -> Result<PathBuf, ArgsError> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(own_socket(self.uid, self.runtime_dir.as_deref())?),
        }
    }

    pub(super) fn default_state_dir(&self) -> Result<PathBuf, ArgsError> {
        match (self.uid, &self.state_home, &self.home) {
            (0, _, _) => Ok("/var/lib/vswitch".into()),
            (_, Some(state), _) => Ok(state.join("vswitch")),
            (_, None, Some(home)) => Ok(home.join(".local/state/vswitch")),
            (_, None, None) => Err(ArgsError::NoHome),
        }
    }
}
