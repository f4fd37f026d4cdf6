//! Real namespaces, programs and traffic over a real `vswitchd`. Each test runs in namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests measure real time")]

mod harness;
