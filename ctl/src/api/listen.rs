//! Making the control socket.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use vswitch_switch::sys::inherited;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers there.
    #[error("the socket {path} is served by another vswitchd{}; stop that one, or name another path with --socket", who(*.process))]
    Served {
        /// The path.
        path: PathBuf,
        /// Who.
        process: Option<i32>,
    },
    /// A file that is no socket.
    #[error("{path} exists and is no socket; name another path with --socket, or remove it")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Longer than a Unix socket's address.
    #[error("the socket path {path} is too long for a Unix socket; name one of at most 107 bytes with --socket")]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The folder cannot be used.
    #[error("cannot use the folder of the socket {path} ({source}); name another path with --socket")]
    Folder {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else could put another socket in its place.
    #[error(
        "the folder of the socket {path} belongs to user {owner}; name a path in a folder of your own with --socket"
    )]
    ForeignFolder {
        /// The path.
        path: PathBuf,
        /// Who owns the folder.
        owner: u32,
    },
    /// The group does not exist or cannot be given.
    #[error("cannot give the socket {path} to the group {group} ({detail}); see --group")]
    Group {
        /// The path.
        path: PathBuf,
        /// As given.
        group: String,
        /// What went wrong.
        detail: String,
    },
    /// From who started this process.
    #[error(
        "cannot serve the socket that this process was started with ({detail}); see LISTEN_FDS in sd_listen_fds(3)"
    )]
    Inherited {
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else.
    #[error("cannot serve the socket {path} ({source})")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

fn who(process: Option<i32>) -> String {
    process.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// The control socket. Its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Somebody else made it and keeps its file.
    inherited: bool,
}

/// Number of the first descriptor that systemd starts a process with.
const FIRST_INHERITED: i32 = 3;

/// Clients that wait to be accepted.
const BACKLOG: i32 = 256;

/// The folder that vswitchd makes for its socket unless told otherwise.
const OWN_FOLDER: &str = "vswitch";

/// How often the lock of the folder is tried, 10 ms apart.
const LOCK_TRIES: u32 = 200;

impl ControlSocket {
    /// Binds `path`: mode 0600, or 0660 for `group`. A stale socket file is replaced.
    ///
    /// Only the owner can reach the socket before its final mode is set: the mode of the descriptor, which `bind` gives
    /// to the file, is narrowed first, and widened to the group last.
    ///
    /// # Errors
    /// When another vswitchd serves the path, the path is no socket, or it cannot be made.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<ControlSocket, ListenError> {
        let folder = |source| ListenError::Folder { path: path.to_owned(), source };
        let io = |source: io::Error| ListenError::Io { path: path.to_owned(), source };
        let address = SocketAddrUnix::new(path).map_err(|_| ListenError::TooLong { path: path.to_owned() })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let gid = group.map(|group| group_id(path, group)).transpose()?;
        make_folders(parent, gid.is_some()).map_err(folder)?;
        let owner = std::fs::metadata(parent).map_err(folder)?.uid();
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(ListenError::ForeignFolder { path: path.to_owned(), owner });
        }
        if let (Some(gid), Some(group)) = (gid, group) {
            admit(parent, gid, group);
        }
        // Two vswitchd that start at once must not both find the file stale.
        let _lock = lock(parent).map_err(folder)?;
        remove_stale(path)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| io(error.into()))?;
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).map_err(|error| io(error.into()))?;
        rustix::net::bind(&socket, &address).map_err(|error| io(error.into()))?;
        let bound = ControlSocket { path: path.to_owned(), listener: UnixListener::from(socket), inherited: false };
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(io)?;
        if let (Some(gid), Some(group)) = (gid, group) {
            let refused = |error: io::Error| ListenError::Group {
                path: path.to_owned(),
                group: group.to_owned(),
                detail: error.to_string(),
            };
            std::os::unix::fs::chown(path, None, Some(gid)).map_err(refused)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o660)).map_err(refused)?;
        }
        rustix::net::listen(&bound.listener, BACKLOG).map_err(|error| io(error.into()))?;
        Ok(bound)
    }

    /// The socket that systemd, or who else speaks of it as sd_listen_fds(3) says, started this process with: as one that
    /// is bound to `path`, if there is any. Its mode is that of who made it.
    ///
    /// # Errors
    /// When what was handed over is not that.
    pub fn inherited(path: &Path) -> Result<Option<ControlSocket>, ListenError> {
        let variable = |name| std::env::var(name).ok();
        let ours = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let Some(count) = variable("LISTEN_FDS").filter(|_| ours) else { return Ok(None) };
        if count != "1" {
            return Err(ListenError::Inherited { detail: format!("there are {count} of them") });
        }
        let wrong = |detail: String| ListenError::Inherited { detail };
        let socket = inherited::take(FIRST_INHERITED).map_err(|error| wrong(error.to_string()))?;
        let listener = UnixListener::from(socket);
        let address = listener.local_addr().map_err(|error| wrong(error.to_string()))?;
        match rustix::net::sockopt::socket_acceptconn(&listener) {
            Ok(true) if address.as_pathname() == Some(path) => {
                Ok(Some(ControlSocket { path: path.to_owned(), listener, inherited: true }))
            }
            Ok(true) => {
                Err(wrong(format!("it is {address:?} and not {}; name the same with --socket", path.display())))
            }
            _ => Err(wrong("it does not listen".to_owned())),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor to accept from.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if !self.inherited {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the folders that are missing, whatever the umask: for the owner alone, or so that a group gets through.
fn make_folders(folder: &Path, for_group: bool) -> io::Result<()> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|one| !one.as_os_str().is_empty() && !one.exists()).collect();
    for one in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(one) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        if for_group {
            std::fs::set_permissions(one, PermissionsExt::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Lets a group through to the socket: opens the folder that an earlier vswitchd made for its user alone, and says which
/// other folder shuts the group out, for that one is not vswitchd's to open.
fn admit(folder: &Path, gid: u32, group: &str) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(folder) = folder.canonicalize() else { return };
    for one in folder.ancestors() {
        let Ok(about) = one.metadata() else { continue };
        // The group's bits say what the widest entry of an access list gets, if there is one.
        let passes = about.mode() & 0o001 != 0 || about.mode() & 0o010 != 0;
        if passes {
            continue;
        }
        let made_here =
            one == folder && about.uid() == own && folder.file_name().is_some_and(|name| name == OWN_FOLDER);
        let opened = made_here
            && std::os::unix::fs::chown(one, None, Some(gid)).is_ok()
            && std::fs::set_permissions(one, PermissionsExt::from_mode(0o710)).is_ok();
        if !opened {
            tracing::warn!(
                "members of the group {group} cannot reach the socket: nobody but its owner gets through the folder {0}; type \
                 'chgrp {group} {0} && chmod g+x {0}', or name a path elsewhere with --socket",
                one.display()
            );
        }
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            other => {
                other?;
                return Ok(folder);
            }
        }
    }
    Err(io::Error::other("another process holds its lock"))
}

/// Removes the socket file of a vswitchd that is gone.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let io = |source| ListenError::Io { path: path.to_owned(), source };
    let kind = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(metadata) => metadata.file_type(),
    };
    if !kind.is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(served) => {
            let who = rustix::net::sockopt::socket_peercred(&served).ok();
            Err(ListenError::Served { path: path.to_owned(), process: who.map(|who| who.pid.as_raw_nonzero().get()) })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(io),
        // Full backlog, or somebody else's socket: not ours to remove.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::Served { path: path.to_owned(), process: None })
        }
        Err(error) => Err(io(error)),
    }
}

fn group_id(path: &Path, group: &str) -> Result<u32, ListenError> {
    let refuse = |detail: String| ListenError::Group { path: path.to_owned(), group: group.to_owned(), detail };
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let text = std::fs::read_to_string("/etc/group").map_err(|error| refuse(format!("/etc/group: {error}")))?;
    let gid = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    gid.ok_or_else(|| refuse("there is no such group".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    /// The socket is the owner's alone whatever the umask, and its file goes with it.
    #[test]
    fn only_the_owner_reaches_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/v.sock");
        let socket = ControlSocket::bind(&path, None).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    /// With a group the socket is the group's, too.
    #[test]
    fn a_group_reaches_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        let own = rustix::process::getegid().as_raw().to_string();
        let _socket = ControlSocket::bind(&path, Some(&own)).unwrap();
        assert_eq!(mode(&path), 0o660);
        let error = ControlSocket::bind(&dir.path().join("w.sock"), Some("no-such-group")).unwrap_err();
        assert!(matches!(error, ListenError::Group { .. }), "{error}");
    }

    /// A group gets through the folders that vswitchd makes, whatever the umask, and through the one that an earlier
    /// vswitchd made for its user alone; another folder of that user stays shut.
    #[test]
    fn a_group_gets_through_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let own = rustix::process::getegid().as_raw().to_string();
        let made = dir.path().join("a/b");
        let _first = ControlSocket::bind(&made.join("v.sock"), Some(&own)).unwrap();
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o755, 0o755));
        let shut = |name: &str| {
            let folder = dir.path().join(name);
            DirBuilder::new().mode(0o700).create(&folder).unwrap();
            drop(ControlSocket::bind(&folder.join("v.sock"), None).unwrap());
            assert_eq!(mode(&folder), 0o700);
            let _second = ControlSocket::bind(&folder.join("v.sock"), Some(&own)).unwrap();
            mode(&folder)
        };
        assert_eq!((shut("vswitch"), shut("other")), (0o710, 0o700));
    }

    /// A folder of another user is refused: its owner could put another socket there. Only root can make one here.
    #[test]
    fn folders_of_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
            let error = ControlSocket::bind(&dir.path().join("v.sock"), None).unwrap_err();
            assert!(matches!(error, ListenError::ForeignFolder { owner: 65534, .. }), "{error}");
        }
    }

    /// A path that is served is refused and stays served.
    #[test]
    fn served_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        let _first = ControlSocket::bind(&path, None).unwrap();
        let error = ControlSocket::bind(&path, None).unwrap_err();
        assert!(matches!(error, ListenError::Served { .. }), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    /// The file of a vswitchd that is gone is replaced.
    #[test]
    fn stale_sockets_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = ControlSocket::bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    /// A file or folder at the path is refused and kept; so is a path longer than an address.
    #[test]
    fn other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = ControlSocket::bind(&path, None).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert!(matches!(ControlSocket::bind(dir.path(), None), Err(ListenError::NotASocket { .. })));
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(ControlSocket::bind(&long, None), Err(ListenError::TooLong { .. })));
    }
}
