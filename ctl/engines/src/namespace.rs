//! Looking into a network namespace.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use rustix::thread::LinkNameSpaceType;

/// What the kernel tells in /proc/net of a namespace.
#[derive(Debug, Default)]
pub(crate) struct View {
    devices: String,
    ipv4: String,
    ipv6: String,
}

impl View {
    /// Whether there is an interface of this name.
    pub(crate) fn has_interface(&self, name: &str) -> bool {
        let is_it = |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        self.devices.lines().any(is_it)
    }

    /// Whether an address is the namespace's own.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        match address {
            // `|-- ADDRESS`, and on the next line `/32 host LOCAL` (proc_net(5), fib_trie).
            IpAddr::V4(_) => {
                let wanted = format!("|-- {address}");
                let mut lines = self.ipv4.lines().map(str::trim).peekable();
                while let Some(line) = lines.next() {
                    if line == wanted && lines.peek().is_some_and(|next| next.ends_with("host LOCAL")) {
                        return true;
                    }
                }
                false
            }
            IpAddr::V6(address) => {
                let wanted = format!("{:032x}", address.to_bits());
                self.ipv6.lines().any(|line| line.starts_with(&wanted))
            }
        }
    }
}

/// Looks, unless this process may not.
pub(crate) fn look(netns: &File) -> Option<View> {
    // A thread of its own, for it stays in the namespace.
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
            let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            // Without IPv6 there is no such file.
            let ipv6 = read("if_inet6").unwrap_or_default();
            Some(View { devices: read("dev").ok()?, ipv4: read("fib_trie").ok()?, ipv6 })
        });
        look.join().ok().flatten()
    })
}

/// Whether a namespace has an interface; one that is gone has none.
pub(crate) fn has_interface(netns: &str, interface: &str) -> bool {
    let Ok(file) = File::open(netns) else { return false };
    look(&file).is_some_and(|view| view.has_interface(interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own words: an address of the namespace's, one that it only routes, and both families.
    #[test]
    fn the_kernel_s_words() {
        let view = View {
            devices: "Inter-|   Receive\n    lo:       0\n  eth0:     12\n".to_owned(),
            ipv4: "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.2\n        /32 host LOCAL\n"
                .to_owned(),
            ipv6: "fd000000000000000000000000000002 02 40 00 80     eth0\n".to_owned(),
        };
        assert!(view.has_interface("eth0") && !view.has_interface("eth"));
        let has = |text: &str| text.parse().is_ok_and(|address| view.has_address(address));
        assert!(has("10.0.0.2") && has("fd00::2"));
        assert!(!has("10.0.0.0") && !has("10.0.0.3") && !has("fd00::3"));
    }
}
