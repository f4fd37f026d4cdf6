//! Finding vswitchd from where an engine's helper runs, and starting it.
//!
//! An ordinary user's podman calls netavark in a network namespace that podman made for itself: a vswitchd that is started there
//! has no way to the host. So one is started before ([`start_below_podman`]), or by systemd, whose socket is connected to like
//! a running daemon's.

use std::ffi::OsString;
use std::fmt::Display;
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

fn set(name: &str) -> Option<OsString> {
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
    if is_rootless() || set(SOCKET_VARIABLE).is_some() {
        bail!("{why}");
    }
    launch(client.socket(), &[], &why)
}

/// Starts the daemon of an ordinary user from podman's user namespace, where the host's network is, unless it serves already.
/// As root of that namespace it has power over the networks of podman's containers, and its files are the user's all the same.
///
/// # Errors
/// When it does not start.
pub fn start_below_podman() -> anyhow::Result<()> {
    let client = client()?;
    let socket = client.socket();
    let why = match UnixStream::connect(socket) {
        Err(error) if set(SOCKET_VARIABLE).is_none() => error,
        _ => return Ok(()),
    };
    let state = set("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(set("HOME")?).join(".local/state")));
    let state = state.context("set HOME to your home directory")?.join("vswitch");
    fs::create_dir_all(state.parent().unwrap_or(&state)).context("there cannot be a folder for vswitchd's state")?;
    let arguments = ["--socket".into(), socket.into(), "--state-dir".into(), state.into_os_string()];
    launch(socket, &arguments, &format_args!("vswitchd is not at {}: {why}", socket.display()))
}

fn launch(socket: &Path, arguments: &[OsString], why: &dyn Display) -> anyhow::Result<()> {
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
    // What this helper was given by number is not the daemon's: podman waits for the ends of pipes.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- && exec \"$0\" \"$@\""]).arg(&program).args(arguments);
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
pub(crate) fn program() -> anyhow::Result<PathBuf> {
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
