//! Files of the host that vswitchd reads, and files that containers get.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::ipam::host::{self, HostNetworks};
use crate::model::{ContainerSpec, DnsDefaults};

/// Where the host's files are. Read whenever they matter, so that changes are seen.
#[derive(Debug, Clone)]
pub struct HostFiles {
    /// /proc/net/route.
    pub route: PathBuf,
    /// /proc/net/ipv6_route.
    pub ipv6_route: PathBuf,
    /// /etc/resolv.conf.
    pub resolv_conf: PathBuf,
}

impl Default for HostFiles {
    fn default() -> Self {
        HostFiles {
            route: "/proc/net/route".into(),
            ipv6_route: "/proc/net/ipv6_route".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

impl HostFiles {
    /// What the host occupies; an unreadable file occupies nothing.
    #[must_use]
    pub fn networks(&self) -> HostNetworks {
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        HostNetworks::parse(&read(&self.route), &read(&self.ipv6_route), &self.resolv_conf())
    }

    /// The host's resolv.conf; empty if there is none.
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        std::fs::read_to_string(&self.resolv_conf).unwrap_or_default()
    }
}

/// /etc/hosts of a container: the fixed lines that Docker writes, `--add-host`, and its own addresses.
pub(super) fn etc_hosts(spec: &ContainerSpec, names: &str, addresses: impl Iterator<Item = IpAddr>) -> String {
    let mut text = String::from(FIXED_HOSTS);
    for extra in &spec.extra_hosts {
        text.push_str(&format!("{}\t{}\n", extra.address, extra.name));
    }
    for address in addresses {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

/// /etc/resolv.conf of a container: what was asked for, else what the operator set, else the host's without loopback servers, which are of no use in
/// another namespace.
pub(super) fn etc_resolv_conf(spec: &ContainerSpec, defaults: &DnsDefaults, host_file: &str) -> String {
    let of_host = || host::nameservers(host_file).filter(|server| !server.is_loopback() && !server.is_unspecified());
    let servers: Vec<IpAddr> = match (&spec.dns[..], &defaults.servers[..]) {
        ([], []) => of_host().collect(),
        ([], set) | (set, _) => set.to_vec(),
    };
    let search = match (&spec.dns_search[..], &defaults.search[..]) {
        ([], []) => host::search_domains(host_file),
        ([], set) | (set, _) => set.to_vec(),
    };
    let mut text = String::from("# Made by vswitch; change it with --dns and --dns-search.\n");
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    // A lone dot is Docker's way to say: no search domains.
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !defaults.options.is_empty() {
        text.push_str(&format!("options {}\n", defaults.options.join(" ")));
    }
    text
}

const FIXED_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

#[cfg(test)]
mod tests {
    use vswitch_api::container::ContainerCreate;

    use super::*;
    use crate::model::parse_container;

    fn spec(change: impl FnOnce(&mut ContainerCreate)) -> ContainerSpec {
        let mut wire = ContainerCreate { command: vec!["true".into()], ..ContainerCreate::default() };
        change(&mut wire);
        parse_container(wire).unwrap().spec
    }

    /// Loopback nameservers of the host are left out, others and the search line are kept, and --dns replaces them.
    #[test]
    fn resolv_conf() {
        let host = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example.org\noptions edns0\n";
        let none = DnsDefaults::default();
        let text = etc_resolv_conf(&spec(|_| ()), &none, host);
        assert!(text.ends_with("\nnameserver 192.0.2.1\nsearch example.org\n"), "{text}");
        let text = etc_resolv_conf(&spec(|wire| wire.dns = vec!["9.9.9.9".into()]), &none, host);
        assert!(text.contains("nameserver 9.9.9.9\n") && !text.contains("192.0.2.1"), "{text}");
        let text = etc_resolv_conf(&spec(|wire| wire.dns_search = vec![".".into()]), &none, host);
        assert!(!text.contains("\nsearch"), "{text}");
    }

    /// What the operator set stands in for the host's, and gives way to the container's own.
    #[test]
    fn defaults_of_the_daemon() {
        let host = "nameserver 192.0.2.1\nsearch example.org\n";
        let (servers, search) = (vec!["9.9.9.9".parse().unwrap()], vec!["set.example".to_owned()]);
        let set = DnsDefaults { servers, search, options: vec!["ndots:2".to_owned()] };
        let text = etc_resolv_conf(&spec(|_| ()), &set, host);
        assert!(text.ends_with("\nnameserver 9.9.9.9\nsearch set.example\noptions ndots:2\n"), "{text}");
        let text = etc_resolv_conf(&spec(|wire| wire.dns = vec!["8.8.8.8".into()]), &set, host);
        assert!(text.contains("nameserver 8.8.8.8\nsearch set.example\n"), "{text}");
    }

    /// Own addresses come with own names, after the extra ones.
    #[test]
    fn hosts() {
        let spec = spec(|wire| wire.extra_hosts = vec!["db:192.0.2.7".into()]);
        let text = etc_hosts(&spec, "abc web", ["172.17.0.2".parse().unwrap()].into_iter());
        assert!(text.ends_with("192.0.2.7\tdb\n172.17.0.2\tabc web\n"), "{text}");
    }
}
