//! The conformance rows as packets: each test quotes the rows that it holds the translator to.
//!
//! A packet is written as text (see `notation`), sent into a small world (see `world`), and what leaves is text again.
//! The world checks every frame that leaves: its checksums are right once completed, and nothing on the uplink shows an
//! inside address.

#[cfg(test)]
mod allocation;
#[cfg(test)]
mod checksums;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod fragments;
#[cfg(test)]
mod icmp;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod notation;
#[cfg(test)]
mod overlap;
#[cfg(test)]
mod peering;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod router;
#[cfg(test)]
mod services;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod udp;
#[cfg(test)]
mod uplinks;
#[cfg(test)]
mod world;
