//! Each fuzz target with the bytes of a few hundred seeds, and with every input that ever broke one.
//!
//! `VSWITCH_FUZZ_FROM` and `VSWITCH_FUZZ_INPUTS` say which seeds: a failure names its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a failure says what it failed with")]

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use vswitch_tests::fuzz::{self, TARGETS};

/// Says which seed it was when a target panics.
struct Named<'n>(&'n str, u64);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails with VSWITCH_FUZZ_FROM={} VSWITCH_FUZZ_INPUTS=1", self.0, self.1);
        }
    }
}

/// The bytes of a seed: mostly short, sometimes long.
fn bytes(seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let length = match random.next_u32() % 4 {
        0 => random.next_u32() % 64,
        1 => random.next_u32() % 4096,
        _ => random.next_u32() % 1024,
    };
    let mut bytes = vec![0; length.try_into().unwrap()];
    random.fill_bytes(&mut bytes);
    bytes
}

fn seeds(inputs: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let from = number("VSWITCH_FUZZ_FROM").unwrap_or(1);
    from..from + number("VSWITCH_FUZZ_INPUTS").unwrap_or(inputs)
}

fn run(name: &str, inputs: u64) {
    let target = fuzz::target(name);
    for seed in seeds(inputs) {
        let _named = Named(name, seed);
        target(&bytes(seed));
    }
}

/// Every view of a header can be read to its end.
#[test]
fn frame() {
    run("frame", 3000);
}

/// Super-frames are cut without loss.
#[test]
fn segment() {
    run("segment", 300);
}

/// Checksums and their updates are what the plain sum says.
#[test]
fn checksum() {
    run("checksum", 3000);
}

/// The translator lets nothing out that shows an inside source, and nothing into or out of an internal network.
#[test]
fn nat() {
    run("nat", 300);
}

/// Reassembly keeps to its bounds and makes packets.
#[test]
fn reassembly() {
    run("reassembly", 300);
}

/// The engine of UDP and echo over sockets keeps to its bounds and makes packets.
#[test]
fn datagram() {
    run("datagram", 500);
}

/// The engine of TCP over sockets keeps to its bounds and comes to an end of sending.
#[test]
fn stream() {
    run("stream", 300);
}

/// What the tunnel joins can be cut again.
#[test]
fn tunnel() {
    run("tunnel", 300);
}

/// Replies fit their questions.
#[test]
fn dns() {
    run("dns", 5000);
}

/// Bodies of requests are refused with a sentence or mean something.
#[test]
fn api() {
    run("api", 5000);
}

/// So are settings.
#[test]
fn settings() {
    run("settings", 5000);
}

/// No target is left out above, and what lets libFuzzer loose on them finds each by its name.
#[test]
fn complete() {
    let (tests, table) = (include_str!("fuzz.rs"), include_str!("src/fuzz/mod.rs"));
    for (name, _) in TARGETS {
        assert!(name == "switch" || tests.contains(&format!("run(\"{name}\"")), "{name} has no test here");
        assert!(
            table.lines().any(|line| line.starts_with(&format!("    (\"{name}\", "))),
            "fuzz/run does not see {name}"
        );
    }
}

/// What once broke a target does not any more.
#[test]
fn regressions() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    for (name, target) in TARGETS {
        let Ok(files) = std::fs::read_dir(root.join(name)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
    }
}

/// No payload byte of one endpoint, and no frame that it causes, reaches another one that may not hear it; and what may
/// be heard is.
#[test]
fn isolation() {
    let mut sum = fuzz::world::Tally::default();
    for seed in seeds(1000) {
        let _named = Named("switch", seed);
        let tally = fuzz::isolation(&bytes(seed));
        sum.within += tally.within;
        sum.published += tally.published;
        sum.out += tally.out;
        sum.back += tally.back;
    }
    let least = [sum.within, sum.published, sum.out, sum.back].into_iter().min();
    assert!(least >= Some(10), "the model was hardly asked: {sum:?}");
}
