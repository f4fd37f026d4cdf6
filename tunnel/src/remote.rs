//! Another VTEP, and what was exchanged with it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use vswitch_frame::Timestamp;

use crate::header::{LEN, OVERHEAD_V4, OVERHEAD_V6};

/// A VTEP that a network exchanges frames with.
#[derive(Debug)]
pub struct Remote {
    /// Its underlay address.
    pub address: IpAddr,
    /// The path MTU towards it in bytes; 0: not known.
    path_mtu: AtomicU32,
    /// Second of the last packet from it, plus one; 0: none yet.
    heard: AtomicU32,
    in_packets: AtomicU64,
    in_bytes: AtomicU64,
    out_packets: AtomicU64,
    out_bytes: AtomicU64,
    fragmented: AtomicU64,
}

/// What is known of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStats {
    /// Its underlay address.
    pub address: IpAddr,
    /// It is on the flood list; otherwise only entries name it.
    pub listed: bool,
    /// The underlay's path MTU towards it, in bytes, if known.
    pub path_mtu: Option<u32>,
    /// Seconds since the last packet from it, if there was one.
    pub heard_seconds: Option<u64>,
    /// VXLAN packets received.
    pub in_packets: u64,
    /// Bytes of inner frames received.
    pub in_bytes: u64,
    /// VXLAN packets sent.
    pub out_packets: u64,
    /// Bytes of inner frames sent.
    pub out_bytes: u64,
    /// Packets sent that are longer than the path MTU, which the underlay carries in fragments.
    pub fragmented: u64,
}

/// Packets and bytes of inner frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Remote {
    pub(crate) fn new(address: IpAddr) -> Self {
        Remote {
            address,
            path_mtu: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            in_packets: AtomicU64::new(0),
            in_bytes: AtomicU64::new(0),
            out_packets: AtomicU64::new(0),
            out_bytes: AtomicU64::new(0),
            fragmented: AtomicU64::new(0),
        }
    }

    /// Takes note of packets from it.
    pub fn received(&self, amount: Amount, now: Timestamp) {
        self.in_packets.fetch_add(amount.packets, Relaxed);
        self.in_bytes.fetch_add(amount.bytes, Relaxed);
        let second = now.as_secs().saturating_add(1);
        if self.heard.load(Relaxed) != second {
            self.heard.store(second, Relaxed);
        }
    }

    /// Takes note of packets to it.
    pub fn sent(&self, amount: Amount) {
        self.out_packets.fetch_add(amount.packets, Relaxed);
        self.out_bytes.fetch_add(amount.bytes, Relaxed);
    }

    /// Takes note of packets that the underlay carries in fragments.
    pub fn fragmented(&self, packets: u64) {
        self.fragmented.fetch_add(packets, Relaxed);
    }

    /// Says what the underlay's path MTU is, in bytes; `true` when that is news.
    pub fn set_path_mtu(&self, mtu: u32) -> bool {
        self.path_mtu.swap(mtu, Relaxed) != mtu
    }

    /// The longest inner IP packet that fits the path, in bytes, if that is known.
    #[must_use]
    pub fn inner_mtu(&self) -> Option<u32> {
        let overhead = if self.address.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        match self.path_mtu.load(Relaxed) {
            0 => None,
            mtu => Some(mtu.saturating_sub(overhead)),
        }
    }

    /// The longest VXLAN packet (header and inner frame) that fits the path, in bytes.
    #[inline]
    #[must_use]
    pub fn longest_packet(&self) -> usize {
        let headers = if self.address.is_ipv4() { 20 + 8 } else { 40 + 8 };
        match self.path_mtu.load(Relaxed) {
            0 => usize::MAX,
            mtu => usize::try_from(mtu).unwrap_or(usize::MAX).saturating_sub(headers).max(LEN),
        }
    }

    pub(crate) fn stats(&self, listed: bool, now: Timestamp) -> RemoteStats {
        let heard = self.heard.load(Relaxed).checked_sub(1);
        let mtu = self.path_mtu.load(Relaxed);
        RemoteStats {
            address: self.address,
            listed,
            path_mtu: (mtu > 0).then_some(mtu),
            heard_seconds: heard.map(|at| u64::from(now.as_secs().saturating_sub(at))),
            in_packets: self.in_packets.load(Relaxed),
            in_bytes: self.in_bytes.load(Relaxed),
            out_packets: self.out_packets.load(Relaxed),
            out_bytes: self.out_bytes.load(Relaxed),
            fragmented: self.fragmented.load(Relaxed),
        }
    }
}
