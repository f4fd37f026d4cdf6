//! One direction of a wire between an endpoint and its port, as bad as somebody wants it.
//!
//! # Nouns
//!
//! - An [`Impairment`] says what happens on a wire; [`words`] reads it, also in the words of `tc` ([`netem`]).
//! - A [`Wire`] carries it out: frames are offered, and what is left of them is taken when it is due.
//! - Each kind of accident has a stream of random numbers of its own ([`random`]), seeded by the lab's seed, the endpoint's name and
//!   the direction, so that nothing that happens elsewhere changes what happens here.
//!
//! # The life of a frame
//!
//! ```text
//! cut, black hole ─► list ─► loss ─► MTU ─► corrupt ─► duplicate ─► rate and queue ─► delay and jitter ─► reorder ─► due
//! ```
//!
//! A super-frame is decided on segment by segment: 1 % of loss is 1 % of segments. Only what takes all alike (a cut, a delay without
//! jitter) moves it whole; segments that survive side by side and leave together stay one shorter super-frame.
//!
//! # Time and chance
//!
//! Nanoseconds and frames come as arguments. The generator is ChaCha8 of one pinned version, and distributions use nothing but
//! the basic operations of IEEE 754, so that a seed means the same on every machine.
//!
//! # Limits
//!
//! What waits is bounded for each wire by its queue and for all wires of a switch by a [`Memory`]; what finds no room is lost for
//! that reason and counted.

mod cast;
mod class;
mod corrupt;
pub mod distribution;
mod flows;
mod impairment;
mod loss;
mod lost;
pub mod netem;
pub mod random;
mod server;
mod units;
mod wire;
pub mod words;

pub use impairment::{
    Area, Blackhole, Corrupt, Duplicate, Impairment, Jitter, Kind, Listed, Loss, Matches, Model, Mtu, Order, Overflow,
    Queue, Rate, Reorder, ReorderBy, Select, Size, TooLong, Which,
};
pub use lost::{Counters, WireDrop};
pub use random::WireSeed;
pub use wire::{Held, Memory, Offered, Sender, Told, Wire};
pub use words::{Change, WordError};
