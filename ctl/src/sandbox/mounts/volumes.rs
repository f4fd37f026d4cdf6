//! What lies on a container's root directory: folders and files of the host, volumes, file systems in memory.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType},
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree},
};
use vswitch_switch::sys::mounts::{Restriction, restrict};

use super::{
    fill::fill,
    missing::{Missing, split},
};
use crate::{
    agent::protocol::Failure,
    model::{Mount, Source, Tmpfs},
};

/// What is mounted, in the order in which it is: whatever lies on something else after that.
#[derive(Debug)]
pub(super) struct Volumes(Vec<(Mount, Option<OwnedFd>)>);

impl Volumes {
    /// Takes what is the host's from there, before something of the container's own lies over it.
    pub(super) fn take(wanted: &[Mount]) -> Result<Volumes, Failure> {
        let taken = wanted.iter().map(|mount| {
            let tree = match &mount.source {
                // What is to be filled can be written until it is.
                Source::Bind(path) => {
                    Some(take(path, mount.read_only && !mount.fill).map_err(|error| failed(mount, &error))?)
                }
                _ => None,
            };
            Ok((mount.clone(), tree))
        });
        let mut taken = taken.collect::<Result<Vec<_>, _>>()?;
        taken.sort_by_key(|(mount, _)| Path::new(&mount.target).components().count());
        Ok(Volumes(taken))
    }

    /// What of their places the present root directory, which is the host's, does not have. `own` are folders of the
    /// container's own.
    pub(super) fn missing(&self, own: &[&str]) -> Vec<Missing> {
        let own = [own, &["/sys"]].concat();
        let places = self.0.iter().map(|(mount, tree)| (mount, Path::new(&mount.target), Kind::of(tree.as_ref())));
        let missing = places
            .filter(|(mount, target, _)| !self.on_another(mount) && !target.exists() && !below(&own, &split(target).1));
        missing.map(|(_, target, kind)| Missing { target: target.to_owned(), kind }).collect()
    }

    /// Makes the places in these folders that are not below one of these mounts.
    pub(super) fn make_places(&self, folders: &[&str]) -> Result<(), Failure> {
        for (mount, tree) in &self.0 {
            let target = Path::new(&mount.target);
            if !self.on_another(mount) && below(folders, &split(target).1) {
                make(target, Kind::of(tree.as_ref())).map_err(|error| failed(mount, &error))?;
            }
        }
        Ok(())
    }

    fn on_another(&self, mount: &Mount) -> bool {
        self.0.iter().any(|(other, _)| other != mount && Path::new(&mount.target).starts_with(&other.target))
    }

    /// Puts them into the container.
    pub(super) fn put(self, contents: Contents) -> Result<(), Failure> {
        let mut done: Vec<PathBuf> = Vec::new();
        for (mount, tree) in self.0 {
            let target = PathBuf::from(&mount.target);
            // What lies on a file system of the container's own may be made there; what is mounted says whether it may.
            if done.iter().any(|below| target.starts_with(below)) {
                let _ = make(&target, Kind::of(tree.as_ref()));
            }
            if mount.fill
                && let Some(tree) = &tree
            {
                if contents == Contents::OfRoot {
                    fill(tree, &target).map_err(|error| {
                        Failure::other(format!(
                            "cannot copy what the root directory has at {} into the new volume: {error}; name it with :nocopy",
                            mount.target
                        ))
                    })?;
                }
                if mount.read_only {
                    restrict(tree, Restriction::ReadOnly).map_err(|error| failed(&mount, &error))?;
                }
            }
            put(&mount, tree).map_err(|error| failed(&mount, &error))?;
            done.push(target);
        }
        Ok(())
    }
}

/// What is in a volume that nobody has used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// What the root directory has at its place.
    OfRoot,
    /// Nothing: the root directory is the host's, whose files are nobody's to keep.
    None,
}

/// Whether a place is in one of these folders.
fn below(folders: &[&str], place: &Path) -> bool {
    folders.iter().any(|folder| place.starts_with(folder))
}

/// What something is mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A folder.
    Folder,
    /// Anything else.
    File,
}

impl Kind {
    fn of(tree: Option<&OwnedFd>) -> Kind {
        let about = tree.and_then(|tree| rustix::fs::fstat(tree).ok());
        match about.map(|about| FileType::from_raw_mode(about.st_mode)) {
            None | Some(FileType::Directory) => Kind::Folder,
            Some(_) => Kind::File,
        }
    }
}

/// Makes a folder or an empty file, and the folders that lead there. What is there stays.
pub(super) fn make(target: &Path, kind: Kind) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    match kind {
        Kind::Folder => std::fs::create_dir_all(target),
        Kind::File => {
            std::fs::create_dir_all(target.parent().unwrap_or(target))?;
            File::create(target).map(drop)
        }
    }
}

fn take(path: &str, read_only: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    restrict(&tree, Restriction::NoDevices)?;
    if read_only {
        restrict(&tree, Restriction::ReadOnly)?;
    }
    Ok(tree)
}

fn put(wanted: &Mount, tree: Option<OwnedFd>) -> io::Result<()> {
    let target = Path::new(&wanted.target);
    match (&wanted.source, tree) {
        (Source::Tmpfs(tmpfs), _) => memory(target, tmpfs, wanted.read_only),
        (_, Some(tree)) => Ok(move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?),
        // Whoever starts containers has put paths in the places of volumes.
        (_, None) => Err(io::Error::other("nobody said where the volume is")),
    }
}

fn memory(target: &Path, tmpfs: &Tmpfs, read_only: bool) -> io::Result<()> {
    let mut flags = MountFlags::NODEV;
    flags.set(MountFlags::NOEXEC, !tmpfs.exec);
    flags.set(MountFlags::NOSUID, !tmpfs.suid);
    flags.set(MountFlags::RDONLY, read_only);
    // The later one counts.
    let options = [&["mode=1777".to_owned()][..], &tmpfs.options].concat().join(",");
    let options = CString::new(options)?;
    Ok(mount("tmpfs", target, "tmpfs", flags, Some(options.as_c_str()))?)
}

fn failed(mount: &Mount, error: &io::Error) -> Failure {
    let sentence = match &mount.source {
        Source::Bind(source) => format!(
            "cannot put {source} at {} in the container: {error}; both must be there, folders or files alike",
            mount.target
        ),
        _ => format!(
            "cannot mount on {} in the container: {error}; name a folder outside of the kernel's (/proc, /sys)",
            mount.target
        ),
    };
    Failure::other(sentence)
}

/// Opens a folder or a file as the root of what is to be restricted.
pub(super) fn handle(path: &Path) -> io::Result<impl AsFd + use<>> {
    use rustix::fs::{Mode, OFlags, openat};
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places that are not there are known, but those in the container's own folders, also behind links, and below others.
    #[test]
    fn places() {
        let host = tempfile::tempdir().unwrap();
        let own = host.path().join("own");
        std::fs::create_dir(&own).unwrap();
        std::os::unix::fs::symlink(&own, host.path().join("link")).unwrap();
        let mounts = ["no/such", "no/such/deeper", "own/x", "link/y", "own"].map(|place| Mount {
            source: Source::Tmpfs(Tmpfs::default()),
            target: host.path().join(place).to_str().unwrap().to_owned(),
            read_only: false,
            fill: false,
            make: false,
        });
        let volumes = Volumes::take(&mounts[..4]).unwrap();
        let missing = Missing { target: host.path().join("no/such"), kind: Kind::Folder };
        assert_eq!(volumes.missing(&[own.to_str().unwrap()]), [missing]);
        assert_eq!(Volumes::take(&mounts[3..]).unwrap().missing(&[]).len(), 1);
        assert_eq!(split(Path::new("/")), ("/".into(), "/".into()));
    }
}
