//! Containers of podman's on a switch whose way out is the host's sockets, without podman.

use std::fs;

use serde_json::Value;
use vswitch_tests::{Background, Rootless, eventually, site::Namespace};

use super::engines::{HELPERS, provide_helpers};

pub(crate) struct Place {
    pub(crate) site: Rootless,
}

impl Place {
    /// With a resolver of the host's outside, where nobody serves names yet.
    pub(crate) fn new() -> Place {
        Place::after(&[])
    }

    /// With the words of `before` right before vswitchd's own.
    pub(crate) fn after(before: &[&str]) -> Place {
        provide_helpers();
        fs::write("/run/resolv.conf", "nameserver 10.99.0.2\n").unwrap();
        let site = Rootless::as_root_without_daemon(before);
        site.vs.up();
        Place { site }
    }

    /// Calls netavark on the host; where ports are given it is root's podman that does.
    pub(crate) fn netavark(&self, words: &str, request: &Value) -> Value {
        let socket = self.site.vs.socket().display().to_string();
        Place::netavark_at(&self.site.host, &socket, words, request)
    }

    /// Calls netavark in a namespace, for the vswitchd at a socket.
    pub(crate) fn netavark_at(from: &Namespace, socket: &str, words: &str, request: &Value) -> Value {
        fs::write("/tmp/request.json", request.to_string()).unwrap();
        let rootless = request.get("port_mappings").is_none();
        let line =
            format!("VSWITCH_SOCKET={socket} {HELPERS}/netavark --rootless={rootless} {words} </tmp/request.json");
        serde_json::from_str(&from.ok(&line)).unwrap_or_default()
    }

    pub(crate) fn set_up(&self, namespace: &Namespace, request: &Value) -> Value {
        self.netavark(&format!("setup /proc/{}/ns/net", namespace.pid()), request)
    }

    /// Starts rootlessport for a container, as an ordinary user's podman does; the ports are there until it is dropped.
    pub(crate) fn publish(&self, container: &str, address: &str, mappings: &Value) -> Background {
        Place::publish_at(&self.site.host, &self.site.vs.socket().display().to_string(), container, address, mappings)
    }

    /// The same by the vswitchd at a socket.
    pub(crate) fn publish_at(
        host: &Namespace,
        socket: &str,
        container: &str,
        address: &str,
        mappings: &Value,
    ) -> Background {
        let file = format!("/tmp/ports-{container}");
        let request = serde_json::json!({
            "Mappings": mappings, "NetNSPath": "/x", "ExitFD": 3, "ReadyFD": 4, "TmpDir": "/tmp/podman",
            "ChildIP": address, "ContainerID": container, "RootlessCNI": true
        });
        fs::write(&file, request.to_string()).unwrap();
        let line = format!(
            "rm -f {file}.exit {file}.ready; mkfifo {file}.exit; exec 3<>{file}.exit 4>{file}.ready; \
             VSWITCH_SOCKET={socket} exec {HELPERS}/rootlessport <{file}"
        );
        fs::write(format!("{file}.sh"), line).unwrap();
        // What somebody before has said under that name.
        let _ = fs::remove_file(format!("{file}.ready"));
        let mut process = host.spawn(&format!("sh {file}.sh"));
        eventually("the ports are there", 20, || {
            assert!(process.running(), "{}", process.output());
            fs::read_to_string(format!("{file}.ready")).is_ok_and(|said| said == "1")
        });
        process
    }

    /// The sorted answers to a question at the gateway of the network of this number.
    pub(crate) fn dig(from: &Namespace, name: &str, number: u8) -> String {
        let said = from.sh(&format!("dig +short +tries=2 +time=6 {name} @10.89.{number}.1")).stdout;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        lines.join(" ")
    }
}

/// Starts a name server that answers everything with one address.
pub(crate) fn serve_names(place: &Namespace, address: &str, answer: &str) -> Background {
    fs::write("/mnt/dns_server.py", include_str!("dns_server.py")).unwrap();
    let server = place.spawn(&format!("python3 /mnt/dns_server.py {address} {answer}"));
    eventually("the name server is ready", 20, || server.output().contains("ready"));
    server
}

/// One of podman's published ports.
pub(crate) fn mapping(host: u16, container: u16, protocol: &str) -> Value {
    serde_json::json!({
        "host_ip": "", "container_port": container, "host_port": host, "range": 1, "protocol": protocol
    })
}
