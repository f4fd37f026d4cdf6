//! /etc/hosts and /etc/resolv.conf of containers that run. Both are mounts of the container's own, so they are changed in
//! place, and whatever else was written to them meanwhile is its user's and stays.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// The texts of both files, as they were written last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// /etc/hosts.
    pub(crate) hosts: String,
    /// /etc/resolv.conf.
    pub(crate) resolv_conf: String,
}

/// Writes `new` into the container whose first process is `pid`. `alive` is asked once its root is open: the number may
/// be another process's by now.
pub(crate) fn replace(pid: u32, last: Option<&Files>, new: &Files, alive: impl Fn() -> bool) -> io::Result<()> {
    let root =
        openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if !alive() {
        return Err(io::ErrorKind::NotFound.into());
    }
    rewrite(&root, "etc/hosts", |text| Some(merged_hosts(text, last.map(|files| files.hosts.as_str()), &new.hosts)))?;
    rewrite(&root, "etc/resolv.conf", |text| {
        let untouched = match last {
            Some(last) => text == last.resolv_conf,
            None => text.starts_with(MARK),
        };
        untouched.then(|| new.resolv_conf.clone())
    })
}

/// How the text of a resolv.conf begins that vswitch made.
pub(crate) const MARK: &str = "# Made by vswitch";

/// Longest file that is read.
const LONGEST: u64 = 1 << 20;

fn rewrite(root: &OwnedFd, path: &str, change: impl FnOnce(&str) -> Option<String>) -> io::Result<()> {
    // Links are the container's own and lead to places in its own root.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut file =
        File::from(openat2(root, path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty(), resolve)?);
    let about = file.metadata()?;
    let hosts_own = std::fs::metadata(format!("/{path}"));
    // One that the container has taken off again shows the host's.
    if !about.is_file() || hosts_own.is_ok_and(|own| (own.dev(), own.ino()) == (about.dev(), about.ino())) {
        return Err(io::Error::other(format!("/{path} is not the container's own any more")));
    }
    let mut text = String::new();
    (&file).take(LONGEST).read_to_string(&mut text)?;
    let Some(new) = change(&text).filter(|new| *new != text) else { return Ok(()) };
    file.rewind()?;
    file.write_all(new.as_bytes())?;
    file.set_len(u64::try_from(new.len()).unwrap_or(u64::MAX))
}

/// The lines of `current` that the agent did not write, with those of `new`.
fn merged_hosts(current: &str, last: Option<&str>, new: &str) -> String {
    if last == Some(current) {
        return new.to_owned();
    }
    let wanted: BTreeSet<&str> = new.lines().collect();
    let stale: BTreeSet<&str> = last.unwrap_or_default().lines().filter(|line| !wanted.contains(line)).collect();
    let kept: Vec<&str> = current.lines().filter(|line| !stale.contains(line)).collect();
    let missing = new.lines().filter(|line| !kept.contains(line));
    kept.iter().copied().chain(missing).fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Untouched text is replaced; in changed text only the agent's own lines are.
    #[test]
    fn hosts_of_a_user() {
        let last = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.0.0.3\tdb\n";
        let new = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.0.0.9\tdb\n";
        assert_eq!(merged_hosts(last, Some(last), new), new);
        let changed = "127.0.0.1\tlocalhost\n192.0.2.1\tmine\n10.0.0.3\tdb\n";
        assert_eq!(
            merged_hosts(changed, Some(last), new),
            "127.0.0.1\tlocalhost\n192.0.2.1\tmine\n10.0.0.2\tweb\n10.0.0.9\tdb\n"
        );
        assert_eq!(merged_hosts("192.0.2.1\tmine\n", None, "10.0.0.2\tweb\n"), "192.0.2.1\tmine\n10.0.0.2\tweb\n");
    }

    /// A file is rewritten in place, through links inside the root only, and never one that is the host's own.
    #[test]
    fn rewrites_inside_a_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::create_dir_all(dir.path().join("run")).unwrap();
        std::fs::write(dir.path().join("run/real"), "a long first text\n").unwrap();
        std::os::unix::fs::symlink("/run/real", dir.path().join("etc/hosts")).unwrap();
        let root: OwnedFd = File::open(dir.path()).unwrap().into();
        rewrite(&root, "etc/hosts", |text| (text == "a long first text\n").then(|| "short\n".to_owned())).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("run/real")).unwrap(), "short\n");
        rewrite(&root, "etc/hosts", |_| None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("run/real")).unwrap(), "short\n");
        let slash: OwnedFd = File::open("/").unwrap().into();
        if File::options().write(true).open("/etc/hosts").is_ok() {
            let refused = rewrite(&slash, "etc/hosts", |_| None).unwrap_err();
            assert!(refused.to_string().contains("not the container's own"), "{refused}");
        }
    }
}
