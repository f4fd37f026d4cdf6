//! The kernel's own file systems: /proc, /sys and the control groups.

use std::{io, path::Path};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    mount::{
        MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_bind_recursive, mount_remount, move_mount,
        open_tree,
    },
};
use vswitch_switch::sys::mounts::{Restriction, restrict};

use super::HARMLESS;
use crate::agent::protocol::{Failure, ProcessSpec};

/// A /proc with the container's own processes, and what Docker closes of it closed.
pub(crate) fn own_proc(spec: &ProcessSpec) -> Result<(), Failure> {
    if let Err(error) = mount("proc", "/proc", "proc", HARMLESS, None) {
        // Not permitted where parts of the host's /proc are hidden. Then the container sees the host's process ids.
        tracing::warn!("the container keeps the host's /proc: {error}");
    }
    if spec.sandbox.is_some() {
        network_settings();
    }
    for (key, value) in &spec.options.sysctls {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        std::fs::write(&path, value).map_err(|error| {
            Failure::other(format!("cannot set the sysctl {key} to {value:?} in the container: {error}"))
        })?;
    }
    if !spec.isolation.open_paths {
        MASKED_PROC.iter().try_for_each(|path| mask(path))?;
        READ_ONLY_PROC.iter().try_for_each(|path| read_only(path))?;
    }
    Ok(())
}

/// A read-only /sys that shows the container's own interfaces; with the host's network the host's is the right one.
pub(super) fn own_sys(spec: &ProcessSpec) -> Result<(), Failure> {
    let writable = spec.isolation.open_paths;
    let unified = Path::new(CONTROL_GROUPS).join("cgroup.controllers").exists();
    if spec.sandbox.is_some() {
        let access = if writable { MountFlags::empty() } else { MountFlags::RDONLY };
        if let Err(error) = new_sys(access, unified) {
            tracing::warn!("the container keeps the host's /sys: {error}");
        }
    } else if unified && let Err(error) = control_groups(MountFlags::empty()) {
        tracing::debug!("the container sees all control groups: {error}");
    }
    if writable {
        return Ok(());
    }
    close("/sys").map_err(|error| Failure::io("make the container's /sys read-only", &error))?;
    MASKED_SYS.iter().try_for_each(|path| mask(path))
}

fn new_sys(access: MountFlags, unified: bool) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let hosts = open_tree(CWD, CONTROL_GROUPS, flags);
    mount("sysfs", "/sys", "sysfs", HARMLESS | access, None)?;
    if unified && control_groups(access).is_ok() {
        return Ok(());
    }
    // Those of version 1 are many mounts. A host without control groups has none to show.
    if let Ok(hosts) = hosts {
        move_mount(hosts, "", CWD, CONTROL_GROUPS, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}

/// The control groups from the container's own on, as its namespace has it.
fn control_groups(access: MountFlags) -> io::Result<()> {
    Ok(mount("cgroup2", CONTROL_GROUPS, "cgroup2", HARMLESS | access, None)?)
}

/// As Docker: every user of a container may ping and listen on every port. A kernel or a namespace that does not let this be
/// set goes without.
fn network_settings() {
    // All groups, or those that a user namespace has.
    let groups = format!("0 {}", last_group().unwrap_or_default());
    for (setting, values) in
        [("ping_group_range", &["0 2147483647", &groups, "0 0"][..]), ("ip_unprivileged_port_start", &["0"])]
    {
        let path = format!("/proc/sys/net/ipv4/{setting}");
        if !values.iter().any(|value| std::fs::write(&path, value).is_ok()) {
            tracing::debug!("cannot set {path}");
        }
    }
}

/// The greatest group number of the user namespace, whose groups are mapped from 0 on without a gap.
fn last_group() -> Option<u64> {
    let map = std::fs::read_to_string("/proc/self/gid_map").ok()?;
    map.lines().map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum::<Option<u64>>()?.checked_sub(1)
}

/// Lays something empty over what is there.
fn mask(path: &str) -> Result<(), Failure> {
    let masked = match Path::new(path).metadata() {
        Ok(about) if about.is_dir() => {
            mount("tmpfs", path, "tmpfs", HARMLESS | MountFlags::RDONLY, Some(c"mode=0555,size=4k"))
        }
        Ok(_) => mount_bind("/dev/null", path),
        // Not there, or not to be looked at by anybody in this user namespace.
        Err(_) => Ok(()),
    };
    masked.map_err(|error| Failure::io(format!("mask {path} in the container"), &error.into()))
}

fn read_only(path: &str) -> Result<(), Failure> {
    if !Path::new(path).exists() {
        return Ok(());
    }
    // With what is mounted below: a host may hide parts of it.
    let bound = mount_bind_recursive(path, path).map_err(io::Error::from);
    bound
        .and_then(|()| close(path))
        .map_err(|error| Failure::io(format!("make {path} read-only in the container"), &error))
}

/// Makes a mount read-only, and all that are below it.
fn close(path: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match restrict(openat(CWD, path, flags, Mode::empty())?, Restriction::ReadOnly) {
        // Before Linux 5.12 one mount at a time.
        Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => {
            Ok(mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | HARMLESS, c"")?)
        }
        done => done,
    }
}

const MASKED_PROC: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];

const READ_ONLY_PROC: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const MASKED_SYS: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
