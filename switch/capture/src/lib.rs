//! Captured frames.
//!
//! This crate answers: *is this frame one of those that somebody asked for, and how is it written down so that others' programs can
//! read it?* It does no I/O and reads no clock; taking frames out of the data path is `vswitch-switch`'s.
//!
//! # Nouns
//! - [`Filter`]: a filter of tcpdump's language (pcap-filter(7)), compiled to a short program over the frame's bytes.
//! - [`pcapng`]: blocks of the capture format that Wireshark, tshark and tcpdump read.
//! - [`describe`]: a frame in one line, for people.
//! - [`FrameReader`]: the frames of a pcap or pcapng file, and [`Mapping`], which makes them fit for another place.
//!
//! # Limits
//! Filters know Ethernet, VLAN tags, ARP, IPv4, IPv6 and what lies upon them; not MPLS, `PPPoE`, IPX or other link layers, nor the
//! names of hosts. Text, depth and program are bounded, and a program only leads forwards: a filter of a stranger costs a bounded time.
//!
//! # Judge
//! Filters select what `tcpdump -r` selects (`tests/judge.rs`).

pub mod describe;
mod file;
mod filter;
mod mapping;
pub mod pcapng;

pub use file::{FileError, FileFrame, FrameReader};
pub use filter::{Filter, FilterError};
pub use mapping::{Mapping, Side};
