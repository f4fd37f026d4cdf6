//! A container's root directory. Read first: pivot_root(2) "pivot_root(\".\", \".\")", and the kernel's
//! `Documentation/filesystems/overlayfs.rst`.
//!
//! The host's is used as it is, but for places that it does not have (`missing`). A directory that was asked for is laid under a layer that keeps what the container
//! changes. While the container is set up the old root directory stays mounted, invisibly, on top of the new one: the kernel
//! lets nobody mount a /proc who has none.

use std::{
    ffi::CString,
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, chown},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, open, openat, statx},
    mount::{
        MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind_recursive, move_mount, open_tree,
        unmount,
    },
    process::{fchdir, pivot_root},
};
use vswitch_switch::sys::mounts::{Restriction, restrict, show_as_of};

use super::{
    hidden::{Place, locate},
    missing::{self, Missing},
    table::Mount,
    volumes::{Kind, handle, make},
};
use crate::{
    agent::protocol::Failure,
    model::{Changes, Root},
    sandbox::message::InitOrder,
};

/// A root directory of the container's own, with the layer that takes what the container changes, as a mount that is nowhere yet.
#[derive(Debug)]
pub(super) struct OwnRoot {
    tree: OwnedFd,
    /// Where the directory is.
    place: Option<Place>,
}

impl OwnRoot {
    /// Takes it, if one was asked for. Its files are shown as those of `users`, a user namespace that the process is not in yet. What is mounted on the way stays, out of the way of all who take something after it.
    pub(super) fn take(order: &InitOrder, users: Option<BorrowedFd<'_>>) -> Result<Option<OwnRoot>, Failure> {
        let Root::Directory { path, changes } = &order.spec.mounts.root else { return Ok(None) };
        let path = Path::new(path);
        let failed = |error: io::Error| {
            Failure::other(format!("cannot use {} as the container's root directory: {error}", path.display()))
        };
        if !path.is_dir() {
            return Err(Failure::other(format!(
                "there is no directory {} on the host; --rootfs names one that holds a root file system",
                path.display()
            )));
        }
        // Found before anything is mounted.
        let place = locate(path).map_err(failed)?;
        let tree = match (changes, &order.layer) {
            (Changes::Kept, Some(layer)) => layered(path, layer, users)?,
            _ => clone(path, Below::Too).map_err(failed)?,
        };
        Ok(Some(OwnRoot { tree, place }))
    }

    fn enter(self, order: &InitOrder) -> io::Result<NewRoot> {
        let kernel = Kernel::take(order.spec.isolation.all_devices)?;
        attach(&self.tree)?;
        pivot()?;
        let about = statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID)?;
        let seen = self.place.map(|place| Mount {
            id: about.stx_mnt_id,
            device: place.device,
            root: place.path,
            point: PathBuf::from("/"),
        });
        kernel.put()?;
        Ok(NewRoot { foreign: true, seen: seen.into_iter().collect() })
    }
}

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
    pub(super) fn enter(own: Option<OwnRoot>, order: &InitOrder, missing: &[Missing]) -> Result<NewRoot, Failure> {
        match own {
            Some(own) => own.enter(order).map_err(|error| Failure::io("enter the container's root directory", &error)),
            None => {
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

/// A directory under a layer that takes all changes.
fn layered(path: &Path, layer: &Path, users: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
    // All before anything lies over it.
    let (above, owner) = (folder(layer, None), fs::metadata(layer.join("upper")).ok());
    let lower = folder(path, users).map_err(|error| {
        let numbers = match users {
            Some(_) => "; it cannot be shown with the numbers of the container's users, so add --userns=host",
            None => "",
        };
        Failure::other(format!("cannot use {} as the container's root directory: {error}{numbers}", path.display()))
    })?;
    let error = match above.and_then(|layer| overlay(&lower, &layer)) {
        Ok(tree) => return Ok(tree),
        Err(error) => error,
    };
    // A layer of layers is refused, and some file systems have not what it needs. Memory has.
    tracing::warn!(
        "what the container changes in its root directory is lost when it ends: no layer on the disk: {error}"
    );
    let memory = || -> io::Result<OwnedFd> {
        let layer = Path::new(ASSEMBLY);
        mount("tmpfs", ASSEMBLY, "tmpfs", MountFlags::NODEV, Some(c"mode=0700"))?;
        for part in ["upper", "work"] {
            DirBuilder::new().mode(0o755).create(layer.join(part))?;
        }
        if let Some(owner) = owner {
            chown(layer.join("upper"), Some(owner.uid()), Some(owner.gid()))?;
        }
        overlay(&lower, &folder(layer, None)?)
    };
    memory().map_err(|error| {
        let instead = match users {
            Some(_) => "add --userns=host".to_owned(),
            None => format!("write --rootfs {}:rw to let the container change the directory itself", path.display()),
        };
        Failure::other(format!(
            "cannot lay a writable layer over {} ({error}): this kernel has no overlayfs that this user may mount; {instead}",
            path.display(),
        ))
    })
}

/// A mount of what is at `path`, which is nowhere yet.
fn clone(path: &Path, below: Below) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, below == Below::Too);
    Ok(open_tree(CWD, path, flags)?)
}

/// What is mounted below something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    /// Comes along.
    Too,
    /// Does not.
    Not,
}

/// A folder; for other `users`, as a mount that shows it with their numbers.
fn folder(path: &Path, users: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let Some(users) = users else {
        return Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    };
    let tree = clone(path, Below::Not)?;
    show_as_of(&tree, users)?;
    // Before Linux 6.15 overlayfs takes no mount that is nowhere.
    attach(&tree)?;
    Ok(tree)
}

fn attach(tree: &OwnedFd) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, ASSEMBLY, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Both are descriptors and not paths, in which a comma or a colon would mean something.
fn overlay(lower: &OwnedFd, layer: &OwnedFd) -> io::Result<OwnedFd> {
    let open = |part| openat(layer, part, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let (upper, work) = (open("upper")?, open("work")?);
    let [lower, upper, work] = [lower, &upper, &work].map(|one| format!("/proc/self/fd/{}", one.as_raw_fd()));
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let lay = |options: String| -> io::Result<()> {
        let options = CString::new(options)?;
        Ok(mount("overlay", ASSEMBLY, "overlay", MountFlags::NODEV, Some(options.as_c_str()))?)
    };
    // In a user namespace its notes are attributes of users.
    lay(format!("{options},userxattr")).or_else(|_| lay(options))?;
    clone(Path::new(ASSEMBLY), Below::Not)
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
