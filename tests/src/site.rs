//! An uplink and what is behind it.
//!
//! ```text
//!  containers ── vswitchd ══ up0 ─────────── out0 ── outside ── small0 ── far0 ── far
//!                "host" namespace   veth     10.99.0.2    veth, MTU 1400      10.98.0.2
//!                10.99.0.1                   fd99::2                          fd98::2
//! ```
//! Root makes these namespaces directly, an ordinary user inside a user namespace of its own, where vswitchd then has
//! every capability over them and none over anything else. A tap at the far end of the uplink sees every frame that leaves
//! and reports those that show an inside address: [`Site::finish`] expects none.

use std::process::Command;

use vswitch_api::stats::RouterStats;

use crate::{
    Background, Container, Output, Vswitch, command, eventually, guard::is_root, until, wait::until_listening,
};

/// The uplink that most tests use.
pub const UPLINK: &str = "packet:up0,address=10.99.0.1/24,gateway=10.99.0.2,address=fd99::1/64,gateway=fd99::2";

/// Addresses that must never leave: the subnets that tests give to networks, and the automatic ones.
const INSIDE: [&str; 3] = ["10.201.0.0/16", "172.16.0.0/12", "fd00::/8"];

/// Of these, the site's own.
const OUTSIDE: [&str; 2] = ["fd98::/16", "fd99::/16"];

/// A network namespace held by a process that sleeps.
#[derive(Debug)]
pub struct Namespace {
    holder: Background,
    /// Enters the user namespace, too.
    user: bool,
}

impl Namespace {
    pub(crate) fn new(inside: Option<&Namespace>) -> Namespace {
        let own_user = inside.is_none() && !is_root();
        let flags: &[&str] = if own_user { &["--user", "--map-root-user", "--net"] } else { &["--net"] };
        let mut command = match inside {
            Some(other) => other.command("unshare"),
            None => Command::new("unshare"),
        };
        let holder = command::spawn(command.args(flags).args(["--", "sleep", "100000"]));
        let namespace = Namespace { holder, user: !is_root() };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let entered = |path: &str| std::fs::read_link(path).is_ok_and(|link| link != own);
        eventually("a namespace is made", 10, || {
            let sleeping = std::fs::read_to_string(format!("/proc/{}/comm", namespace.pid()));
            entered(&format!("/proc/{}/ns/net", namespace.pid())) && sleeping.is_ok_and(|name| name.trim() == "sleep")
        });
        namespace.ok("ip link set lo up");
        namespace
    }

    /// The process that holds it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// The words before a command that is to run inside.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let pid = self.pid().to_string();
        let mut words = vec!["nsenter", "--target", &pid, "--net"];
        if self.user {
            words.extend(["--user", "--preserve-credentials"]);
        }
        words.push("--");
        words.into_iter().map(str::to_owned).collect()
    }

    /// A program that will run inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let prefix = self.prefix();
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program);
        command
    }

    /// Runs a shell script inside.
    ///
    /// # Panics
    /// When it hangs.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        command::run(self.command("sh").args(["-c", script]))
    }

    /// Runs a shell script inside, which must work, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        self.sh(script).ok()
    }

    /// Starts a shell script inside, beside the test.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, script: &str) -> Background {
        command::spawn(self.command("sh").args(["-c", &format!("exec {script}")]))
    }

    /// Starts a server that listens on a TCP port.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn serve(&self, script: &str, port: u16) -> Background {
        let server = self.spawn(script);
        self.listens(port);
        server
    }

    /// Waits until a program listens on a TCP port.
    ///
    /// # Panics
    /// When none does for 15 seconds.
    #[track_caller]
    pub fn listens(&self, port: u16) {
        until_listening(port, |script| self.sh(script));
    }
}

/// A daemon with an uplink, and the world behind it.
#[derive(Debug)]
pub struct Site {
    /// The daemon.
    pub vs: Vswitch,
    /// Where it runs.
    pub host: Namespace,
    /// The other end of the uplink, a router to `far`.
    pub outside: Namespace,
    /// Behind a link of 1400 bytes.
    pub far: Namespace,
    /// Connected to nothing.
    pub spare: Namespace,
    tap: Background,
}

impl Site {
    /// With [`UPLINK`].
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn start() -> Site {
        Site::with(&["--uplink", UPLINK], &[])
    }

    /// With these arguments for vswitchd; addresses in `allowed` may leave.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn with(args: &[&str], allowed: &[&str]) -> Site {
        let site = Site::without_daemon(args, allowed);
        site.vs.up();
        site
    }

    /// As [`Site::with`], but vswitchd is not started yet.
    ///
    /// # Panics
    /// When something cannot be made.
    #[must_use]
    #[track_caller]
    pub fn without_daemon(args: &[&str], allowed: &[&str]) -> Site {
        let host = Namespace::new(None);
        let (outside, far) = (Namespace::new(Some(&host)), Namespace::new(Some(&host)));
        let spare = Namespace::new(Some(&host));
        plug(&host, &outside);
        far_behind(&outside, &far);
        let tap = outside.spawn(&format!(
            "vswitch-probe out0 leaks {} -- {}",
            INSIDE.join(" "),
            [&OUTSIDE, allowed].concat().join(" ")
        ));
        eventually("the tap is ready", 10, || tap.output().starts_with("ready"));
        let vs = Vswitch::stopped_inside("/tmp/vs", &host.prefix(), args);
        Site { vs, host, outside, far, spare, tap }
    }

    /// Takes the uplink's interface away.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn unplug(&self) {
        self.host.ok("ip link del up0");
    }

    /// Brings it back, as a new one.
    ///
    /// # Panics
    /// When it is there.
    #[track_caller]
    pub fn plug(&self) {
        plug(&self.host, &self.outside);
    }

    /// Starts a container with a server on TCP port 80 and `flags` for `vswitchctl run`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn web(&self, name: &str, flags: &str) -> Container<'_> {
        let container = self.vs.container(name, flags);
        container.serves_page();
        container
    }

    /// Starts a web server outside on port 8000 of all addresses, with a file `page`; its log names its clients.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn outside_web(&self) -> Background {
        self.outside.ok("mkdir -p /tmp/outside && echo page-of-outside > /tmp/outside/page");
        self.outside.serve("python3 -m http.server 8000 --bind :: --directory /tmp/outside", 8000)
    }

    /// The router's counters.
    ///
    /// # Panics
    /// When there is no router.
    #[must_use]
    #[track_caller]
    pub fn router(&self) -> RouterStats {
        self.vs.stats().router.expect("there is an uplink")
    }

    /// Expects that frames have left by the uplink, and none of them showed an inside address.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn finish(self) {
        let seen =
            until("the tap has seen something", 5, || Some(self.tap.output()).filter(|said| said.lines().count() > 1));
        let leaks: Vec<_> = seen.lines().filter(|line| line.starts_with("leak")).take(5).collect();
        assert!(leaks.is_empty(), "inside addresses left by the uplink:\n{}", leaks.join("\n"));
    }
}

/// Puts a namespace behind a link of 1400 bytes, and lets the other one be its router.
pub(crate) fn far_behind(outside: &Namespace, far: &Namespace) {
    outside.ok(&format!("ip link add small0 mtu 1400 type veth peer name far0 mtu 1400 netns {}", far.pid()));
    outside.ok("ip addr add 10.98.0.1/24 dev small0; ip addr add fd98::1/64 dev small0 nodad; ip link set small0 up; \
         echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    far.ok("ip addr add 10.98.0.2/24 dev far0; ip addr add fd98::2/64 dev far0 nodad; ip link set far0 up; \
         ip route add default via 10.98.0.1; ip route add default via fd98::1");
}

fn plug(host: &Namespace, outside: &Namespace) {
    host.ok(&format!("ip link add up0 type veth peer name out0 netns {}", outside.pid()));
    host.ok("ip link set up0 up");
    outside.ok("ip addr add 10.99.0.2/24 dev out0; ip addr add fd99::2/64 dev out0 nodad; ip link set out0 up");
}

/// The body of a page.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn fetch(said: Output) -> String {
    said.ok().trim_end().to_owned()
}
