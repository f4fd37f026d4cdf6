//! Folders that no container may see, wherever the host shows them.
//! Read first: proc_pid_mountinfo(5).
//!
//! The control socket and the agent's are as good as the user who started vswitchd, and a container has the host's root
//! file system. So their folders are covered by an empty, read-only tmpfs. Taking a mount away needs CAP_SYS_ADMIN.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, StatxFlags, statx},
    mount::{MountFlags, mount, mount_bind},
};

use super::{HARMLESS, table::Mount};
use crate::agent::protocol::Failure;

/// Folders, known by file system and path in it, since the same one may be mounted at many places.
#[derive(Debug)]
pub(super) struct Hidden {
    /// With everything in them.
    whole: Vec<Place>,
    /// Parts of these may be mounted for the container.
    but_parts: Vec<Place>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As in the table of mounts.
    pub(super) device: String,
    /// From the root of that file system.
    pub(super) path: PathBuf,
}

impl Hidden {
    /// Finds the folders. Call it before anything is mounted over them; those that do not exist hide nothing.
    pub(super) fn find(folders: &[PathBuf], but_parts: &[PathBuf]) -> Result<Hidden, Failure> {
        Ok(Hidden { whole: places(folders)?, but_parts: places(but_parts)? })
    }

    /// Covers each folder at every place where it can be seen. Call it after everything else is mounted.
    /// What is seen through `more` is not in the table of mounts.
    pub(super) fn cover(&self, more: &[Mount]) -> Result<(), Failure> {
        let mut mounts = Mount::all().map_err(|error| Failure::io("read the table of mounts", &error))?;
        mounts.extend_from_slice(more);
        // What the agent mounted of those itself stays, whatever else lies around them.
        mounts.retain(|mount| !self.but_parts.iter().any(|place| place.holds(mount)));
        for place in self.whole.iter().chain(&self.but_parts) {
            for mount in &mounts {
                if let Some(path) = place.seen_through(mount) {
                    cover(&path, mount.id).map_err(|error| failed(&path, &error))?;
                }
            }
        }
        Ok(())
    }
}

fn places(folders: &[PathBuf]) -> Result<Vec<Place>, Failure> {
    let mut places: Vec<Place> = Vec::new();
    for folder in folders {
        let found = locate(folder).map_err(|error| failed(folder, &error))?;
        if folder.canonicalize().is_ok_and(|folder| folder.parent().is_none()) {
            let error = io::Error::other("it is the root directory; give the socket a folder of its own");
            return Err(failed(folder, &error));
        }
        if let Some(place) = found.filter(|place| !places.contains(place)) {
            places.push(place);
        }
    }
    Ok(places)
}

impl Place {
    /// Whether what is mounted lies in the folder.
    fn holds(&self, mount: &Mount) -> bool {
        mount.root != self.path && mount.root.starts_with(&self.path)
    }

    /// Where a mount shows the folder, or something in it.
    fn seen_through(&self, mount: &Mount) -> Option<PathBuf> {
        if mount.device != self.device {
            return None;
        }
        match self.path.strip_prefix(&mount.root) {
            Ok(rest) if rest.as_os_str().is_empty() => Some(mount.point.clone()),
            Ok(rest) => Some(mount.point.join(rest)),
            Err(_) => mount.root.starts_with(&self.path).then(|| mount.point.clone()),
        }
    }
}

/// Where a folder is, if it is there.
pub(super) fn locate(folder: &Path) -> io::Result<Option<Place>> {
    let folder = match folder.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let about = statx(CWD, &folder, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)?;
    let mounts = Mount::all()?;
    let mount = mounts.iter().find(|mount| mount.id == about.stx_mnt_id);
    let mount = mount.ok_or_else(|| io::Error::other("its mount is not in the table of mounts"))?;
    let rest = folder.strip_prefix(&mount.point).map_err(io::Error::other)?;
    let path = if rest.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(rest) };
    Ok(Some(Place { device: mount.device.clone(), path }))
}

/// Lays something empty over a folder or a file that is seen through `mount`. What another mount hides at this path stays
/// hidden by that one.
fn cover(path: &Path, mount_id: u64) -> io::Result<()> {
    let about = match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE | StatxFlags::MNT_ID) {
        // What the root of a user namespace may not reach, nobody in there may.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => return Ok(()),
        other => other?,
    };
    if about.stx_mnt_id != mount_id {
        return Ok(());
    }
    if FileType::from_raw_mode(about.stx_mode.into()) == FileType::Directory {
        return Ok(mount("tmpfs", path, "tmpfs", HARMLESS | MountFlags::RDONLY, Some(c"mode=0555,size=4k"))?);
    }
    Ok(mount_bind("/dev/null", path)?)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("hide {} from the container", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(root: &str, point: &str) -> Option<String> {
        let place = Place { device: "8:1".to_owned(), path: "/var/lib/vswitch".into() };
        let mount = Mount { id: 7, device: "8:1".to_owned(), root: root.into(), point: point.into() };
        place.seen_through(&mount).map(|path| path.to_string_lossy().into_owned())
    }

    /// A folder is found through mounts of its file system's root, of its parents, of itself and of what is in it.
    #[test]
    fn through_other_mounts() {
        assert_eq!(seen("/", "/").unwrap(), "/var/lib/vswitch");
        assert_eq!(seen("/var", "/mnt/x").unwrap(), "/mnt/x/lib/vswitch");
        assert_eq!(seen("/var/lib/vswitch", "/mnt/y").unwrap(), "/mnt/y");
        assert_eq!(seen("/var/lib/vswitch/agent.sock", "/mnt/z").unwrap(), "/mnt/z");
        assert_eq!(seen("/var/lib/vswitch2", "/mnt"), None);
        assert_eq!(seen("/home", "/home"), None);
        let other = Mount { id: 7, device: "8:2".to_owned(), root: "/".into(), point: "/".into() };
        assert_eq!(Place { device: "8:1".to_owned(), path: "/x".into() }.seen_through(&other), None);
    }

    /// A folder that exists is found, one that does not hides nothing, and the root directory cannot be hidden.
    #[test]
    fn finds_folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Hidden::find(&[folder.path().to_owned(), folder.path().to_owned()], &[]).unwrap().whole.len(), 1);
        assert!(Hidden::find(&[folder.path().join("missing")], &[]).unwrap().whole.is_empty());
        assert!(Hidden::find(&["/".into()], &[]).unwrap_err().message.contains("a folder of its own"));
    }
}
