//! Sockets for echo requests, opened for vswitchd on a host that lets nobody have them. Read first: icmp(7), `ping_group_range`.
//!
//! The kernel lets such a socket send echo requests and nothing else, whoever holds it, and shows it the answers to them alone; so it
//! is nothing to be afraid of in a vswitchd that was taken over. A raw socket would be: it sends any packet under any name.
//!
//! Whether one may be opened is asked of the groups of whoever opens it, in its network namespace's `ping_group_range`. A group that is
//! in the range can be had by root. Where the range is empty, as the kernel begins, it is root's group alone for the moment in
//! which sockets are opened: root needs none of this, so nobody wins anything by that moment, nor if the agent should end in it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::process::Gid;
use rustix::thread::set_thread_res_gid;
use vswitch_switch::sys::datagram::{self, DatagramKind};

use super::network::Answer;
use super::protocol::{Failure, FailureKind, Reply};
use super::wire::MAX_DESCRIPTORS;

/// Opens as many as fit beside one message. This is called on the agent's first thread, which never leaves the network namespace
/// that vswitchd was started in.
pub(crate) fn open(ipv6: bool) -> Answer {
    let refused = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => FailureKind::NotPermitted,
            _ => FailureKind::Other,
        };
        Failure::new(kind, format!("cannot open sockets for echo requests: {error}"))
    };
    // A thread of its own, for it may change its group.
    let thread = thread::Builder::new().name("ping".to_owned()).spawn(move || allowed(ipv6)).map_err(refused)?;
    let sockets = thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).map_err(refused)?;
    Ok((Reply::Sockets, sockets))
}

fn allowed(ipv6: bool) -> io::Result<Vec<OwnedFd>> {
    match all(ipv6) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        opened => return opened,
    }
    let denied = |_| io::Error::from(io::ErrorKind::PermissionDenied);
    let before = fs::read_to_string(RANGE)?;
    if let Some(group) = first(&before) {
        let group = Gid::from_raw(group);
        set_thread_res_gid(group, group, group).map_err(|error| denied(error.into()))?;
        return all(ipv6);
    }
    // What cannot be put back, as by root of a user namespace without these groups, is left alone.
    fs::write(RANGE, &before).map_err(denied)?;
    fs::write(RANGE, "0 0").map_err(denied)?;
    let opened = all(ipv6);
    fs::write(RANGE, &before)?;
    opened
}

fn all(ipv6: bool) -> io::Result<Vec<OwnedFd>> {
    (0..MAX_DESCRIPTORS).map(|_| datagram::open(DatagramKind::Ping, ipv6)).collect()
}

/// The first group of a range; `None` if nobody is in it.
fn first(range: &str) -> Option<u32> {
    let mut ends = range.split_whitespace().map(|end| end.parse::<u32>().ok());
    let (low, high) = (ends.next()??, ends.next()??);
    (low <= high).then_some(low)
}

/// Of the calling thread's network namespace; it is about IPv6, too.
const RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges as the kernel writes them; the one it begins with has nobody in it.
    #[test]
    fn ranges() {
        for (text, group) in
            [("1\t0\n", None), ("0\t0\n", Some(0)), ("1000\t2000\n", Some(1000)), ("65534\t0\n", None), ("", None)]
        {
            assert_eq!(first(text), group, "{text:?}");
        }
    }
}
