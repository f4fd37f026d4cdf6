//! Addresses of a LAN's DHCP server for containers. Read first: RFC 2131 (DHCP), RFC 2132 (options).
//!
//! [`message`] is what is on the wire, [`conversation`] who says what when; both do no I/O, and the second is driven by whoever
//! has a port on the network ([`crate::controller`]).
//!
//! The switch asks for the container, whose MAC address is the hardware address and the client identifier, from a MAC address of
//! its own, and wants every answer broadcast: the container has no address yet, and later no program that listens. So a lease
//! is renewed as after a reboot (RFC 2131 section 4.3.2), by broadcast and for the same address.

pub mod conversation;
pub mod message;

pub use conversation::{Conversation, Lease, Outcome, Wish};
pub use message::{Kind, Message};
