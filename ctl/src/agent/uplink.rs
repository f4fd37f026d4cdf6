//! The way out: an interface of the host, opened for the switch.
//!
//! This runs on the agent's first thread, which never leaves the network namespace that vswitchd was started in.

use std::io;
use std::os::fd::AsFd;

use vswitch_switch::sys::packet;

use super::failure::netlink_io;
use super::network::{Answer, Netlink};
use super::protocol::{Failure, FailureKind, Reply};

/// Opens `interface`, if it is one of those that are `allowed`, and switches it on.
pub(crate) async fn open(interface: &str, allowed: &[String], rootless: bool) -> Answer {
    if !allowed.iter().any(|one| one == interface) {
        return Err(Failure::new(
            FailureKind::NotPermitted,
            format!(
                "the agent that keeps the running containers was not started for the uplink's interface {interface}; stop \
                 the containers, end process {} and start vswitchd again",
                std::process::id()
            ),
        ));
    }
    let netlink = Netlink::open().map_err(|error| Failure::io("open a netlink socket", &error))?;
    let (index, mtu) = netlink.find(interface).await.map_err(|error| {
        let error = netlink_io(&error);
        match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NODEV.raw_os_error() => unknown(interface),
            _ => Failure::io(format!("find the uplink's interface {interface}"), &error),
        }
    })?;
    let refused = |error: &io::Error| refused(interface, rootless, error);
    let socket = packet::open(interface).map_err(|error| refused(&error))?;
    packet::hear_everybody(socket.as_fd()).map_err(|error| refused(&error))?;
    netlink.up(index).await.map_err(|error| refused(&netlink_io(&error)))?;
    let addresses = netlink.addresses(index).await.map_err(|error| refused(&netlink_io(&error)))?;
    Ok((Reply::Uplink { mtu, addresses }, vec![socket]))
}

fn unknown(interface: &str) -> Failure {
    Failure::new(
        FailureKind::Gone,
        format!("the uplink's interface {interface} does not exist; name one that 'ip link' shows"),
    )
}

fn refused(interface: &str, rootless: bool, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => unknown(interface),
        io::ErrorKind::PermissionDenied if rootless => Failure::not_the_users("uplink's", interface),
        _ => Failure::io(format!("open the uplink's interface {interface}"), error),
    }
}
