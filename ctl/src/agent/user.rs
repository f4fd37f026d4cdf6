//! The user namespace of an agent that an ordinary user started. Read first: user_namespaces(7).

use std::{fs, io, os::fd::AsFd, path::PathBuf};

use rustix::thread::{CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space};
use vswitch_switch::sys::namespace::{Unshare, unshare};

use super::ids::Mapper;

/// Folders that are homes of the host's users: of all of them by custom, and the caller's own.
pub(crate) fn homes() -> Vec<PathBuf> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| PathBuf::from(fields.get(5).copied().unwrap_or_default()))
    });
    let named = std::env::var_os("HOME").map(PathBuf::from);
    let mut homes: Vec<PathBuf> = ["/home", "/root"].map(PathBuf::from).into_iter().chain(own).chain(named).collect();
    homes.retain(|home| home.is_absolute() && home.parent().is_some());
    homes.sort();
    homes.dedup();
    homes
}

/// Whether the calling process lacks what the agent needs on the host.
pub(crate) fn is_ordinary() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    !capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Enters a new user namespace in which the caller's user is root, with further ids if the host has given it some. The process
/// must have one thread.
pub(crate) fn enter() -> Result<(), String> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mapper = Mapper::start();
    unshare(Unshare::User).map_err(|error| forbidden(&error))?;
    let Err(why) = mapper.and_then(Mapper::map) else { return Ok(()) };
    tracing::warn!(
        "containers have one user id, root's ({why}): programs that become another user fail; install newuidmap (package uidmap) and \
         give this user ranges in /etc/subuid and /etc/subgid, then start vswitchd again when no container runs"
    );
    let empty = |file: &str| fs::read_to_string(file).is_ok_and(|text| text.trim().is_empty());
    // What newgidmap and newuidmap have filled in before they failed stays. A user may map its group only after it has given
    // up setgroups(2).
    let group = [("setgroups", "deny".to_owned()), ("gid_map", format!("0 {gid} 1"))];
    let group = group.into_iter().filter(|_| empty("/proc/self/gid_map"));
    let user = Some(("uid_map", format!("0 {uid} 1"))).filter(|_| empty("/proc/self/uid_map"));
    for (file, text) in group.chain(user).collect::<Vec<_>>() {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| forbidden(&error))?;
    }
    Ok(())
}

/// Enters the user namespace of a process that this user started. The process must have one thread.
pub(crate) fn join(pid: u32) -> io::Result<()> {
    let namespace = fs::File::open(format!("/proc/{pid}/ns/user"))?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))?)
}

/// What to do where the host does not let its users have namespaces.
pub(crate) fn forbidden(error: &io::Error) -> String {
    format!(
        "this host does not let ordinary users make user namespaces ({error}); start vswitchd as root, or allow them with \
         'sysctl kernel.unprivileged_userns_clone=1', 'sysctl user.max_user_namespaces=15000' or 'sysctl \
         kernel.apparmor_restrict_unprivileged_userns=0', whichever of these settings the host has"
    )
}
