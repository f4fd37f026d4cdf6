//! Names: what containers are called, and how they learn of it.
//!
//! Nouns: a [`Zone`] holds the names of one network; a [`Scope`] is what one sandbox (or one gateway) may see: zones of
//! its networks, its links, and where other names are asked for. A [`Client`] is a scope with what bounds it; [`Dns`] is
//! the server. An *upstream* is a resolver that other questions are forwarded to, an [`Outlet`] where a socket to it is
//! opened.
//!
//! ```text
//!  controller ── publishes zones and scopes ──►  answer (pure)  ◄── server: UDP, TCP at 127.0.0.11:53 of a sandbox
//!                                                  │ not ours    ◄── gateways: UDP, TCP at a network's gateway, by the switch
//!                                                  ▼                    ▲
//!                                              forward ── upstream ─────┘ a socket of the sandbox, or of the host
//! ```
//!
//! The life of a question: `server` receives it and asks the client's limits; `query` reads it, strictly; `answer` looks
//! it up in the scope and either has the reply or says that it is to be forwarded; `upstream` passes it on unchanged but
//! for its number, and `reply` checks what comes back before it is handed on, cut down if it does not fit.
//!
//! The server is a thread of its own, so that a flood of questions costs control nothing. Its sockets are opened by the
//! agent inside the sandbox and handed over; those to upstreams, too, so that a question leaves the way that everything
//! else of the container leaves, or not at all. Only a resolver on the host's own loopback is asked from the host, and
//! only for containers that have a way out. Who asks at a gateway has no socket of its own that vswitchd could use, so that
//! question is passed on from the host, if the network has a way out.
//!
//! Limits: answers are not cached (they are never older than the snapshot, forwarded ones never older than the
//! upstream's); DNSSEC is passed on, not checked; the question of a name that a network has is never forwarded.

mod answer;
mod gateways;
mod limits;
mod outlet;
pub mod query;
pub mod reply;
mod resolv;
mod scope;
mod server;
mod service;
mod stats;
mod upstream;
mod zone;

pub use gateways::{Backlog, Gateways, Served};
pub use limits::Limits;
pub use outlet::Outlet;
pub use resolv::ResolvConf;
pub use scope::{Link, Scope, Servers, Upstreams, View};
pub use service::{Client, Dns, Serving};
pub use zone::{Joined, Member, Zone, ZoneCell};

/// The port of name servers (RFC 1035 section 4.2).
pub const PORT: u16 = 53;

/// Where the server listens inside a sandbox, as Docker's does.
pub const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);
