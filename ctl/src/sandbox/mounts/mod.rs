//! A container's own view of the host's file system.
//! Read first: mount_namespaces(7), user_namespaces(7) "Restrictions on mount namespaces".
//!
//! The root file system is the host's, or a directory that was asked for (`root`). What Docker gives a container beside its image is the container's own here, too:
//! /proc and /sys with the dangerous parts masked or read-only, /dev with a few harmless nodes, empty /dev/shm, /tmp and /run, and
//! three files in /etc. Nowhere else does a device node mean anything, whoever made it. What is shared with the host on top
//! of that is what `--volume` and `--mount` name.

mod devices;
mod etc;
mod fill;
mod hidden;
mod kernel;
mod missing;
mod root;
mod table;
mod volumes;

pub(crate) use self::{kernel::own_proc, root::Before};

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use vswitch_switch::sys::mounts::{Restriction, restrict, restrict_one};

use self::{
    devices::Devices,
    etc::HostFiles,
    hidden::Hidden,
    root::{NewRoot, OwnRoot},
    volumes::{Contents, Volumes},
};
use super::message::InitOrder;
use crate::{agent::protocol::Failure, model::Root};

/// Makes the calling process's mount namespace one whose mounts do not appear on the host.
pub(crate) fn separate() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::io("separate the container's mounts from the host's", &error.into()))
}

/// What of the host goes into a container, opened.
#[derive(Debug)]
pub(crate) struct Taken {
    hidden: Hidden,
    devices: Devices,
    volumes: Volumes,
    host_files: HostFiles,
    root: Option<OwnRoot>,
}

/// Takes it, before something of the container's own lies over it, from a namespace that is separate already. `input` is the
/// command's standard input; `users` the container's user namespace, if that is another one.
pub(crate) fn take(order: &InitOrder, input: impl AsFd, users: Option<BorrowedFd<'_>>) -> Result<Taken, Failure> {
    let spec = &order.spec;
    let hidden = Hidden::find(&order.hidden, std::slice::from_ref(&order.data))?;
    let devices = Devices::take(&spec.isolation, spec.tty.then_some(input.as_fd()));
    let devices = devices.map_err(|error| Failure::io("open /dev", &error))?;
    let (volumes, host_files) = (Volumes::take(&spec.mounts.list)?, HostFiles::read());
    Ok(Taken { hidden, devices, volumes, host_files, root: OwnRoot::take(order, users)? })
}

impl Taken {
    /// Makes all of the container's mounts but [`own_proc`], in its own mount namespace, which is separate already. The host's root
    /// directory stays mounted, out of sight ([`Before::leave`]).
    pub(crate) fn put(self, order: &InitOrder) -> Result<(), Failure> {
        let Taken { hidden, devices, volumes, host_files, root } = self;
        let spec = &order.spec;
        let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
        let own_folders: &[&str] = if spec.isolation.all_devices { &OWN_FOLDERS[1..] } else { &OWN_FOLDERS };
        let root = NewRoot::enter(root, order, &volumes.missing(own_folders))?;
        let read_only = failed("make the container's root file system read-only");
        let device_nodes = if spec.isolation.all_devices { Ok(()) } else { without_devices() };
        device_nodes.map_err(failed("disable the host's device nodes"))?;
        if root.foreign {
            host_files.complete().map_err(failed("make the container's own /etc files"))?;
        } else {
            if spec.mounts.root == Root::Host {
                root::close_homes(&order.homes)?;
            }
            if spec.mounts.read_only {
                restrict(File::open("/").map_err(read_only)?, Restriction::ReadOnly).map_err(read_only)?;
            }
            own_folder("/run", c"mode=0755").map_err(failed("make the container's own /run"))?;
            own_folder("/tmp", c"mode=1777").map_err(failed("make the container's own /tmp"))?;
            host_files.restore().map_err(failed("make the container's own /etc files"))?;
        }
        etc::own_files(spec, &host_files, root.foreign).map_err(failed("make the container's own /etc files"))?;
        devices.put(spec.options.shm_size).map_err(failed("make the container's own /dev"))?;
        kernel::own_sys(spec)?;
        volumes.make_places(if root.foreign { &["/"] } else { own_folders })?;
        if spec.mounts.read_only {
            let folders: &[&str] = if root.foreign { &["/"] } else { &["/run", "/tmp"] };
            for folder in folders {
                restrict_one(File::open(folder).map_err(read_only)?, Restriction::ReadOnly).map_err(read_only)?;
            }
        }
        volumes.put(if root.foreign { Contents::OfRoot } else { Contents::None })?;
        hidden.cover(&root.seen)
    }
}

/// An empty folder that ends with the container; the host has it, or the container does without.
fn own_folder(path: &str, options: &std::ffi::CStr) -> io::Result<()> {
    match mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options)) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}

/// A container may make device nodes, as with Docker, where a control group decides which of them can be opened. Here none can
/// be, but those of its own /dev.
fn without_devices() -> io::Result<()> {
    match restrict(File::open("/")?, Restriction::NoDevices) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) => {
            tracing::warn!("this kernel cannot disable device nodes: it is older than 5.12");
            Ok(())
        }
        done => done,
    }
}

/// What a container has of its own even where its root directory is the host's; the first one not with all devices.
const OWN_FOLDERS: [&str; 3] = ["/dev", "/tmp", "/run"];

/// No set-user-id programs, devices or programs at all.
const HARMLESS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
