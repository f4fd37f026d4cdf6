//! Finding vswitchd from where an engine's helper runs.

use std::path::PathBuf;

use vswitch_api::client::SOCKET_VARIABLE;
use vswitch_api::{Client, ClientError};

/// Set by podman for whatever it runs in its own user namespace, where everybody is root.
pub(crate) const PODMAN_USER: &str = "_CONTAINERS_ROOTLESS_UID";

/// A client of the daemon of the user who called the engine.
///
/// # Errors
/// When the user has no folder for a socket.
pub fn client() -> Result<Client, ClientError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // Named by the user, or root's own: as for every other client. In podman's user namespace uid 0 is the user.
    match (set(SOCKET_VARIABLE), set(PODMAN_USER), set("XDG_RUNTIME_DIR")) {
        (None, Some(_), Some(folder)) => Ok(Client::new(PathBuf::from(folder).join("vswitch/vswitch.sock"))),
        _ => Client::of_this_user(),
    }
}
