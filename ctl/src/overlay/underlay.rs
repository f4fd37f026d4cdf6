//! The interface that has a VTEP's address: whether it is there, and how long its packets may be.
//!
//! vswitchd is in the host's namespace and may ask its routing tables without any privilege. The sockets for that are
//! opened before vswitchd confines itself, which forbids it to open more of them. The kernel tells of changes, so nothing
//! runs while nothing changes. Read first: rtnetlink(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use rtnetlink::constants::{RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::io::Errno;
use tokio::sync::Notify;
use vswitch_frame::MacAddr;

use crate::vital;

/// What a VTEP's address is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Name of the interface.
    pub interface: String,
    /// Bytes of its longest IP packet.
    pub mtu: u32,
}

/// How an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSight {
    /// Bytes of its longest IP packet.
    pub mtu: u32,
    /// Its MAC address, if it has one.
    pub mac: MacAddr,
    /// It is switched on and has a carrier.
    pub carries: bool,
}

impl LinkSight {
    fn of(link: &LinkMessage) -> LinkSight {
        let carries = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        let mut sight = LinkSight { mtu: u32::from(u16::MAX), mac: MacAddr::ZERO, carries };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => sight.mtu = (*mtu).min(sight.mtu),
                LinkAttribute::Address(octets) => {
                    sight.mac = octets.as_slice().try_into().map_or(MacAddr::ZERO, MacAddr::new);
                }
                _ => {}
            }
        }
        sight
    }
}

/// Why the host's interfaces cannot be asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the kernel for the host's interfaces ({0})")]
pub struct UnderlayError(#[from] io::Error);

/// Asks the kernel about the host's interfaces.
#[derive(Debug)]
pub struct Monitor {
    /// One asks at a time: answers do not say whose they are.
    questions: Mutex<Socket>,
    /// Until [`Monitor::changes`] takes it.
    reports: Mutex<Option<Socket>>,
}

impl Monitor {
    /// Opens the sockets. The kernel keeps its reports from now on.
    ///
    /// # Errors
    /// When the kernel has no such sockets.
    pub fn open() -> Result<Monitor, UnderlayError> {
        let mut questions = Socket::new(NETLINK_ROUTE)?;
        questions.bind_auto()?;
        let mut reports = Socket::new(NETLINK_ROUTE)?;
        reports.bind(&SocketAddr::new(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))?;
        Ok(Monitor { questions: Mutex::new(questions), reports: Mutex::new(Some(reports)) })
    }

    /// What has the address now; `None`: no interface has it.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn find(&self, address: IpAddr) -> Result<Option<Underlay>, UnderlayError> {
        let mut index = None;
        self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
            if let RouteNetlinkMessage::NewAddress(message) = message
                && has(&message, address)
            {
                index = Some(message.header.index);
            }
        })?;
        let Some(index) = index else { return Ok(None) };
        let mut found = None;
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(link) = message
                && link.header.index == index
            {
                found = underlay(link);
            }
        })?;
        Ok(found)
    }

    /// Whether the interface of this name can carry packets: it is switched on and has a carrier. `None`: there is none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn carries(&self, interface: &str) -> Result<Option<bool>, UnderlayError> {
        Ok(self.link(interface)?.map(|link| link.carries))
    }

    /// How the interface of this name is; `None`: there is none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link(&self, interface: &str) -> Result<Option<LinkSight>, UnderlayError> {
        let mut found = None;
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(link) = message
                && link.attributes.iter().any(|one| matches!(one, LinkAttribute::IfName(name) if name == interface))
            {
                found = Some(LinkSight::of(&link));
            }
        })?;
        Ok(found)
    }

    /// Wakes whoever waits for the answer after every change of interfaces and addresses since [`Monitor::open`]. To be
    /// called once. A thread waits for the kernel until vswitchd ends.
    ///
    /// # Errors
    /// When it was called before, or there is no thread left.
    pub fn changes(&self) -> Result<Arc<Notify>, UnderlayError> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reports = reports.ok_or_else(|| io::Error::other("somebody else is told already"))?;
        let changed = Arc::new(Notify::new());
        let tell = Arc::clone(&changed);
        vital::on_end().spawn("underlay", move || {
            loop {
                match reports.recv_from_full() {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    // Reports were lost, which is one, too.
                    Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {}
                    Err(error) => {
                        return Err(io::Error::other(format!("it cannot hear of changes of interfaces: {error}")));
                    }
                }
                tell.notify_one();
            }
        })?;
        Ok(changed)
    }

    /// Asks for everything of a kind. The kernel answers at once.
    fn dump(&self, question: RouteNetlinkMessage, mut each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(question));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.send(&bytes, 0)?;
        loop {
            let (datagram, _) = questions.recv_from_full()?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let length = NetlinkBuffer::new_checked(&rest).map_err(io::Error::other)?.length();
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
                // Messages begin at multiples of four bytes.
                let next = usize::try_from(length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}

fn underlay(link: LinkMessage) -> Option<Underlay> {
    let (mut interface, mut mtu) = (String::new(), None);
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface = name,
            LinkAttribute::Mtu(bytes) => mtu = Some(bytes),
            _ => {}
        }
    }
    Some(Underlay { interface, mtu: mtu? })
}

/// Whether an interface has this address: its own, not its peer's. All of 127.0.0.0/8 is on the loopback interface.
fn has(message: &AddressMessage, wanted: IpAddr) -> bool {
    let wanted = match wanted {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    };
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(local) => Some(*local),
        _ => None,
    });
    // IPv6 addresses have no peer, and come as the other kind.
    let own = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(own) => Some(*own),
            _ => None,
        })
    });
    own == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loopback interface has all its addresses, and nobody has one that is for documentation.
    #[test]
    fn finds_loopback() {
        let monitor = Monitor::open().unwrap();
        for address in ["127.0.0.1", "127.7.7.7"] {
            let found = monitor.find(address.parse().unwrap()).unwrap();
            assert!(found.is_some_and(|underlay| underlay.interface == "lo" && underlay.mtu >= 1280));
        }
        assert_eq!(monitor.find("192.0.2.77".parse().unwrap()).unwrap(), None);
        assert_eq!(monitor.carries("lo").unwrap(), Some(true));
        assert_eq!(monitor.carries("no-such-link").unwrap(), None);
    }
}
