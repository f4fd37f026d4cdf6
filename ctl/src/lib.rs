//! `vswitchd` and its agent.

pub mod agent;
pub mod sandbox;
