//! The harness of the end-to-end tests: what it takes to drive a real `vswitchd` with real namespaces, programs and
//! traffic, and to leave nothing behind whatever happens.
//!
//! # Nouns
//! - [`guard`]: a test runs itself once more inside namespaces of its own (network, mount, pid). Killing the first
//!   process of that pid namespace takes everything along that the test made.
//! - [`Vswitch`]: a daemon and the command line that drives it. [`Container`], [`Background`]: what runs under it.
//! - [`Site`]: a daemon with an uplink, and what is behind it. [`hosts`]: several daemons on one underlay.
//! - [`http`]: the control socket without any client of ours.
//! - [`fuzz`]: functions that hostile bytes are thrown at, in a test and by libFuzzer.
//! - [`attack`]: raw frames that a container may try against others.
//! - [`frames`] and the program `vswitch-probe`: frames that no ordinary program would send, sent and watched from
//!   inside a container.
//!
//! # Root and ordinary users
//! Called as root, tests and daemons are the real root's. Called by anybody else, the guard's user namespace maps that
//! user to itself and the test then gives up all capabilities, so that the daemon under test has exactly an ordinary
//! user's rights: none over the guard's namespaces, only over those that it makes itself.
//!
//! # The host as tests see it
//! `/run` and `/tmp` are empty, the loopback interface is up, `172.20.5.0/24` is routed to it, and the nameserver is
//! `172.19.0.53`. Containers have a `/run` and a `/tmp` of their own: what they share with the test is in `/mnt`, which is empty,
//! too, but for the built programs ([`guard::BIN`]).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a harness that cannot go on fails the test")]
#![allow(clippy::disallowed_methods, reason = "tests measure real time")]

pub mod attack;
mod command;
mod connection;
pub mod container;
pub mod frames;
pub mod fuzz;
pub mod guard;
mod holder;
pub mod hosts;
pub mod http;
pub mod lan;
pub mod ping;
pub mod rootless;
pub mod site;
mod vswitch;
mod wait;

pub use command::{Background, Output, run, sh, spawn};
pub use connection::OpenConnection;
pub use container::{Container, Sniffer};
pub use guard::guard;
pub use holder::Holder;
pub use rootless::Rootless;
pub use site::Site;
pub use vswitch::Vswitch;
pub use wait::{eventually, until};
