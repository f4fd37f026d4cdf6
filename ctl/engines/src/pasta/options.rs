//! The command line of pasta(1).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::ports::{Direction, Ports};
use super::text::KNOWN;
use crate::getopt::{self, Operands};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) target: Target,
    /// The user namespace to enter where something is done in the network namespace.
    pub(super) userns: Option<PathBuf>,
    pub(super) foreground: bool,
    pub(super) log_file: Option<PathBuf>,
    pub(super) pid_file: Option<PathBuf>,
    /// The interface inside.
    pub(super) ns_ifname: Option<String>,
    pub(super) ns_mac: Option<String>,
    /// The host's interface whose addresses and routes are taken.
    pub(super) template: Option<String>,
    pub(super) mtu: u32,
    pub(super) ipv4: Family<Ipv4Addr>,
    pub(super) ipv6: Family<Ipv6Addr>,
    /// The gateway stands for the host's loopback, where no other address does.
    pub(super) map_gw: bool,
    pub(super) dns_hosts: Vec<IpAddr>,
    /// What runs on when the namespace's file is gone.
    pub(super) outlives_netns: bool,
    pub(super) copies_routes: bool,
    pub(super) ports: Ports,
    /// A network of the user's vswitchd, in the place of what the host has.
    pub(super) network: Option<String>,
    /// What others on it find it by.
    pub(super) name: Option<String>,
}

/// Whose network namespace it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Pid(i32),
    Path(PathBuf),
    /// One of its own, for this command; without words for a shell.
    Command(Vec<String>),
}

/// What is said of the addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family<A> {
    /// It is not to be.
    pub(super) off: bool,
    pub(super) address: Option<A>,
    pub(super) prefix: Option<u8>,
    pub(super) gateway: Option<A>,
    pub(super) outbound: Option<A>,
    pub(super) dns_forward: Vec<A>,
    /// Stands for the host's loopback; `Some(None)`: nothing does.
    pub(super) map_loopback: Option<Option<A>>,
    /// Stands for the host's address.
    pub(super) map_guest: Option<A>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Family {
            off: false,
            address: None,
            prefix: None,
            gateway: None,
            outbound: None,
            dns_forward: Vec::new(),
            map_loopback: None,
            map_guest: None,
        }
    }
}

/// What a command line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Run(Box<Options>),
    Help,
    Version,
}

/// 64 KiB less what an Ethernet header takes, rounded down to four bytes.
const DEFAULT_MTU: u32 = 65_520;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Help,
    Version,
    Foreground,
    /// Says more or less, or to whom; there is nothing to say.
    Said,
    LogFile,
    Pid,
    NsIfname,
    NsMac,
    Template,
    Mtu,
    Address,
    Netmask,
    Gateway,
    Outbound,
    /// Told by DHCP, which nobody needs whose interface is configured.
    Dns,
    /// As `Dns`.
    Told,
    /// Of servers that there are none of.
    NoServer,
    DnsForward,
    DnsHost,
    MapLoopback,
    MapGuest,
    NoMapGw,
    OnlyV4,
    OnlyV6,
    Ports(Direction),
    Userns,
    Netns,
    NetnsOnly,
    NoNetnsQuit,
    ConfigNet,
    NoCopyRoutes,
    Network,
    Name,
    /// What pasta has and this has not.
    NotBuilt(&'static str),
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// One sentence, in pasta's words where it has them.
pub(super) fn parse(arguments: &[OsString]) -> Result<Parsed, String> {
    let said = getopt::read(arguments, &KNOWN, Operands::Last)?;
    let mut options = Options {
        target: Target::Command(Vec::new()),
        userns: None,
        foreground: false,
        log_file: None,
        pid_file: None,
        ns_ifname: None,
        ns_mac: None,
        template: None,
        mtu: DEFAULT_MTU,
        ipv4: Family::default(),
        ipv6: Family::default(),
        map_gw: true,
        dns_hosts: Vec::new(),
        outlives_netns: false,
        copies_routes: true,
        ports: Ports::default(),
        network: None,
        name: None,
    };
    let mut netns = None;
    for (key, value) in said.options {
        match key {
            Key::Help => return Ok(Parsed::Help),
            Key::Version => return Ok(Parsed::Version),
            Key::Foreground => options.foreground = true,
            Key::Said | Key::Told | Key::NoServer | Key::NetnsOnly | Key::ConfigNet => {}
            Key::LogFile => options.log_file = Some(value.into()),
            Key::Pid => options.pid_file = Some(value.into()),
            Key::NsIfname => options.ns_ifname = Some(interface(value)?),
            Key::NsMac => options.ns_mac = Some(value),
            Key::Template => options.template = Some(interface(value)?),
            Key::Mtu => options.mtu = mtu(&value)?,
            Key::Address => options.address(&value)?,
            Key::Netmask => options.ipv4.prefix = Some(netmask(&value)?),
            Key::Gateway => match address("gateway address", &value)? {
                IpAddr::V4(address) => options.ipv4.gateway = Some(address),
                IpAddr::V6(address) => options.ipv6.gateway = Some(address),
            },
            Key::Outbound => match address("outbound address", &value)? {
                IpAddr::V4(address) => options.ipv4.outbound = Some(address),
                IpAddr::V6(address) => options.ipv6.outbound = Some(address),
            },
            Key::Dns if value.is_empty() || value == "none" => {}
            Key::Dns => drop(address("DNS address", &value)?),
            Key::DnsForward if value == "none" => {}
            Key::DnsForward => match address("DNS forwarding address", &value)? {
                IpAddr::V4(address) => options.ipv4.dns_forward.push(address),
                IpAddr::V6(address) => options.ipv6.dns_forward.push(address),
            },
            Key::DnsHost => options.dns_hosts.push(address("DNS host address", &value)?),
            Key::MapLoopback if value == "none" => {
                (options.ipv4.map_loopback, options.ipv6.map_loopback) = (Some(None), Some(None));
            }
            Key::MapLoopback => match address("address to remap", &value)? {
                IpAddr::V4(address) => options.ipv4.map_loopback = Some(Some(address)),
                IpAddr::V6(address) => options.ipv6.map_loopback = Some(Some(address)),
            },
            Key::MapGuest if value == "none" => (options.ipv4.map_guest, options.ipv6.map_guest) = (None, None),
            Key::MapGuest => match address("address to remap", &value)? {
                IpAddr::V4(address) => options.ipv4.map_guest = Some(address),
                IpAddr::V6(address) => options.ipv6.map_guest = Some(address),
            },
            Key::NoMapGw => options.map_gw = false,
            Key::OnlyV4 => options.ipv6.off = true,
            Key::OnlyV6 => options.ipv4.off = true,
            Key::Ports(direction) => options.ports.take(direction, &value)?,
            Key::Userns => options.userns = Some(value.into()),
            Key::Netns => netns = Some(value),
            Key::NoNetnsQuit => options.outlives_netns = true,
            Key::NoCopyRoutes => options.copies_routes = false,
            Key::Network => options.network = Some(value),
            Key::Name => options.name = Some(value),
            Key::NotBuilt(instead) => return Err(instead.to_owned()),
        }
    }
    if options.ipv4.off && options.ipv6.off {
        return Err("options ipv4-only and ipv6-only are mutually exclusive".to_owned());
    }
    if let Some(path) = options.userns.as_ref().filter(|path| !path.exists()) {
        return Err(format!("couldn't open user namespace {}", path.display()));
    }
    options.target = target(netns, options.userns.is_some(), said.operands)?;
    Ok(Parsed::Run(Box::new(options)))
}

fn target(netns: Option<String>, userns: bool, operands: Vec<String>) -> Result<Target, String> {
    if let Some(netns) = netns {
        if !operands.is_empty() {
            return Err("both --netns and PID or command given; leave one of them out".to_owned());
        }
        return Ok(Target::Path(if netns.contains('/') { netns.into() } else { format!("/run/netns/{netns}").into() }));
    }
    if let [only] = operands.as_slice()
        && only.bytes().all(|byte| byte.is_ascii_digit())
        && !only.is_empty()
    {
        let pid = only.parse().ok().filter(|pid| *pid > 0);
        return pid.map(Target::Pid).ok_or_else(|| format!("invalid PID {only}"));
    }
    if userns {
        return Err("--userns requires --netns or PID".to_owned());
    }
    Ok(Target::Command(operands))
}

impl Options {
    fn address(&mut self, text: &str) -> Result<(), String> {
        let (bare, prefix) = text.split_once('/').map_or((text, None), |(bare, prefix)| (bare, Some(prefix)));
        let invalid = || format!("invalid address: {text}");
        let prefix = prefix.map(|prefix| prefix.parse::<u8>().map_err(|_| invalid())).transpose()?;
        match bare.parse().map_err(|_| invalid())? {
            IpAddr::V4(address)
                if address.octets()[0] == 0
                    || address.is_loopback()
                    || address.is_multicast()
                    || address.is_broadcast()
                    || prefix.is_some_and(|prefix| prefix > 32) =>
            {
                return Err(invalid());
            }
            IpAddr::V6(address)
                if address.is_unspecified()
                    || address.is_loopback()
                    || address.is_multicast()
                    || address.to_ipv4_mapped().is_some()
                    || prefix.is_some_and(|prefix| prefix > 128) =>
            {
                return Err(invalid());
            }
            IpAddr::V4(address) => {
                self.ipv4.address = Some(address);
                self.ipv4.prefix = prefix.or(self.ipv4.prefix);
            }
            IpAddr::V6(address) => {
                self.ipv6.address = Some(address);
                self.ipv6.prefix = prefix.or(self.ipv6.prefix);
            }
        }
        Ok(())
    }
}

fn address(what: &str, text: &str) -> Result<IpAddr, String> {
    let address = text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified() && !address.is_multicast());
    address.ok_or_else(|| format!("invalid {what}: {text}"))
}

/// Linux takes at most 15 bytes.
fn interface(name: String) -> Result<String, String> {
    match (1..=15).contains(&name.len()) {
        true => Ok(name),
        false => Err(format!("invalid interface name: {name}")),
    }
}

fn mtu(text: &str) -> Result<u32, String> {
    let mtu = text.parse().map_err(|_| format!("invalid MTU: {text}"))?;
    match mtu {
        0 => Ok(1500),
        68..=DEFAULT_MTU => Ok(mtu),
        _ => Err(format!("invalid MTU: {text}; use 68 to {DEFAULT_MTU}")),
    }
}

/// Bits, or dot-decimal.
fn netmask(text: &str) -> Result<u8, String> {
    let dotted = || ipnet::ipv4_mask_to_prefix(text.parse().ok()?).ok();
    let bits = text.parse().ok().filter(|bits| (1..=32).contains(bits));
    bits.or_else(dotted).ok_or_else(|| format!("invalid netmask: {text}"))
}

#[cfg(test)]
mod tests;
