//! Files that nobody else may read, whatever the umask is and whoever made them before.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The one mode.
const MODE: u32 = 0o600;

/// A new file. One of that name is removed first, so that whoever has it open keeps that one alone.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    remove(path)?;
    File::options().write(true).create_new(true).mode(MODE).open(path)
}

/// A file that is kept if it is there, for reading it and writing behind its end. Not for the confined: it may change the
/// mode.
///
/// # Errors
/// When it cannot be opened or made.
pub(crate) fn append_to(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o7777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// Takes a file away; one that is not there is no error.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New ones and old ones end with the one mode.
    #[test]
    fn modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o7777;
        for make in [create, append_to] {
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            make(&path).unwrap();
            assert_eq!(mode(), MODE);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
