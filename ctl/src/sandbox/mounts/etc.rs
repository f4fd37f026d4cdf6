//! Files in /etc of the container's own.

use std::{
    ffi::CString,
    io,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use super::{
    HARMLESS,
    table::Mount,
    volumes::{Kind, make},
};
use crate::{
    agent::protocol::ProcessSpec,
    model::{Changes, Root},
};

/// Files in /etc of the host.
#[derive(Debug)]
pub(super) struct HostFiles {
    /// Those that are links to somewhere below /run or /tmp, which the container has of its own.
    moved: Vec<(PathBuf, Vec<u8>)>,
    /// The texts of all, for a root directory that is not the host's.
    texts: [Option<String>; 3],
}

impl HostFiles {
    /// Remembers them.
    pub(super) fn read() -> HostFiles {
        let targets = NAMES.iter().filter_map(|name| etc(name).canonicalize().ok());
        let moved = targets.filter(|path| path.starts_with("/run") || path.starts_with("/tmp"));
        HostFiles {
            moved: moved.filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect(),
            texts: NAMES.map(|name| std::fs::read_to_string(etc(name)).ok()),
        }
    }

    /// Puts them where the links lead.
    pub(super) fn restore(&self) -> io::Result<()> {
        for (path, text) in &self.moved {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(path, text)?;
        }
        Ok(())
    }

    /// Makes in a root directory that is not the host's whatever of the files it lacks, so that there is something to mount on.
    pub(super) fn complete(&self) -> io::Result<()> {
        for path in NAMES.map(etc) {
            // A link may lead to what is made when a system starts.
            let target = std::fs::read_link(&path).map(|target| Path::new("/etc").join(target)).unwrap_or(path);
            make(&target, Kind::File)?;
        }
        make(Path::new("/tmp"), Kind::Folder)
    }
}

/// Makes the files. They live in a tmpfs that nothing but these mounts refers to, so that it ends with the container.
pub(super) fn own_files(spec: &ProcessSpec, host: &HostFiles, foreign: bool) -> io::Result<()> {
    let hostname = format!("{}\n", spec.hostname);
    let [hosts, resolv_conf, _] = &host.texts;
    // With the host's network its files are the right ones.
    let own = |text: &'_ Option<String>, hosts: &'_ Option<String>| {
        text.clone().or_else(|| hosts.clone().filter(|_| foreign))
    };
    let texts = [own(&spec.etc_hosts, hosts), own(&spec.etc_resolv_conf, resolv_conf), Some(hostname)];
    let texts = texts.each_ref().map(Option::as_deref);
    let files: Vec<(&str, &str)> =
        NAMES.into_iter().zip(texts).filter_map(|(name, text)| Some((name, text?))).collect();
    std::fs::create_dir(SCRATCH)?;
    let scratch = Path::new(SCRATCH);
    mount("tmpfs", scratch, "tmpfs", HARMLESS, Some(c"mode=0755,size=4m"))?;
    // What is mounted on a file is gone when the host replaces the file, and nothing can be mounted on one that the host does
    // not have. Mounts of the host below /etc would not be seen through a layer, and a layer of a container that may change
    // nothing would have to be closed to the agent, too. Where what the container changes is kept, nobody else replaces files, and
    // what it changes in /etc is kept as well.
    let kept = matches!(spec.mounts.root, Root::Directory { changes: Changes::Kept, .. });
    if spec.mounts.read_only || kept || has_mounts()? || overlay_etc(scratch, &files).is_err() {
        bind_files(scratch, &files)?;
    }
    unmount(scratch, UnmountFlags::DETACH)?;
    std::fs::remove_dir(scratch)
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
    Ok(mount("overlay", "/etc", "overlay", MountFlags::NODEV, Some(options.as_c_str()))?)
}

/// Whether the host has mounted anything below /etc, but on the files that the container has of its own.
fn has_mounts() -> io::Result<bool> {
    let below = |mount: &Mount| {
        let rest = mount.point.strip_prefix("/etc").ok().filter(|rest| !rest.as_os_str().is_empty());
        rest.is_some_and(|rest| !NAMES.iter().any(|name| rest == Path::new(name)))
    };
    Ok(Mount::all()?.iter().any(below))
}

fn etc(name: &str) -> PathBuf {
    Path::new("/etc").join(name)
}

const NAMES: [&str; 3] = ["hosts", "resolv.conf", "hostname"];

/// In the container's own /tmp, and gone before it starts.
const SCRATCH: &str = "/tmp/.vswitch";
