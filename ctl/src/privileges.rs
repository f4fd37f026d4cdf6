//! Giving up every privilege. Read first: capabilities(7).
//!
//! vswitchd parses frames that hostile containers send, so it must not be able to do more than its descriptors allow.
//! Capabilities belong to threads: this runs while there is only one, and every later thread inherits the result.

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up privileges ({action}: {source}); vswitchd does not serve with them")]
pub struct PrivilegeError {
    action: &'static str,
    source: std::io::Error,
}

/// Empties all five capability sets and forbids gaining privileges by executing a program; for root and others alike.
///
/// # Errors
/// When the kernel refuses; the caller must not go on.
pub fn drop_all() -> Result<(), PrivilegeError> {
    let fail = |action| move |error: rustix::io::Errno| PrivilegeError { action, source: error.into() };
    rustix::thread::set_no_new_privs(true).map_err(fail("no-new-privs"))?;
    let before = rustix::thread::capabilities(None).map_err(fail("reading capabilities"))?;
    rustix::thread::clear_ambient_capability_set().map_err(fail("ambient set"))?;
    // Taking from the bounding set needs CAP_SETPCAP; without it the set is of no use, since no-new-privs is on.
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for (_, capability) in CapabilitySet::all().iter_names() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // A capability that this kernel does not know.
                Err(rustix::io::Errno::INVAL) => {}
                other => other.map_err(fail("bounding set"))?,
            }
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(fail("effective and permitted sets"))
}
