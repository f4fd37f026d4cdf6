#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vswitch_tests::fuzz::target("frame")(bytes));
