//! `vswitchd` and its agent.

pub mod agent;
pub mod clock;
pub mod controller;
pub mod error;
pub mod ids;
pub mod ipam;
pub mod model;
pub mod names;
pub mod sandbox;
pub mod store;
