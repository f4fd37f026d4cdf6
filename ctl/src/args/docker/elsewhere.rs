//! Keys of `daemon.json` that do not speak of networks: a few that vswitchd has a flag for, and those that it can do without.
//! The file of `--config` takes them, too.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::log::Level;

/// What a file says of vswitchd itself in dockerd's words. Flags win, and the file of `--config` over `daemon.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ProcessSettings {
    /// Containers outlive a stop.
    pub live_restore: Option<bool>,
    /// The same as `log-level` debug.
    debug: bool,
    log_level: Option<String>,
    /// Group of the sockets.
    pub group: Option<String>,
}

impl ProcessSettings {
    /// How much is logged, if that is said.
    ///
    /// # Errors
    /// One sentence.
    pub fn level(&self) -> Result<Option<Level>, String> {
        match self.log_level.as_deref() {
            _ if self.debug => Ok(Some(Level::Debug)),
            None | Some("") => Ok(None),
            // Nothing is logged of less weight.
            Some("fatal" | "panic") => Ok(Some(Level::Error)),
            Some(word) => word.parse().map(Some).map_err(|bad| format!("invalid log-level {word:?}: {bad}")),
        }
    }
}

/// Takes the keys out of `all` that [`ProcessSettings`] has.
pub(super) fn take(all: &mut Map<String, Value>) -> Result<ProcessSettings, serde_json::Error> {
    let taken: Map<String, Value> = PROCESS.iter().filter_map(|key| all.remove_entry(*key)).collect();
    serde_json::from_value(Value::Object(taken))
}

/// Has `remove` take the keys out of a file that vswitchd can do without, and says so in one sentence.
pub(in crate::args) fn set_aside(mut remove: impl FnMut(&str) -> bool) -> Option<String> {
    let aside: Vec<&str> = NEEDLESS.into_iter().filter(|key| remove(key)).collect();
    let hint = |key: &&str| match *key {
        "hosts" => Some("; sockets are named with --socket and --docker-socket"),
        "data-root" | "graph" => Some("; what vswitchd keeps is in --state-dir"),
        _ => None,
    };
    let hints: String = aside.iter().filter_map(hint).collect();
    let (verb, them) = if aside.len() == 1 { ("is", "it") } else { ("are", "them") };
    (!aside.is_empty())
        .then(|| format!("{} {verb} dockerd's alone: vswitchd does without {them}{hints}", aside.join(", ")))
}

/// Keys of [`ProcessSettings`].
pub(in crate::args) const PROCESS: [&str; 4] = ["debug", "group", "live-restore", "log-level"];

/// What dockerd knows and vswitchd does not need: images, builds, runtimes, clusters, the host's firewall.
pub(super) const NEEDLESS: [&str; 80] = [
    "allow-direct-routing",
    "allow-nondistributable-artifacts",
    "api-cors-header",
    "authorization-plugins",
    "bridge-accept-fwmark",
    "builder",
    "cdi-spec-dirs",
    "cgroup-parent",
    "cluster-advertise",
    "cluster-store",
    "cluster-store-opts",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "containerd-plugins-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "data-root",
    "default-cgroupns-mode",
    "default-ipc-mode",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "deprecated-key-path",
    "disable-legacy-registry",
    "exec-opts",
    "exec-root",
    "experimental",
    "features",
    "firewall-backend",
    "graph",
    "host-gateway-ip",
    "host-gateway-ips",
    "hosts",
    "http-proxy",
    "https-proxy",
    "init",
    "init-path",
    "insecure-registries",
    "ip-forward",
    "ip-forward-no-drop",
    "ip6tables",
    "iptables",
    "labels",
    "log-driver",
    "log-format",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "metrics-addr",
    "min-api-version",
    "network-control-plane-mtu",
    "network-diagnostic-port",
    "no-new-privileges",
    "no-proxy",
    "node-generic-resources",
    "oom-score-adjust",
    "pidfile",
    "proxies",
    "raw-logs",
    "registry-mirrors",
    "rootless",
    "runtimes",
    "seccomp-profile",
    "selinux-enabled",
    "shutdown-timeout",
    "storage-driver",
    "storage-opts",
    "swarm-default-advertise-addr",
    "swarm-raft-election-tick",
    "swarm-raft-heartbeat-tick",
    "tls",
    "tlscacert",
    "tlscert",
    "tlskey",
    "tlsverify",
    "trust-key",
    "userland-proxy",
    "userland-proxy-path",
    "validate",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of dockerd's for the level of a log are vswitchd's, or mean one of its.
    #[test]
    fn levels() {
        let level = |json: &str| serde_json::from_str::<ProcessSettings>(json).unwrap().level();
        assert_eq!(level("{}"), Ok(None));
        assert_eq!(level(r#"{"debug": true, "log-level": "info"}"#), Ok(Some(Level::Debug)));
        assert_eq!(level(r#"{"log-level": "warn"}"#), Ok(Some(Level::Warn)));
        assert_eq!(level(r#"{"log-level": "fatal"}"#), Ok(Some(Level::Error)));
        assert!(level(r#"{"log-level": "loud"}"#).unwrap_err().contains("use error, warn"));
    }
}
