//! The last step before a command: session, terminal, capabilities, working directory, then exec.

use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, ExitCode},
};

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use vswitch_switch::sys::descriptors::close_on_exec;

use super::{
    capability,
    message::{FIRST_FREE, StageOrder, Status, receive_order, report, take_socket},
    seccomp,
};
use crate::agent::protocol::{ExecSpec, Failure, FailureKind};

/// Becomes the command that the standard input's socket names.
pub(crate) fn main() -> ExitCode {
    let Ok(socket) = take_socket() else { return ExitCode::FAILURE };
    let failure = match receive_order::<StageOrder>(socket.as_fd()) {
        Ok((order, streams, container)) => match enter(&order, &container).and_then(|()| prepare(&order, streams)) {
            Ok(()) => {
                report(&socket, &Status::Ready);
                execute(&order.exec)
            }
            Err(failure) => failure,
        },
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
    if order.network {
        which |= ThreadNameSpaceType::NETWORK;
    }
    move_into_thread_name_spaces(container.as_fd(), which).map_err(|error| match error {
        rustix::io::Errno::SRCH => Failure::new(FailureKind::Gone, "the container has just ended"),
        _ => Failure::io("enter the container", &error.into()),
    })
}

fn prepare(order: &StageOrder, streams: [std::os::fd::OwnedFd; 3]) -> Result<(), Failure> {
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
    // Whatever somebody who started vswitchd left open.
    close_on_exec(FIRST_FREE).map_err(failed("close inherited descriptors"))?;
    rustix::process::umask(Mode::from_bits_truncate(UMASK));
    std::env::set_current_dir(&exec.working_dir).map_err(|error| {
        Failure::other(format!(
            "cannot enter the working directory {}: {error}; choose another with -w",
            exec.working_dir
        ))
    })?;
    let capabilities = capability::set(&exec.capabilities);
    if !exec.isolation.all_calls {
        seccomp::install(capabilities).map_err(failed("filter system calls"))?;
    }
    capability::restrict(capabilities).map_err(failed("give up capabilities"))?;
    if exec.isolation.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(|error| failed("give up new privileges")(error.into()))?;
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
