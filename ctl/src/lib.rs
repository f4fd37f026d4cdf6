//! `vswitchd` and its agent.

pub mod agent;
pub mod api;
pub mod args;
pub mod clock;
pub mod controller;
pub mod daemon;
pub mod error;
pub mod ids;
pub mod ipam;
pub mod model;
pub mod names;
pub mod privileges;
pub mod sandbox;
pub mod store;
