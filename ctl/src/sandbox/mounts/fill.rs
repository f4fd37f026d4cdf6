//! What a container's own root directory has where a new volume comes goes into the volume, as Docker does it with images.

use std::{
    fs::{self, File, FileTimes, Metadata},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, chown, lchown, symlink},
    },
    path::Path,
};

use rustix::process::fchdir;

/// Copies the folder `from` into a volume that is empty. Nothing is done about another one, or when there is no such folder.
pub(super) fn fill(volume: &OwnedFd, from: &Path) -> io::Result<()> {
    let Ok(about) = fs::metadata(from) else { return Ok(()) };
    if !about.is_dir() {
        return Ok(());
    }
    // It has no place yet, and there may be no /proc to name it by.
    fchdir(volume)?;
    let filled = fill_here(from, &about);
    std::env::set_current_dir("/")?;
    filled
}

fn fill_here(from: &Path, about: &Metadata) -> io::Result<()> {
    let here = Path::new(".");
    if fs::read_dir(here)?.next().is_some() {
        return Ok(());
    }
    contents(from, here)?;
    resemble(here, about)
}

fn contents(from: &Path, into: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (about, source, copy) = (entry.metadata()?, entry.path(), into.join(entry.file_name()));
        let kind = about.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &copy)?;
            // Ids that mean nothing in this user namespace are nobody's to give.
            let _ = lchown(&copy, Some(about.uid()), Some(about.gid()));
        } else if kind.is_dir() {
            fs::create_dir(&copy)?;
            contents(&source, &copy)?;
            resemble(&copy, &about)?;
        } else if kind.is_file() {
            fs::copy(&source, &copy)?;
            resemble(&copy, &about)?;
        }
        // Pipes, sockets and devices belong to programs that run, and none does yet.
    }
    Ok(())
}

/// Owner, mode and time.
fn resemble(copy: &Path, about: &Metadata) -> io::Result<()> {
    let _ = chown(copy, Some(about.uid()), Some(about.gid()));
    // Behind the owner, whose change takes set-user-id away.
    fs::set_permissions(copy, about.permissions())?;
    let times = FileTimes::new().set_accessed(about.accessed()?).set_modified(about.modified()?);
    File::open(copy)?.set_times(times)
}
