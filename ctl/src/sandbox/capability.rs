//! Capabilities of a container. Read first: capabilities(7), "Transformation of capabilities during execve()".

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_capabilities,
};

/// The set of these numbers.
pub(crate) fn set(numbers: &[u8]) -> CapabilitySet {
    let bits = numbers.iter().filter_map(|&number| 1u64.checked_shl(number.into())).fold(0, |all, bit| all | bit);
    CapabilitySet::from_bits_retain(bits)
}

/// Gives up everything outside `keep`, for this process and whatever it executes.
pub(crate) fn restrict(keep: CapabilitySet) -> io::Result<()> {
    bound(keep)?;
    let permitted = capabilities(None)?.permitted & keep;
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

/// Lets nothing that is executed have anything outside `keep`; this process keeps what it has.
pub(crate) fn bound(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The kernel refuses numbers above the last one that it knows.
        match capability_is_in_bounding_set(one) {
            Ok(true) if !keep.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers become bits, and impossible ones are left out.
    #[test]
    fn makes_sets() {
        assert_eq!(set(&[0, 5, 64, 255]), CapabilitySet::CHOWN | CapabilitySet::KILL);
        assert!(set(&[]).is_empty());
    }
}
