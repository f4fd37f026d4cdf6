//! One module a noun or verb: its grammar and what it does.

pub(crate) mod attach;
pub(crate) mod bridge;
pub(crate) mod capture;
pub(crate) mod cni;
pub(crate) mod completions;
pub(crate) mod containers;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod endpoint;
pub(crate) mod engine;
mod engine_docker;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod fdb;
pub(crate) mod flows;
pub(crate) mod inspect;
mod installed;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod ps;
pub(crate) mod run;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod tunnel;
mod units;
pub(crate) mod version;
pub(crate) mod volume;
