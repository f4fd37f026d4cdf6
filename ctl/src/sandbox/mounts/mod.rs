//! A container's own view of a few files and file systems; everything else is the host's.
//! Read first: mount_namespaces(7), user_namespaces(7) "Restrictions on mount namespaces".

mod hidden;
mod table;

use std::{
    ffi::CString,
    io,
    path::{Path, PathBuf},
};

use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_change,
    move_mount, open_tree, unmount,
};

use self::hidden::Hidden;
use super::message::InitOrder;
use crate::agent::protocol::{Failure, ProcessSpec};

/// Sets up the mounts in the calling process's own mount namespace.
pub(crate) fn set_up(order: &InitOrder) -> Result<(), Failure> {
    let InitOrder { spec, scratch, .. } = order;
    let hidden = Hidden::find(&order.hidden)?;
    // Nothing that is mounted here may appear on the host.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| Failure::io("separate the container's mounts from the host's", &error.into()))?;
    own_files(spec, scratch)?;
    if let Err(error) = mount("proc", "/proc", "proc", HARMLESS, None) {
        // Not permitted where parts of the host's /proc are hidden. Then the container sees the host's process ids.
        tracing::warn!("the container keeps the host's /proc: {error}");
    }
    // With the host's network the host's /sys is the right one.
    if spec.sandbox.is_some()
        && let Err(error) = own_sys()
    {
        tracing::warn!("the container keeps the host's /sys: {error}");
    }
    hidden.cover()
}

/// Files in /etc. They live in a tmpfs that nothing but these mounts refers to, so that it ends with the container.
fn own_files(spec: &ProcessSpec, scratch: &Path) -> Result<(), Failure> {
    let hostname = format!("{}\n", spec.hostname);
    let files = [
        ("hosts", spec.etc_hosts.as_deref()),
        ("resolv.conf", spec.etc_resolv_conf.as_deref()),
        ("hostname", Some(hostname.as_str())),
    ];
    let files: Vec<(&str, &str)> = files.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    let failed = |error: io::Error| Failure::io("make the container's own /etc files", &error);
    mount("tmpfs", scratch, "tmpfs", HARMLESS, Some(c"mode=0755,size=4m")).map_err(|error| failed(error.into()))?;
    // Nothing can be mounted on a file that the host does not have, nor on a link that leads nowhere.
    let all_there = files.iter().all(|(name, _)| etc(name).exists());
    if all_there || overlay_etc(scratch, &files).is_err() {
        bind_files(scratch, &files).map_err(failed)?;
    }
    unmount(scratch, UnmountFlags::DETACH).map_err(|error| failed(error.into()))
}

/// Mounts each file on the host's.
fn bind_files(scratch: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    for (name, text) in files {
        let source = scratch.join(name);
        std::fs::write(&source, text)?;
        match mount_bind(&source, etc(name)) {
            // Nothing needs this one, while names do not resolve without the others.
            Err(rustix::io::Errno::NOENT) if *name == "hostname" => {}
            done => done?,
        }
    }
    Ok(())
}

/// Lays a writable layer with the files over /etc. One for all of them: the kernel stacks no more than two.
fn overlay_etc(scratch: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    std::fs::create_dir(&upper)?;
    std::fs::create_dir(&work)?;
    for (name, text) in files {
        std::fs::write(upper.join(name), text)?;
    }
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    let options = CString::new(options)?;
    Ok(mount("overlay", "/etc", "overlay", MountFlags::empty(), Some(options.as_c_str()))?)
}

fn etc(name: &str) -> PathBuf {
    Path::new("/etc").join(name)
}

/// A /sys that shows the container's own interfaces, with the host's control groups.
fn own_sys() -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let cgroups = open_tree(rustix::fs::CWD, CGROUPS, flags);
    mount("sysfs", "/sys", "sysfs", HARMLESS, None)?;
    // A host without control groups has none to show.
    if let Ok(cgroups) = cgroups {
        move_mount(cgroups, "", rustix::fs::CWD, CGROUPS, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}

const CGROUPS: &str = "/sys/fs/cgroup";

/// No set-user-id programs, devices or programs at all.
const HARMLESS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
