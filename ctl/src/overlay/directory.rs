//! What is known of one overlay network: its remotes, and where stations are. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_frame::MacAddr;

/// Most remotes of one network: each gets its own copy of every flooded frame.
pub const MAX_REMOTES: usize = 1024;
/// Most entries of one network.
pub const MAX_ENTRIES: usize = 65_536;
/// Most IP addresses of one station.
pub const MAX_ADDRESSES: usize = 16;

/// Remotes and entries of one overlay network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    remotes: BTreeSet<IpAddr>,
    entries: Vec<Entry>,
}

/// Where a station is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its MAC address.
    pub mac: MacAddr,
    /// The remote that it is behind.
    pub remote: IpAddr,
    /// Its IP addresses, as far as they are known: questions for them are answered here.
    pub addresses: BTreeSet<IpAddr>,
}

/// Why a directory does not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Nobody's address.
    #[error("{0} is no host's address; name the address that the other host's vswitchd has as --vtep")]
    NoHost(IpAddr),
    /// IPv4 over IPv6 or the other way round.
    #[error("remote {0} and the VTEP {1} are not of one address family; name an {2} address of the other host")]
    Family(IpAddr, IpAddr, &'static str),
    /// A tunnel to oneself.
    #[error("{0} is this host's own VTEP; name another host's")]
    OwnAddress(IpAddr),
    /// Twice.
    #[error("{0} is a remote already")]
    RemoteExists(IpAddr),
    /// No room.
    #[error("there are {MAX_REMOTES} remotes already, which is the most that a network can have")]
    TooManyRemotes,
    /// Unknown.
    #[error("{0} is no remote; add it first with 'vswitchctl tunnel remote add'")]
    NotARemote(IpAddr),
    /// Still needed.
    #[error("{count} entries lead to remote {remote}; remove them first with 'vswitchctl tunnel entry rm'")]
    RemoteInUse {
        /// The remote.
        remote: IpAddr,
        /// How many entries.
        count: usize,
    },
    /// An IP address that no station has.
    #[error("{0} is no station's IP address")]
    NoStation(IpAddr),
    /// Two stations with one IP address.
    #[error("{address} is bound to {mac} already; remove that entry first")]
    AddressBound {
        /// The IP address.
        address: IpAddr,
        /// Whose it is.
        mac: MacAddr,
    },
    /// No room.
    #[error("there are {MAX_ENTRIES} entries already, which is the most that a network can have")]
    TooManyEntries,
    /// No room.
    #[error("{0} has {MAX_ADDRESSES} IP addresses already, which is the most that an entry can have")]
    TooManyAddresses(MacAddr),
    /// Unknown.
    #[error("there is no entry for {0}")]
    NoEntry(MacAddr),
}

impl Directory {
    /// The remotes, in order.
    pub fn remotes(&self) -> impl Iterator<Item = IpAddr> {
        self.remotes.iter().copied()
    }

    /// The entries, by MAC address.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remotes.is_empty() && self.entries.is_empty()
    }

    /// Adds a remote for the VTEP `own`.
    ///
    /// # Errors
    /// When it cannot be one, or is one already.
    pub fn add_remote(&mut self, remote: IpAddr, own: IpAddr) -> Result<(), DirectoryError> {
        check_remote(remote, own)?;
        if self.remotes.contains(&remote) {
            return Err(DirectoryError::RemoteExists(remote));
        }
        if self.remotes.len() >= MAX_REMOTES {
            return Err(DirectoryError::TooManyRemotes);
        }
        self.remotes.insert(remote);
        Ok(())
    }

    /// Removes a remote that no entry leads to.
    ///
    /// # Errors
    /// When it is none, or entries lead to it.
    pub fn remove_remote(&mut self, remote: IpAddr) -> Result<(), DirectoryError> {
        if !self.remotes.contains(&remote) {
            return Err(DirectoryError::NotARemote(remote));
        }
        match self.entries.iter().filter(|entry| entry.remote == remote).count() {
            0 => {
                self.remotes.remove(&remote);
                Ok(())
            }
            count => Err(DirectoryError::RemoteInUse { remote, count }),
        }
    }

    /// Binds a station to a remote, with one more of its IP addresses. A station that is bound elsewhere moves with all
    /// of them. `known` says which remotes there are beside the directory's own.
    ///
    /// # Errors
    /// When the remote is none, the IP address is no station's or another's, or there is no room.
    pub fn add_entry(
        &mut self,
        mac: MacAddr,
        address: Option<IpAddr>,
        remote: IpAddr,
        known: &[IpAddr],
    ) -> Result<(), DirectoryError> {
        if !self.remotes.contains(&remote) && !known.contains(&remote) {
            return Err(DirectoryError::NotARemote(remote));
        }
        if let Some(address) = address {
            if address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast(address) {
                return Err(DirectoryError::NoStation(address));
            }
            let other = self.entries.iter().find(|entry| entry.mac != mac && entry.addresses.contains(&address));
            if let Some(other) = other {
                return Err(DirectoryError::AddressBound { address, mac: other.mac });
            }
        }
        match self.entries.binary_search_by_key(&mac, |entry| entry.mac) {
            Ok(at) => {
                let entry = &mut self.entries[at];
                if let Some(address) = address.filter(|address| !entry.addresses.contains(address)) {
                    if entry.addresses.len() >= MAX_ADDRESSES {
                        return Err(DirectoryError::TooManyAddresses(mac));
                    }
                    entry.addresses.insert(address);
                }
                entry.remote = remote;
            }
            Err(_) if self.entries.len() >= MAX_ENTRIES => return Err(DirectoryError::TooManyEntries),
            Err(at) => self.entries.insert(at, Entry { mac, remote, addresses: address.into_iter().collect() }),
        }
        Ok(())
    }

    /// Removes the entry of a station.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove_entry(&mut self, mac: MacAddr) -> Result<(), DirectoryError> {
        let at = self.entries.binary_search_by_key(&mac, |entry| entry.mac);
        self.entries.remove(at.map_err(|_| DirectoryError::NoEntry(mac))?);
        Ok(())
    }

    /// What several directories say together: all remotes; of entries for one MAC address the first directory's, and of
    /// entries for one IP address likewise.
    #[must_use]
    pub fn merge<'a>(all: impl IntoIterator<Item = &'a Directory>) -> Directory {
        let mut remotes = BTreeSet::new();
        let mut entries: BTreeMap<MacAddr, Entry> = BTreeMap::new();
        let mut bound = BTreeSet::new();
        for directory in all {
            remotes.extend(&directory.remotes);
            for entry in &directory.entries {
                entries.entry(entry.mac).or_insert_with(|| {
                    let addresses = entry.addresses.iter().copied().filter(|address| bound.insert(*address)).collect();
                    Entry { mac: entry.mac, remote: entry.remote, addresses }
                });
            }
        }
        Directory { remotes, entries: entries.into_values().collect() }
    }
}

/// Whether another host's VTEP may have this address.
///
/// # Errors
/// When it may not.
pub fn check_remote(remote: IpAddr, own: IpAddr) -> Result<(), DirectoryError> {
    let nobody = remote.is_unspecified() || remote.is_multicast() || is_broadcast(remote);
    if nobody || remote.is_loopback() && !own.is_loopback() {
        return Err(DirectoryError::NoHost(remote));
    }
    if remote.is_ipv4() != own.is_ipv4() {
        let family = if own.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(DirectoryError::Family(remote, own, family));
    }
    if remote == own { Err(DirectoryError::OwnAddress(remote)) } else { Ok(()) }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    fn with(remotes: &[&str]) -> Directory {
        let mut directory = Directory::default();
        for remote in remotes {
            directory.add_remote(ip(remote), ip(OWN)).unwrap();
        }
        directory
    }

    /// Multicast, unspecified, broadcast, own and other-family addresses are no remotes, and none is one twice.
    #[test]
    fn remotes_that_cannot_be() {
        let mut directory = with(&["10.0.0.2"]);
        for (text, says) in [
            ("224.0.0.1", "no host's address"),
            ("0.0.0.0", "no host's address"),
            ("255.255.255.255", "no host's address"),
            ("ff02::1", "no host's address"),
            ("fd00::2", "not of one address family"),
            (OWN, "own VTEP"),
            ("10.0.0.2", "a remote already"),
        ] {
            let error = directory.add_remote(ip(text), ip(OWN)).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(directory, with(&["10.0.0.2"]));
    }

    /// A remote that entries lead to stays until they are gone.
    #[test]
    fn remotes_in_use() {
        let mut directory = with(&["10.0.0.2", "10.0.0.3"]);
        directory.add_entry(mac(1), None, ip("10.0.0.2"), &[]).unwrap();
        let in_use = DirectoryError::RemoteInUse { remote: ip("10.0.0.2"), count: 1 };
        assert_eq!(directory.remove_remote(ip("10.0.0.2")), Err(in_use));
        // The station moves, and then its old remote may go.
        directory.add_entry(mac(1), Some(ip("10.1.0.9")), ip("10.0.0.3"), &[]).unwrap();
        directory.remove_remote(ip("10.0.0.2")).unwrap();
        assert_eq!(directory.remove_remote(ip("10.0.0.2")), Err(DirectoryError::NotARemote(ip("10.0.0.2"))));
        assert_eq!(directory.entries().len(), 1);
        directory.remove_entry(mac(1)).unwrap();
        assert_eq!(directory.remove_entry(mac(1)), Err(DirectoryError::NoEntry(mac(1))));
    }

    /// Entries gather a station's addresses, refuse another's, and need a remote.
    #[test]
    fn entries() {
        let mut directory = with(&["10.0.0.2"]);
        let remote = ip("10.0.0.2");
        directory.add_entry(mac(2), Some(ip("10.1.0.2")), remote, &[]).unwrap();
        directory.add_entry(mac(2), Some(ip("fd01::2")), remote, &[]).unwrap();
        directory.add_entry(mac(1), None, remote, &[]).unwrap();
        assert_eq!(directory.entries()[1].addresses.len(), 2);
        let bound = DirectoryError::AddressBound { address: ip("10.1.0.2"), mac: mac(2) };
        assert_eq!(directory.add_entry(mac(1), Some(ip("10.1.0.2")), remote, &[]), Err(bound));
        let elsewhere = directory.add_entry(mac(3), None, ip("10.0.0.9"), &[]);
        assert_eq!(elsewhere, Err(DirectoryError::NotARemote(ip("10.0.0.9"))));
        directory.add_entry(mac(3), None, ip("10.0.0.9"), &[ip("10.0.0.9")]).unwrap();
        for nobody in ["0.0.0.0", "224.0.0.9", "127.0.0.1"] {
            let refused = directory.add_entry(mac(4), Some(ip(nobody)), remote, &[]);
            assert_eq!(refused, Err(DirectoryError::NoStation(ip(nobody))));
        }
        for last in 0..20 {
            let added = directory.add_entry(mac(2), Some(ip(&format!("10.2.0.{last}"))), remote, &[]);
            assert_eq!(added.is_ok(), last < 14, "{last}: {added:?}");
        }
    }

    /// Of several directories the first one that binds an address wins, and all remotes are remotes.
    #[test]
    fn merged() {
        let (mut first, mut second) = (with(&["10.0.0.2"]), with(&["10.0.0.3"]));
        first.add_entry(mac(1), Some(ip("10.1.0.1")), ip("10.0.0.2"), &[]).unwrap();
        second.add_entry(mac(1), None, ip("10.0.0.3"), &[]).unwrap();
        second.add_entry(mac(2), Some(ip("10.1.0.1")), ip("10.0.0.3"), &[]).unwrap();
        let both = Directory::merge([&first, &second]);
        assert_eq!(both.remotes().count(), 2);
        assert_eq!((both.entries()[0].remote, both.entries()[1].remote), (ip("10.0.0.2"), ip("10.0.0.3")));
        assert!(both.entries()[1].addresses.is_empty());
    }
}
