//! What the agent, the init of a container and the stage before its command say to each other.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use crate::agent::{
    protocol::{ExecSpec, Failure, ProcessSpec},
    wire,
};

/// First message to an init, with the command's three standard streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InitOrder {
    /// What to run, and its surroundings.
    pub(crate) spec: ProcessSpec,
    /// Folders that it must not let the container see.
    pub(crate) hidden: Vec<PathBuf>,
    /// The same of a folder of which the container may have parts.
    pub(crate) data: PathBuf,
    /// Where changes of its root directory go, if that is a directory of its own.
    pub(crate) layer: Option<PathBuf>,
    /// Homes of the host's users, which it changes nothing in if the root directory is the host's.
    pub(crate) homes: Vec<PathBuf>,
    /// All mounts but /proc are made already.
    pub(crate) mounted: bool,
    /// End when the agent does.
    pub(crate) ephemeral: bool,
    /// Soft limit of open descriptors.
    pub(crate) open_files: Option<u64>,
}

/// First message to a stage, with the command's three standard streams and, where it is to enter a container, a descriptor of
/// that one's first process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StageOrder {
    /// What to run.
    pub(crate) exec: ExecSpec,
    /// Soft limit of open descriptors.
    pub(crate) open_files: Option<u64>,
    /// The container has a network namespace of its own; of one that is to be entered.
    pub(crate) network: bool,
    /// It has a user namespace of its own; of one that is to be entered.
    pub(crate) users: bool,
}

/// What an init or a stage reports. A stage that said `Ready` and then closes its socket has become the command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Status {
    /// A stage, or an init with its stage, is loaded, and needs nothing of the host's files any more.
    Waiting,
    /// A stage is about to become the command; an init has started it.
    Ready,
    /// The command could not be started.
    Failed(Failure),
}

/// What the agent tells an init later. Signals come as such.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// vswitchd knows of the container: it need not end with the agent any more.
    Announced,
}

/// The signal that an init is sent where its command is meant. Of those that it cannot hand on, since they are about itself, or the
/// kernel lets nobody catch them, there is a copy among those of real time.
pub(crate) const fn signal_to_init(number: i32) -> i32 {
    match number {
        // SIGILL, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE, SIGCHLD, SIGSTOP.
        4 | 7 | 8 | 11 | 13 | 17 | 19 => COPIES + number,
        _ => number,
    }
}

/// The first signal of real time that the C library leaves alone.
const COPIES: i32 = 34;

/// A process that starts with a socket as its standard input.
pub(crate) fn command(arguments: &[OsString]) -> io::Result<(Command, OwnedFd)> {
    let (ours, theirs) = wire::pair()?;
    Ok((command_from(arguments, theirs), ours))
}

/// A process that starts with this socket as its standard input.
pub(crate) fn command_from(arguments: &[OsString], socket: OwnedFd) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).stdin(socket).stdout(Stdio::null()).current_dir("/");
    command
}

/// Takes the socket from standard input and puts /dev/null there.
pub(crate) fn take_socket() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), FIRST_FREE.cast_signed())?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// Receives an order, the three streams and what comes beside them. Blocking.
pub(crate) fn receive_order<T: for<'de> Deserialize<'de>>(
    socket: BorrowedFd<'_>,
) -> io::Result<(T, [OwnedFd; 3], Vec<OwnedFd>)> {
    let (order, mut descriptors) = receive_with(socket)?;
    let more = descriptors.split_off(descriptors.len().min(STREAMS));
    let streams = descriptors.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((order, streams, more))
}

/// Receives an order and what is beside it. Blocking.
pub(crate) fn receive_with<T: for<'de> Deserialize<'de>>(socket: BorrowedFd<'_>) -> io::Result<(T, Vec<OwnedFd>)> {
    let (bytes, descriptors) = wire::receive(socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(&bytes)?, descriptors.map_err(io::Error::other)?))
}

/// Standard input, output and error.
const STREAMS: usize = 3;

/// Reports. Blocking; nobody listens any more when it fails.
pub(crate) fn report(socket: &OwnedFd, status: &Status) {
    let sent = wire::encode(status).and_then(|bytes| wire::send(socket.as_fd(), &bytes, &[]));
    if let Err(error) = sent {
        tracing::debug!("cannot report {status:?}: {error}");
    }
}

/// Sends a stage its order and waits until it has become the command.
pub(crate) async fn drive_stage(
    stage: OwnedFd,
    order: &StageOrder,
    streams: [OwnedFd; 3],
    container: Option<BorrowedFd<'_>>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("start the command", &error);
    let channel = wire::Channel::new(stage).map_err(failed)?;
    let [input, output, errors] = &streams;
    let descriptors: Vec<_> = [input.as_fd(), output.as_fd(), errors.as_fd()].into_iter().chain(container).collect();
    channel.send(order, &descriptors).await.map_err(failed)?;
    drop(descriptors);
    drop(streams);
    let mut ready = false;
    while let Some((bytes, _)) = channel.receive().await.map_err(failed)? {
        match serde_json::from_slice(&bytes) {
            Ok(Status::Waiting) => {}
            Ok(Status::Ready) => ready = true,
            Ok(Status::Failed(failure)) => return Err(failure),
            Err(error) => return Err(failed(error.into())),
        }
    }
    if ready { Ok(()) } else { Err(Failure::other("the command's first stage ended early; see agent.log")) }
}

/// Below are the standard streams.
pub(crate) const FIRST_FREE: u32 = 3;
