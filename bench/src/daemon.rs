//! Programs that run beside a measurement, and their ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::rig::{own_program, words};

/// A program that is killed with its owner.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A vswitchd of the benchmark's own.
#[derive(Debug)]
pub struct Daemon {
    /// Its control socket.
    pub socket: PathBuf,
    /// From the start of the process to its ready line.
    pub started_in: Duration,
    child: Option<Child>,
}

impl Daemon {
    /// Starts vswitchd with its state in `dir` and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or says anything else than that it is ready.
    pub fn start(dir: &Path, arguments: &[&str]) -> anyhow::Result<Daemon> {
        Daemon::start_in(&[], dir, arguments)
    }

    /// The same, by way of a command that takes a command (`ip netns exec NAME`).
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_in(by: &[&str], dir: &Path, arguments: &[&str]) -> anyhow::Result<Daemon> {
        use std::io::BufRead as _;
        let socket = dir.join("vswitch.sock");
        let program = own_program("vswitchd")?;
        let mut command = match by {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .args(["--log", "warn"])
            .arg("--ephemeral")
            .arg("--socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(dir.join("state"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let start = std::time::Instant::now();
        let mut child = command.spawn().context("cannot start vswitchd")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        std::io::BufReader::new(output).read_line(&mut line)?;
        let started_in = start.elapsed();
        ensure!(line.starts_with("vswitchd ready"), "vswitchd did not get ready; what it said is above");
        Ok(Daemon { socket, started_in, child: Some(child) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn into_child(mut self) -> Child {
        self.child.take().expect("only taken here")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// Asks a daemon to end, and insists after five seconds.
pub(crate) fn end(child: &mut Child) {
    let _ = words("kill", &["-TERM", &child.id().to_string()]).status();
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

pub(crate) fn wait_for(path: &Path) -> anyhow::Result<()> {
    wait_until(|| path.exists()).with_context(|| format!("{} did not appear", path.display()))
}

/// Asks every 20 ms, for four seconds.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    for _ in 0..200 {
        if done() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("it took longer than four seconds")
}
