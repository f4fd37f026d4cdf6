//! A vswitchd for one caller: one network, one endpoint, gone with whoever started it.
//!
//! Helpers that engines start for each container, each with the same private addresses and with settings of its own for what the
//! container reaches of the host, and kill without a word, have one each (docs/decisions/0051). It follows a pipe that this
//! process holds: however this process ends, vswitchd sees the pipe's end, and nothing is left.

use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, bail};
use tokio::sync::oneshot;
use vswitch_api::Client;

use crate::daemon;

/// What the folders are called, before the number of the process that made them.
const PREFIX: &str = "vswitch-for-";

/// Numbers that are tried behind that: a process with the same number in another pid namespace may have one.
const NAMES: u32 = 64;

/// Held by vswitchd as long as it lives, in its state directory.
const LOCK: &str = "lock";

/// What its agent says, there, too.
const AGENT_LOG: &str = "agent.log";

/// The daemon, as long as this is not dropped.
#[derive(Debug)]
pub(crate) struct Island {
    folder: PathBuf,
    child: Child,
    /// Its end is the daemon's.
    stdin: Option<ChildStdin>,
    ended: Option<oneshot::Receiver<()>>,
    client: Client,
}

impl Island {
    /// Starts a vswitchd with these further arguments, whose standard error is `errors`.
    ///
    /// # Errors
    /// When there is none, or it does not start; it has said why on standard error.
    pub(crate) fn start(arguments: &[String], errors: Stdio) -> anyhow::Result<Island> {
        let program = daemon::program()?;
        let folder = make_folder()?;
        let socket = folder.join("vswitch.sock");
        let mut command = Command::new(&program);
        command.arg("--follow-stdin").arg("--socket").arg(&socket).arg("--state-dir").arg(&folder);
        command.args(["--log", "error"]).args(arguments);
        // A group of its own, so that what the terminal tells the caller is not for it.
        command.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                return Err(error).with_context(|| format!("{} does not start", program.display()));
            }
        };
        let stdin = child.stdin.take();
        let mut said = BufReader::new(child.stdout.take().context("vswitchd has no standard output")?);
        let (sender, ended) = oneshot::channel();
        let mut island = Island { folder, child, stdin, ended: Some(ended), client: Client::new(socket) };
        let mut ready = String::new();
        if said.read_line(&mut ready).unwrap_or_default() == 0 {
            let status = island.child.wait().context("vswitchd ended")?;
            // The folder goes with this.
            let log = fs::read_to_string(island.folder.join(AGENT_LOG)).unwrap_or_default();
            match log.lines().last() {
                Some(line) => bail!("vswitchd was started and ended with {status}; its agent said last: {line}"),
                None => bail!("vswitchd was started and ended with {status}"),
            }
        }
        std::thread::Builder::new().name("vswitchd".to_owned()).spawn(move || {
            // Nothing more is said there; the end is what counts.
            let _ = said.read_to_end(&mut Vec::new());
            drop(sender);
        })?;
        Ok(island)
    }

    /// Who asks it.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Ends when the daemon has ended by itself.
    pub(crate) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            let _ = ended.await;
        }
        self.ended = None;
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A new folder, which is this user's alone. Those that were left behind by vswitchds that were killed go.
fn make_folder() -> anyhow::Result<PathBuf> {
    let places =
        [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some("/run".into()), Some(std::env::temp_dir())];
    let mut why = None;
    for place in places.into_iter().flatten() {
        sweep(&place);
        for number in 0..NAMES {
            let folder = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    why = Some((error, place));
                    break;
                }
            }
        }
    }
    let (error, place) = why.context("there is no folder for temporary files")?;
    Err(error).with_context(|| format!("cannot make a folder in {}", place.display()))
}

/// Removes what vswitchds left behind that were killed with all their processes.
fn sweep(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().filter_map(Result::ok);
    let is_left = |name: &str| {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists())
    };
    let left = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_left));
    for folder in left.map(|entry| entry.path()) {
        let Ok(lock) = fs::File::open(folder.join(LOCK)) else { continue };
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}
