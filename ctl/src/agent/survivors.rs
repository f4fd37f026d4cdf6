//! How a new agent finds the containers of one that was killed.
//!
//! A killed agent takes its interfaces along (or rather its descriptors of their namespace), but not its containers. The
//! next agent enters their user namespace, knows their network namespaces as sandboxes again, and waits for attachments.
//!
//! The process table is the record: the first process of a container names its container in its arguments. A file would
//! be in a place that vswitchd may write, and whoever took vswitchd over could name any process in it. Arguments alone
//! prove nothing either, since a process may write its own; so a survivor is the first process of a pid namespace directly
//! below the agent's own, and of the agent's user, or in a user namespace that this user made. vswitchd can make none such.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
};

use vswitch_switch::sys::namespace;

use super::pidfd;
use crate::peer;

/// The first process of a container that outlived its agent.
#[derive(Debug)]
pub(crate) struct Survivor {
    /// Its id.
    pub(crate) id: String,
    /// Its number on the host.
    pub(crate) pid: u32,
    /// Of the very process.
    pub(crate) pidfd: OwnedFd,
    /// The sandbox of that container.
    pub(crate) sandbox: Option<String>,
}

/// The subcommand of vswitchd that is a container's first process.
const SUBCOMMAND: &str = "sandbox-init";
/// Whose it is: the agent of this state directory, the container and the sandbox.
const NAMES: [&str; 3] = ["--agent", "--container", "--sandbox"];

/// The arguments of the first process of container `id`.
pub(crate) fn arguments(state_dir: &Path, id: &str, sandbox: Option<&str>) -> Vec<OsString> {
    let agent = name(state_dir);
    let values = [Some(agent.as_os_str()), Some(OsStr::new(id)), sandbox.map(OsStr::new)];
    let named = NAMES.iter().zip(values).filter_map(|(name, value)| Some([OsStr::new(name), value?]));
    std::iter::once(OsStr::new(SUBCOMMAND)).chain(named.flatten()).map(OsStr::to_owned).collect()
}

/// What tells a state directory from others. Not its path, which is no container's business.
fn name(state_dir: &Path) -> OsString {
    match fs::metadata(state_dir) {
        Ok(about) => format!("{:x}:{:x}", about.dev(), about.ino()).into(),
        Err(_) => state_dir.as_os_str().to_owned(),
    }
}

/// All of this state directory and this user.
pub(crate) fn find(state_dir: &Path) -> Vec<Survivor> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid| look(state_dir, pid)).collect()
}

fn look(state_dir: &Path, pid: u32) -> Option<Survivor> {
    // First of all: whatever is read afterwards is of this process, if it lives still at the end.
    let pidfd = pidfd::open(pid).ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let (id, sandbox) = parse(state_dir, &arguments)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let own = fs::read_to_string("/proc/self/status").ok()?;
    let (theirs, ours) = (peer::numbers(&status)?, peer::numbers(&own)?);
    let first_below = theirs.len() == ours.len() + 1 && theirs.last() == Some(&1);
    let ours = users(&status)? == users(&own)? || is_remapped(pid);
    (first_below && ours && !pidfd::ended(&pidfd)).then_some(Survivor { id, pid, pidfd, sandbox })
}

/// Whether a process is in a user namespace that this user's agent made for containers, whose users are others. An ordinary
/// user's agent makes none.
fn is_remapped(pid: u32) -> bool {
    let root = rustix::process::geteuid();
    let owner = || namespace::owner_user(fs::File::open(format!("/proc/{pid}/ns/user"))?);
    root.is_root() && owner().is_ok_and(|owner: u32| owner == root.as_raw())
}

/// Real, effective, saved and file system user. Read first: proc_pid_status(5).
fn users(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))
}

/// Container and sandbox, from the arguments of its first process.
fn parse(state_dir: &Path, arguments: &[u8]) -> Option<(String, Option<String>)> {
    let arguments: Vec<&[u8]> = arguments.strip_suffix(&[0])?.split(|byte| *byte == 0).collect();
    let [names_agent, names_id, names_sandbox] = NAMES.map(str::as_bytes);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).ok();
    let (dir, id, sandbox) = match arguments[..] {
        [_, subcommand, by, dir, of, id] if (subcommand, by, of) == (SUBCOMMAND.as_bytes(), names_agent, names_id) => {
            (dir, id, None)
        }
        [_, subcommand, by, dir, of, id, inside, sandbox]
            if (subcommand, by, of, inside) == (SUBCOMMAND.as_bytes(), names_agent, names_id, names_sandbox) =>
        {
            (dir, id, Some(sandbox))
        }
        _ => return None,
    };
    if dir != name(state_dir).as_bytes() {
        return None;
    }
    let (id, sandbox) = (text(id)?, sandbox.map(|sandbox| text(sandbox).ok_or(())).transpose().ok()?);
    Some((id, sandbox))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn line(arguments: &[OsString]) -> Vec<u8> {
        let all = std::iter::once(OsStr::new("vswitchd")).chain(arguments.iter().map(AsRef::as_ref));
        all.flat_map(|argument| [argument.as_bytes(), &[0]].concat()).collect()
    }

    /// What is written is read, and nothing else is taken for it.
    #[test]
    fn round_trip() {
        let dir = Path::new("/var/lib/x");
        for sandbox in [None, Some("s1")] {
            let arguments = arguments(dir, "c1", sandbox);
            assert_eq!(parse(dir, &line(&arguments)), Some(("c1".to_owned(), sandbox.map(str::to_owned))));
            assert_eq!(parse(Path::new("/elsewhere"), &line(&arguments)), None);
            for length in 0..arguments.len() {
                let whole = length == 5 && sandbox.is_some();
                assert_eq!(parse(dir, &line(&arguments[..length])).is_some(), whole, "{length}");
            }
        }
        assert_eq!(parse(dir, b"vswitchd\0sandbox-init\0--exec\0"), None);
        assert_eq!(parse(dir, b""), None);
    }

    /// A process that calls itself a container's first, and is none, is not believed.
    #[test]
    fn impostors() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SUBCOMMAND), "echo; read x").unwrap();
        let mut impostor = Command::new("sh");
        impostor.args(arguments(dir.path(), "c1", None)).current_dir(dir.path());
        let mut impostor = impostor.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(impostor.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let said = fs::read(format!("/proc/{}/cmdline", impostor.id())).unwrap();
        assert_eq!(parse(dir.path(), &said), Some(("c1".to_owned(), None)), "it does call itself so");
        assert!(find(dir.path()).is_empty());
        drop(impostor.stdin.take());
        impostor.wait().unwrap();
    }
}
