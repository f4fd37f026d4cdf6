//! The first process of a container: sets the container up, starts its command, forwards signals, collects orphans, and
//! ends when the command does (and with it, by the kernel's hand, everything else in the container).

use std::{
    fs::DirBuilder,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
    process::ExitCode,
};

use rustix::{
    fs::Mode,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait},
    thread::CapabilitySet,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    capability,
    message::{
        Control, InitOrder, StageOrder, Status, command, drive_stage, receive_order, report, signal_to_init,
        take_socket,
    },
    mounts, seccomp,
};
use crate::agent::{
    protocol::{ExecSpec, Failure, ProcessSpec},
    wire::{self, Channel},
};
use crate::model::Root;

/// Runs the container that the standard input's socket describes.
pub(crate) fn main() -> ExitCode {
    let Ok(agent) = take_socket() else { return ExitCode::FAILURE };
    match run(&agent) {
        Ok(code) => std::process::exit(code),
        Err(failure) => {
            report(&agent, &Status::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn run(agent: &OwnedFd) -> Result<i32, Failure> {
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
    // While this program can be executed: the container's root directory need not have what it is linked with.
    let stage = Stage::start()?;
    let before = mounts::Before::remember().map_err(failed("open the root directory"))?;
    report(agent, &Status::Waiting);
    let (order, streams, _) = receive_order::<InitOrder>(agent.as_fd()).map_err(failed("read what to run"))?;
    // Fails only for one that leads a session already.
    let _ = rustix::process::setsid();
    let [input, ..] = &streams;
    if !order.mounted {
        mounts::separate()?;
        mounts::take(&order, input, None)?.put(&order)?;
    }
    mounts::own_proc(&order.spec)?;
    before.leave().map_err(failed("leave the host's root directory"))?;
    make_working_dir(&order.spec)?;
    rustix::system::sethostname(order.spec.hostname.as_bytes())
        .map_err(|error| Failure::io("set the host name", &error.into()))?;
    if !order.spec.options.domainname.is_empty() {
        rustix::system::setdomainname(order.spec.options.domainname.as_bytes())
            .map_err(|error| Failure::io("set the domain name", &error.into()))?;
    }
    std::env::set_current_dir("/").map_err(failed("enter the root directory"))?;
    if !order.spec.isolation.all_calls {
        let (capabilities, profile) = (&order.spec.capabilities, order.spec.profile.as_ref());
        seccomp::install(capabilities, profile).map_err(failed("filter system calls"))?;
    }
    // It must be able to signal its command whatever that becomes.
    capability::restrict(capability::set(&order.spec.capabilities) | CapabilitySet::KILL | CapabilitySet::SETPCAP)
        .map_err(failed("give up capabilities"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.map_err(failed("start the container's init"))?.block_on(serve(agent, order, stage, streams))
}

/// Makes the folder in which the command begins where it is not there, as Docker does: in a root directory of the container's
/// own, and on what lies on the host's for the container alone. The host's own tree stays as it is.
fn make_working_dir(spec: &ProcessSpec) -> Result<(), Failure> {
    let path = Path::new(&spec.working_dir);
    let laid = spec.mounts.list.iter().map(|mount| mount.target.as_str());
    let own = match spec.mounts.root {
        Root::Directory { .. } => true,
        Root::Host | Root::HostWritable => OWN_FOLDERS.into_iter().chain(laid).any(|folder| path.starts_with(folder)),
    };
    // Where a way leads that goes up is not said by its words.
    if !own || path.exists() || path.components().any(|part| part == Component::ParentDir) {
        return Ok(());
    }
    let before = rustix::process::umask(Mode::from_bits_truncate(UMASK));
    let made = DirBuilder::new().recursive(true).create(path);
    rustix::process::umask(before);
    made.map_err(|error| {
        Failure::other(format!("cannot make the working directory {}: {error}; choose another with -w", path.display()))
    })
}

/// A container has these for itself, whatever its root directory.
const OWN_FOLDERS: [&str; 2] = ["/tmp", "/run"];

const UMASK: u32 = 0o022;

async fn serve(agent: &OwnedFd, order: InitOrder, stage: Stage, streams: [OwnedFd; 3]) -> Result<i32, Failure> {
    let failed = |error: io::Error| Failure::io("start the container's init", &error);
    // Before there is a command whose end could be missed.
    let mut children = signal(SignalKind::child()).map_err(failed)?;
    let mut signals = forwarded().map_err(failed)?;
    let main = stage.become_command(order.spec, order.open_files, streams).await?;
    report(agent, &Status::Ready);
    let channel = Channel::new(agent.try_clone().map_err(failed)?).map_err(failed)?;
    let (mut listening, mut announced) = (true, false);
    loop {
        if let Some(code) = reap(main) {
            return Ok(code);
        }
        tokio::select! {
            _ = children.recv() => {}
            Some(number) = signals.recv() => forward(main, number),
            received = channel.receive(), if listening => match received {
                Ok(Some((bytes, _))) => {
                    match serde_json::from_slice(&bytes) {
                        Ok(Control::Announced) => announced = true,
                        Err(error) => tracing::debug!("the agent sent a message that makes no sense: {error}"),
                    }
                }
                // A container whose start nobody has heard of is nobody's.
                _ if order.ephemeral || !announced => return Ok(KILLED),
                _ => listening = false,
            },
        }
    }
}

/// The process that is to become the command.
struct Stage {
    pid: Pid,
    socket: OwnedFd,
}

impl Stage {
    /// It is loaded and waits for its order, so that whatever is mounted from now on takes nothing from it. Where it is moves
    /// along with the root directory.
    fn start() -> Result<Stage, Failure> {
        let failed = |error: io::Error| Failure::io("start the command", &error);
        let (mut stage, socket) = command(&["sandbox-init", "--exec"].map(Into::into)).map_err(failed)?;
        let child = stage.spawn().map_err(failed)?;
        // Closes our copy of its end, so that its end can be noticed.
        drop(stage);
        wire::receive(socket.as_fd()).map_err(failed)?;
        Ok(Stage { pid: Pid::from_child(&child), socket })
    }

    async fn become_command(
        self,
        spec: ProcessSpec,
        open_files: Option<u64>,
        streams: [OwnedFd; 3],
    ) -> Result<Pid, Failure> {
        let exec = ExecSpec {
            command: spec.command,
            env: spec.env,
            working_dir: spec.working_dir,
            tty: spec.tty,
            capabilities: spec.capabilities,
            isolation: spec.isolation,
            profile: spec.profile,
            options: Box::new(spec.options),
        };
        drive_stage(self.socket, &StageOrder { exec, open_files, network: false, users: false }, streams, None).await?;
        Ok(self.pid)
    }
}

/// Collects every child that ended; the exit status once the command is among them.
fn reap(main: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == main {
            code = Some(exit_code(status));
        }
    }
    code
}

/// The exit status as a shell tells it: 128 + N for signal N.
pub(crate) fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|number| 128 + number)).unwrap_or(KILLED)
}

/// Exit status of a process that SIGKILL ended.
pub(crate) const KILLED: i32 = 128 + 9;

fn forward(main: Pid, number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        // It may just have ended.
        let _ = kill_process(main, signal);
    }
}

/// The signals that whoever signals the container means for its command. The kernel hands this process none from outside but those
/// that it catches, and SIGKILL.
fn forwarded() -> io::Result<mpsc::UnboundedReceiver<i32>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for number in (1..=LAST_NAMED).filter(|number| *number != KILL) {
        let mut stream = signal(SignalKind::from_raw(signal_to_init(number)))?;
        let sender = sender.clone();
        tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(number).is_ok() {} });
    }
    Ok(receiver)
}

/// SIGKILL.
const KILL: i32 = 9;

/// SIGSYS.
const LAST_NAMED: i32 = 31;

#[cfg(test)]
mod tests {
    use super::*;

    /// A status reads as a shell would tell it.
    #[test]
    fn exit_codes() {
        use std::process::Command;
        for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143)] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_child(&child);
            let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(exit_code(status), code);
            // Collected above already.
            let _ = child.wait();
        }
    }
}
