//! Which addresses are the host's own.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use vswitch_frame::Timestamp;

/// The host's own addresses, as far as they were asked for within this second.
///
/// The kernel is asked by binding a socket, which needs no privilege and no watch over interfaces. A host that lets programs
/// bind addresses that it does not have (`ip_nonlocal_bind`) counts all of them as its own.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses {
    known: BTreeMap<IpAddr, bool>,
    second: u32,
}

/// Most answers that are kept.
const KNOWN: usize = 1024;

impl OwnAddresses {
    /// Whether the host has this address; yes if it cannot be told.
    pub(super) fn contains(&mut self, address: IpAddr, now: Timestamp) -> bool {
        if self.second != now.as_secs() || self.known.len() >= KNOWN {
            self.known.clear();
            self.second = now.as_secs();
        }
        *self.known.entry(address).or_insert_with(|| {
            let bound = UdpSocket::bind((address, 0));
            !bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loopback addresses are the host's, and addresses for documentation are not.
    #[test]
    fn tells_own_addresses() {
        let mut own = OwnAddresses::default();
        for _ in 0..2 {
            assert!(own.contains("127.0.0.1".parse().unwrap(), Timestamp::ZERO));
            assert!(!own.contains("192.0.2.1".parse().unwrap(), Timestamp::ZERO));
        }
    }
}
