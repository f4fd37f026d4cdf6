//! Ports that root's podman reserves for itself. Read first: containers.conf(5), `enable_port_reservation`.
//!
//! podman up to 5.2 does so once netavark has answered, finds vswitchd there, and says "address already in use" of a port that nobody
//! else has. So whoever lets it reserve ports is told here what to set. Later ones do so before, and then vswitchd's own refusal is
//! explained.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use super::wire::PortMapping;
use crate::complain;

/// Files of podman's settings, of which the last that says something holds; then those of [`DROP_INS`].
const FILES: [&str; 2] = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"];
const DROP_INS: &str = "/etc/containers/containers.conf.d";

/// What to do, for all who meet it.
pub(super) const REMEDY: &str = "set enable_port_reservation = false under [engine] in containers.conf, as 'vswitchctl engine podman \
     install --system' does";

/// Ports that podman could reserve before a container was set up.
#[derive(Debug)]
pub(super) struct Reservation(Vec<Port>);

#[derive(Debug)]
struct Port {
    address: SocketAddr,
    protocol: String,
}

impl Reservation {
    /// To be called before vswitchd is asked for the ports.
    pub(super) fn before(mappings: &[PortMapping]) -> Reservation {
        if mappings.is_empty() || !is_on() {
            return Reservation(Vec::new());
        }
        Reservation(mappings.iter().flat_map(ports).filter(|port| !port.is_in_use()).collect())
    }

    /// To be called once vswitchd has them: tells the user if podman is about to find one taken.
    pub(super) fn after(self) {
        let taken = self.0.iter().filter(|port| port.is_in_use());
        let taken: Vec<String> = taken.map(|port| format!("{}/{}", port.address.port(), port.protocol)).collect();
        if !taken.is_empty() {
            let taken = taken.join(", ");
            complain(&format!("podman reserves published ports itself, but vswitchd has {taken} now: {REMEDY}"));
        }
    }
}

/// The first port of a mapping, for each protocol: one is enough to say so.
fn ports(mapping: &PortMapping) -> impl Iterator<Item = Port> {
    let ip = mapping.host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let address = SocketAddr::new(ip, mapping.host_port);
    mapping.protocols().map(move |protocol| Port { address, protocol: protocol.to_owned() })
}

impl Port {
    fn is_in_use(&self) -> bool {
        let bound: io::Result<()> = match self.protocol.as_str() {
            "tcp" => TcpListener::bind(self.address).map(drop),
            "udp" => UdpSocket::bind(self.address).map(drop),
            _ => Ok(()),
        };
        bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    }
}

/// Whether podman's settings let it.
fn is_on() -> bool {
    let named = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let mut files = match named("CONTAINERS_CONF") {
        Some(file) => vec![file],
        None => usual(),
    };
    files.extend(named("CONTAINERS_CONF_OVERRIDE"));
    files.iter().rev().find_map(|file| said(&fs::read_to_string(file).ok()?)).unwrap_or(true)
}

fn usual() -> Vec<PathBuf> {
    let entries = fs::read_dir(DROP_INS).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut drop_ins: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
    drop_ins.sort();
    FILES.map(PathBuf::from).into_iter().chain(drop_ins).collect()
}

/// What one file says.
fn said(text: &str) -> Option<bool> {
    let mut is_engine = false;
    let mut value = None;
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[') {
            is_engine = head.split(']').next().is_some_and(|name| name.trim() == "engine");
        } else if let Some((key, rest)) = line.split_once('=')
            && is_engine
            && key.trim() == "enable_port_reservation"
        {
            value = rest.split('#').next().and_then(|word| word.trim().parse().ok());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the key of its own section counts, whatever stands around it.
    #[test]
    fn settings() {
        assert_eq!(said("[engine]\nenable_port_reservation = false\n"), Some(false));
        assert_eq!(said("[network]\nx=1\n [engine] # of podman\n enable_port_reservation=true # yes\n"), Some(true));
        for silent in [
            "",
            "[engine]\n# enable_port_reservation = false\n",
            "[network]\nenable_port_reservation = false\n",
            "\0[=]",
        ] {
            assert_eq!(said(silent), None, "{silent}");
        }
    }
}
