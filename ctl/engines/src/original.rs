//! The helper of an engine's own, of which one of ours has the name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use rustix::fs::MemfdFlags;
use vswitch_api::engine::PODMAN_HELPER_FOLDERS;

use crate::complain;

/// The engine's own program of this name: the first that is not this one, in podman's folders and in `PATH`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let own = identity(Path::new("/proc/self/exe"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = PODMAN_HELPER_FOLDERS.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|path| {
        let there = identity(path);
        there.is_some() && there != own
    })
}

/// Becomes the program of this name that is in `PATH` and is not this one. Returns only if it cannot be.
#[must_use]
pub fn become_in_path(name: &str, arguments: &[OsString]) -> io::Error {
    let own = identity(Path::new("/proc/self/exe"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| {
        let there = identity(path);
        there.is_some() && there != own
    });
    match found {
        Some(program) => Command::new(program).args(arguments).exec(),
        None => io::Error::new(io::ErrorKind::NotFound, format!("another {name} is in no folder of PATH")),
    }
}

/// Becomes the program of this name that is next in `PATH`, because of `why`.
pub(crate) fn hand_over(name: &str, why: &str, arguments: &[OsString]) -> ExitCode {
    complain(&format!("{why}; the next {name} in PATH is used"));
    complain(&become_in_path(name, arguments).to_string());
    ExitCode::FAILURE
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let about = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((about.dev(), about.ino()))
}

/// Becomes the engine's own program, which reads `input`, or what this one would have read. Returns only if it cannot be.
#[must_use]
pub fn become_it(name: &str, arguments: &[OsString], input: Option<&[u8]>) -> io::Error {
    let Some(program) = find(name) else { return missing(name) };
    let mut command = Command::new(program);
    command.args(arguments);
    match input.map(stdin).transpose() {
        Ok(None) => command.exec(),
        Ok(Some(stdin)) => command.stdin(stdin).exec(),
        Err(error) => error,
    }
}

/// Runs the engine's own program, which reads `input`; its standard error is ours.
///
/// # Errors
/// When it cannot be run.
pub fn run(name: &str, arguments: &[OsString], input: &[u8]) -> io::Result<Output> {
    let program = find(name).ok_or_else(|| missing(name))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(stdin(input)?).stderr(Stdio::inherit()).stdout(Stdio::piped());
    command.spawn()?.wait_with_output()
}

fn stdin(input: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

fn missing(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "podman's own {name}, which is needed for this, is in none of {} and of PATH",
            PODMAN_HELPER_FOLDERS.join(", ")
        ),
    )
}
