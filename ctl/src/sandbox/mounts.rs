//! A container's own view of a few files and file systems; everything else is the host's.
//! Read first: mount_namespaces(7), user_namespaces(7) "Restrictions on mount namespaces".

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_change,
    move_mount, open_tree, unmount,
};

use crate::agent::protocol::{Failure, ProcessSpec};

/// Sets up the mounts in the calling process's own mount namespace.
pub(crate) fn set_up(spec: &ProcessSpec, scratch: &Path) -> Result<(), Failure> {
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
    Ok(())
}

/// Files in /etc. They live in a tmpfs that nothing but these mounts refers to, so that it ends with the container.
fn own_files(spec: &ProcessSpec, scratch: &Path) -> Result<(), Failure> {
    let hostname = format!("{}\n", spec.hostname);
    let files = [
        ("hosts", spec.etc_hosts.as_deref()),
        ("resolv.conf", spec.etc_resolv_conf.as_deref()),
        ("hostname", Some(hostname.as_str())),
    ];
    let failed = |error: io::Error| Failure::io("make the container's own /etc files", &error);
    mount("tmpfs", scratch, "tmpfs", HARMLESS, Some(c"mode=0755,size=4m")).map_err(|error| failed(error.into()))?;
    for (name, text) in files {
        let Some(text) = text else { continue };
        let source = scratch.join(name);
        std::fs::write(&source, text).map_err(failed)?;
        let target = Path::new("/etc").join(name);
        match mount_bind(&source, &target) {
            Ok(()) => {}
            // The host has none, or a link that leads nowhere.
            Err(rustix::io::Errno::NOENT) => {
                overlay_etc(scratch, name, text).or_else(|error| missing(&target, error)).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    unmount(scratch, UnmountFlags::DETACH).map_err(|error| failed(error.into()))
}

/// Adds a file to /etc by laying a writable layer over it.
fn overlay_etc(scratch: &Path, name: &str, text: &str) -> io::Result<()> {
    let layer = |kind: &str| -> io::Result<PathBuf> {
        let path = scratch.join(format!("{kind}-{name}"));
        std::fs::create_dir(&path)?;
        Ok(path)
    };
    let (upper, work) = (layer("upper")?, layer("work")?);
    std::fs::write(upper.join(name), text)?;
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    let options = std::ffi::CString::new(options)?;
    Ok(mount("overlay", "/etc", "overlay", MountFlags::empty(), Some(options.as_c_str()))?)
}

/// A file of the container's that could not be put in place: names do not resolve without hosts and resolv.conf, while
/// nothing needs /etc/hostname.
fn missing(target: &Path, error: io::Error) -> io::Result<()> {
    if target.ends_with("hostname") { Ok(()) } else { Err(error) }
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
