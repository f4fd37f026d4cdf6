//! Files of the host that vswitchd reads, and files that containers get.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::agent::files::MARK;
use crate::dns;
use crate::ipam::host::{self, HostNetworks, Resolver};
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

/// /etc/hosts of a container: the fixed lines that Docker writes, then `lines`.
pub(super) fn etc_hosts<'a>(lines: impl Iterator<Item = (IpAddr, &'a str)>) -> String {
    lines.fold(FIXED_HOSTS.to_owned(), |text, (address, names)| format!("{text}{address}\t{names}\n"))
}

/// What a container wants of its resolver: what was asked for, else what the operator set, else the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolving {
    /// Nameservers that somebody named; none: the host's.
    pub(super) given: Vec<IpAddr>,
    /// Gateways that answer instead of the name server inside.
    gateways: Vec<IpAddr>,
    host: Vec<Resolver>,
    search: Vec<String>,
    options: Vec<String>,
    /// The options were named by somebody.
    own_options: bool,
}

impl Resolving {
    pub(super) fn new(spec: &ContainerSpec, defaults: &DnsDefaults, host_file: &str) -> Resolving {
        let first = |own: &[String], set: &[String]| match (own, set) {
            ([], []) => None,
            ([], named) | (named, _) => Some(named.to_vec()),
        };
        let options = first(&spec.dns_options, &defaults.options);
        Resolving {
            given: if spec.dns.is_empty() { defaults.servers.clone() } else { spec.dns.clone() },
            gateways: Vec::new(),
            host: host::resolvers(host_file).filter(|server| !server.address.is_unspecified()).collect(),
            search: first(&spec.dns_search, &defaults.search).unwrap_or_else(|| host::search_domains(host_file)),
            own_options: options.is_some(),
            options: options.unwrap_or_else(|| host::options(host_file)),
        }
    }

    /// As it is for a container that asks at its networks' gateways.
    pub(super) fn at(self, gateways: Vec<IpAddr>) -> Resolving {
        Resolving { gateways, ..self }
    }

    /// Nobody is named but resolvers that only the host reaches: on its loopback, or on one of its links.
    pub(super) fn only_the_hosts_own(&self) -> bool {
        self.given.is_empty() && !self.host.is_empty() && self.host.iter().all(Resolver::is_the_hosts_own)
    }

    /// Whoever asks for `ndots` above 0 wants the search domains tried for names without a dot.
    pub(super) fn keeps_single_labels(&self) -> bool {
        let value = |option: &String| option.strip_prefix(NDOTS)?.parse::<u32>().ok();
        self.own_options && self.options.iter().filter_map(value).next_back().is_some_and(|dots| dots > 0)
    }

    /// /etc/resolv.conf. `served`: the name server of vswitch answers in the container. Otherwise the host's resolvers
    /// are named without those that only the host reaches.
    pub(super) fn text(&self, served: bool) -> String {
        let reachable =
            self.host.iter().filter(|server| !server.is_the_hosts_own()).map(|server| server.address).collect();
        let knows_names = served || !self.gateways.is_empty();
        let (servers, mut options) = match (served, self.given.is_empty()) {
            _ if !self.gateways.is_empty() => (self.gateways.clone(), self.options.clone()),
            (true, _) => (vec![dns::ADDRESS.into()], self.options.clone()),
            (false, false) => (self.given.clone(), self.options.clone()),
            (false, true) => (reachable, self.options.clone()),
        };
        // As Docker: names of containers have no dots, and are asked for as they are.
        if knows_names && !(self.own_options && options.iter().any(|option| option.starts_with(NDOTS))) {
            options.retain(|option| !option.starts_with(NDOTS));
            options.push(format!("{NDOTS}0"));
        }
        let mut text = format!("{MARK}; change it with --dns, --dns-search and --dns-option.\n");
        for server in servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        // A lone dot is Docker's way to say: no search domains.
        if !self.search.is_empty() && self.search != ["."] {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        if !options.is_empty() {
            text.push_str(&format!("options {}\n", options.join(" ")));
        }
        text
    }
}

/// Of resolv.conf(5).
const NDOTS: &str = "ndots:";

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

    fn text(change: impl FnOnce(&mut ContainerCreate), defaults: &DnsDefaults, host: &str, served: bool) -> String {
        let text = Resolving::new(&spec(change), defaults, host).text(served);
        text.split_once('\n').unwrap().1.replace('\n', "|")
    }

    const HOST: &str = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example.org\noptions edns0 ndots:3\n";

    /// Without our server: the host's nameservers but those on loopback, and what was asked for instead of each.
    #[test]
    fn without_a_server() {
        let none = DnsDefaults::default();
        assert_eq!(text(|_| (), &none, HOST, false), "nameserver 192.0.2.1|search example.org|options edns0 ndots:3|");
        let changed = |wire: &mut ContainerCreate| {
            wire.dns = vec!["9.9.9.9".into()];
            wire.dns_search = vec![".".into()];
            wire.dns_options = vec!["rotate".into()];
        };
        assert_eq!(text(changed, &none, HOST, false), "nameserver 9.9.9.9|options rotate|");
        assert_eq!(text(|_| (), &none, "", false), "");
    }

    /// With our server: nobody else is named, and names without a dot are asked for as they are unless the user says so.
    #[test]
    fn with_a_server() {
        let none = DnsDefaults::default();
        assert_eq!(
            text(|wire| wire.dns = vec!["9.9.9.9".into()], &none, HOST, true),
            "nameserver 127.0.0.11|search example.org|options edns0 ndots:0|"
        );
        let own = |wire: &mut ContainerCreate| wire.dns_options = vec!["ndots:2".into()];
        assert_eq!(text(own, &none, HOST, true), "nameserver 127.0.0.11|search example.org|options ndots:2|");
        assert!(Resolving::new(&spec(own), &none, HOST).keeps_single_labels());
        assert!(!Resolving::new(&spec(|_| ()), &none, HOST).keeps_single_labels());
    }

    /// What the operator set stands in for the host's, and gives way to the container's own.
    #[test]
    fn defaults_of_the_daemon() {
        let (servers, search) = (vec!["9.9.9.9".parse().unwrap()], vec!["set.example".to_owned()]);
        let set = DnsDefaults { servers, search, options: vec!["ndots:2".to_owned()] };
        assert_eq!(text(|_| (), &set, HOST, false), "nameserver 9.9.9.9|search set.example|options ndots:2|");
        let own = |wire: &mut ContainerCreate| wire.dns = vec!["8.8.8.8".into()];
        assert_eq!(text(own, &set, HOST, false), "nameserver 8.8.8.8|search set.example|options ndots:2|");
        assert_eq!(text(own, &set, HOST, true), "nameserver 127.0.0.11|search set.example|options ndots:2|");
    }

    /// A host whose only resolvers are on its loopback or on a link of its own is told apart.
    #[test]
    fn only_the_hosts_own() {
        let of = |host: &str| Resolving::new(&spec(|_| ()), &DnsDefaults::default(), host).only_the_hosts_own();
        assert!(of("nameserver 127.0.0.53\nnameserver ::1\n") && of("nameserver fe80::1%wlan0\n"));
        assert!(!of(HOST) && !of(""));
    }

    /// The fixed lines come first.
    #[test]
    fn hosts() {
        let lines = [("192.0.2.7".parse().unwrap(), "db"), ("172.17.0.2".parse().unwrap(), "abc web")];
        let text = etc_hosts(lines.into_iter());
        assert!(text.starts_with("127.0.0.1\tlocalhost\n") && text.ends_with("192.0.2.7\tdb\n172.17.0.2\tabc web\n"));
    }
}
