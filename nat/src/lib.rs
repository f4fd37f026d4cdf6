//! (theory to be written)
mod classify;
mod crc32c;
mod drop;
mod quotation;
mod rewrite;
pub mod route;
pub mod rules;
pub mod table;
pub mod translate;
mod tuple;
pub use drop::NatDrop;
pub use rules::{Rules, RulesError, RulesSpec};
pub use translate::{Context, Decision, Nat, Outcome, PORT_DRAWS, Passage};
pub use tuple::{Protocol, Tuple};
