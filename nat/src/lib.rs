//! The packet translator: connection tracking, masquerade, published ports, and the parts of a router around them.
//!
//! This crate answers one question: *a frame arrived for the gateway; what is it to become, and where does it go?* It does
//! no I/O, starts no thread, reads no clock and draws on no global randomness: the snapshot, `now` and `rng` are arguments.
//! All methods of [`Nat`] take `&self`, so that workers share one.
//!
//! # Nouns
//! - [`Rules`]: the immutable snapshot: networks, external addresses, published ports, [`rules::Settings`]. Made from a
//!   [`RulesSpec`] by `TryFrom`, which is where mistakes are found.
//! - [`table::Leg`]: a side of the translator: a network's gateway leg, or the uplink. *Inside* is every network, *outside*
//!   what is behind the uplink.
//! - [`Zone`]: whose addresses are meant, since several networks may have the same ones ([`rules::Addresses`]): a leg's packets have
//!   those of its zone.
//! - [`Tuple`]: what one direction of a flow looks like: protocol, addresses, ports or ICMP identifier, and the zone.
//! - [`table::Flow`]: two tuples, those of packets in original and in reply direction *as they arrive*. What leaves is the
//!   inverse of the other: that is all there is to translation. The tuples never change.
//! - [`table::FlowKind`]: masquerade, publish, hairpin (both at once), routed out and in (tracked, not translated).
//! - *endpoint*: the address inside that a flow is accounted to.
//! - [`NatDrop`], [`route::RouteDrop`]: why a frame goes nowhere, each named. The shell counts them: deciding is all that is
//!   done here.
//!
//! # Life of a frame
//! ```text
//!  frame ─► route::check ─► Nat::lookup ─► NatPath{egress, destination}
//!             │ martian,       │ ToSelf: the shell answers
//!             │ spoofed        │ Held: a fragment before its first; comes back from Nat::released
//!             ▼                ▼
//!        RouteDrop          NatDrop
//!
//!  NatPath ─► RouteTable::lookup, fit, decrement_hops ─► Nat::translate ─► Neighbours::resolve ─► port
//!               │ an error quotes the frame as it came:      │ makes the flow, tracks,
//!               │ IcmpError::build, ErrorLimiter             │ rewrites in place
//!               ▼                                            ▼
//!             back to the sender                           dropped: NatDrop (three of which are told to the sender)
//! ```
//! The two steps around the router are there so that errors quote a packet in its sender's words, and so that a packet
//! that the router drops makes no flow.
//!
//! `lookup`: [`vswitch_frame::Headers`] → checksum verified, where there is a finished one over a whole datagram → tuple →
//! table. A packet of no flow is planned: from the inside to an address of the switch it is for a published port, or for
//! the switch itself; to another network it is refused unless networks are routed; else it is masqueraded or routed. From
//! the uplink it is for a published port, for a mapping that filtering opens, for the switch itself, or refused.
//! `translate` then finds a new flow its external port, inserts it under both tuples at once, lets it take note of the
//! packet (TCP states and windows, timers) and rewrites addresses, ports and checksums.
//!
//! # What is chosen where standards and Linux differ
//! The default follows Linux's masquerade, unless an RFC's MUST says otherwise.
//!
//! | rows | question | here |
//! |---|---|---|
//! | U1-U4, T1, I1 | mapping | [`rules::Mapping::PortPreserving`]: Linux's; strict endpoint independence by setting |
//! | U5, U6 | port class, parity | Linux's three classes; parity is not kept |
//! | U7, T4, I3 | timers | [`table::Timeouts::RFC`]; Linux's by setting |
//! | U8-U10, I15 | refresh | packets of either direction refresh; ICMP errors do not |
//! | U11 | filtering | address and port; others by setting, with strict mapping |
//! | U12, T5 | unsolicited from outside | no state, never an answer: `ToSelf`, which the shell counts |
//! | U14, D5, D6 | hairpin | the sender shows as its external address; as the gateway by setting |
//! | U15 | application gateways | none |
//! | U19 | quarantine of ports | none beyond the lingering of closed connections (T19) |
//! | U20, X1 | limits | per endpoint and in all; early drop never takes from one who holds less |
//! | U21 | port choice | kept, else random draws, then a bounded walk |
//! | T6 | refused connections | linger; go at once by setting |
//! | T7-T14 | windows, resets | Linux's checks; lax by setting |
//! | T15, T16 | pickup | acknowledgments and data; never SYN-ACK, RST, FIN; off by setting |
//! | T17, I5, I6 | wrong checksums | dropped |
//! | I17 | no port | refused; [`NatDrop::is_told_to_sender`] |
//! | I18, I19, I20 | redirects, unknown types, errors about errors | dropped |
//! | F1-F7 | fragments | virtual reassembly: sizes and identifications stay |
//! | F8 | IP identification | stays as the endpoint chose it |
//! | G16 | other protocols | by address alone, one endpoint for each remote and protocol |
//!
//! # Invariants
//! - Nothing leaves by the uplink with an inside source, but from a subnet that is routed by its rules (`translate`).
//! - No path from or to an internal network has another network or the uplink as its other end (`lookup`); only an uplink that is
//!   trusted speaks to it, as its gateway.
//! - No flow's replaced source is a published port, so that a service gets all that its clients send (`create`, Linux's "port
//!   shadowing"). Flows from before it was published end ([`Nat::end_shadows`]).
//! - No packet goes from one network to another with the same addresses, or with addresses of its own, but to a published port and
//!   back (`lookup`): a flow is found by tuples in the zones of its two legs.
//! - A packet of a known flow is accepted only from the leg that its direction comes from (`lookup`, `WrongLeg`).
//! - Both tuples of a flow are in the table, or neither ([`table`]). No two flows share a tuple.
//! - A partial checksum stays partial, a missing one missing, a wrong one is never made right (`rewrite`).
//! - Everything that packets can fill is bounded: flows in all and per endpoint, fragments, neighbours and their queues,
//!   rate limits, events.
//!
//! # Limits
//! A flow takes about 330 bytes at a million flows, both index entries included. ICMP and SCTP are told apart by identifier
//! and ports; SCTP's own states are not followed. Timers have a granularity of a second for removal and of a millisecond
//! for matching. A flow's legs are fixed when it is made: after a change of rules the shell flushes what they no longer
//! allow ([`table::FlowFilter`]).
//!
//! # Deliberately absent
//! Application gateways, port forwarding protocols (PCP, UPnP), NAT64 and prefix translation, reassembly, and one flow's
//! translation over several uplinks.

mod classify;
mod drop;
pub mod proxy;
mod quotation;
mod rewrite;
pub mod route;
pub mod rules;
pub mod table;
pub mod translate;
mod tuple;

pub use drop::NatDrop;
pub use rules::{Rules, RulesError, RulesSpec};
pub use translate::{Context, Decision, Nat, NatPath, PORT_DRAWS, Rebound};
pub use tuple::{Protocol, Tuple, Zone};
