//! The options that pasta(1) has, and what `--help` and `--version` show of them.

use super::options::Key;
use super::ports::{Direction, Listener, Protocol};
use crate::getopt::Known;

const fn known(long: &'static str, letter: Option<char>, value: bool, key: Key) -> Known<Key> {
    Known { long, letter, value, key }
}

const fn ports(long: &'static str, letter: char, protocol: Protocol, listener: Listener) -> Known<Key> {
    known(long, Some(letter), true, Key::Ports(Direction { protocol, listener }))
}

/// One that pasta has, and what to do instead.
const fn not_built(long: &'static str, letter: Option<char>, value: bool, instead: &'static str) -> Known<Key> {
    known(long, letter, value, Key::NotBuilt(instead))
}

pub(super) const KNOWN: [Known<Key>; 70] = [
    known("help", Some('h'), false, Key::Help),
    known("version", None, false, Key::Version),
    known("foreground", Some('f'), false, Key::Foreground),
    known("debug", Some('d'), false, Key::Said),
    known("trace", None, false, Key::Said),
    known("quiet", Some('q'), false, Key::Said),
    known("stderr", Some('e'), false, Key::Said),
    known("log-size", None, true, Key::Said),
    known("log-file", Some('l'), true, Key::LogFile),
    known("pid", Some('P'), true, Key::Pid),
    known("ns-ifname", Some('I'), true, Key::NsIfname),
    known("ns-mac-addr", None, true, Key::NsMac),
    known("interface", Some('i'), true, Key::Template),
    known("mtu", Some('m'), true, Key::Mtu),
    known("address", Some('a'), true, Key::Address),
    known("netmask", Some('n'), true, Key::Netmask),
    known("gateway", Some('g'), true, Key::Gateway),
    known("outbound", Some('o'), true, Key::Outbound),
    known("dns", Some('D'), true, Key::Dns),
    known("search", Some('S'), true, Key::Told),
    known("hostname", Some('H'), true, Key::Told),
    known("fqdn", None, true, Key::Told),
    known("dhcp-dns", None, false, Key::Told),
    known("no-dhcp-dns", None, false, Key::Told),
    known("dhcp-search", None, false, Key::Told),
    known("no-dhcp-search", None, false, Key::Told),
    known("no-dhcp", None, false, Key::NoServer),
    known("no-dhcpv6", None, false, Key::NoServer),
    known("no-ra", None, false, Key::NoServer),
    known("dns-forward", None, true, Key::DnsForward),
    known("dns-host", None, true, Key::DnsHost),
    known("map-host-loopback", None, true, Key::MapLoopback),
    known("map-guest-addr", None, true, Key::MapGuest),
    known("no-map-gw", None, false, Key::NoMapGw),
    known("ipv4-only", Some('4'), false, Key::OnlyV4),
    known("ipv6-only", Some('6'), false, Key::OnlyV6),
    ports("tcp-ports", 't', Protocol::Tcp, Listener::Host),
    ports("udp-ports", 'u', Protocol::Udp, Listener::Host),
    ports("tcp-ns", 'T', Protocol::Tcp, Listener::Namespace),
    ports("udp-ns", 'U', Protocol::Udp, Listener::Namespace),
    known("userns", None, true, Key::Userns),
    known("netns", None, true, Key::Netns),
    known("netns-only", None, false, Key::NetnsOnly),
    known("no-netns-quit", None, false, Key::NoNetnsQuit),
    known("config-net", None, false, Key::ConfigNet),
    known("no-copy-routes", None, false, Key::NoCopyRoutes),
    known("no-copy-addrs", None, false, Key::NoServer),
    known("vswitch-network", None, true, Key::Network),
    known("vswitch-name", None, true, Key::Name),
    not_built(
        "pcap",
        Some('p'),
        true,
        "--pcap is not built; use 'vswitchctl capture' on a network of vswitch's (--vswitch-network)",
    ),
    not_built("runas", None, true, "--runas is not built: vswitchd gives up its privileges by itself; leave it out"),
    not_built(
        "mac-addr",
        Some('M'),
        true,
        "--mac-addr is not built: the gateway's MAC address is vswitch's own; leave it out",
    ),
    not_built("outbound-if4", None, true, OUTBOUND_IF),
    not_built("outbound-if6", None, true, OUTBOUND_IF),
    not_built("no-tcp", None, false, PROTOCOLS),
    not_built("no-udp", None, false, PROTOCOLS),
    not_built("no-icmp", None, false, PROTOCOLS),
    not_built("no-ndp", None, false, PROTOCOLS),
    not_built("freebind", None, false, "--freebind is not built; publish at addresses that the host has"),
    not_built(
        "stats",
        None,
        true,
        "--stats is not built; use 'vswitchctl stats' on a network of vswitch's (--vswitch-network)",
    ),
    not_built("host-lo-to-ns-lo", None, false, HOST_LOOPBACK),
    not_built("no-splice", None, false, "--no-splice is not built; leave it out: nothing is spliced"),
    not_built("chroot", None, true, PASST),
    not_built("fd", Some('F'), true, PASST),
    not_built("socket", Some('s'), true, PASST),
    not_built("one-off", Some('1'), false, PASST),
    not_built("vhost-user", None, false, PASST),
    not_built("socket-path", None, true, PASST),
    not_built("repair-path", None, true, PASST),
    not_built("migrate-exit", None, false, PASST),
];

const OUTBOUND_IF: &str = "sockets are not bound to interfaces; use --outbound with an address of the interface";
const PROTOCOLS: &str = "no protocol can be switched off; leave the option out";
const HOST_LOOPBACK: &str =
    "--host-lo-to-ns-lo is not built; let what is published listen at all addresses of the namespace";
const PASST: &str = "this is an option of passt's, for virtual machines; leave it out";

/// What `--help` shows. Callers look for the names of options.
pub(super) const HELP: &str = "\
Usage: pasta [OPTION]... [COMMAND] [ARGS]...
       pasta [OPTION]... PID
       pasta [OPTION]... --netns [PATH|NAME]

Without PID or --netns, run the given command or a default shell in a new network and user namespace, and connect it.
By vswitch.

  -f, --foreground         don't run in background
  -l, --log-file PATH      what goes wrong is written there
  -P, --pid FILE           write own PID to the given file
  -I, --ns-ifname NAME     namespace interface name [default: as the host's]
      --ns-mac-addr ADDR   MAC address of the namespace's interface
  -i, --interface NAME     interface of the host for addresses and routes [default: that of the default route]
  -m, --mtu MTU            [default: 65520; 0: 1500]
  -a, --address ADDR       IPv4 or IPv6 address, with or without /PREFIX [default: the host's]
  -n, --netmask MASK       IPv4 mask, dot-decimal or bits
  -g, --gateway ADDR       IPv4 or IPv6 gateway [default: the host's]
  -o, --outbound ADDR      address of the host that what leaves has
      --no-copy-routes     no routes but the default one
      --dns-forward ADDR   forward DNS queries sent to ADDR
      --dns-host ADDR      who is asked then [default: the host's name servers]
      --map-host-loopback ADDR  ADDR leads to the host's loopback [default: the gateway's address]
      --map-guest-addr ADDR     ADDR leads to the host's address
      --no-map-gw          don't map gateway address to host
  -4, --ipv4-only
  -6, --ipv6-only
  -t, --tcp-ports SPEC     TCP ports of the host that lead to the namespace
  -u, --udp-ports SPEC     UDP ports
  -T, --tcp-ns SPEC        TCP ports of the namespace that lead to the host's loopback
  -U, --udp-ns SPEC        UDP ports
    SPEC: none, auto, or [ADDR/]PORTS[:PORTS],... with ranges FIRST-LAST, and ~PORTS left out
      --userns NSPATH      accepted: the network namespace says itself which it is
      --netns PATH|NAME    target network namespace
      --netns-only         accepted, as --userns
      --no-netns-quit      don't quit when the namespace's file is deleted
      --config-net         accepted: the interface is configured in any case
      --vswitch-network NET     join a network of vswitch's, in the place of all that the host has
      --vswitch-name NAME       by which others on that network find this namespace
      -d, -q, -e, --trace, --log-size, -D, -S, --no-dhcp, --no-dhcpv6, --no-ra, and what is said to DHCP clients:
                           accepted, and nothing comes of them
  -h, --help
      --version
";

/// What `--version` shows.
pub(super) const VERSION: &str = concat!("pasta by vswitch ", env!("CARGO_PKG_VERSION"), "\n");
