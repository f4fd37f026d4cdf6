//! The program for libFuzzer, one for all targets: `VSWITCH_FUZZ_TARGET` says which. `run` beside this builds and calls it.
#![no_main]

use std::sync::LazyLock;

use vswitch_tests::fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    target(&std::env::var("VSWITCH_FUZZ_TARGET").expect("VSWITCH_FUZZ_TARGET names one of vswitch_tests::fuzz::TARGETS"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
