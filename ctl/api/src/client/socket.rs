//! Where the daemon of this user is.

use std::ffi::OsString;
use std::path::PathBuf;

/// Names the socket when no `--socket` does.
pub const SOCKET_VARIABLE: &str = "VSWITCH_SOCKET";

/// The socket of this user's daemon: `$VSWITCH_SOCKET`; for root `/run/vswitch/vswitch.sock`; for others
/// `$XDG_RUNTIME_DIR/vswitch/vswitch.sock`, or `/tmp/vswitch-UID/vswitch.sock` without a runtime directory.
#[must_use]
pub fn default_socket() -> PathBuf {
    resolve(rustix::process::geteuid().as_raw(), |name| std::env::var_os(name))
}

fn resolve(uid: u32, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = variable(SOCKET_VARIABLE) {
        return path;
    }
    let directory = match (uid, variable("XDG_RUNTIME_DIR")) {
        (0, _) => PathBuf::from("/run/vswitch"),
        (_, Some(runtime)) => runtime.join("vswitch"),
        (uid, None) => PathBuf::from(format!("/tmp/vswitch-{uid}")),
    };
    directory.join("vswitch.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(uid: u32, variables: &[(&str, &str)]) -> String {
        let found =
            resolve(uid, |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)));
        found.to_string_lossy().into_owned()
    }

    /// Each place is tried in its turn, and an empty variable counts as absent.
    #[test]
    fn order_of_places() {
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(with(7, &[(SOCKET_VARIABLE, "/a/b"), runtime]), "/a/b");
        assert_eq!(with(7, &[(SOCKET_VARIABLE, ""), runtime]), "/run/user/7/vswitch/vswitch.sock");
        assert_eq!(with(7, &[]), "/tmp/vswitch-7/vswitch.sock");
        assert_eq!(with(0, &[runtime]), "/run/vswitch/vswitch.sock");
    }
}
