//! The last step before a command: session, terminal, capabilities, working directory, then exec.

use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, ExitCode},
};

use rustix::{
    fs::{FileType, Mode, Uid},
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use vswitch_switch::sys::{descriptors::close_on_exec, signals};

use super::{
    capability,
    identity::Identity,
    message::{FIRST_FREE, StageOrder, Status, receive_order, report, take_socket},
    seccomp,
    users::become_root,
};
use crate::{
    agent::protocol::{ExecSpec, Failure, FailureKind},
    model::Ulimit,
};

/// Becomes the command that the standard input's socket names.
pub(crate) fn main() -> ExitCode {
    let Ok(socket) = take_socket() else { return ExitCode::FAILURE };
    report(&socket, &Status::Waiting);
    let failure = match receive_order::<StageOrder>(socket.as_fd()) {
        Ok((mut order, streams, container)) => {
            match enter(&order, &container).and_then(|()| prepare(&mut order, streams)) {
                Ok(()) => {
                    report(&socket, &Status::Ready);
                    execute(&order.exec)
                }
                Err(failure) => failure,
            }
        }
        Err(error) => Failure::io("read what to run", &error),
    };
    report(&socket, &Status::Failed(failure));
    ExitCode::FAILURE
}

/// Enters the container, of which a descriptor came along. Only now: whatever this program is linked with is of the host.
fn enter(order: &StageOrder, container: &[std::os::fd::OwnedFd]) -> Result<(), Failure> {
    let Some(container) = container.first() else { return Ok(()) };
    let mut which = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::CONTROL_GROUP;
    which.set(ThreadNameSpaceType::NETWORK, order.network);
    which.set(ThreadNameSpaceType::USER, order.users);
    let entered = move_into_thread_name_spaces(container.as_fd(), which);
    let entered = if order.users { entered.and_then(|()| become_root()) } else { entered };
    entered.map_err(|error| match error {
        rustix::io::Errno::SRCH => Failure::new(FailureKind::Gone, "the container has just ended"),
        _ => Failure::io("enter the container", &error.into()),
    })
}

fn prepare(order: &mut StageOrder, streams: [std::os::fd::OwnedFd; 3]) -> Result<(), Failure> {
    let StageOrder { exec, open_files, .. } = order;
    let failed = |what: &'static str| move |error: io::Error| Failure::other(format!("cannot {what}: {error}"));
    // Fails only for one that leads a session already.
    let _ = rustix::process::setsid();
    let [input, output, errors] = streams;
    rustix::stdio::dup2_stdin(&input)
        .and_then(|()| rustix::stdio::dup2_stdout(&output))
        .and_then(|()| rustix::stdio::dup2_stderr(&errors))
        .map_err(|error| failed("set the standard streams")(error.into()))?;
    if exec.tty {
        rustix::process::ioctl_tiocsctty(&input)
            .map_err(|error| failed("make standard input the controlling terminal")(error.into()))?;
    }
    if let Some(soft) = *open_files {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum })
            .map_err(|error| failed("set the limit of open files")(error.into()))?;
    }
    limits(&exec.options.ulimits)?;
    // Whatever somebody who started vswitchd left open or had ignored.
    signals::reset();
    close_on_exec(FIRST_FREE).map_err(failed("close inherited descriptors"))?;
    rustix::process::umask(Mode::from_bits_truncate(UMASK));
    let identity = Identity::find(&exec.options.user)?;
    if exec.env.iter().all(|entry| !entry.starts_with("HOME=")) {
        exec.env.push(format!("HOME={}", identity.home));
    }
    own_streams(exec.tty, &identity);
    std::env::set_current_dir(&exec.working_dir).map_err(|error| {
        Failure::other(format!(
            "cannot enter the working directory {}: {error}; choose another with -w",
            exec.working_dir
        ))
    })?;
    let capabilities = capability::set(&exec.capabilities);
    if !exec.isolation.all_calls {
        seccomp::install(&exec.capabilities, exec.profile.as_ref()).map_err(failed("filter system calls"))?;
    }
    capability::bound(capabilities).map_err(failed("give up capabilities"))?;
    identity.assume(&exec.options.user)?;
    capability::restrict(capabilities).map_err(failed("give up capabilities"))?;
    if exec.isolation.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(|error| failed("give up new privileges")(error.into()))?;
    }
    Ok(())
}

/// Lets the command open its streams by name, as its user: pipes, and a terminal that was made for it.
fn own_streams(tty: bool, identity: &Identity) {
    let streams = [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()]
        .map(|stream| stream.try_clone_to_owned());
    for stream in streams.into_iter().flatten() {
        let pipe =
            rustix::fs::fstat(&stream).is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::Fifo);
        if identity.uid() != 0 && (pipe || tty) {
            // Whoever cannot still has them open.
            let _ = rustix::fs::fchown(&stream, Some(Uid::from_raw(identity.uid())), None);
        }
    }
}

fn limits(ulimits: &[Ulimit]) -> Result<(), Failure> {
    for limit in ulimits {
        let resource = match limit.name.as_str() {
            "core" => Resource::Core,
            "cpu" => Resource::Cpu,
            "data" => Resource::Data,
            "fsize" => Resource::Fsize,
            "locks" => Resource::Locks,
            "memlock" => Resource::Memlock,
            "msgqueue" => Resource::Msgqueue,
            "nice" => Resource::Nice,
            "nofile" => Resource::Nofile,
            "nproc" => Resource::Nproc,
            "rss" => Resource::Rss,
            "rtprio" => Resource::Rtprio,
            "rttime" => Resource::Rttime,
            "sigpending" => Resource::Sigpending,
            "stack" => Resource::Stack,
            // Refused where it was asked for.
            _ => continue,
        };
        setrlimit(resource, Rlimit { current: limit.soft, maximum: limit.hard }).map_err(|error| {
            Failure::other(format!(
                "cannot set the limit {limit} ({error}); an ordinary user can lower the limits that vswitchd was started with, and not \
                 raise them"
            ))
        })?;
    }
    Ok(())
}

/// Only returns when it fails.
fn execute(exec: &ExecSpec) -> Failure {
    let Some((program, arguments)) = exec.command.split_first() else {
        return Failure::new(FailureKind::CommandNotFound, "no command was given; name one after --");
    };
    let env = exec.env.iter().filter_map(|pair| pair.split_once('='));
    let error = Command::new(program).args(arguments).env_clear().envs(env).exec();
    if error.kind() == io::ErrorKind::NotFound || !is_anywhere(program, &exec.env) {
        let message = format!("cannot run {program:?}: no such program; check its spelling and PATH");
        return Failure::new(FailureKind::CommandNotFound, message);
    }
    Failure::new(FailureKind::CommandNotExecutable, format!("cannot run {program:?}: {error}"))
}

/// Whether a program is there at all: execvp(3) says "permission denied" also where only a folder of PATH is closed.
fn is_anywhere(program: &str, env: &[String]) -> bool {
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
    program.contains('/') || std::env::split_paths(path).any(|folder| folder.join(program).exists())
}

/// That of Docker's containers.
const UMASK: u32 = 0o022;
