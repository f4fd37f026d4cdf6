//! A container under test.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use vswitch_api::{container::Container as Details, endpoint::Endpoint};

use crate::{Background, Output, Vswitch, eventually, frames, ping, wait::until_listening};

/// A container that only waits; commands are run inside it.
#[derive(Debug)]
pub struct Container<'v> {
    vswitch: &'v Vswitch,
    name: String,
}

impl<'v> Container<'v> {
    /// The container `name` of a daemon.
    #[must_use]
    pub fn new(vswitch: &'v Vswitch, name: &str) -> Self {
        Container { vswitch, name: name.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until a program inside listens on a TCP port.
    ///
    /// # Panics
    /// When none does for 15 seconds.
    #[track_caller]
    pub fn listens(&self, port: u16) {
        until_listening(port, |script| self.sh(script));
    }

    /// Starts a server inside on TCP port 80 that has a file `page`, which says `page-of-` and the container's name; it logs its
    /// clients to `/mnt/NAME.log`.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn serves_page(&self) {
        let name = self.name();
        self.ok(&format!("mkdir -p /mnt/{name} && echo page-of-{name} > /mnt/{name}/page"));
        self.ok(&format!("python3 -m http.server 80 --bind :: --directory /mnt/{name} > /mnt/{name}.log 2>&1 &"));
        self.listens(80);
    }

    /// Runs a shell script inside, which must work, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        self.sh(script).ok()
    }

    /// Runs a shell script inside.
    ///
    /// # Panics
    /// When it hangs.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        self.vswitch.ctl(&["exec", &self.name, "sh", "-c", script])
    }

    /// Starts a shell script inside, beside the test.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, script: &str) -> Background {
        self.vswitch.spawn(&["exec", &self.name, "sh", "-c", script])
    }

    /// Sends each of `frames` `count` times from eth0, as they are.
    ///
    /// # Panics
    /// When that does not work.
    #[track_caller]
    pub fn sends(&self, count: u32, frames: &[&[u8]]) {
        let hex = frames.iter().map(|frame| frames::hex(frame)).collect::<Vec<_>>().join(" ");
        self.ok(&format!("vswitch-probe eth0 send {count} {hex}"));
    }

    /// Watches what arrives on eth0.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    #[track_caller]
    pub fn sniff(&self) -> Sniffer {
        Sniffer::new(self.spawn("exec vswitch-probe eth0 sniff 60"))
    }

    /// What `inspect` shows.
    ///
    /// # Panics
    /// When it makes no sense.
    #[must_use]
    #[track_caller]
    pub fn details(&self) -> Details {
        let shown = self.vswitch.json(&format!("inspect {}", self.name));
        let one = match shown {
            Value::Array(mut list) => list.swap_remove(0),
            other => other,
        };
        serde_json::from_value(one).unwrap()
    }

    /// Process id on the host.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.details().pid.expect("the container runs")
    }

    /// Its endpoint on `network`.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn endpoint(&self, network: &str) -> Endpoint {
        let found = self.details().endpoints.into_iter().find(|one| one.network == network);
        found.unwrap_or_else(|| panic!("{} is not on {network}", self.name))
    }

    /// Its IPv4 address on `network`.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn ipv4(&self, network: &str) -> Ipv4Addr {
        address(self.endpoint(network).ipv4_address)
    }

    /// Its IPv6 address on `network`.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn ipv6(&self, network: &str) -> Ipv6Addr {
        address(self.endpoint(network).ipv6_address)
    }

    /// Pings `target` three times; all must come back.
    ///
    /// # Panics
    /// When one does not.
    #[track_caller]
    pub fn pings(&self, target: impl std::fmt::Display) {
        self.ok(&ping::thrice(target));
    }

    /// Pings `target`; nothing may come back.
    ///
    /// # Panics
    /// When something does.
    #[track_caller]
    pub fn cannot_ping(&self, target: impl std::fmt::Display) {
        let said = self.sh(&format!("ping -n -c 2 -i 0.1 -W 1 {target}"));
        assert!(said.code != 0 && said.stdout.contains(" 0 received"), "nothing should come back:\n{said}");
    }
}

/// Watches what arrives in a container, until dropped.
#[derive(Debug)]
pub struct Sniffer(Background);

impl Sniffer {
    /// What a started `vswitch-probe INTERFACE sniff` sees, wherever that is.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    #[track_caller]
    pub fn new(probe: Background) -> Sniffer {
        let sniffer = Sniffer(probe);
        eventually("the sniffer is ready", 10, || sniffer.0.output().starts_with("ready"));
        sniffer
    }

    /// How often `frame` has arrived until now.
    #[must_use]
    pub fn count(&self, frame: &[u8]) -> usize {
        let hex = frames::hex(frame);
        self.0.output().lines().filter(|line| *line == hex).count()
    }

    /// Whether a frame with these bytes in it has arrived until now.
    #[must_use]
    pub fn has_seen(&self, bytes: &[u8]) -> bool {
        self.0.output().contains(&frames::hex(bytes))
    }

    /// What has arrived until now: each piece of `length` bytes that begins with `start`.
    #[must_use]
    pub fn pieces(&self, start: &[u8], length: usize) -> BTreeSet<Vec<u8>> {
        let (said, start) = (self.0.output(), frames::hex(start));
        let pieces = said.match_indices(&start).filter_map(|(at, _)| said.get(at..at + 2 * length));
        pieces.map(frames::from_hex).collect()
    }

    /// Waits for `frame`.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn expect(&self, frame: &[u8]) {
        eventually("a frame arrives", 10, || self.count(frame) > 0);
    }
}

fn address<T: std::str::FromStr>(text: Option<String>) -> T {
    let text = text.expect("the endpoint has an address");
    text.split('/').next().and_then(|address| address.parse().ok()).expect("an address with its prefix length")
}
