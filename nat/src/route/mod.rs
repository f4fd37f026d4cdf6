//! The parts of a router that the gateway leg is made of: pure functions over a frame, and small engines that are given
//! the time. Read first: RFC 1812 section 5, RFC 1122 section 3.2, RFC 4443.
//!
//! In the order in which a frame meets them: [`check`] drops what no router forwards; [`crate::Nat::lookup`] says where it
//! goes; [`decrement_hops`], [`RouteTable::lookup`] and [`fit`] may end it with an error, which [`IcmpError::build`] makes of
//! the frame as it arrived and [`ErrorLimiter`] may hold back; [`crate::Nat::translate`]; [`Neighbours::resolve`] gives the
//! next hop's MAC address, or keeps the frame until it is known.

mod check;
mod hop;
mod icmp_error;
mod limiter;
mod neighbour;
mod neighbour_frame;
mod table;
mod tcp_reply;

pub use check::{Interface, RouteDrop, Sources, check};
pub use hop::{Fit, decrement_hops, fit, fragment};
pub use icmp_error::{IcmpError, Sender, may_be_answered};
pub use limiter::ErrorLimiter;
pub use neighbour::{Actions, NeighbourEntry, NeighbourLimits, NeighbourState, Neighbours, News, Probed, Resolution};
pub use neighbour_frame::{Announcement, Solicitation, heard};
pub use table::{Hop, Route, RouteTable};
pub use tcp_reply::{Reset, clamp_mss, refuse_connection};
