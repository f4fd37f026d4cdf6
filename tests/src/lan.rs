//! A host on a LAN: a kernel bridge as the LAN's switch, and another machine on it.
//!
//! ```text
//!  containers ── vswitchd ══ eth0 ─────────── port0 ┐
//!                "host"   10.1.0.9         veth     ├ lan0, 10.1.0.254 ("street": the LAN's switch and router)
//!                                  other: eth0 ─────┘
//!                                  10.1.0.8
//! ```
//! All of it is inside namespaces of the test; the LAN's IPv6 subnet is `fd01::/64`, with the same ends.

use crate::site::Namespace;
use crate::{Background, Vswitch, eventually, sh};

/// A daemon whose host is on a LAN.
#[derive(Debug)]
pub struct Lan {
    /// The daemon.
    pub vs: Vswitch,
    /// Where it runs, with `eth0`.
    pub host: Namespace,
    /// The LAN's switch and router.
    pub street: Namespace,
    /// Another machine.
    pub other: Namespace,
}

/// Frames that are written down until this is dropped.
#[derive(Debug)]
pub struct Wire {
    _capture: Background,
    path: String,
}

impl Wire {
    /// What tcpdump says of those that `filter` lets through.
    ///
    /// # Panics
    /// When it hangs.
    #[must_use]
    #[track_caller]
    pub fn shows(&self, filter: &str) -> String {
        sh(&format!("tcpdump -n -e -r {} {filter} 2> /dev/null", self.path)).stdout
    }
}

/// The subnets, gateways and parent of the LAN, as `network create` wants them.
pub const SUBNET: &str = "--subnet 10.1.0.0/24 --gateway 10.1.0.254 --ip-range 10.1.0.128/25";

impl Lan {
    /// With a running vswitchd.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn start() -> Lan {
        let lan = Lan::with(&[]);
        lan.vs.up();
        lan
    }

    /// With these arguments for vswitchd, which is not started yet.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn with(args: &[&str]) -> Lan {
        let host = Namespace::new(None);
        let (street, other) = (Namespace::new(Some(&host)), Namespace::new(Some(&host)));
        street.ok("ip link add lan0 type bridge && ip link set lan0 up && ip addr add 10.1.0.254/24 dev lan0 && \
                   ip addr add fd01::fe/64 dev lan0 nodad");
        let vs = Vswitch::stopped_inside("/tmp/vs", &host.prefix(), args);
        let lan = Lan { vs, host, street, other };
        lan.plug(&lan.host, "port0");
        lan.host.ok("ip addr add 10.1.0.9/24 dev eth0; ip addr add fd01::9/64 dev eth0 nodad");
        lan.plug(&lan.other, "port1");
        lan.other.ok("ip addr add 10.1.0.8/24 dev eth0; ip addr add fd01::8/64 dev eth0 nodad");
        lan
    }

    /// One more running vswitchd, on a machine.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn daemon(machine: &Namespace, dir: &str) -> Vswitch {
        let daemon = Vswitch::stopped_inside(dir, &machine.prefix(), &[]);
        daemon.up();
        daemon
    }

    /// A namespace that is connected to nothing.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn spare(&self) -> Namespace {
        Namespace::new(Some(&self.host))
    }

    /// One more machine on the LAN.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn machine(&self, port: &str) -> Namespace {
        let machine = Namespace::new(Some(&self.host));
        self.plug(&machine, port);
        machine
    }

    /// Connects a machine's `eth0` to the LAN by this port of its switch.
    ///
    /// # Panics
    /// When it is there.
    #[track_caller]
    pub fn plug(&self, machine: &Namespace, port: &str) {
        let pid = machine.pid();
        self.street.ok(&format!(
            "ip link add {port} type veth peer name eth0 netns {pid} && ip link set {port} master lan0 up"
        ));
        machine.ok("ip link set eth0 up");
    }

    /// Writes down what goes by an interface of a machine.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    #[track_caller]
    pub fn capture(&self, machine: &Namespace, interface: &str) -> Wire {
        let path = format!("/tmp/wire-{}-{interface}.pcap", machine.pid());
        let capture = machine.spawn(&format!("vswitch-probe {interface} capture {path}"));
        eventually("the capture begins", 15, || capture.output().starts_with("ready"));
        Wire { _capture: capture, path }
    }
}
