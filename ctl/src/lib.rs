//! `vswitchd` and its agent: what should be, and the privileged half that makes it so.
//!
//! Nouns: a *network* is one broadcast domain of the switch; a *container* is a process in a sandbox; an *endpoint* is
//! the attachment of a container, or of a namespace that somebody else made, to a network.
//!
//! ```text
//! client ── HTTP ──► api ──► controller ──► agent client ══ SEQPACKET ══► agent ──► kernel
//!                             │  │  └─────► switch (ports from the agent's descriptors)
//!                           ipam store
//! ```
//!
//! The life of a request: [`api`] reads it, [`model`] turns its wire type into a domain type or says everything that is
//! wrong with it, [`controller`] decides with the state locked ([`ipam`] gives addresses), acts through [`agent`] and the
//! switch, commits to [`store`], and answers. [`daemon`] is the life of the program, [`privileges`] what it
//! gives up, [`confinement`] what it cannot do any more.
//!
//! Limits: one vswitchd to a state directory; one way out of the networks; containers' names do not leave this vswitchd.

pub mod agent;
pub mod api;
pub mod args;
mod blocking;
pub mod clock;
pub mod confinement;
pub mod controller;
pub mod daemon;
pub mod dhcp;
pub mod dns;
pub mod error;
pub mod ids;
pub mod ipam;
pub mod log;
pub mod logfile;
pub mod logline;
pub mod model;
pub mod namegen;
pub mod overlay;
mod peer;
mod private;
pub mod privileges;
pub mod publish;
pub mod sandbox;
pub mod store;
pub mod uplink;
pub mod userns;
pub mod vital;
