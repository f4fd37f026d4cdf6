//! Legs on LANs: interfaces of the host, opened for networks.
//!
//! This runs on the agent's first thread, which never leaves the network namespace that vswitchd was started in. Which
//! interfaces may be opened is what clients said (`super::orders`).

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use vswitch_switch::sys::packet;

use super::failure::netlink_io;
use super::network::{Answer, Netlink};
use super::protocol::{Failure, FailureKind, Reply};

/// Opens `interface` for a network that is `place` on it, so that it hears nothing yet.
pub(crate) async fn open(interface: &str, place: &str, rootless: bool) -> Answer {
    let netlink = Netlink::open().map_err(|error| Failure::io("open a netlink socket", &error))?;
    let ethernet = netlink.is_ethernet(interface).await.map_err(|error| {
        let error = netlink_io(&error);
        match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NODEV.raw_os_error() => unknown(interface),
            _ => Failure::io(format!("find the parent interface {interface}"), &error),
        }
    })?;
    if !ethernet {
        return Err(Failure::new(
            FailureKind::Harmful,
            format!(
                "parent interface {interface} is not an Ethernet interface, so no LAN is behind it; name another one"
            ),
        ));
    }
    let socket = packet::open_deaf(interface).map_err(|error| refused(interface, rootless, &error))?;
    let held = hold(place)?;
    Ok((Reply::Parent { wireless: is_wireless(interface) }, vec![socket, held]))
}

/// A name in the namespace that only one vswitchd can have at a time, for as long as it keeps the descriptor: frames that one
/// sends are not seen by the other, so that containers of the two would not find each other.
fn hold(place: &str) -> Result<OwnedFd, Failure> {
    let name = SocketAddr::from_abstract_name(format!("vswitch-parent-{place}"));
    match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(held) => Ok(held.into()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Failure::new(
            FailureKind::Exists,
            format!(
                "another vswitchd has a network on parent {place}; make this one there, or on another VLAN such as {}",
                if place.contains('.') { "eth0.51".to_owned() } else { format!("{place}.50") }
            ),
        )),
        Err(error) => Err(Failure::io(format!("hold parent {place}"), &error)),
    }
}

/// Access points take frames from the stations that they know only.
fn is_wireless(interface: &str) -> bool {
    ["wireless", "phy80211"]
        .iter()
        .any(|sign| std::path::Path::new("/sys/class/net").join(interface).join(sign).exists())
}

fn unknown(interface: &str) -> Failure {
    Failure::new(
        FailureKind::Gone,
        format!("-o parent interface was not found on the host: {interface}; name one that 'ip link' shows"),
    )
}

fn refused(interface: &str, rootless: bool, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => unknown(interface),
        io::ErrorKind::PermissionDenied if rootless => Failure::not_the_users("host's", interface),
        _ => Failure::io(format!("open the parent interface {interface}"), error),
    }
}
