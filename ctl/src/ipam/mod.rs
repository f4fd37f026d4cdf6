//! Address management, pure: which subnet a network gets, and which addresses its endpoints get.
//!
//! Nothing here reads a file or the clock. What the host occupies is parsed by [`host`] from text that the caller read,
//! subnets are chosen by [`pools`], addresses inside one subnet are kept by [`Leases`], and all three are built on one
//! small set of address ranges, [`Ranges`], whose operations cost the logarithm of the number of gaps.

pub mod host;
mod leases;
mod mac;
pub mod pools;
mod ranges;

pub use leases::{ClaimError, DEFAULT_GATEWAY_V4, DEFAULT_GATEWAY_V6, GatewayLeg, Leases, SubnetPlan, default_gateway};
pub use mac::{MacFault, check_station, gateway_mac, parse_station, random_local};
pub use ranges::Ranges;
