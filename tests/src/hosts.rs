//! Several hosts on one underlay.
//!
//! ```text
//!  containers ── vswitchd     containers ── vswitchd     vx0 ── br0 ── station
//!                  │ u0 .1                    │ u0 .2      │  u0 .3
//!                  └──────────── u1 ──────────┴─── u2 ─────┘ u3        10.77.0.0/24, fd77::/64
//!                         "underlay": a bridge, or a relay that loses packets
//! ```
//! Each host is a network namespace with an interface on the underlay. On a host runs a vswitchd, or nothing but the
//! kernel's own vxlan device and bridge. As with [`crate::Site`], root makes the namespaces directly and an ordinary user
//! inside a user namespace of its own.

use crate::site::Namespace;
use crate::{Background, Container, Vswitch, eventually, sh};

/// Some hosts and what joins them.
#[derive(Debug)]
pub struct Hosts {
    /// Holds the bridge.
    pub underlay: Namespace,
    hosts: Vec<Namespace>,
}

/// The kernel's end of an overlay, on one of the hosts.
#[derive(Debug)]
pub struct KernelEnd {
    /// A namespace behind the bridge, with an interface `eth0`.
    pub station: Namespace,
}

/// Packets that are written down until this is dropped.
#[derive(Debug)]
pub struct Capture {
    _capture: Background,
    path: String,
    filter: String,
}

impl Capture {
    /// What tcpdump says of them.
    ///
    /// # Panics
    /// When it hangs.
    #[must_use]
    #[track_caller]
    pub fn output(&self) -> String {
        // Read outside the namespace: where it seems to be root and is not, tcpdump fails to give that up.
        let said = sh(&format!("tcpdump -n -v -e -r {} {}", self.path, self.filter));
        said.stdout + &said.stderr
    }
}

impl Hosts {
    /// `count` hosts, without daemons.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn new(count: usize) -> Hosts {
        let underlay = Namespace::new(None);
        underlay.ok("ip link add br0 type bridge && ip link set br0 up");
        let mut hosts = Hosts { underlay, hosts: Vec::new() };
        for number in 1..=count {
            let host = Namespace::new(Some(&hosts.underlay));
            hosts.hosts.push(host);
            hosts.plug(number);
        }
        hosts
    }

    /// Two hosts, each with a running vswitchd, and an overlay network `n` with these options over both.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn pair(options: &str) -> (Hosts, Vswitch, Vswitch) {
        let hosts = Hosts::new(2);
        let (one, two) = (hosts.daemon(1), hosts.daemon(2));
        overlay(&[(1, &one), (2, &two)], "n", options);
        (hosts, one, two)
    }

    /// Host `number`, from 1.
    #[must_use]
    pub fn host(&self, number: usize) -> &Namespace {
        &self.hosts[number - 1]
    }

    /// Joins a host to the underlay.
    ///
    /// # Panics
    /// When it is joined already.
    #[track_caller]
    pub fn plug(&self, number: usize) {
        let host = self.host(number);
        self.underlay.ok(&format!(
            "ip link add u{number} type veth peer name u0 netns {} && ip link set u{number} master br0 up",
            host.pid()
        ));
        host.ok(&format!(
            "ip addr add 10.77.0.{number}/24 dev u0; ip addr add fd77::{number}/64 dev u0 nodad; ip link set u0 up"
        ));
    }

    /// Cuts a host off.
    ///
    /// # Panics
    /// When it is not joined.
    #[track_caller]
    pub fn unplug(&self, number: usize) {
        self.underlay.ok(&format!("ip link set u{number} down"));
    }

    /// Joins a host again that was cut off.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn replug(&self, number: usize) {
        self.underlay.ok(&format!("ip link set u{number} up"));
    }

    /// From now on, hosts 1 and 2 are joined by a relay that loses `percent` of all packets, and says so.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn lose(&self, percent: u32) -> Background {
        // Trains of packets would be lost as one.
        for number in [1, 2] {
            self.host(number).ok("ethtool -K u0 tso off gso off tx-udp-segmentation off");
            self.underlay.ok(&format!("ip link set u{number} nomaster"));
        }
        let relay = self.underlay.spawn(&format!("vswitch-probe u1 relay u2 {percent}"));
        eventually("the relay is ready", 10, || relay.output().starts_with("ready"));
        relay
    }

    /// A vswitchd on host `number` that is not started yet; its VTEP is the host's IPv4 address.
    #[must_use]
    pub fn stopped(&self, number: usize, args: &[&str]) -> Vswitch {
        let vtep = format!("10.77.0.{number}");
        self.with_vtep(number, &[&["--vtep", &vtep], args].concat())
    }

    /// As [`Hosts::stopped`], without a VTEP but for those in `args`.
    #[must_use]
    pub fn with_vtep(&self, number: usize, args: &[&str]) -> Vswitch {
        Vswitch::stopped_inside(&format!("/tmp/vs{number}"), &self.host(number).prefix(), args)
    }

    /// A running vswitchd on host `number`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn daemon(&self, number: usize) -> Vswitch {
        let vswitch = self.stopped(number, &[]);
        vswitch.up();
        vswitch
    }

    /// The kernel's vxlan device and bridge on host `number`, with a station of this address (and prefix length) behind.
    /// `options` are further words for the vxlan device, `remotes` is its flood list.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn kernel(
        &self,
        number: usize,
        vni: u32,
        (address, mtu): (&str, u32),
        remotes: &[&str],
        options: &str,
    ) -> KernelEnd {
        let host = self.host(number);
        let local = match remotes.first() {
            Some(remote) if remote.contains(':') => format!("fd77::{number}"),
            _ => format!("10.77.0.{number}"),
        };
        let station = Namespace::new(Some(host));
        host.ok(&format!(
            "ip link add br{vni} type bridge && ip link set br{vni} up && ip link add vx{vni} type vxlan id {vni} \
             dstport 4789 local {local} dev u0 {options} && ip link set vx{vni} master br{vni} mtu {mtu} up && \
             ip link add s{vni} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {} && ip link set s{vni} master br{vni} up",
            station.pid()
        ));
        for remote in remotes {
            host.ok(&format!("bridge fdb append 00:00:00:00:00:00 dev vx{vni} dst {remote}"));
        }
        let nodad = if address.contains(':') { "nodad" } else { "" };
        station.ok(&format!("ip addr add {address} dev eth0 {nodad} && ip link set eth0 up"));
        KernelEnd { station }
    }

    /// Captures what arrives at a host by the underlay, for tcpdump to read what `filter` lets through.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    #[track_caller]
    pub fn tcpdump(&self, number: usize, filter: &str) -> Capture {
        let path = format!("/tmp/capture{number}.pcap");
        let capture = self.host(number).spawn(&format!("vswitch-probe u0 capture {path}"));
        eventually("the capture begins", 15, || capture.output().starts_with("ready"));
        Capture { _capture: capture, path, filter: filter.to_owned() }
    }
}

/// A container `a` on one host and `b` on the other, both on network `n`.
///
/// # Panics
/// When one does not start.
#[must_use]
#[track_caller]
pub fn on_each<'a, 'b>(one: &'a Vswitch, two: &'b Vswitch) -> (Container<'a>, Container<'b>) {
    (one.container("a", "--network n"), two.container("b", "--network n"))
}

/// Makes an overlay network of this VNI on each daemon, whose hosts are numbered as in `hosts`, and makes each the others'
/// remote. Host N gives addresses from `10.201.N.0/24`.
///
/// # Panics
/// When a daemon refuses.
#[track_caller]
pub fn overlay(daemons: &[(usize, &Vswitch)], name: &str, options: &str) {
    for (number, vswitch) in daemons {
        vswitch.ok(&format!(
            "network create -d overlay --subnet 10.201.0.0/16 --ip-range 10.201.{number}.0/24 {options} {name}"
        ));
        for (other, _) in daemons.iter().filter(|(other, _)| other != number) {
            vswitch.ok(&format!("tunnel remote add {name} 10.77.0.{other}"));
        }
    }
}
