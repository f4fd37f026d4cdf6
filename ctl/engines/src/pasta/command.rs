//! A command in a network namespace of its own: also with user, mount, process and IPC namespaces, where whoever called is root.
//!
//! Two processes more: [`outer`] makes the namespaces and waits until the network is there; [`inner`], the first process in them,
//! becomes the command.

use std::fs;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode};

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getgid, getuid, set_parent_process_death_signal};
use tokio::sync::oneshot;

use super::fail;
use crate::descriptors;

/// What this program is called by itself, to be these processes.
pub(crate) const OUTER: &str = "pasta-namespaces";
pub(crate) const INNER: &str = "pasta-command";

/// What a shell says of a command that a signal has ended.
const SIGNALLED: u8 = 128;

/// A command that waits for its network.
#[derive(Debug)]
pub(super) struct Waiting {
    child: Child,
    go: PipeWriter,
}

/// The command, which ends with this process.
#[derive(Debug)]
pub(super) struct Running {
    ended: oneshot::Receiver<u8>,
}

impl Waiting {
    /// Makes the namespaces.
    pub(super) fn new(words: &[String]) -> anyhow::Result<Waiting> {
        let (mut made, theirs) = io::pipe()?;
        let (wait, go) = io::pipe()?;
        fcntl_setfd(&theirs, FdFlags::empty())?;
        fcntl_setfd(&wait, FdFlags::empty())?;
        let numbers = [theirs.as_raw_fd(), wait.as_raw_fd()].map(|number: RawFd| number.to_string());
        let mut command = Command::new("/proc/self/exe");
        let child = command.arg0(OUTER).args(numbers).args(words).spawn();
        let mut child = child.context("cannot start a process")?;
        drop((theirs, wait));
        if made.read(&mut [0])? == 0 {
            // It has said why.
            let status = child.wait()?;
            std::process::exit(status.code().filter(|code| *code != 0).unwrap_or(1));
        }
        Ok(Waiting { child, go })
    }

    /// Whose namespaces they are.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts the command.
    pub(super) fn start(self) -> anyhow::Result<Running> {
        let Waiting { mut child, mut go } = self;
        go.write_all(b"1").context("the command ended")?;
        let (sender, ended) = oneshot::channel();
        std::thread::Builder::new().name("command".to_owned()).spawn(move || {
            let code = child.wait().ok().and_then(|status| u8::try_from(status.code()?).ok());
            let _ = sender.send(code.unwrap_or(1));
        })?;
        Ok(Running { ended })
    }
}

impl Running {
    /// Ends when the command does; what it ended with.
    pub(super) async fn ended(&mut self) -> u8 {
        (&mut self.ended).await.unwrap_or(1)
    }
}

/// Runs the process that makes the namespaces: two descriptors, and the command.
pub(crate) fn outer() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    make(&words).unwrap_or_else(|error| fail(&error))
}

fn make(words: &[String]) -> anyhow::Result<ExitCode> {
    let [made, wait, words @ ..] = words else { anyhow::bail!("this is for pasta alone to call") };
    let [made, wait] = descriptors::take([Some(made.parse()?), Some(wait.parse()?)])?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let _ = rustix::thread::set_name(c"pasta-command");
    let (user, group) = (getuid(), getgid());
    let refused = "cannot make a user namespace; ask the host's administrator to allow that";
    unshare(CloneFlags::CLONE_NEWUSER).context(refused)?;
    // user_namespaces(7): a group may be mapped by whoever can no more get rid of one.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw())).context("couldn't configure user mappings")?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", group.as_raw())).context("couldn't configure user mappings")?;
    let others = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    unshare(others).context("cannot make namespaces")?;
    let (mut made, mut wait) = (made.map(fs::File::from), wait.map(fs::File::from));
    made.take().context("no descriptor")?.write_all(b"1")?;
    if wait.take().context("no descriptor")?.read(&mut [0])? == 0 {
        return Ok(ExitCode::FAILURE);
    }
    let status = Command::new("/proc/self/exe").arg0(INNER).args(words).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let signal = status.signal().and_then(|signal| u8::try_from(signal).ok()).unwrap_or_default();
    Ok(ExitCode::from(code.unwrap_or(SIGNALLED + signal)))
}

/// Runs the first process in the namespaces.
pub(crate) fn inner() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let none = None::<&str>;
    // As far as the host lets it: a container of an engine's may not.
    let _ = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none);
    let _ =
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, none);
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
    let mut command = match words.as_slice() {
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        [] => {
            let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
            let name = shell.rsplit('/').next().unwrap_or("sh");
            let mut command = Command::new(&shell);
            command.arg0(format!("-{name}"));
            command
        }
    };
    let error = command.exec();
    fail(&anyhow::anyhow!("failed to start command or shell: {error}"))
}
