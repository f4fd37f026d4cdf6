//! Containers with a user namespace of their own (`--userns-remap`): the agent's side of
//! [`sandbox::users`](crate::sandbox::users).
//!
//! A sandbox's network namespace belongs to a user namespace; whose it is says in which one the processes of the sandbox are.
//! So nothing of this has to be remembered, and it is found again after the end of an agent.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    thread,
};

use rustix::{
    fs::{FileType, fchown, fstat},
    process::{Gid, Pid, PidfdFlags, Signal, Uid, pidfd_open, pidfd_send_signal},
    termios::isatty,
};
use vswitch_switch::sys::namespace;

use super::{
    pidfd,
    protocol::{Failure, FailureKind, Policy, ProcessSpec},
    wire::{self, Channel},
};
use crate::{
    model::check_users,
    sandbox::{
        message::{InitOrder, command},
        users::{UsersOrder, UsersStatus},
    },
    userns::IdMap,
};

/// A process that has just begun: its number, its descriptor, and what it listens to.
pub(super) type Spawned = (Pid, OwnedFd, OwnedFd);

impl Policy {
    /// Whether a container may be in the user namespace that it asks for. Answers the root of its own, if it is to have one.
    pub(super) fn own_root(&self, spec: &ProcessSpec) -> Result<Option<(u32, u32)>, Failure> {
        let Some(ids) = &self.remap else { return Ok(None) };
        check_users(spec.isolation, &spec.mounts.root, spec.sandbox.is_none(), self.capabilities.is_some())
            .map_err(|sentence| Failure::new(FailureKind::NotPermitted, sentence))?;
        Ok((!spec.isolation.host_users).then(|| ids.root()))
    }
}

/// Makes a network namespace that belongs to a new user namespace with these ids.
pub(super) async fn make_network(ids: &IdMap) -> Result<OwnedFd, Failure> {
    let failed = |error: io::Error| Failure::io("make a user namespace for the container", &error);
    let stage = Stage::start(&UsersOrder::Make, &[]).await?;
    match stage.hear().await? {
        (UsersStatus::Unmapped, _) => {}
        (status, _) => return Err(unexpected(&status)),
    }
    for (file, text) in ["uid_map", "gid_map"].into_iter().zip(ids.texts()) {
        let path = format!("/proc/{}/{file}", stage.number);
        fs::write(path, text).map_err(failed)?;
    }
    stage.channel.send(&(), &[]).await.map_err(failed)?;
    match stage.hear().await? {
        (UsersStatus::Made, mut network) if network.len() == 1 => Ok(network.remove(0)),
        (status, _) => Err(unexpected(&status)),
    }
}

/// Starts the first process of a container in the user namespace that `network` belongs to. It has its mounts once
/// [`Stage::mount`] has answered.
pub(super) async fn start_init(
    order: &InitOrder,
    arguments: Vec<std::ffi::OsString>,
    network: &OwnedFd,
    input: &OwnedFd,
) -> Result<(Spawned, Stage), Failure> {
    let failed = |error: io::Error| Failure::io("start the container's init", &error);
    let users = namespace::owner(network).map_err(failed)?;
    let (ours, theirs) = wire::pair().map_err(failed)?;
    let order = UsersOrder::Init { order: Box::new(order.clone()), arguments };
    let stage = Stage::start(&order, &[users.as_fd(), network.as_fd(), theirs.as_fd(), input.as_fd()]).await?;
    stage.started(ours).await
}

/// The process of `sandbox::users`.
pub(super) struct Stage {
    number: u32,
    pidfd: OwnedFd,
    channel: Channel,
}

impl Stage {
    async fn start(order: &UsersOrder, descriptors: &[BorrowedFd<'_>]) -> Result<Stage, Failure> {
        let failed = |error: io::Error| Failure::io("start the container's init", &error);
        let (mut command, socket) = command(&["sandbox-init", "--users"].map(Into::into)).map_err(failed)?;
        let mut child = command.spawn().map_err(failed)?;
        drop(command);
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let number = child.id();
        // Only to collect it.
        thread::spawn(move || child.wait());
        let pidfd = pidfd.map_err(|error| failed(error.into()))?;
        let stage = Stage { number, pidfd, channel: Channel::new(socket).map_err(failed)? };
        stage.channel.send(order, descriptors).await.map_err(failed)?;
        Ok(stage)
    }

    async fn hear(&self) -> Result<(UsersStatus, Vec<OwnedFd>), Failure> {
        let failed = |error: io::Error| Failure::io("start the container's init", &error);
        let Some((bytes, descriptors)) = self.channel.receive().await.map_err(failed)? else {
            return Err(Failure::other("the stage before the container's init ended early; see agent.log"));
        };
        match serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))? {
            UsersStatus::Failed(failure) => Err(failure),
            status => Ok((status, descriptors.map_err(|error| failed(io::Error::other(error)))?)),
        }
    }

    /// Has the mounts of the process made once that has said that it is loaded.
    pub(super) async fn mount(self, (_, _, socket): &Spawned) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("start the container's init", &error);
        let channel = socket.try_clone().and_then(Channel::new).map_err(failed)?;
        if channel.receive().await.map_err(failed)?.is_none() {
            return Err(Failure::other("the container's init ended early; see agent.log in the state directory"));
        }
        self.channel.send(&(), &[]).await.map_err(failed)?;
        match self.hear().await? {
            (UsersStatus::Mounted, _) => Ok(()),
            (status, _) => Err(unexpected(&status)),
        }
    }

    /// The process that was started, which listens to the other end of `socket`.
    async fn started(self, socket: OwnedFd) -> Result<(Spawned, Stage), Failure> {
        match self.hear().await? {
            (UsersStatus::Started(number), mut descriptors) if descriptors.len() == 1 => {
                let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or_else(|| Failure::other("a process has no number"))?;
                // It becomes a child of this process when the stage ends, which is at once.
                Ok(((pid, descriptors.remove(0), socket), self))
            }
            (status, _) => Err(unexpected(&status)),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Of no use any more; one that hangs in a file system must not go on later.
        if !pidfd::ended(&self.pidfd) {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
    }
}

/// Lets the root of a container, whom the host knows by these numbers, open the pipes again that it is given, as /dev/stdout,
/// and a terminal that was made for it.
pub(super) fn give(streams: &[OwnedFd; 3], (uid, gid): (u32, u32), made: bool) {
    for stream in streams {
        let given = fstat(stream).is_ok_and(|about| match FileType::from_raw_mode(about.st_mode) {
            FileType::Fifo => true,
            // Nobody else's, and not /dev/null.
            FileType::CharacterDevice => made && isatty(stream),
            _ => false,
        });
        if given && let Err(error) = fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            tracing::debug!("the container cannot open its streams again: {error}");
        }
    }
}

/// Whether a network namespace belongs to another user namespace than the agent's.
pub(super) fn owns_itself(network: &OwnedFd) -> Result<bool, Failure> {
    let differs = namespace::owner(network).and_then(|owner| {
        let about = fs::File::from(owner).metadata()?;
        Ok((about.dev(), about.ino()) != own()?)
    });
    differs.map_err(|error| Failure::io("ask for the sandbox's user namespace", &error))
}

/// The numbers by which the host knows the root of a process in another user namespace than the agent's.
pub(super) fn owner_inside(pid: Pid) -> io::Result<Option<(u32, u32)>> {
    let of = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
    let about = fs::metadata(of("ns/user"))?;
    if (about.dev(), about.ino()) == own()? {
        return Ok(None);
    }
    let root = |name: &str| {
        let number = fs::read_to_string(of(name))?.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        number.ok_or_else(|| io::Error::other("its user namespace has no root"))
    };
    Ok(Some((root("uid_map")?, root("gid_map")?)))
}

fn own() -> io::Result<(u64, u64)> {
    let about = fs::metadata("/proc/self/ns/user")?;
    Ok((about.dev(), about.ino()))
}

fn unexpected(status: &UsersStatus) -> Failure {
    Failure::other(format!("the stage before the container's init answered {status:?} out of turn"))
}
