//! Interfaces over netlink. Read first: rtnetlink(7), veth(4).
//!
//! Every function works in the namespace in which its [`Netlink`] was opened, whatever the calling thread does later.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
    pin::Pin,
};

use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, MulticastGroup, RouteMessageBuilder,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags},
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType},
    },
    sys::AsyncSocket,
};
use tokio::task::AbortHandle;
use vswitch_frame::buffer::MAX_SUPER_PACKET;
use vswitch_frame::offload::MAX_SEGMENTS;

use crate::agent::{
    failure::netlink_io,
    protocol::{Failure, FailureKind, Link, OtherRoutes, Route, RouteTarget},
};

/// Both ends take TCP super-frames longer than 64 KiB (docs/decisions/0012). Kernels before 6.3 do not know this and ignore it.
const LONGER_SUPER_FRAMES: LinkAttribute = LinkAttribute::GsoIpv4MaxSize(MAX_SUPER_PACKET);

/// More segments in one super-frame than the switch takes, both ends cut up themselves.
const NOT_MORE_SEGMENTS: LinkAttribute = LinkAttribute::GsoMaxSegs(MAX_SEGMENTS);

/// A netlink socket of one namespace. Lives within a tokio runtime.
#[derive(Debug)]
pub(crate) struct Netlink {
    handle: Handle,
    connection: AbortHandle,
}

impl Netlink {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Netlink> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, connection: tokio::spawn(connection).abort_handle() })
    }

    /// Makes a veth pair: `name` with this index here, switched on, and the other end in `netns`, switched off. `inside`
    /// may contain `%d`.
    pub(crate) async fn make_veth(
        &self,
        name: &str,
        index: u32,
        netns: BorrowedFd<'_>,
        inside: &str,
        link: &Link,
    ) -> Result<(), rtnetlink::Error> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(inside)
            .address(link.mac.octets().to_vec())
            .mtu(link.mtu)
            .setns_by_fd(netns.as_raw_fd())
            .append_extra_attribute(LONGER_SUPER_FRAMES)
            .append_extra_attribute(NOT_MORE_SEGMENTS)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(name, "")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .index(index)
            .mtu(link.mtu)
            .link_group(GROUP)
            .append_extra_attribute(LONGER_SUPER_FRAMES)
            .append_extra_attribute(NOT_MORE_SEGMENTS)
            .up()
            .build();
        self.handle.link().add(message).execute().await
    }

    /// Index of the other end of an interface.
    pub(crate) async fn other_end(&self, index: u32) -> Result<u32, rtnetlink::Error> {
        let message = self.one(self.handle.link().get().match_index(index)).await?;
        let other = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Link(index) => Some(*index),
            _ => None,
        });
        other.ok_or(rtnetlink::Error::RequestFailed)
    }

    /// Name of an interface.
    pub(crate) async fn name_of(&self, index: u32) -> Result<String, rtnetlink::Error> {
        let message = self.one(self.handle.link().get().match_index(index)).await?;
        let name = message.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        name.ok_or(rtnetlink::Error::RequestFailed)
    }

    /// Index and MTU of the interface with this name.
    pub(crate) async fn find(&self, name: &str) -> Result<(u32, u32), rtnetlink::Error> {
        let message = self.one(self.handle.link().get().match_name(name.to_owned())).await?;
        let mtu = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        Ok((message.header.index, mtu.unwrap_or(DEFAULT_MTU)))
    }

    /// Removes the TAP with this name, if there is one.
    pub(crate) async fn remove_tap(&self, name: &str) -> Result<(), rtnetlink::Error> {
        let Ok(message) = self.one(self.handle.link().get().match_name(name.to_owned())).await else { return Ok(()) };
        let is_tap = message.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Tun)),
            _ => false,
        });
        if is_tap { self.remove(message.header.index).await } else { Ok(()) }
    }

    /// Index of the interface with this name, if it is on and has this MAC address and this MTU.
    pub(crate) async fn find_alike(&self, name: &str, link: &Link) -> Result<Option<u32>, rtnetlink::Error> {
        let message = self.one(self.handle.link().get().match_name(name.to_owned())).await?;
        let has = |wanted: LinkAttribute| message.attributes.contains(&wanted);
        let alike = message.header.flags.contains(LinkFlags::Up)
            && has(LinkAttribute::Address(link.mac.octets().to_vec()))
            && has(LinkAttribute::Mtu(link.mtu));
        Ok(alike.then_some(message.header.index))
    }

    /// Whether the interface with this name is an Ethernet one.
    pub(crate) async fn is_ethernet(&self, name: &str) -> Result<bool, rtnetlink::Error> {
        let message = self.one(self.handle.link().get().match_name(name.to_owned())).await?;
        Ok(message.header.link_layer_type == LinkLayerType::Ether)
    }

    async fn one(&self, request: rtnetlink::LinkGetRequest) -> Result<LinkMessage, rtnetlink::Error> {
        let mut messages = std::pin::pin!(request.execute());
        messages.next().await.unwrap_or(Err(rtnetlink::Error::RequestFailed))
    }

    /// Indices of all interfaces.
    pub(crate) async fn indices(&self) -> Result<Vec<u32>, rtnetlink::Error> {
        self.handle.link().get().execute().map_ok(|message| message.header.index).try_collect().await
    }

    /// Indices of the interfaces whose other end has at least this index.
    pub(crate) async fn with_other_end_from(&self, first: u32) -> Result<Vec<u32>, rtnetlink::Error> {
        let messages: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        let ours = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Link(other) if *other >= first);
        let found = messages.iter().filter(|message| message.attributes.iter().any(ours));
        Ok(found.map(|message| message.header.index).collect())
    }

    /// Switches an interface on.
    pub(crate) async fn up(&self, index: u32) -> Result<(), rtnetlink::Error> {
        self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
    }

    /// Switches an interface off.
    pub(crate) async fn down(&self, index: u32) -> Result<(), rtnetlink::Error> {
        self.handle.link().set(LinkUnspec::new_with_index(index).down().build()).execute().await
    }

    /// Changes an interface's MTU.
    pub(crate) async fn resize(&self, index: u32, mtu: u32) -> Result<(), rtnetlink::Error> {
        self.handle.link().set(LinkUnspec::new_with_index(index).mtu(mtu).build()).execute().await
    }

    /// Gives an interface an address; an IPv6 address without duplicate address detection.
    pub(crate) async fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> Result<(), rtnetlink::Error> {
        let mut request = self.handle.address().add(index, address, prefix);
        if address.is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await
    }

    /// The addresses of an interface.
    pub(crate) async fn addresses(&self, index: u32) -> Result<Vec<IpAddr>, rtnetlink::Error> {
        let request = self.handle.address().get().set_link_index_filter(index);
        let messages: Vec<_> = request.execute().try_collect().await?;
        let attributes = messages.into_iter().flat_map(|message| message.attributes);
        let address = |attribute| match attribute {
            AddressAttribute::Address(address) => Some(address),
            _ => None,
        };
        Ok(attributes.filter_map(address).collect())
    }

    /// Removes an interface; one that is gone already is no error.
    pub(crate) async fn remove(&self, index: u32) -> Result<(), rtnetlink::Error> {
        gone_is_fine(self.handle.link().del(index).execute().await)
    }

    /// Removes every interface that [`Netlink::make_veth`] made here, in one go.
    pub(crate) async fn remove_all(&self) -> Result<(), rtnetlink::Error> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().link_group(GROUP).build();
        gone_is_fine(self.handle.link().del_with_message(message).execute().await)
    }

    /// Makes the IPv4 default route of the interfaces `ours` this one (or none). Answers which route of `others` was kept
    /// instead.
    pub(crate) async fn default_ipv4(
        &self,
        ours: &[u32],
        wanted: Option<Via<Ipv4Addr>>,
        others: OtherRoutes,
    ) -> Result<Option<String>, Failure> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let wanted = wanted.map(|Via { gateway, interface, onlink }| {
            let to = |net: Ipv4Addr, prefix| {
                let route = RouteMessageBuilder::<Ipv4Addr>::new();
                let route = if prefix > 0 { route.destination_prefix(net, prefix) } else { route };
                let route = route.gateway(gateway).output_interface(interface);
                if onlink { route.onlink().build() } else { route.build() }
            };
            let halves = [to(Ipv4Addr::UNSPECIFIED, HALF), to(Ipv4Addr::new(0x80, 0, 0, 0), HALF)];
            Wanted { gateway: gateway.into(), interface, whole: to(Ipv4Addr::UNSPECIFIED, 0), halves }
        });
        self.set_default(query, ours, wanted, others).await
    }

    /// Makes the IPv6 default route of the interfaces `ours` this one (or none). Answers as for IPv4.
    pub(crate) async fn default_ipv6(
        &self,
        ours: &[u32],
        wanted: Option<Via<Ipv6Addr>>,
        others: OtherRoutes,
    ) -> Result<Option<String>, Failure> {
        let query = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let wanted = wanted.map(|Via { gateway, interface, onlink }| {
            let to = |net: Ipv6Addr, prefix| {
                let route = RouteMessageBuilder::<Ipv6Addr>::new();
                let route = if prefix > 0 { route.destination_prefix(net, prefix) } else { route };
                let route = route.gateway(gateway).output_interface(interface);
                if onlink { route.onlink().build() } else { route.build() }
            };
            let upper = Ipv6Addr::from_bits(1 << 127);
            let halves = [to(Ipv6Addr::UNSPECIFIED, HALF), to(upper, HALF)];
            Wanted { gateway: gateway.into(), interface, whole: to(Ipv6Addr::UNSPECIFIED, 0), halves }
        });
        self.set_default(query, ours, wanted, others).await
    }

    async fn set_default(
        &self,
        query: RouteMessage,
        ours: &[u32],
        wanted: Option<Wanted>,
        others: OtherRoutes,
    ) -> Result<Option<String>, Failure> {
        if wanted.is_none() && others != OtherRoutes::Replace {
            return Ok(None);
        }
        let failed = |error: rtnetlink::Error| Failure::netlink("look at the routes", &error);
        let family = query.header.address_family;
        let found: Vec<RouteMessage> = self.handle.route().get(query).execute().try_collect().await.map_err(failed)?;
        let (mut foreign, mut stale) = (None, Vec::new());
        // In a container's namespace a route of this kind is its user's.
        let longest = if others == OtherRoutes::Replace { 0 } else { HALF };
        for route in found {
            let header = &route.header;
            let leads_all = header.address_family == family
                && header.destination_prefix_length <= longest
                && header.table == RouteHeader::RT_TABLE_MAIN
                && header.kind == RouteType::Unicast;
            if !leads_all {
                continue;
            }
            let hop = Hop::of(&route);
            if !hop.interface.is_some_and(|index| ours.contains(&index)) {
                foreign = foreign.or((header.destination_prefix_length == 0).then_some(hop));
                continue;
            }
            let is_wanted = |wanted: &Wanted| {
                others == OtherRoutes::Replace
                    && hop.gateway.zip(hop.interface) == Some((wanted.gateway, wanted.interface))
            };
            if hop.gateway.is_some() && !wanted.as_ref().is_some_and(is_wanted) {
                stale.push(route);
            }
        }
        if let (Some(hop), OtherRoutes::Keep, Some(_)) = (foreign, others, &wanted) {
            return Ok(Some(self.describe(hop).await));
        }
        for route in stale {
            let replaced = |error: rtnetlink::Error| Failure::netlink("replace the default route", &error);
            gone_is_fine(self.handle.route().del(route).execute().await).map_err(replaced)?;
        }
        let Some(Wanted { gateway, interface: _, whole, halves }) = wanted else { return Ok(None) };
        let routes = match (foreign, others) {
            (Some(_), OtherRoutes::Overrule) => halves.into(),
            _ => vec![whole],
        };
        for route in routes {
            let request = self.handle.route().add(route);
            let request = if others == OtherRoutes::Replace { request.replace() } else { request };
            request
                .execute()
                .await
                .map_err(|error| Failure::netlink(format!("set the default route by {gateway}"), &error))?;
        }
        Ok(None)
    }

    /// Adds a route by this interface, or without one wherever the kernel finds that it leads.
    pub(crate) async fn add_route(&self, interface: Option<u32>, route: &Route) -> Result<(), Failure> {
        let failed =
            |error: rtnetlink::Error| Failure::netlink(format!("set the route to {}", route.destination), &error);
        let refused = || Failure::other(format!("the route to {} has a router of the other family", route.destination));
        let message = route_message(interface, route).ok_or_else(refused)?;
        match self.handle.route().add(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(error))
                if error.raw_code() == -rustix::io::Errno::EXIST.raw_os_error() =>
            {
                Ok(())
            }
            other => other.map_err(failed),
        }
    }

    /// Removes a route that was added without an interface; one that is gone is no error.
    pub(crate) async fn remove_route(&self, route: &Route) -> Result<(), rtnetlink::Error> {
        let Some(message) = route_message(None, route) else { return Ok(()) };
        gone_is_fine(self.handle.route().del(message).execute().await)
    }

    async fn describe(&self, Hop { gateway, interface }: Hop) -> String {
        let name = match interface {
            Some(index) => self.name_of(index).await.ok(),
            None => None,
        };
        let by = gateway.map_or_else(|| "without a gateway".to_owned(), |gateway| format!("by {gateway}"));
        name.map_or_else(|| by.clone(), |name| format!("{by} ({name})"))
    }
}

/// `None`: addresses of both families.
fn route_message(interface: Option<u32>, route: &Route) -> Option<RouteMessage> {
    let (destination, length) = (route.destination.addr(), route.destination.prefix_len());
    let mut message = RouteMessageBuilder::<IpAddr>::new().destination_prefix(destination, length).ok()?;
    if let Some(metric) = route.metric {
        message = message.priority(metric);
    }
    if let Some(index) = interface {
        message = message.output_interface(index);
    }
    let message = match route.target {
        RouteTarget::Gateway(gateway) => message.gateway(gateway).ok()?,
        RouteTarget::Link => message.scope(RouteScope::Link),
        RouteTarget::Blackhole => message.kind(RouteType::BlackHole),
        RouteTarget::Unreachable => message.kind(RouteType::Unreachable),
        RouteTarget::Prohibit => message.kind(RouteType::Prohibit),
    };
    Some(message.build())
}

/// Where a route leads, as far as it says: one over several interfaces says it elsewhere.
#[derive(Debug, Clone, Copy)]
struct Hop {
    gateway: Option<IpAddr>,
    interface: Option<u32>,
}

impl Hop {
    fn of(route: &RouteMessage) -> Hop {
        let mut hop = Hop { gateway: None, interface: None };
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => hop.interface = Some(*index),
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => hop.gateway = Some(IpAddr::V4(*address)),
                RouteAttribute::Gateway(RouteAddress::Inet6(address)) => hop.gateway = Some(IpAddr::V6(*address)),
                _ => {}
            }
        }
        hop
    }
}

/// A default route that is to be.
struct Wanted {
    gateway: IpAddr,
    interface: u32,
    whole: RouteMessage,
    /// The same in two pieces, which are more specific than anybody's default route. They vanish with their interface,
    /// whatever ends it, and that default route is in force again.
    halves: [RouteMessage; 2],
}

/// Prefix length of half of all addresses.
const HALF: u8 = 1;

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Interfaces that are removed from a namespace. Not on the socket of the requests: when many are removed at once the
/// kernel drops what does not fit, and the answer to a request could be among it.
pub(crate) struct Removed {
    indices: Pin<Box<dyn Stream<Item = u32>>>,
    connection: AbortHandle,
}

impl Removed {
    /// Watches the calling thread's namespace.
    pub(crate) fn watch() -> io::Result<Removed> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER)?;
        let indices = messages.filter_map(async |(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => Some(link.header.index),
            _ => None,
        });
        Ok(Removed { indices: Box::pin(indices), connection: tokio::spawn(connection).abort_handle() })
    }

    /// Sees nothing.
    pub(crate) fn never() -> Removed {
        let nothing = tokio::spawn(async {}).abort_handle();
        Removed { indices: Box::pin(futures_util::stream::pending()), connection: nothing }
    }

    /// Index of the next one; `None` when the kernel dropped some, after which nothing more comes.
    pub(crate) async fn next(&mut self) -> Option<u32> {
        self.indices.next().await
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Asked for; the kernel grants no more than `net.core.rmem_max`.
const RECEIVE_BUFFER: u32 = 1 << 20;

/// Where a default route leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Via<A> {
    /// The router.
    pub(crate) gateway: A,
    /// Index of the interface that leads to it.
    pub(crate) interface: u32,
    /// The router is outside the interface's subnet.
    pub(crate) onlink: bool,
}

/// Ethernet's, for an interface that does not say.
const DEFAULT_MTU: u32 = 1500;

/// Interface group of the switch's ends ("vs"), by which all can be removed at once.
const GROUP: u32 = 0x7673;

fn gone_is_fine(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(error) => match Failure::io("", &netlink_io(&error)).kind {
            FailureKind::Gone => Ok(()),
            _ if netlink_io(&error).raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            _ => Err(error),
        },
        done => done,
    }
}
