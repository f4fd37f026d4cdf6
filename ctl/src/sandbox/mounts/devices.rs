//! A container's own /dev. Read first: the kernel's `Documentation/filesystems/devpts.rst`.

use std::{
    ffi::CString,
    fs::{File, Permissions},
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
};

use rustix::{
    fs::CWD,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree},
};

use super::HARMLESS;
use crate::model::Isolation;

/// The host's nodes that go into it.
#[derive(Debug)]
pub(super) enum Devices {
    /// All of the host's /dev.
    All,
    /// These alone, each a mount of its own. The kernel lets nobody but the host's root make nodes, so they are borrowed.
    Few(Vec<(&'static str, OwnedFd)>),
}

impl Devices {
    /// Takes them; `terminal` becomes the console.
    pub(super) fn take(isolation: &Isolation, terminal: Option<BorrowedFd<'_>>) -> io::Result<Devices> {
        if isolation.all_devices {
            return Ok(Devices::All);
        }
        let mut nodes = Vec::new();
        for name in NODES {
            nodes.push((name, clone(&Path::new("/dev").join(name))?));
        }
        // One that is not of this /dev is no terminal by name, but works all the same.
        if let Some(path) = terminal.and_then(find_terminal) {
            nodes.push(("console", clone(&path)?));
        }
        Ok(Devices::Few(nodes))
    }

    /// Makes the container's /dev of them.
    pub(super) fn put(self, shm_size: Option<u64>) -> io::Result<()> {
        let Devices::Few(nodes) = self else { return Ok(()) };
        let dev = Path::new("/dev");
        mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=0755,size=64k"))?;
        for (name, node) in nodes {
            let place = dev.join(name);
            File::create(&place)?;
            move_mount(node, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            std::fs::create_dir(dev.join(name))?;
        }
        terminals(&dev.join("pts"))?;
        let shm = CString::new(format!("mode=1777,size={}", shm_size.unwrap_or(SHM_BYTES)))?;
        mount("shm", dev.join("shm"), "tmpfs", HARMLESS, Some(shm.as_c_str()))?;
        if let Err(error) = mount("mqueue", dev.join("mqueue"), "mqueue", HARMLESS, None) {
            tracing::debug!("the container has no /dev/mqueue: {error}");
        }
        for (name, target) in LINKS {
            symlink(target, dev.join(name))?;
        }
        // Made under whatever mask of modes the agent has.
        std::fs::set_permissions(dev, Permissions::from_mode(0o755))
    }
}

/// Pseudoterminals of the container's own.
fn terminals(place: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    // The group of terminals; a user namespace of an ordinary user has no such group.
    let options = [c"newinstance,ptmxmode=0666,mode=0620,gid=5", c"newinstance,ptmxmode=0666,mode=0620"];
    let [usual, plain] = options.map(|options| move || mount("devpts", place, "devpts", flags, Some(options)));
    Ok(usual().or_else(|_| plain())?)
}

/// The name of a terminal in the host's /dev.
fn find_terminal(terminal: BorrowedFd<'_>) -> Option<std::path::PathBuf> {
    let about = rustix::fs::fstat(terminal).ok()?;
    let mut all = std::fs::read_dir("/dev/pts").ok()?.filter_map(Result::ok);
    let same = |path: &Path| path.metadata().is_ok_and(|one| (one.dev(), one.ino()) == (about.st_dev, about.st_ino));
    all.find(|one| same(&one.path())).map(|one| one.path())
}

fn clone(path: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// Docker's.
const SHM_BYTES: u64 = 64 << 20;

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];
