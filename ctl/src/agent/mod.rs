//! The agent: the only process that creates namespaces, interfaces and container processes.

pub mod protocol;
