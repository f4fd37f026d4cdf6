//! What `network create -d overlay` says of tunnels.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vswitch_frame::Vni;

use crate::overlay::Directory;

/// The least VNI that is chosen automatically, as Docker does.
const FIRST_AUTOMATIC: u32 = 4096;

/// What a user wants of an overlay network's tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OverlayWish {
    /// The VNI; without it, the lowest free one from 4096.
    pub vni: Option<Vni>,
    /// The VTEP; without it, the first.
    pub vtep: Option<IpAddr>,
    /// Outer UDP checksums; without it, they are computed, as Linux does.
    pub checksum: Option<bool>,
}

/// An overlay network's tunnel, as decided and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The VNI.
    pub vni: Vni,
    /// Address of the VTEP, if the user named one; otherwise it is the first of `--vtep`, whichever that is.
    pub vtep: Option<IpAddr>,
    /// Whether outer UDP checksums are computed.
    pub checksum: bool,
    /// Remotes and entries that the operator named.
    pub directory: Directory,
}

impl OverlayWish {
    /// Reads one option's value.
    ///
    /// # Errors
    /// One sentence that says what to write.
    pub(super) fn set_vni(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = value.parse::<u32>().ok().filter(|number| *number != 0);
        let vni = number.and_then(|number| Vni::new(number).ok());
        let sentence = || format!("invalid {name} value: {value}; a VNI is 1 to {}", Vni::MAX);
        self.vni = Some(vni.ok_or_else(sentence)?);
        Ok(())
    }

    pub(super) fn set_vtep(&mut self, name: &str, value: &str) -> Result<(), String> {
        let address =
            value.parse().map_err(|_| format!("invalid {name} value: {value}; write an address of --vtep"))?;
        self.vtep = Some(address);
        Ok(())
    }
}

/// The lowest VNI from 4096 that nobody has.
pub fn free_vni(taken: impl Iterator<Item = Vni>) -> Option<Vni> {
    let taken: std::collections::BTreeSet<Vni> = taken.collect();
    (FIRST_AUTOMATIC..=Vni::MAX).filter_map(|number| Vni::new(number).ok()).find(|vni| !taken.contains(vni))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VNIs are 1 to 2^24 - 1.
    #[test]
    fn vni() {
        let mut wish = OverlayWish::default();
        for bad in ["0", "16777216", "-1", "4097,4098", "x", ""] {
            let error = wish.set_vni("vni", bad).unwrap_err();
            assert!(error.contains("1 to 16777215"), "{error}");
        }
        wish.set_vni("vni", "16777215").unwrap();
        assert_eq!(wish.vni.map(Vni::value), Some(Vni::MAX));
    }

    /// Automatic ones are the lowest that are free.
    #[test]
    fn automatic() {
        let vni = |number| Vni::new(number).unwrap();
        assert_eq!(free_vni([].into_iter()), Some(vni(4096)));
        assert_eq!(free_vni([vni(4096), vni(4098), vni(7)].into_iter()), Some(vni(4097)));
    }
}
