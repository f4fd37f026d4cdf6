//! A host whose only way out is its own sockets, and what is outside.
//!
//! ```text
//!  containers ── vswitchd ··sockets·· "host" namespace ── up0 ─────────── out0 ── outside ── small0 ── far0 ── far
//!                an ordinary user     10.99.0.1, fd99::1    veth     10.99.0.2             veth, MTU 1400  10.98.0.2
//!                                                                    fd99::2
//! ```
//! vswitchd runs as an ordinary user of a user namespace that has no right over the "host", whoever runs the test. What
//! is sent stays within these namespaces.

use crate::site::{Namespace, far_behind};
use crate::{Background, Container, Output, Vswitch, eventually};

/// The other side's programs; see there for roles.
const OUTSIDE: &str = include_str!("outside.py");

/// A daemon with the sockets uplink, and the world around it.
#[derive(Debug)]
pub struct Rootless {
    /// The daemon.
    pub vs: Vswitch,
    /// Where it runs.
    pub host: Namespace,
    /// The host's next router, with servers.
    pub outside: Namespace,
    /// Behind a link of 1400 bytes.
    pub far: Namespace,
}

/// Who vswitchd is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Ordinary,
    /// With every capability over the host's namespace.
    Root,
}

/// Whether the host lets its users send echo requests (`net.ipv4.ping_group_range`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    Allowed,
    Forbidden,
}

impl Rootless {
    /// As an ordinary user, without arguments: sockets are the default.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn start() -> Rootless {
        Rootless::with(&[])
    }

    /// As an ordinary user, with these arguments for vswitchd.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn with(args: &[&str]) -> Rootless {
        let site = Rootless::without_daemon(&[], args);
        site.vs.up();
        site
    }

    /// As an ordinary user of a host that lets nobody send echo requests, as most do.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn without_ping() -> Rootless {
        let site = Rootless::make(User::Ordinary, Ping::Forbidden, &[], &[]);
        site.vs.up();
        site
    }

    /// As root of a host that lets nobody send echo requests.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn as_root_without_ping() -> Rootless {
        let site = Rootless::make(User::Root, Ping::Forbidden, &[], &[]);
        site.vs.up();
        site
    }

    /// As somebody who is root of the host's namespace.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn as_root(args: &[&str]) -> Rootless {
        let site = Rootless::make(User::Root, Ping::Allowed, &[], args);
        site.vs.up();
        site
    }

    /// As an ordinary user, not started yet; the words of `before` come right before vswitchd's.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn without_daemon(before: &[&str], args: &[&str]) -> Rootless {
        Rootless::make(User::Ordinary, Ping::Allowed, before, args)
    }

    /// As root of the host's namespace, not started yet; the words of `before` come right before vswitchd's.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn as_root_without_daemon(before: &[&str]) -> Rootless {
        Rootless::make(User::Root, Ping::Allowed, before, &[])
    }

    /// One more vswitchd on the same host, with a directory of its own, as root of the host's namespace.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn another_daemon(&self, directory: &str) -> Vswitch {
        let vs = Vswitch::stopped_inside(directory, &self.host.prefix(), &[]);
        vs.up();
        vs
    }

    /// A namespace that belongs to the same user as the host's and is connected to nothing.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn spare(&self) -> Namespace {
        Namespace::new(Some(&self.host))
    }

    #[track_caller]
    fn make(user: User, ping: Ping, before: &[&str], args: &[&str]) -> Rootless {
        let host = Namespace::new(None);
        let (outside, far) = (Namespace::new(Some(&host)), Namespace::new(Some(&host)));
        host.ok(&format!("ip link add up0 type veth peer name out0 netns {}", outside.pid()));
        host.ok("ip link set up0 up; ip addr add 10.99.0.1/24 dev up0; ip addr add fd99::1/64 dev up0 nodad; \
             ip route add default via 10.99.0.2; ip route add default via fd99::2");
        // A new namespace has it forbidden.
        if ping == Ping::Allowed {
            host.ok("echo 0 0 > /proc/sys/net/ipv4/ping_group_range");
        }
        outside.ok("ip addr add 10.99.0.2/24 dev out0; ip addr add fd99::2/64 dev out0 nodad; ip link set out0 up; \
             ip route add blackhole 10.97.0.0/24");
        far_behind(&outside, &far);
        std::fs::write(SCRIPT, OUTSIDE).unwrap();
        let mut prefix = host.prefix();
        if user == User::Ordinary {
            prefix.extend(["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"].map(str::to_owned));
        }
        prefix.extend(before.iter().map(|&word| word.to_owned()));
        let vs = Vswitch::stopped_inside("/tmp/vs", &prefix, args);
        Rootless { vs, host, outside, far }
    }

    /// Starts a role of the other side in a namespace, beside the test.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn play(&self, place: &Namespace, role: &str) -> Background {
        let player = place.spawn(&format!("python3 {SCRIPT} {role}"));
        match role.split_whitespace().collect::<Vec<_>>()[..] {
            [name, ..] if name.starts_with("udp_") => {
                eventually("a server is ready", 15, || player.output().starts_with("ready"));
            }
            [_, port, ..] => {
                place.listens(port.parse().unwrap());
            }
            _ => {}
        }
        player
    }

    /// Plays a role in a container, to its end.
    ///
    /// # Panics
    /// When it hangs.
    #[track_caller]
    pub fn inside(&self, container: &Container<'_>, role: &str) -> Output {
        container.sh(&format!("timeout 150 python3 {SCRIPT} {role}"))
    }

    /// Plays a role in a container, to its end, which must be good, and returns what it said.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn says(&self, container: &Container<'_>, role: &str) -> String {
        self.inside(container, role).ok().trim_end().to_owned()
    }

    /// Plays a role in a namespace, to its end, and returns what it said.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn says_at(&self, place: &Namespace, role: &str) -> String {
        place.ok(&format!("python3 {SCRIPT} {role}")).trim_end().to_owned()
    }

    /// Plays a role in a container, beside the test.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_inside(&self, container: &Container<'_>, role: &str) -> Background {
        container.spawn(&format!("exec python3 {SCRIPT} {role}"))
    }

    /// Starts a server role in a container.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    #[track_caller]
    pub fn serve_inside(&self, container: &Container<'_>, role: &str) -> Background {
        let server = self.spawn_inside(container, role);
        if role.starts_with("udp_") {
            eventually("a server is ready", 15, || server.output().starts_with("ready"));
        } else {
            let port = role.split_whitespace().nth(1).unwrap_or_default();
            container.listens(port.parse().unwrap());
        }
        server
    }

    /// Starts nginx outside on port 8000, with `page` and files of so many bytes as their names say.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn nginx(&self, sizes: &[&str]) -> Background {
        let files: String =
            sizes.iter().map(|size| format!("head -c {size} /dev/urandom > /tmp/nginx/{size}; ")).collect();
        self.outside.ok(&format!("mkdir -p /tmp/nginx; echo page-of-nginx > /tmp/nginx/page; {files}"));
        let config = "user root; master_process off; daemon off; pid /tmp/nginx.pid; error_log /tmp/nginx.error; \
             events { worker_connections 2000; } \
             http { log_format c '$remote_addr $connection_requests $request'; access_log /tmp/nginx.log c; \
             client_body_temp_path /tmp/n1; proxy_temp_path /tmp/n2; fastcgi_temp_path /tmp/n3; uwsgi_temp_path /tmp/n4; \
             scgi_temp_path /tmp/n5; sendfile on; keepalive_requests 100000; \
             server { listen 8000 backlog=2000; listen [::]:8000 backlog=2000; root /tmp/nginx; } }";
        std::fs::write("/tmp/nginx.conf", config).unwrap();
        self.outside.serve("nginx -c /tmp/nginx.conf -e /tmp/nginx.error", 8000)
    }
}

/// Where the other side's programs lie, for all namespaces.
pub const SCRIPT: &str = "/mnt/outside.py";

/// Runs a script in a container that takes longer than commands usually may.
///
/// # Panics
/// When it takes longer than `seconds`.
#[track_caller]
pub fn long(container: &Container<'_>, script: &str, seconds: u64) -> Output {
    container.spawn(script).wait(std::time::Duration::from_secs(seconds))
}
