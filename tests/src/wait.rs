//! Waiting for what comes true soon.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::Output;

/// Waits until `condition` yields a value, looking twenty times a second; fails after `seconds`, naming `what`.
///
/// # Panics
/// When the time is over.
pub fn until<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {seconds} s in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a program listens on a TCP port where `sh` runs shell scripts.
pub(crate) fn until_listening(port: u16, sh: impl Fn(&str) -> Output) {
    eventually("a server listens", 15, || sh("ss -ltn").stdout.contains(&format!(":{port} ")));
}

/// Waits until `condition` holds; fails after `seconds`, naming `what`.
///
/// # Panics
/// When the time is over.
pub fn eventually(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    until(what, seconds, || condition().then_some(()));
}
