//! Finding vswitchd from where an engine's helper runs, and starting it.
//!
//! Whoever calls a helper in podman's user namespace cannot start a vswitchd: that would be in the namespace, and in the
//! network namespace that podman made for itself. There systemd does, whose socket is connected to like a running daemon's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;
use vswitch_api::client::SOCKET_VARIABLE;
use vswitch_api::{Client, ClientError};

/// Set by podman for whatever it runs in its own user namespace, where everybody is root.
pub(crate) const PODMAN_USER: &str = "_CONTAINERS_ROOTLESS_UID";

/// How often it is looked whether a daemon that was started serves, and how long between two looks.
const LOOKS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Where a daemon that was started here writes its log, beside its socket.
const LOG: &str = "vswitchd.log";

/// Held by who starts a daemon, beside its socket.
const LOCK: &str = "start.lock";

fn set(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether an ordinary user's podman calls.
#[must_use]
pub fn is_rootless() -> bool {
    set(PODMAN_USER).is_some_and(|user| user != "0")
}

/// A client of the daemon of the user who called the engine.
///
/// # Errors
/// When the user has no folder for a socket.
pub fn client() -> Result<Client, ClientError> {
    // Named by the user, or root's own: as for every other client. In podman's user namespace uid 0 is the user.
    match (set(SOCKET_VARIABLE), set("XDG_RUNTIME_DIR")) {
        (None, Some(folder)) if is_rootless() => Ok(Client::new(PathBuf::from(folder).join("vswitch/vswitch.sock"))),
        _ => Client::of_this_user(),
    }
}

/// Starts the daemon of the user who called the engine, because `why`. Whoever does so at the same time starts the same one.
///
/// # Errors
/// When this is not the place to start one, or it does not start.
pub fn start(client: &Client, why: &ClientError) -> anyhow::Result<()> {
    let socket = client.socket();
    if is_rootless() || set(SOCKET_VARIABLE).is_some() {
        bail!("{why}");
    }
    let folder = socket.parent().context("the socket has no folder")?;
    make(folder).with_context(|| format!("{why}, and there cannot be {}", folder.display()))?;
    let own = |name| OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(folder.join(name));
    let lock = own(LOCK).with_context(|| format!("{why}, and {} cannot be locked", folder.display()))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("cannot lock the folder of the socket")?;
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    let program = program().with_context(|| why.to_string())?;
    let mut log = own(LOG).context("cannot write vswitchd's log")?;
    let begin = log.seek(SeekFrom::End(0))?;
    let mut command = Command::new(&program);
    // A group of its own, so that what the terminal tells podman is not for it.
    command.current_dir("/").process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
    let child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
    serves(socket, child).map_err(|error| match last_line(&mut log, begin) {
        Some(line) => anyhow::anyhow!("{why}; it was started and said: {line}"),
        None => error.context(why.to_string()),
    })
}

/// Waits until it serves.
fn serves(socket: &Path, mut child: Child) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        if UnixStream::connect(socket).is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("it was started and ended with {status}");
        }
        std::thread::sleep(PAUSE);
    }
    bail!("it was started and does not serve")
}

fn last_line(log: &mut File, begin: u64) -> Option<String> {
    log.seek(SeekFrom::Start(begin)).ok()?;
    let mut text = String::new();
    log.take(1 << 16).read_to_string(&mut text).ok()?;
    text.lines().last().map(str::to_owned)
}

/// The daemon's program: beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find where this program is")?.with_file_name("vswitchd");
    if !program.is_file() {
        bail!("there is no {}", program.display());
    }
    Ok(program)
}

/// As vswitchd itself would make it.
fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(_) if fs::metadata(folder).is_ok_and(|about| about.is_dir()) => Ok(()),
        other => other,
    }
}
