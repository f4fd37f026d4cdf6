//! What the host's interface on a network is called.

/// Begins the name of every such interface.
pub const HOST_INTERFACE_PREFIX: &str = "vs-";

/// Letters that are left for the network's name in the 15 of an interface's.
const ROOM: usize = 12;

/// The name follows from the network's, so that an interface that root made once fits the network whenever it is made again.
#[must_use]
pub fn host_interface(network: &str) -> String {
    let fits = network.len() <= ROOM
        && network.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    match fits {
        true => format!("{HOST_INTERFACE_PREFIX}{network}"),
        // FNV-1a (RFC 9923), of which twelve digits fit.
        false => {
            let hash = network
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
            format!("{HOST_INTERFACE_PREFIX}{:012x}", hash >> 16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that an interface can have are its name; others give one that is always the same and always fits.
    #[test]
    fn names() {
        assert_eq!(host_interface("shop"), "vs-shop");
        for long in ["a-network-with-a-long-name", "two words", "ä"] {
            let name = host_interface(long);
            assert!(name.len() == 15 && name == host_interface(long), "{name}");
        }
    }
}
