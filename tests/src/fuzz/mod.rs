//! Hostile input for every parser and engine, and for the whole data path.
//!
//! A *target* is a plain function of bytes that panics when a promise is broken; the promises go beyond "no crash". Two
//! callers: `tests/fuzz.rs` runs each with bytes of a seed, briefly, with all other tests; `tests/fuzz/run` lets libFuzzer
//! choose the bytes, at length (docs/fuzzing.md).
//!
//! What libFuzzer found lies in `tests/fuzz/regressions/TARGET/`, named after what it was, and is run with the tests.

mod engines;
pub mod frames;
pub mod input;
mod nat;
mod switch;
mod text;
mod tunnel;
pub mod world;

pub use switch::isolation;

/// A function that panics when bytes break a promise.
pub type Target = fn(&[u8]);

/// The target of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    TARGETS.iter().find(|(of, _)| *of == name).expect("one of TARGETS").1
}

/// Every target, under the name that `tests/fuzz/run` takes; it reads this table.
pub const TARGETS: [(&str, Target); 12] = [
    ("frame", engines::frame),
    ("segment", engines::segment),
    ("checksum", engines::checksum),
    ("nat", nat::nat),
    ("reassembly", nat::reassembly),
    ("datagram", nat::datagram),
    ("stream", nat::stream),
    ("tunnel", tunnel::tunnel),
    ("dns", text::dns),
    ("api", text::api),
    ("settings", text::settings),
    ("switch", switch::switch),
];
