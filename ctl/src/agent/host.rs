//! The host on a network of an ordinary user: a TAP of that user in the host's network namespace, which root has made.
//!
//! This runs on the agent's first thread, which never leaves the namespace that vswitchd was started in. The agent has no
//! capability there; the kernel lets a TAP's owner open it (`tun_not_capable` in drivers/net/tun.c).

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;
use vswitch_switch::sys::tap;

use super::failure::netlink_io;
use super::network::{Answer, Netlink};
use super::protocol::{Failure, FailureKind, Link, Reply};
use crate::model::HOST_INTERFACE_PREFIX;

/// Opens it, if it is as it should be.
pub(crate) async fn open_tap(link: &Link, user: u32) -> Answer {
    let name = link.interface.as_deref().unwrap_or_default();
    // A vswitchd that was taken over gets no other TAP of the user's.
    if !name.starts_with(HOST_INTERFACE_PREFIX) {
        let sentence = format!("interface {name:?} is not for this: its name begins with {HOST_INTERFACE_PREFIX}");
        return Err(Failure::new(FailureKind::NotPermitted, sentence));
    }
    let command = command(name, link, user);
    let descriptor = tap::open(name).map_err(|error| refused(name, &command, &error))?;
    match is_as_wanted(name, link).await {
        Ok(true) => Ok((Reply::Endpoint { interface: name.to_owned() }, vec![descriptor])),
        Ok(false) => Err(Failure::other(format!(
            "interface {name} does not have the addresses and the MTU of the network, or is off; type as root: ip link del \
             {name} && {command}"
        ))),
        Err(error) => Err(Failure::io(format!("look at interface {name}"), &error)),
    }
}

async fn is_as_wanted(name: &str, link: &Link) -> io::Result<bool> {
    let netlink = Netlink::open()?;
    let index = netlink.find_alike(name, link).await.map_err(|error| netlink_io(&error))?;
    let Some(index) = index else { return Ok(false) };
    let has = netlink.addresses(index).await.map_err(|error| netlink_io(&error))?;
    Ok(addresses(link).all(|(address, _)| has.contains(&address)))
}

fn addresses(link: &Link) -> impl Iterator<Item = (IpAddr, u8)> {
    let ipv4 = link.ipv4.map(|(address, prefix)| (IpAddr::V4(address), prefix));
    let ipv6 = link.ipv6.map(|(address, prefix)| (IpAddr::V6(address), prefix));
    ipv4.into_iter().chain(ipv6)
}

/// What root types, once.
fn command(name: &str, link: &Link, user: u32) -> String {
    let mut command = format!(
        "ip tuntap add dev {name} mode tap user {user} && ip link set dev {name} address {} mtu {} up",
        link.mac, link.mtu
    );
    for (address, prefix) in addresses(link) {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        command.push_str(&format!(" && ip addr add {address}/{prefix} dev {name}{nodad}"));
    }
    // A host that is a router is none for the network. Names may have dots, which a path with slashes allows.
    command.push_str(&format!(" && sysctl -qw net/ipv4/conf/{name}/forwarding=0"));
    command
}

fn refused(name: &str, command: &str, error: &io::Error) -> Failure {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if is(Errno::ACCESS) || is(Errno::NOENT) || is(Errno::NXIO) {
        return Failure::new(
            FailureKind::NotPermitted,
            format!(
                "/dev/net/tun cannot be opened ({error}), and an ordinary user's host takes part in a network by a TAP; type as \
                 root: modprobe tun; chmod 666 /dev/net/tun; {command}"
            ),
        );
    }
    if is(Errno::BUSY) {
        let sentence =
            format!("interface {name} is in use by another program; end that one, or give the network another name");
        return Failure::new(FailureKind::Exists, sentence);
    }
    // A device that is missing would be made, which the kernel lets nobody else do.
    Failure::new(
        FailureKind::NotPermitted,
        format!(
            "an ordinary user's host takes part in a network by an interface that root makes once ({error}); type as root: \
             {command}"
        ),
    )
}
