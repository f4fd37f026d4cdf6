//! Where the daemon of this user is, and whose daemon is believed.
//!
//! A client hands its environment and its standard streams to whoever serves the socket, so it asks the kernel who that is.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::ClientError;

/// Names the socket when no `--socket` does.
pub const SOCKET_VARIABLE: &str = "VSWITCH_SOCKET";

/// No folder is this user's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no folder of this user's own for the socket of vswitchd, such as /run/user/{uid}; set XDG_RUNTIME_DIR to one, \
     or name the socket with --socket"
)]
pub struct NoRuntimeDirectory {
    /// The user.
    pub uid: u32,
}

/// The socket of a user's own daemon: for root `/run/vswitch/vswitch.sock`, for others `vswitch/vswitch.sock` in their
/// runtime directory (`$XDG_RUNTIME_DIR`), or in `/run/user/UID` if that is theirs alone. Never in a folder where others
/// might have been first.
///
/// # Errors
/// When there is none.
pub fn own_socket(uid: u32, runtime_directory: Option<&Path>) -> Result<PathBuf, NoRuntimeDirectory> {
    if uid == 0 {
        return Ok("/run/vswitch/vswitch.sock".into());
    }
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let directory = match runtime_directory {
        Some(directory) => directory,
        None if is_private(&usual, uid) => &usual,
        None => return Err(NoRuntimeDirectory { uid }),
    };
    Ok(directory.join("vswitch/vswitch.sock"))
}

/// Whether a folder is a user's alone.
fn is_private(folder: &Path, uid: u32) -> bool {
    folder.symlink_metadata().is_ok_and(|about| about.is_dir() && about.uid() == uid && about.mode() & 0o077 == 0)
}

/// Who named a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The user: somebody else's daemon may be meant, of whose group the user is.
    Explicitly,
    /// Nobody.
    ByDefault,
}

/// The socket that nobody named on the command line, and whether the environment did.
pub(super) fn default_socket() -> Result<(PathBuf, Named), NoRuntimeDirectory> {
    resolve(rustix::process::geteuid().as_raw(), |name| std::env::var_os(name))
}

fn resolve(uid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Result<(PathBuf, Named), NoRuntimeDirectory> {
    let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match variable(SOCKET_VARIABLE) {
        Some(path) => Ok((path, Named::Explicitly)),
        None => Ok((own_socket(uid, variable("XDG_RUNTIME_DIR").as_deref())?, Named::ByDefault)),
    }
}

/// Believes the user `server`, who serves `socket`, or not.
pub(super) fn check(socket: &Path, named: Named, server: u32) -> Result<(), ClientError> {
    let own = rustix::process::geteuid().as_raw();
    if is_believed(socket, named, server, own) {
        Ok(())
    } else {
        Err(ClientError::Stranger { socket: socket.display().to_string(), uid: server })
    }
}

/// One's own daemon and root's are believed. Another user's is if the user named its socket and nobody but that user, root
/// and oneself can have put it there.
fn is_believed(socket: &Path, named: Named, server: u32, own: u32) -> bool {
    let known = |uid: u32| uid == own || uid == 0;
    known(server) || named == Named::Explicitly && only_theirs(socket, |uid| known(uid) || uid == server)
}

/// Whether a file, and every folder on the way to it, belong to `theirs` and can be changed by no others.
fn only_theirs(file: &Path, theirs: impl Fn(u32) -> bool) -> bool {
    let Ok(file) = file.canonicalize() else { return false };
    // The socket itself may be a group's; who may write to it may not replace it.
    let owned = |path: &Path| path.metadata().is_ok_and(|about| theirs(about.uid()));
    let closed = |path: &Path| path.metadata().is_ok_and(|about| about.mode() & 0o022 == 0);
    owned(&file) && file.ancestors().skip(1).all(|folder| owned(folder) && closed(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Nobody has this one.
    const UID: u32 = 4_000_000_007;

    /// Each place is tried in its turn, an empty variable counts as absent, and without a place there is an error.
    #[test]
    fn order_of_places() {
        let with = |uid: u32, variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            resolve(uid, find).map(|(path, named)| (path.to_string_lossy().into_owned(), named))
        };
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
        let own = ("/run/user/7/vswitch/vswitch.sock".to_owned(), Named::ByDefault);
        assert_eq!(with(7, &[(SOCKET_VARIABLE, "/a/b"), runtime]), Ok(("/a/b".to_owned(), Named::Explicitly)));
        assert_eq!(with(7, &[(SOCKET_VARIABLE, ""), runtime]), Ok(own));
        assert_eq!(with(0, &[runtime]), Ok(("/run/vswitch/vswitch.sock".to_owned(), Named::ByDefault)));
        assert_eq!(with(UID, &[]), Err(NoRuntimeDirectory { uid: UID }));
    }

    /// A folder counts as a user's own only if nobody else can enter it.
    #[test]
    fn private_folders() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let chmod = |mode| std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
        chmod(0o700);
        assert!(is_private(folder.path(), own) && !is_private(folder.path(), UID));
        chmod(0o750);
        assert!(!is_private(folder.path(), own));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/root", &link).unwrap();
        assert!(!is_private(&link, own) && !is_private(&folder.path().join("none"), own));
    }

    /// One's own daemon and root's are believed anywhere; a stranger's only where the user named it and strangers cannot
    /// have put anything, which below /tmp they can.
    #[test]
    fn beliefs() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let socket = folder.path().join("v.sock");
        std::fs::write(&socket, "").unwrap();
        for named in [Named::Explicitly, Named::ByDefault] {
            assert!(is_believed(&socket, named, UID, UID) && is_believed(&socket, named, 0, UID));
        }
        assert!(!is_believed(&socket, Named::Explicitly, UID, 1));
        // In these folders root alone puts what there is.
        let passwd = Path::new("/etc/passwd");
        assert!(is_believed(passwd, Named::Explicitly, UID, 1) && !is_believed(passwd, Named::ByDefault, UID, 1));
        assert!(!is_believed(Path::new("/nonexistent/v.sock"), Named::Explicitly, UID, 1));
    }
}
