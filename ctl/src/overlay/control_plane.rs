//! Who says which remotes an overlay network has, and where stations are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use vswitch_frame::{MacAddr, Vni};

use super::Directory;

/// Where a directory's contents come from, as people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `vswitchctl tunnel …`, kept in the store.
    Operator,
    /// `[[overlay]]` of `--config`.
    File,
}

impl Origin {
    /// In the words of the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Origin::Operator => "operator",
            Origin::File => "file",
        }
    }
}

/// A local station, as other hosts should know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The VTEP that it is behind: this host's.
    pub vtep: IpAddr,
}

/// A source of directories.
///
/// The controller reads [`ControlPlane::directory`] whenever [`ControlPlane::changes`] says so, and tells every plane of
/// stations that come and go here. No method waits: a plane that talks to a server does that in a task of its own.
pub trait ControlPlane: fmt::Debug + Send + Sync {
    /// What it is called.
    fn origin(&self) -> Origin;

    /// What it says now of the network with this VNI.
    fn directory(&self, vni: Vni) -> Directory;

    /// A station came up on this host, or its addresses changed.
    fn announce(&self, vni: Vni, station: &Station);

    /// A station left this host.
    fn withdraw(&self, vni: Vni, mac: MacAddr);

    /// Wakes whoever waits when a directory changes by itself.
    fn changes(&self) -> Arc<Notify>;
}

/// A plane that says what it was told, and nothing else: there is nobody to pass announcements on to.
#[derive(Debug)]
pub struct StaticPlane {
    origin: Origin,
    directories: Mutex<BTreeMap<Vni, Directory>>,
    changes: Arc<Notify>,
}

impl StaticPlane {
    /// A plane that knows nothing yet.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        StaticPlane { origin, directories: Mutex::default(), changes: Arc::default() }
    }

    /// Replaces what it says of a network; an empty directory is forgotten.
    pub fn set(&self, vni: Vni, directory: Directory) {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if directory.is_empty() {
            directories.remove(&vni)
        } else {
            directories.insert(vni, directory)
        };
        self.changes.notify_one();
    }
}

impl ControlPlane for StaticPlane {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn directory(&self, vni: Vni) -> Directory {
        let directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.get(&vni).cloned().unwrap_or_default()
    }

    fn announce(&self, vni: Vni, station: &Station) {
        tracing::debug!(%vni, mac = %station.mac, "station announced");
    }

    fn withdraw(&self, vni: Vni, mac: MacAddr) {
        tracing::debug!(%vni, %mac, "station withdrawn");
    }

    fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A static plane says of each network what it was told last, and wakes those who wait.
    #[tokio::test]
    async fn says_what_it_was_told() {
        let plane = StaticPlane::new(Origin::File);
        let (one, two) = (Vni::new(1).unwrap(), Vni::new(2).unwrap());
        let mut directory = Directory::default();
        directory.add_remote("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()).unwrap();
        plane.set(one, directory.clone());
        plane.changes().notified().await;
        assert_eq!((plane.directory(one), plane.directory(two)), (directory, Directory::default()));
        plane.set(one, Directory::default());
        assert!(plane.directory(one).is_empty() && plane.directories.lock().unwrap().is_empty());
    }
}
