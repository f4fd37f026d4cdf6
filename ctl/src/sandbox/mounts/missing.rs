//! Places that the host does not have, for what a container mounts there although its root directory is the host's.
//!
//! Nothing is made on the host. The nearest folder that is there is covered by one in memory, in which everything of the
//! host's is mounted, and the place is made in that: what was there is there as before, and what the container adds right in that
//! folder ends with it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, mount, mount_bind_recursive, mount_move};

use super::{
    root::{ASSEMBLY, pivot},
    volumes::{Kind, make},
};
use crate::agent::protocol::Failure;

/// A place that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) target: PathBuf,
    pub(super) kind: Kind,
}

/// Makes all places in the present root directory.
pub(super) fn add(missing: &[Missing]) -> Result<(), Failure> {
    let mut ours = Vec::new();
    for Missing { target, kind } in missing {
        let (parent, place) = split(target);
        let mut add = || -> io::Result<()> {
            // Made for another place.
            if !ours.contains(&fs::metadata(&parent)?.dev()) {
                cover(&parent)?;
                ours.push(fs::metadata(&parent)?.dev());
            }
            make(&place, *kind)
        };
        add().map_err(|error| {
            Failure::other(format!(
                "cannot make {} for the container, since the host does not have it and {} cannot be taken over: {error}; make it on \
                 the host, mount elsewhere, or use a root directory of its own (--rootfs)",
                target.display(),
                parent.display()
            ))
        })?;
    }
    Ok(())
}

/// The nearest folder to a place that is there, and the place as seen from there; links are followed.
pub(super) fn split(target: &Path) -> (PathBuf, PathBuf) {
    for parent in target.ancestors() {
        if let Ok(real) = parent.canonicalize() {
            let rest = target.strip_prefix(parent).unwrap_or(target);
            let place = if rest.as_os_str().is_empty() { real.clone() } else { real.join(rest) };
            return (real, place);
        }
    }
    (PathBuf::from("/"), target.to_owned())
}

/// Puts a folder in memory in a folder's place, with everything that it has.
fn cover(folder: &Path) -> io::Result<()> {
    let about = fs::metadata(folder)?;
    if !about.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let new = Path::new(ASSEMBLY);
    mount("tmpfs", new, "tmpfs", MountFlags::NODEV, Some(c"mode=0755"))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (from, to, kind) = (entry.path(), new.join(entry.file_name()), entry.file_type()?);
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if from == new {
            // The container's own comes here.
            fs::create_dir(&to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o1777))?;
        } else {
            if kind.is_dir() {
                fs::create_dir(&to)?;
            } else {
                File::create(&to)?;
            }
            mount_bind_recursive(&from, &to)?;
        }
    }
    // Ids that mean nothing in this user namespace are nobody's to give.
    let _ = chown(new, Some(about.uid()), Some(about.gid()));
    fs::set_permissions(new, about.permissions())?;
    if folder.parent().is_none() { pivot() } else { Ok(mount_move(new, folder)?) }
}
