//! The engine against RFC 7348, RFC 6040 and what Linux does. Every test names the rows of the conformance tables that it
//! covers: V for VXLAN, P for the control plane, C for checksums and segmentation.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "tests")]

mod coalescing;
mod entry;
mod exit;
mod suppression;
mod tables;
mod world;
