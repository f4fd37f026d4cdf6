//! `vswitchd` and its agent.

pub mod agent;
