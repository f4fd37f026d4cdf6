//! Folders and files of the host that a container shares (`--volume`).

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};
use vswitch_switch::sys::mounts::{Restriction, restrict};

use crate::{agent::protocol::Failure, model::Volume};

/// Copies of the host's mounts, with where they go.
#[derive(Debug)]
pub(super) struct Volumes(Vec<(Volume, OwnedFd)>);

impl Volumes {
    /// Takes them from the host, before something of the container's own lies over them.
    pub(super) fn take(wanted: &[Volume]) -> Result<Volumes, Failure> {
        let taken =
            wanted.iter().map(|volume| Ok((volume.clone(), take(volume).map_err(|error| failed(volume, &error))?)));
        Ok(Volumes(taken.collect::<Result<_, _>>()?))
    }

    /// Puts them into the container.
    pub(super) fn put(self) -> Result<(), Failure> {
        for (volume, tree) in self.0 {
            put(&volume, tree).map_err(|error| failed(&volume, &error))?;
        }
        Ok(())
    }
}

fn take(volume: &Volume) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &volume.source, flags)?;
    restrict(&tree, Restriction::NoDevices)?;
    if volume.read_only {
        restrict(&tree, Restriction::ReadOnly)?;
    }
    Ok(tree)
}

fn put(volume: &Volume, tree: OwnedFd) -> io::Result<()> {
    let target = Path::new(&volume.target);
    // The root file system is the host's: nothing is made there. These are the container's own.
    if !target.exists() && (target.starts_with("/tmp") || target.starts_with("/run")) {
        let folder = rustix::fs::fstat(&tree)
            .is_ok_and(|about| rustix::fs::FileType::from_raw_mode(about.st_mode) == rustix::fs::FileType::Directory);
        std::fs::create_dir_all(if folder { target } else { target.parent().unwrap_or(target) })?;
        if !folder {
            File::create(target)?;
        }
    }
    Ok(move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn failed(volume: &Volume, error: &io::Error) -> Failure {
    Failure::other(format!(
        "cannot put {} at {} in the container: {error}; both must be there, folders or files alike",
        volume.source, volume.target
    ))
}
