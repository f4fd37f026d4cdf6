//! The stage between the agent and whatever is in a user namespace of its own (`--userns-remap`).
//!
//! Only a process with one thread may change its user namespace, and the agent has several. So it starts this stage, which
//! enters the namespace, starts the container's first process there, makes its mounts around it and ends; the agent inherits
//! that process, as the reaper of its descendants. What needs the rights of the host's root, such as finding a volume in a closed
//! folder, is done before.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use rustix::{
    process::{Gid, Pid, PidfdFlags, Uid, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde::{Deserialize, Serialize};
use vswitch_switch::sys::namespace::{Unshare, unshare};

use super::{
    message::{InitOrder, command_from, receive_with, take_socket},
    mounts::{self, Taken},
};
use crate::agent::{protocol::Failure, wire};

/// First message to the stage.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum UsersOrder {
    /// Make a user namespace and, when the next message says that its ids are mapped, a network namespace that belongs to
    /// it.
    Make,
    /// Start the first process of a container and, when the next message says that it is loaded, make its mounts. Beside this:
    /// user namespace, network namespace, the process's standard input and that of the command.
    Init {
        /// What the agent tells that process, too.
        order: Box<InitOrder>,
        /// Of the process.
        arguments: Vec<OsString>,
    },
}

/// What the stage answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum UsersStatus {
    /// There is a user namespace.
    Unmapped,
    /// Here is the network namespace.
    Made,
    /// The process runs, and here is its descriptor.
    Started(u32),
    /// It has its mounts.
    Mounted,
    /// It did not work.
    Failed(Failure),
}

/// Does what the standard input's socket says.
pub(crate) fn main() -> ExitCode {
    let Ok(socket) = take_socket() else { return ExitCode::FAILURE };
    match run(&socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&socket, &UsersStatus::Failed(failure), &[]);
            ExitCode::FAILURE
        }
    }
}

fn run(socket: &OwnedFd) -> Result<(), Failure> {
    let unread = |error: io::Error| Failure::io("read what to run", &error);
    let (order, descriptors) = receive_with::<UsersOrder>(socket.as_fd()).map_err(unread)?;
    let wrong = |_| unread(io::ErrorKind::InvalidData.into());
    match order {
        UsersOrder::Make => make(socket),
        UsersOrder::Init { order, arguments } => {
            let [users, network, init, input] = descriptors.try_into().map_err(wrong)?;
            let taken = prepare(&order, &users, &network, &input)?;
            start(socket, &arguments, init)?;
            hear(socket).map_err(unread)?;
            taken.put(&order)?;
            say(socket, &UsersStatus::Mounted, &[]);
            Ok(())
        }
    }
}

fn make(socket: &OwnedFd) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("make a user namespace for the container", &error);
    unshare(Unshare::User).map_err(failed)?;
    say(socket, &UsersStatus::Unmapped, &[]);
    hear(socket).map_err(failed)?;
    unshare(Unshare::Network).map_err(|error| Failure::io("make a network namespace", &error))?;
    let network = std::fs::File::open("/proc/self/ns/net").map_err(failed)?;
    say(socket, &UsersStatus::Made, &[network.as_fd()]);
    Ok(())
}

/// Waits until the agent has done its part; one that cannot goes away.
fn hear(socket: &OwnedFd) -> io::Result<()> {
    wire::receive(socket.as_fd())?.map(drop).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Enters new namespaces of a container. Answers what goes into it.
fn prepare(order: &InitOrder, users: &OwnedFd, network: &OwnedFd, input: &OwnedFd) -> Result<Taken, Failure> {
    let failed = |error: io::Error| Failure::io("make the container's namespaces", &error);
    // Of this namespace's mounts nothing reaches the host, nor do copies of them.
    unshare(Unshare::Mounts).map_err(failed)?;
    mounts::separate()?;
    let taken = mounts::take(order, input, Some(users.as_fd()))?;
    let enter = |namespace: &OwnedFd, kind| move_into_link_name_space(namespace.as_fd(), Some(kind));
    enter(users, LinkNameSpaceType::User)
        .and_then(|()| enter(network, LinkNameSpaceType::Network))
        .map_err(|error| Failure::io("enter the sandbox", &error.into()))?;
    become_root().map_err(|error| failed(error.into()))?;
    unshare(Unshare::Container).map_err(failed)?;
    mounts::separate()?;
    Ok(taken)
}

/// The user namespace's root. Until then the process is the host's root, as which it has no more rights inside than a
/// stranger has.
pub(super) fn become_root() -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

fn start(socket: &OwnedFd, arguments: &[OsString], input: OwnedFd) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("start the container's init", &error);
    let child = command_from(arguments, input).spawn().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::other(
            "the users of containers may not execute vswitchd's program; let others read and execute its file (chmod o+rx)",
        ),
        _ => failed(error),
    })?;
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    say(socket, &UsersStatus::Started(child.id()), &[pidfd.as_fd()]);
    Ok(())
}

/// Nobody listens any more when it fails.
fn say(socket: &OwnedFd, status: &UsersStatus, descriptors: &[BorrowedFd<'_>]) {
    let said = wire::encode(status).and_then(|bytes| wire::send(socket.as_fd(), &bytes, descriptors));
    if let Err(error) = said {
        tracing::debug!("cannot report {status:?}: {error}");
    }
}
