//! The host's resolvers, as its resolv.conf says at the moment.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ipam::host::{Resolver, resolvers};

/// A resolv.conf that is read again whenever it was changed or replaced.
#[derive(Debug)]
pub struct ResolvConf {
    path: PathBuf,
    last: Mutex<Last>,
}

/// What it was when it was read last.
#[derive(Debug, Default)]
struct Last {
    stamp: Option<Stamp>,
    servers: Arc<[Resolver]>,
}

/// Device, inode, length, and the time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

impl ResolvConf {
    /// The file at `path`; one that is not there names nobody.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        ResolvConf { path, last: Mutex::default() }
    }

    /// The resolvers that it names now, each once.
    #[must_use]
    pub fn servers(&self) -> Arc<[Resolver]> {
        let stamp = std::fs::metadata(&self.path)
            .ok()
            .map(|about| (about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec()));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.stamp != stamp {
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            let mut servers = Vec::new();
            for server in resolvers(&text) {
                if !servers.contains(&server) && !server.address.is_unspecified() {
                    servers.push(server);
                }
            }
            *last = Last { stamp, servers: servers.into() };
        }
        Arc::clone(&last.servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change, a replacement and the end of the file are seen at once.
    #[test]
    fn follows_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let conf = ResolvConf::new(path.clone());
        let servers = || conf.servers().iter().map(|server| server.address.to_string()).collect::<Vec<_>>();
        assert!(servers().is_empty());
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver 0.0.0.0\n").unwrap();
        assert_eq!(servers(), ["192.0.2.1"]);
        std::fs::write(dir.path().join("new"), "nameserver ::1\nnameserver 192.0.2.3\n").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(servers(), ["::1", "192.0.2.3"]);
        std::fs::remove_file(&path).unwrap();
        assert!(servers().is_empty());
    }
}
