//! Network namespaces of the agent's network thread. Read first: network_namespaces(7), setns(2).

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    thread::LinkNameSpaceType,
};
use vswitch_switch::sys::namespace::{Unshare, unshare};

use crate::agent::{
    pidfd,
    protocol::{Failure, FailureKind, NetnsRef},
};

/// The namespace of the switch-side ends, which the network thread never leaves for longer than one call.
#[derive(Debug)]
pub(crate) struct Home {
    netns: OwnedFd,
    /// The namespace in which the agent was started.
    host: OwnedFd,
    /// Those of the host: where the agent was started, and where the first process is, as far as that may be seen.
    hosts: Vec<(u64, u64)>,
}

impl Home {
    /// Moves the calling thread into a new namespace, for good.
    pub(crate) fn make() -> io::Result<Home> {
        let (host, hosts) = (current()?, hosts());
        unshare(Unshare::Network)?;
        // Before there is any link: the switch's ends must not speak IPv6. Where /proc/sys is read-only (inside some
        // containers) they do, and the switch's anti-spoofing never sees it, for these frames leave on the other side.
        for scope in ["all", "default"] {
            sysctl_ipv6(scope, "disable_ipv6", "1");
        }
        Ok(Home { netns: current()?, host, hosts })
    }

    /// Runs `work` inside `netns` on the calling thread.
    pub(crate) fn visit<T>(&self, netns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
        enter(netns)?;
        let result = work();
        enter(self.netns.as_fd()).expect("a thread may always return to a namespace that its user namespace owns");
        Ok(result)
    }

    /// The namespace in which the agent was started.
    pub(crate) fn host(&self) -> io::Result<OwnedFd> {
        self.host.try_clone()
    }

    /// Whether a namespace is the host's.
    pub(crate) fn is_host(&self, attached: &Attached) -> bool {
        self.hosts.contains(&attached.identity)
    }

    /// Makes a new network namespace.
    pub(crate) fn create(&self) -> io::Result<OwnedFd> {
        unshare(Unshare::Network)?;
        let made = current();
        enter(self.netns.as_fd()).expect("a thread may always return to a namespace that its user namespace owns");
        made
    }
}

/// Those that are the host's, seen from a thread that has not left it.
fn hosts() -> Vec<(u64, u64)> {
    let seen = ["/proc/thread-self/ns/net", "/proc/1/ns/net"].map(|path| identity(&File::open(path)?));
    seen.into_iter().filter_map(io::Result::ok).collect()
}

/// Refuses the host's own namespace. The caller has not left the host's, and is no root there.
pub(crate) fn refuse_the_hosts(netns: &NetnsRef, file: &File) -> Result<(), Failure> {
    if identity(file).is_ok_and(|identity| hosts().contains(&identity)) {
        let sentence = format!("{netns} is the host's own, which only root's vswitchd may change; attach another one");
        return Err(Failure::new(FailureKind::Harmful, sentence));
    }
    Ok(())
}

/// Moves the calling thread.
pub(crate) fn enter(netns: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?)
}

/// The calling thread's network namespace.
fn current() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Sets an IPv6 setting of an interface, of `all` or of `default` in the calling thread's namespace. A kernel without
/// IPv6, or a read-only /proc/sys, has none to set.
pub(crate) fn sysctl_ipv6(interface: &str, key: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/{key}");
    if let Err(error) = std::fs::write(&path, value) {
        tracing::debug!("cannot set {path} to {value}: {error}");
    }
}

/// Somebody else's namespace. It is not held open, so that it ends when its owner wants it to; only one that came as a
/// descriptor is, until somebody was in it.
#[derive(Debug)]
pub(crate) struct Attached {
    netns: NetnsRef,
    /// Of the process, so that a reused number is noticed.
    pidfd: Option<OwnedFd>,
    identity: (u64, u64),
    held: Option<Held>,
}

/// A namespace that is held open.
#[derive(Debug)]
struct Held {
    file: OwnedFd,
    /// Looks that found nobody in it.
    empty: u8,
}

/// A held namespace in which this many looks, [`LOOK_EVERY`] apart, find nobody is let go: its container is gone, or
/// never came.
const EMPTY_LOOKS: u8 = 3;

/// Time between looks at held namespaces.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Attached {
    /// Finds it. The kind `NotPermitted` may mean that another user namespace owns it.
    pub(crate) fn find(netns: NetnsRef) -> Result<Attached, Failure> {
        let pidfd = match &netns {
            NetnsRef::Pid(pid) => Some(pidfd::open(*pid).map_err(|error| failure(&netns, &error))?),
            _ => None,
        };
        let file = open(&netns).map_err(|error| failure(&netns, &error))?;
        let identity = identity(&file).map_err(|error| failure(&netns, &error))?;
        Ok(Attached { netns, pidfd, identity, held: None })
    }

    /// That of a descriptor, which is kept open.
    pub(crate) fn given(descriptor: OwnedFd) -> Result<Attached, Failure> {
        let failed = |error: &io::Error| failure(&NetnsRef::Beside, error);
        check(&descriptor).map_err(|error| failed(&error))?;
        let file = File::from(descriptor);
        let identity = identity(&file).map_err(|error| failed(&error))?;
        let netns = NetnsRef::Inode(identity.0, identity.1);
        Ok(Attached { netns, pidfd: None, identity, held: Some(Held { file: file.into(), empty: 0 }) })
    }

    /// How it is found later.
    pub(crate) fn reference(&self) -> &NetnsRef {
        &self.netns
    }

    /// Lets go of it if nobody is in it for long, or somebody is and so keeps it. Not both at once: between the setup of
    /// its network and its first process a container's namespace is empty.
    pub(crate) fn look(&mut self) {
        let Some(held) = &mut self.held else { return };
        if find_process(self.identity).is_some() {
            held.empty = 0;
            return;
        }
        held.empty += 1;
        if held.empty >= EMPTY_LOOKS {
            tracing::info!("nobody is in {} any more; it is let go", self.netns);
            self.held = None;
        }
    }

    /// Whether both are one namespace.
    pub(crate) fn is_same(&self, other: &Attached) -> bool {
        self.identity == other.identity
    }

    /// Opens it once more; the kind is `Gone` when it is not there any more.
    pub(crate) fn open(&self) -> Result<OwnedFd, Failure> {
        if let Some(held) = &self.held {
            return held.file.try_clone().map_err(|error| failure(&self.netns, &error));
        }
        let file = open(&self.netns).map_err(|error| failure(&self.netns, &error))?;
        let alive = self.pidfd.as_ref().is_none_or(|pidfd| !pidfd::ended(pidfd));
        match identity(&file) {
            Ok(identity) if alive && identity == self.identity => Ok(file.into()),
            _ => Err(gone(&self.netns)),
        }
    }
}

/// Opens a reference, if it is one of a namespace: opening a FIFO waits, and opening a device may do anything.
pub(crate) fn open(netns: &NetnsRef) -> io::Result<File> {
    let path = match netns {
        NetnsRef::Pid(pid) => format!("/proc/{pid}/ns/net"),
        NetnsRef::Path(path) => path.clone(),
        NetnsRef::Inode(device, inode) => {
            find_process((*device, *inode)).ok_or_else(|| io::Error::from(rustix::io::Errno::NOENT))?
        }
        NetnsRef::Ordered(_) | NetnsRef::Beside | NetnsRef::Host => return Err(rustix::io::Errno::INVAL.into()),
    };
    // Names the file and opens nothing; what it names is then what is opened, whatever becomes of the path.
    let named = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    check(&named)?;
    File::open(format!("/proc/self/fd/{}", named.as_raw_fd()))
}

/// Refuses what is no namespace.
pub(crate) fn check(file: impl AsFd) -> io::Result<()> {
    match rustix::fs::fstatfs(file)?.f_type {
        NSFS_MAGIC => Ok(()),
        _ => Err(rustix::io::Errno::INVAL.into()),
    }
}

/// The namespace's file of a process that is in it, as far as processes may be looked at.
fn find_process(wanted: (u64, u64)) -> Option<String> {
    let entries = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .map(|number| format!("/proc/{number}/ns/net"))
        .find(|path| std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == wanted))
}

/// The file system of namespaces, linux/magic.h.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// Device and inode, which name a namespace while it lives.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// What became of a reference.
pub(crate) fn failure(netns: &NetnsRef, error: &io::Error) -> Failure {
    let vanished = [rustix::io::Errno::SRCH, rustix::io::Errno::NOENT, rustix::io::Errno::INVAL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    match error.kind() {
        _ if vanished => gone(netns),
        io::ErrorKind::PermissionDenied => Failure::new(
            FailureKind::NotPermitted,
            format!("{netns} belongs to somebody else; attach one of your own or run vswitchd as root"),
        ),
        _ => Failure::io(format!("enter {netns}"), error),
    }
}

fn gone(netns: &NetnsRef) -> Failure {
    Failure::new(FailureKind::Gone, format!("{netns} does not exist (any more); attach a living one"))
}

impl std::fmt::Display for NetnsRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NetnsRef::Pid(pid) => write!(f, "the network namespace of process {pid}"),
            NetnsRef::Path(path) => write!(f, "the network namespace at {path}"),
            NetnsRef::Inode(_, inode) => write!(f, "network namespace net:[{inode}]"),
            NetnsRef::Ordered(_) | NetnsRef::Beside => f.write_str("the network namespace that was handed over"),
            NetnsRef::Host => f.write_str("the host's network namespace"),
        }
    }
}
