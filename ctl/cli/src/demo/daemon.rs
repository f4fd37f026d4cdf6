//! A vswitchd of the demo's own, gone with the demo.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use vswitch_api::Client;

use super::WayOut;
use super::worker::{hosts, stage};
use crate::clock;

/// How long it may take to be ready, and to go.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// What its readiness line begins with.
const READY: &str = "vswitchd ready";

/// A running vswitchd with a state directory and socket of its own. Dropping it ends it and removes both.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
    staged: bool,
    ended: bool,
}

impl Daemon {
    /// Start it; [`Daemon::ready`] says when it serves.
    pub(crate) fn start(program: &Path, way_out: WayOut) -> anyhow::Result<Self> {
        let directory = directory()?;
        let state = directory.path().join("state");
        std::fs::create_dir(&state)?;
        let staged = stage_flags();
        let mut command = match staged {
            Some(flags) => {
                let mut command = Command::new("unshare");
                command.args(flags).arg("--").arg(std::env::current_exe()?).args(["demo-worker", "stage"]);
                if way_out == WayOut::Sockets {
                    command.arg("--host");
                }
                command.arg(outside(&directory)).arg("--").arg(program).arg("--uplink").arg(uplink(way_out));
                command
            }
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["demo-worker", "daemon", "--"]).arg(program);
                command
            }
        };
        command.arg("--ephemeral").arg("--socket").arg(socket(&directory)).arg("--state-dir").arg(state);
        Daemon::spawn(command, program, directory, staged.is_some())
    }

    /// Start two hosts with a vswitchd each; [`Daemon::ready`] says when the first serves.
    pub(crate) fn start_hosts(program: &Path) -> anyhow::Result<Self> {
        let flags = stage_flags().context(
            "two hosts need namespaces of their own, which unshare(1) cannot make here; run the demo without --hosts",
        )?;
        let directory = directory()?;
        let mut command = Command::new("unshare");
        command.args(flags).arg("--").arg(std::env::current_exe()?).args(["demo-worker", "first-host"]);
        command.arg(directory.path()).arg(program);
        Daemon::spawn(command, program, directory, false)
    }

    fn spawn(mut command: Command, program: &Path, directory: TempDir, staged: bool) -> anyhow::Result<Self> {
        let log = File::create(directory.path().join("vswitchd.log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for the demo, which then takes everything down in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Daemon { child, directory, staged, ended: false })
    }

    /// Wait until it serves.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let stdout: OwnedFd = self.child.stdout.take().context("vswitchd was waited for already")?.into();
        let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(stdout)?).lines();
        let served = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with(READY) {
                    return anyhow::Ok(true);
                }
            }
            Ok(false)
        };
        match tokio::time::timeout(PATIENCE, served).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(self.said("vswitchd ended before it was ready")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.said(&format!("vswitchd was not ready within {} s", PATIENCE.as_secs()))),
        }
    }

    /// The socket of whoever plays the outside, if there is an outside.
    pub(crate) fn outside(&self) -> Option<PathBuf> {
        self.staged.then(|| outside(&self.directory))
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(socket(&self.directory))
    }

    /// A client of one of two hosts.
    pub(crate) fn host(&self, number: u8) -> Client {
        Client::new(hosts::socket(self.directory.path(), number))
    }

    /// Wait until a client is answered.
    pub(crate) async fn answers(&self, client: &Client) -> anyhow::Result<()> {
        let deadline = clock::instant() + PATIENCE;
        while client.version().await.is_err() {
            if clock::instant() >= deadline {
                return Err(self.said("the second vswitchd was not ready"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// End it and remove its files; complains if it had to be killed.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.end()?;
        self.remove_files()
    }

    fn remove_files(&self) -> anyhow::Result<()> {
        let path = self.directory.path();
        let deadline = clock::instant() + PATIENCE;
        loop {
            match std::fs::remove_dir_all(path) {
                // Whoever plays the outside ends a moment after vswitchd, and may just make its socket.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && clock::instant() < deadline => {
                    std::thread::sleep(POLL);
                }
                removed => return removed.with_context(|| format!("{} cannot be removed", path.display())),
            }
        }
    }

    /// What happened, with vswitchd's own words.
    pub(crate) fn said(&self, what: &str) -> anyhow::Error {
        let mut log = String::new();
        let read = File::open(self.directory.path().join("vswitchd.log"))
            .and_then(|mut log_file| log_file.read_to_string(&mut log));
        match (read, log.trim()) {
            (Ok(_), words) if !words.is_empty() => anyhow!("{what}; it said:\n{words}"),
            _ => anyhow!("{what} and said nothing"),
        }
    }

    /// The second of two hosts ends with the first, and removes its socket last.
    fn second_ended(&self) -> bool {
        !hosts::socket(self.directory.path(), 2).exists()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.ended, true) || self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It is our child and not waited for, so the id is still its own.
            rustix::process::kill_process(pid, Signal::TERM)?;
        }
        let deadline = clock::instant() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if clock::instant() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("vswitchd did not end within {} s and was killed", PATIENCE.as_secs());
            }
            std::thread::sleep(POLL);
        }
        while !self.second_ended() {
            if clock::instant() >= deadline {
                bail!("the second vswitchd did not end within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whatever went wrong before has been told.
        let _ = self.end();
        let _ = self.remove_files();
    }
}

fn directory() -> anyhow::Result<TempDir> {
    let made = tempfile::Builder::new().prefix("vswitch-demo-").tempdir();
    made.context("no temporary directory can be made; name another place with $TMPDIR")
}

fn outside(directory: &TempDir) -> PathBuf {
    directory.path().join("outside.sock")
}

/// What `--uplink` says.
fn uplink(way_out: WayOut) -> String {
    if way_out == WayOut::Sockets {
        return "sockets".to_owned();
    }
    let (address, gateway) = (stage::INNER_ADDRESS, stage::OUTER_ADDRESS);
    format!("packet:{},address={address}/{},gateway={gateway}", stage::UPLINK, stage::PREFIX)
}

/// How unshare(1) makes the network namespace in which vswitchd finds its uplink, if that works here. Without it
/// vswitchd runs in the caller's, without an uplink.
fn stage_flags() -> Option<&'static [&'static str]> {
    let flags: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["--net"],
        false => &["--user", "--map-root-user", "--net"],
    };
    let tried = Command::new("unshare").args(flags).args(["--", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success()).then_some(flags)
}

fn socket(directory: &TempDir) -> PathBuf {
    directory.path().join("vswitch.sock")
}
