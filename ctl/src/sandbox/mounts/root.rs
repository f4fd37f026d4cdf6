//! A container's root directory. Read first: pivot_root(2) "pivot_root(\".\", \".\")", and the kernel's
//! `Documentation/filesystems/overlayfs.rst`.
//!
//! The host's is used as it is, but for places that it does not have (`missing`). A directory that was asked for is laid under a layer that keeps what the container
//! changes. While the container is set up the old root directory stays mounted, invisibly, on top of the new one: the kernel
//! lets nobody mount a /proc who has none.

use std::{
    ffi::CString,
    fs::DirBuilder,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, open, statx},
    mount::{
        MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind_recursive, move_mount, open_tree,
        unmount,
    },
    process::{fchdir, pivot_root},
};
use vswitch_switch::sys::mounts::{Restriction, restrict};

use super::{
    hidden::locate,
    missing::{self, Missing},
    table::Mount,
    volumes::{Kind, handle, make},
};
use crate::{
    agent::protocol::Failure,
    model::{Changes, Root},
    sandbox::message::InitOrder,
};

/// The root directory that the container has.
#[derive(Debug)]
pub(super) struct NewRoot {
    /// It is not the host's.
    pub(super) foreign: bool,
    /// What of another file system is seen in it although the table of mounts does not say so.
    pub(super) seen: Vec<Mount>,
}

impl NewRoot {
    /// Makes it that of the calling process, with these places if it is the host's.
    pub(super) fn enter(order: &InitOrder, missing: &[Missing]) -> Result<NewRoot, Failure> {
        match &order.spec.mounts.root {
            Root::Directory { path, changes } => directory(order, Path::new(path), *changes),
            Root::Host | Root::HostWritable => {
                missing::add(missing)?;
                Ok(NewRoot { foreign: false, seen: Vec::new() })
            }
        }
    }
}

/// The root directory that a process begins with.
#[derive(Debug)]
pub(crate) struct Before(OwnedFd);

impl Before {
    /// Of the calling process.
    pub(crate) fn remember() -> io::Result<Before> {
        Ok(Before(open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Takes it away, if another one has come since, by this process or another one of its mount namespace.
    pub(crate) fn leave(self) -> io::Result<()> {
        let id = |about: Result<rustix::fs::Statx, rustix::io::Errno>| about.map(|about| about.stx_mnt_id);
        let old = id(statx(&self.0, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID))?;
        if id(statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID))? == old {
            return Ok(());
        }
        fchdir(&self.0)?;
        unmount(".", UnmountFlags::DETACH)?;
        std::env::set_current_dir("/")
    }
}

/// What of the kernel's a new root directory begins with, in case that the container cannot have its own.
struct Kernel(Vec<(&'static str, OwnedFd)>);

impl Kernel {
    fn take(all_devices: bool) -> io::Result<Kernel> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let names = ["/proc", "/sys"].into_iter().chain(all_devices.then_some("/dev"));
        let taken = names.map(|name| Ok((name, open_tree(CWD, name, flags)?)));
        Ok(Kernel(taken.collect::<io::Result<_>>()?))
    }

    fn put(self) -> io::Result<()> {
        make(Path::new("/dev"), Kind::Folder)?;
        for (name, tree) in self.0 {
            make(Path::new(name), Kind::Folder)?;
            move_mount(tree, "", CWD, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        Ok(())
    }
}

fn directory(order: &InitOrder, path: &Path, changes: Changes) -> Result<NewRoot, Failure> {
    let failed = |error: io::Error| {
        Failure::other(format!("cannot use {} as the container's root directory: {error}", path.display()))
    };
    if !path.is_dir() {
        return Err(Failure::other(format!(
            "there is no directory {} on the host; --rootfs names one that holds a root file system",
            path.display()
        )));
    }
    let kernel = Kernel::take(order.spec.isolation.all_devices).map_err(failed)?;
    // Found before anything is mounted.
    let place = locate(path).map_err(failed)?;
    match (changes, &order.layer) {
        (Changes::Kept, Some(layer)) => layered(path, layer)?,
        _ => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(CWD, path, flags).map_err(|error| failed(error.into()))?;
            let moved = move_mount(tree, "", CWD, ASSEMBLY, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
            moved.map_err(|error| failed(error.into()))?;
        }
    }
    pivot().map_err(failed)?;
    let about = statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID).map_err(|error| failed(error.into()))?;
    let seen = place.map(|place| Mount {
        id: about.stx_mnt_id,
        device: place.device,
        root: place.path,
        point: PathBuf::from("/"),
    });
    kernel.put().map_err(failed)?;
    Ok(NewRoot { foreign: true, seen: seen.into_iter().collect() })
}

/// Mounts a directory with a layer that takes all changes.
fn layered(path: &Path, layer: &Path) -> Result<(), Failure> {
    let disk = overlay(path, layer);
    let Err(error) = disk else { return Ok(()) };
    // A layer of layers is refused, and some file systems have not what it needs. Memory has.
    tracing::warn!(
        "what the container changes in its root directory is lost when it ends: no layer on the disk: {error}"
    );
    let memory = || -> io::Result<()> {
        mount("tmpfs", ASSEMBLY, "tmpfs", MountFlags::NODEV, Some(c"mode=0700"))?;
        let layer = Path::new(ASSEMBLY);
        for part in ["upper", "work"] {
            DirBuilder::new().mode(0o755).create(layer.join(part))?;
        }
        overlay(path, layer)
    };
    memory().map_err(|error| {
        Failure::other(format!(
            "cannot lay a writable layer over {} ({error}): this kernel has no overlayfs that this user may mount; write --rootfs \
             {}:rw to let the container change the directory itself",
            path.display(),
            path.display()
        ))
    })
}

fn overlay(lower: &Path, layer: &Path) -> io::Result<()> {
    // Descriptors and not paths, in which a comma or a colon would mean something.
    let open = |path: &Path| open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let (lower, upper, work) = (open(lower)?, open(&layer.join("upper"))?, open(&layer.join("work"))?);
    let [lower, upper, work] = [&lower, &upper, &work].map(|one| format!("/proc/self/fd/{}", one.as_raw_fd()));
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let lay = |options: String| -> io::Result<()> {
        let options = CString::new(options)?;
        Ok(mount("overlay", ASSEMBLY, "overlay", MountFlags::NODEV, Some(options.as_c_str()))?)
    };
    // In a user namespace its notes are attributes of users.
    lay(format!("{options},userxattr")).or_else(|_| lay(options))
}

/// Makes what is mounted at [`ASSEMBLY`] the root directory of all processes in this mount namespace.
pub(super) fn pivot() -> io::Result<()> {
    std::env::set_current_dir(ASSEMBLY)?;
    pivot_root(".", ".")?;
    std::env::set_current_dir("/")
}

/// Lets nothing be changed in these folders of the host, where they are.
pub(super) fn close_homes(homes: &[PathBuf]) -> Result<(), Failure> {
    for home in homes {
        let close = || -> io::Result<()> {
            mount_bind_recursive(home, home)?;
            restrict(handle(home)?, Restriction::ReadOnly)
        };
        let there = statx(CWD, home, AtFlags::empty(), StatxFlags::TYPE)
            .is_ok_and(|about| FileType::from_raw_mode(about.stx_mode.into()) == FileType::Directory);
        if there {
            close().map_err(|error| {
                Failure::other(format!(
                    "cannot make {} read-only in the container: {error}; --rootfs host-rw leaves it writable",
                    home.display()
                ))
            })?;
        }
    }
    Ok(())
}

/// Where a root directory is put together: a folder that every host has, and whose content the container does not see.
pub(super) const ASSEMBLY: &str = "/tmp";
