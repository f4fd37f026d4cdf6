//! What a vswitchd knows and nobody else does: a file of mode 0600 in the state directory, made anew by each agent.
//!
//! Containers run as the user of vswitchd and may have its files within reach, but not the state directory.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use rand::Rng as _;

use crate::private;

/// Name of the file.
const NAME: &str = "agent.key";

/// Its content.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// Makes a new one, and its file.
    pub(crate) fn make(state_dir: &Path) -> io::Result<Key> {
        let key = Key(format!("{:032x}", rand::rng().random::<u128>()));
        private::create(&state_dir.join(NAME))?.write_all(key.0.as_bytes())?;
        Ok(key)
    }

    /// What the file says; nothing if there is none, as with an agent of an earlier version.
    pub(crate) fn read(state_dir: &Path) -> String {
        fs::read_to_string(state_dir.join(NAME)).unwrap_or_default()
    }

    /// Whether somebody said the same.
    pub(crate) fn is(&self, said: &str) -> bool {
        // Compared whole, so that the time says nothing about where they differ.
        let differing = self.0.bytes().zip(said.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
        self.0.len() == said.len() && differing == 0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What one agent has written the next vswitchd reads, it is its user's alone, and every agent has another.
    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let first = Key::make(dir.path()).unwrap();
        let said = Key::read(dir.path());
        assert!(first.is(&said) && !first.is("") && !first.is(&said[1..]));
        assert_eq!(fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!Key::make(dir.path()).unwrap().is(&said));
        assert_eq!(Key::read(Path::new("/nonexistent")), "");
    }
}
