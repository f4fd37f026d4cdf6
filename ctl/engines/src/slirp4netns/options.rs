//! The command line of slirp4netns(1).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::getopt::{self, Known, Operands};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) target: Target,
    pub(super) interface: String,
    /// The interface gets its IPv4 address and its default route here; without it the caller gives them.
    pub(super) configure: bool,
    pub(super) exit_fd: Option<i32>,
    pub(super) ready_fd: Option<i32>,
    pub(super) mtu: u16,
    pub(super) net: Ipv4Net,
    pub(super) ipv6: bool,
    pub(super) api_socket: Option<PathBuf>,
    pub(super) host_loopback: bool,
    pub(super) dns: bool,
    pub(super) mac: Option<String>,
    pub(super) outbound: Vec<IpAddr>,
}

/// Whose network namespace gets the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A process's.
    Pid(i32),
    /// That of this file.
    Path(PathBuf),
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Run(Box<Options>),
    Help,
    Version,
    /// Frames by a descriptor, or by a socket of UML's: slirp4netns itself does that.
    Elsewhere,
}

/// Where the parts of a network are, behind its first address.
pub(super) const GATEWAY: u32 = 2;
pub(super) const NAME_SERVER: u32 = 3;
pub(super) const GUEST: u32 = 100;

/// The IPv6 network.
pub(super) const NET_V6: &str = "fd00::/64";
pub(super) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub(super) const NAME_SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
pub(super) const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);

const DEFAULT_NET: &str = "10.0.2.0/24";
const DEFAULT_MTU: u16 = 1500;
const MAX_MTU: u16 = 65521;

/// The longest path that a Unix socket's address has room for.
const LONGEST_PATH: usize = 107;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Configure,
    ExitFd,
    ReadyFd,
    Mtu,
    Cidr,
    NoHostLoopback,
    NetnsType,
    UsernsPath,
    ApiSocket,
    Ipv6,
    /// vswitchd confines itself anyway.
    Confined,
    Help,
    Version,
    Outbound,
    Outbound6,
    NoDns,
    Mac,
    TargetType,
}

const fn known(long: &'static str, letter: Option<char>, value: bool, key: Key) -> Known<Key> {
    Known { long, letter, value, key }
}

const KNOWN: [Known<Key>; 20] = [
    known("configure", Some('c'), false, Key::Configure),
    known("exit-fd", Some('e'), true, Key::ExitFd),
    known("ready-fd", Some('r'), true, Key::ReadyFd),
    known("mtu", Some('m'), true, Key::Mtu),
    known("cidr", None, true, Key::Cidr),
    known("disable-host-loopback", None, false, Key::NoHostLoopback),
    known("no-host-loopback", None, false, Key::NoHostLoopback),
    known("netns-type", None, true, Key::NetnsType),
    known("userns-path", None, true, Key::UsernsPath),
    known("api-socket", Some('a'), true, Key::ApiSocket),
    known("enable-ipv6", Some('6'), false, Key::Ipv6),
    known("enable-sandbox", None, false, Key::Confined),
    known("create-sandbox", None, false, Key::Confined),
    known("enable-seccomp", None, false, Key::Confined),
    known("help", Some('h'), false, Key::Help),
    known("version", Some('v'), false, Key::Version),
    known("outbound-addr", None, true, Key::Outbound),
    known("outbound-addr6", None, true, Key::Outbound6),
    known("disable-dns", None, false, Key::NoDns),
    known("macaddress", None, true, Key::Mac),
];

/// Reads a command line, without the program's name.
///
/// # Errors
/// One sentence, in the words that slirp4netns has for it.
pub(super) fn parse(arguments: &[OsString]) -> Result<Parsed, String> {
    let known: Vec<_> = KNOWN.into_iter().chain([known("target-type", None, true, Key::TargetType)]).collect();
    let said = getopt::read(arguments, &known, Operands::Anywhere)?;
    let mut options = Options {
        target: Target::Pid(0),
        interface: String::new(),
        configure: false,
        exit_fd: None,
        ready_fd: None,
        mtu: DEFAULT_MTU,
        net: net(DEFAULT_NET)?,
        ipv6: false,
        api_socket: None,
        host_loopback: true,
        dns: true,
        mac: None,
        outbound: Vec::new(),
    };
    let (mut netns_type, mut target_type) = ("pid".to_owned(), "netns".to_owned());
    for (key, value) in said.options {
        match key {
            Key::Help => return Ok(Parsed::Help),
            Key::Version => return Ok(Parsed::Version),
            Key::Configure => options.configure = true,
            Key::ExitFd => options.exit_fd = Some(descriptor("exit-fd", &value)?),
            Key::ReadyFd => options.ready_fd = Some(descriptor("ready-fd", &value)?),
            Key::Mtu => {
                let mtu = value.parse().ok().filter(|mtu| (1..=MAX_MTU).contains(mtu));
                options.mtu = mtu.ok_or("MTU must be a positive integer (< 65522)")?;
            }
            Key::Cidr => options.net = net(&value)?,
            Key::NoHostLoopback => options.host_loopback = false,
            Key::NetnsType => netns_type = value,
            // The namespace says whose it is.
            Key::UsernsPath if std::fs::exists(&value).unwrap_or_default() => {}
            Key::UsernsPath => return Err(format!("userns path doesn't exist: {value}")),
            Key::ApiSocket if value.len() > LONGEST_PATH => {
                return Err(format!("the specified API socket path is too long (>= {})", LONGEST_PATH + 1));
            }
            Key::ApiSocket => options.api_socket = Some(value.into()),
            Key::Ipv6 => options.ipv6 = true,
            Key::Confined => {}
            Key::Outbound => options.outbound.push(outbound(&value, IpAddr::is_ipv4)?),
            Key::Outbound6 => options.outbound.push(outbound(&value, IpAddr::is_ipv6)?),
            Key::NoDns => options.dns = false,
            Key::Mac => options.mac = Some(value),
            Key::TargetType => target_type = value,
        }
    }
    if options.mac.is_some() && !options.configure {
        return Err("--macaddr cannot be specified when --configure or -c is not specified".to_owned());
    }
    match target_type.as_str() {
        "netns" => {}
        "bess" => return Ok(Parsed::Elsewhere),
        _ => return Err("--target-type must be either \"netns\" or \"bess\"".to_owned()),
    }
    let mut operands = said.operands.into_iter();
    let target = operands.next().ok_or("a process, or the path of a network namespace, is missing")?;
    options.target = match netns_type.as_str() {
        "pid" => {
            let pid = target.parse().ok().filter(|pid| *pid > 0);
            Target::Pid(pid.ok_or("PID must be a positive integer")?)
        }
        "path" => Target::Path(target.into()),
        "tapfd" => return Ok(Parsed::Elsewhere),
        other => return Err(format!("unknown netns-type {other}: write pid, path or tapfd")),
    };
    options.interface = operands.next().ok_or("the interface's name is missing")?;
    Ok(Parsed::Run(Box::new(options)))
}

fn descriptor(name: &str, text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| format!("{name} must be a non-negative integer"))
}

fn net(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse().map_err(|_| format!("invalid CIDR: {text}"))?;
    if !(1..=25).contains(&net.prefix_len()) {
        return Err(format!("prefix length needs to be 1-25, but it is {}", net.prefix_len()));
    }
    if net.addr() != net.network() {
        return Err(format!("CIDR needs to be a network address like {}, not like {net}", net.trunc()));
    }
    Ok(net)
}

fn outbound(text: &str, family: fn(&IpAddr) -> bool) -> Result<IpAddr, String> {
    let address = text.parse().ok().filter(family);
    address.ok_or_else(|| {
        format!("outbound address {text:?} is no address of the host; write one that 'ip address' shows")
    })
}

impl Options {
    /// An address of the network by its place.
    pub(super) fn address(&self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.net.network().to_bits() | place)
    }
}

/// What `--help` shows. Callers look for the names of options.
pub(super) const HELP: &str = "\
Usage: slirp4netns [OPTION]... PID|PATH TAPNAME
User-mode networking for unprivileged network namespaces, by vswitch.

-c, --configure          bring up the interface
-e, --exit-fd=FD         specify the FD for terminating slirp4netns
-r, --ready-fd=FD        specify the FD to write to when the network is configured
-m, --mtu=MTU            specify MTU (default=1500, max=65521)
-6, --enable-ipv6        enable IPv6
-a, --api-socket=PATH    specify API socket path
--cidr=CIDR              specify network address CIDR (default=10.0.2.0/24)
--disable-host-loopback  prohibit connecting to 127.0.0.1:* on the host namespace
--netns-type=TYPE        specify network namespace type ([path|pid|tapfd], default=pid; tapfd is left to slirp4netns itself)
--userns-path=PATH       specify user namespace path; the network namespace says itself which it is
--enable-sandbox         accepted: what carries frames always confines itself
--enable-seccomp         accepted: what carries frames always filters its system calls
--outbound-addr=IPv4     sets outbound ipv4 address to bound to
--outbound-addr6=IPv6    sets outbound ipv6 address to bound to
--disable-dns            disables 10.0.2.3 (or configured internal ip) to host dns redirect
--macaddress=MAC         specify the MAC address of the interface (only valid with -c)
--target-type=TYPE       specify the target type ([netns|bess], default=netns; bess is left to slirp4netns itself)
-h, --help               show this help and exit
-v, --version            show version and exit
";

/// What `--version` shows; the first line in the form that callers take apart, and the level of features that scripts look for.
pub(super) const VERSION: &str = concat!(
    "slirp4netns version 1.2.0\n",
    "commit: vswitch-",
    env!("CARGO_PKG_VERSION"),
    "\nlibslirp: 4.7.0 (not used: vswitch carries the frames)\n",
    "SLIRP_CONFIG_VERSION_MAX: 4\n",
    "libseccomp: 2.5.4 (not used)\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Parsed, String> {
        parse(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn run(text: &str) -> Options {
        match read(text) {
            Ok(Parsed::Run(options)) => *options,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The command lines of podman, buildah and rootlesskit.
    #[test]
    fn callers() {
        let podman = run("--disable-host-loopback --mtu=65520 --enable-sandbox --enable-seccomp --cidr=10.1.0.0/16 \
             --enable-ipv6 --outbound-addr=192.0.2.1 --outbound-addr6=2001:db8::1 -c -e 3 -r 4 --api-socket /x/ID.net \
             --netns-type=path /run/netns/a tap0");
        assert_eq!((podman.exit_fd, podman.ready_fd, podman.mtu), (Some(3), Some(4), 65520));
        assert!(podman.configure && podman.ipv6 && podman.dns && !podman.host_loopback);
        assert_eq!(podman.outbound.len(), 2);
        assert_eq!(podman.address(GUEST).to_string(), "10.1.0.100");
        assert_eq!(podman.target, Target::Path("/run/netns/a".into()));
        let buildah = run("--mtu 65520 -r 3 -c 4711 tap0");
        assert_eq!(
            (buildah.target, buildah.interface.as_str(), buildah.host_loopback),
            (Target::Pid(4711), "tap0", true)
        );
        let rootlesskit = run("--mtu 1500 -r 3 --userns-path=/proc/self/ns/user --netns-type=path /state/netns tap0");
        assert!(!rootlesskit.configure);
        assert_eq!(run("-c 7 --cidr 10.0.135.128/25 tap11").address(GUEST).to_string(), "10.0.135.228");
        assert_eq!(read("--help"), Ok(Parsed::Help));
        assert_eq!(read("-v"), Ok(Parsed::Version));
        assert_eq!(read("--netns-type=tapfd 5"), Ok(Parsed::Elsewhere));
        assert_eq!(read("--target-type=bess /x.sock"), Ok(Parsed::Elsewhere));
    }

    /// What makes no sense is refused in slirp4netns' words, which its users look for.
    #[test]
    fn nonsense() {
        let long = format!("-a /{} 7 tap0", "x".repeat(107));
        for (text, why) in [
            ("", "is missing"),
            ("7", "is missing"),
            ("x tap0", "PID must be a positive integer"),
            ("-1 tap0", "invalid option -- '1'"),
            ("-e x 7 tap0", "exit-fd must be a non-negative integer"),
            ("-r -3 7 tap0", "ready-fd must be a non-negative integer"),
            ("-m 65522 7 tap0", "MTU must be a positive integer (< 65522)"),
            ("-m 0 7 tap0", "MTU must be a positive integer (< 65522)"),
            ("--cidr 24 7 tap0", "invalid CIDR"),
            ("--cidr 10.0.2.0 7 tap0", "invalid CIDR"),
            ("--cidr fd00::/64 7 tap0", "invalid CIDR"),
            (
                "--cidr 10.0.2.100/24 7 tap0",
                "CIDR needs to be a network address like 10.0.2.0/24, not like 10.0.2.100/24",
            ),
            ("--cidr 10.0.2.100/26 7 tap0", "prefix length needs to be 1-25"),
            ("--netns-type=x 7 tap0", "unknown netns-type x"),
            ("--target-type=x 7 tap0", "--target-type must be either"),
            ("--macaddress 0e:d4:18:d9:38:fb 7 tap0", "--macaddr cannot be specified"),
            ("--outbound-addr=fd00::1 7 tap0", "outbound address \"fd00::1\""),
            ("--outbound-addr6=10.0.0.1 7 tap0", "outbound address \"10.0.0.1\""),
            ("--userns-path=/nowhere/at/all 7 tap0", "userns path doesn't exist: /nowhere/at/all"),
            (&long, "path is too long (>= 108)"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
    }

    /// What callers look for in the texts.
    #[test]
    fn texts() {
        for option in KNOWN.iter().filter(|one| !matches!(one.long, "no-host-loopback" | "create-sandbox")) {
            assert!(HELP.contains(&format!("--{}", option.long)), "{}", option.long);
        }
        assert!(VERSION.starts_with("slirp4netns version 1.") && VERSION.contains("SLIRP_CONFIG_VERSION_MAX: 4\n"));
    }
}
