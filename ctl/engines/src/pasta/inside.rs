//! What is done in the network namespace: a thread that has entered it, which opens sockets there and looks who listens.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::mpsc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use super::ports::Protocol;

type Work = Box<dyn FnOnce() + Send>;

/// The thread.
#[derive(Debug, Clone)]
pub(super) struct Inside(mpsc::Sender<Work>);

impl Inside {
    /// Enters a network namespace with a thread of its own; this one stays where it is.
    pub(super) fn enter(netns: impl AsFd + Send + 'static) -> io::Result<Inside> {
        let (sender, work) = mpsc::channel::<Work>();
        let (entered, answer) = mpsc::channel();
        std::thread::Builder::new().name("inside".to_owned()).spawn(move || {
            let enter = move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network));
            drop(netns);
            let _ = entered.send(enter);
            if enter.is_ok() {
                work.into_iter().for_each(|work| work());
            }
        })?;
        answer.recv().map_err(io::Error::other)??;
        Ok(Inside(sender))
    }

    /// Does something there.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, result) = oneshot::channel();
        let work = Box::new(move || drop(sender.send(work())));
        self.0.send(work).map_err(|_| io::ErrorKind::NotConnected)?;
        result.await.map_err(io::Error::other)?
    }
}

/// At whose addresses a socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// At those that others reach, or all.
    Reachable,
    /// At the loopback's, or all.
    Loopback,
}

/// The ports at which somebody listens in the calling thread's network namespace.
pub(super) fn listening(protocol: Protocol, bound: Bound) -> io::Result<BTreeSet<u16>> {
    let read = |file: String| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
    let word = protocol.word();
    let text = read(word.to_owned())? + &read(format!("{word}6")).unwrap_or_default();
    let own = match protocol {
        Protocol::Tcp => 1..=u16::MAX,
        // A client's socket looks like a server's, but for its port.
        Protocol::Udp => {
            1..=read("../../sys/net/ipv4/ip_local_port_range".to_owned())
                .or_else(|_| std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range"))
                .ok()
                .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
                .map_or(EPHEMERAL, |first| first.saturating_sub(1))
        }
    };
    let found = text.lines().filter_map(|line| parse(line, protocol));
    let wanted = found.filter(|(address, _)| match bound {
        _ if address.is_unspecified() => true,
        Bound::Reachable => !address.is_loopback(),
        Bound::Loopback => address.is_loopback(),
    });
    Ok(wanted.map(|(_, port)| port).filter(|port| own.contains(port)).collect())
}

/// The last port that is nobody's by chance, where the kernel does not say.
const EPHEMERAL: u16 = 32_767;

/// A line of /proc/net/tcp and its like (proc_net(5)): numbers of four bytes in the host's order.
fn parse(line: &str, protocol: Protocol) -> Option<(IpAddr, u16)> {
    let mut fields = line.split_whitespace();
    let (local, _, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    let waits = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    if state != waits {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|word| Some(u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let bytes = words?.concat();
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?)).filter(|(_, port)| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own words, of both families and protocols.
    #[test]
    fn the_kernel_s_words() {
        let tcp = |line: &str| parse(line, Protocol::Tcp).map(|(address, port)| format!("{address} {port}"));
        assert_eq!(tcp("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"), None);
        let listens = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        assert_eq!(tcp(listens).as_deref(), Some("127.0.0.1 8080"));
        let connected = "   1: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000";
        assert_eq!(tcp(connected), None);
        let v6 = "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(tcp(v6).as_deref(), Some(":: 80"));
        let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(tcp(v6).as_deref(), Some("::1 80"));
        let udp = " 1234: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000";
        assert_eq!(parse(udp, Protocol::Udp), Some(("0.0.0.0".parse().unwrap(), 53)));
        assert_eq!(tcp(udp), None);
    }

    /// A listener of this process is found, where it is.
    #[test]
    fn a_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening(Protocol::Tcp, Bound::Loopback).unwrap().contains(&port));
        assert!(!listening(Protocol::Tcp, Bound::Reachable).unwrap().contains(&port));
    }
}
