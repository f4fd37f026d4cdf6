//! Sandboxes and endpoints as the network thread knows them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use vswitch_switch::sys::{ethtool, packet};

use super::{
    Answer, Survey,
    interface::{Netlink, Via},
    namespace::{Attached, Home, failure, sysctl_ipv6},
    sockets,
};
use crate::agent::protocol::{
    Failure, FailureKind, Link, NetnsRef, OtherRoutes, Reply, Request, Route, RouteTarget, SandboxSocket,
};

/// Everything that the network thread owns.
#[derive(Debug)]
pub(crate) struct Table {
    home: Home,
    netlink: Netlink,
    sandboxes: BTreeMap<String, Sandbox>,
    endpoints: BTreeMap<String, Endpoint>,
    /// Index of the last switch-side interface.
    next: u32,
}

#[derive(Debug)]
enum Sandbox {
    /// Made by the agent, and alive as long as this descriptor is.
    Created(OwnedFd),
    /// Somebody else's.
    Attached(Attached),
    /// The host's own.
    Host(OwnedFd),
}

#[derive(Debug)]
struct Endpoint {
    sandbox: String,
    /// Name of the switch's end.
    port: String,
    /// Index of the switch's end.
    port_index: u32,
    /// Index inside the sandbox.
    index: u32,
    /// Name inside the sandbox when it was made.
    interface: String,
    ipv4: Option<(Ipv4Addr, u8)>,
    ipv6: Option<(Ipv6Addr, u8)>,
    /// Routes that do not go with the interface.
    loose: Vec<Route>,
}

/// An endpoint and the gateway that it leads to.
type Gateway<A> = (String, A);

impl Table {
    /// Moves the calling thread into the namespace of the switch's ends.
    pub(crate) fn new() -> io::Result<Table> {
        let home = Home::make()?;
        let netlink = Netlink::open()?;
        Ok(Table { home, netlink, sandboxes: BTreeMap::new(), endpoints: BTreeMap::new(), next: FIRST_PORT })
    }

    /// Does a request about sandboxes and endpoints.
    pub(crate) async fn request(&mut self, request: Request) -> Answer {
        match request {
            Request::SandboxCreate { sandbox } => self.create(sandbox, None).await,
            Request::SandboxAttach { sandbox, netns, force } => self.attach_sandbox(sandbox, &netns, force),
            Request::SandboxHost { sandbox } => self.know_host(sandbox),
            Request::SandboxRemove { sandbox } => self.remove_sandbox(&sandbox).await,
            Request::SandboxOpen { sandbox, socket } => self.open_socket(&sandbox, socket),
            Request::EndpointAttach { endpoint, sandbox, link } => self.attach(endpoint, sandbox, &link).await,
            Request::EndpointReopen { endpoint } => self.reopen(&endpoint).await,
            Request::EndpointCarrier { endpoint, up } => self.carrier(&endpoint, up).await,
            Request::EndpointMtu { endpoint, mtu } => self.resize(&endpoint, mtu).await,
            Request::EndpointDetach { endpoint } => self.detach(&endpoint).await,
            Request::DefaultRoute { sandbox, ipv4, ipv6, others } => {
                self.default_route(&sandbox, (ipv4, ipv6), others).await
            }
            Request::Routes { sandbox, endpoint, routes } => self.add_routes(&sandbox, &endpoint, &routes).await,
            _ => Err(Failure::other("this request is not about the network; update vswitchd")),
        }
    }

    /// Makes a sandbox, of this network namespace or of a new one.
    pub(crate) async fn create(&mut self, sandbox: String, netns: Option<OwnedFd>) -> Answer {
        if self.sandboxes.contains_key(&sandbox) {
            return Err(Failure::new(
                FailureKind::Exists,
                format!("sandbox {sandbox} exists already; remove it first"),
            ));
        }
        let netns = match netns {
            Some(netns) => netns,
            None => self.home.create().map_err(|error| Failure::io("make a network namespace", &error))?,
        };
        let netlink = self.netlink_in(netns.as_fd())?;
        netlink.up(LOOPBACK).await.map_err(|error| Failure::netlink("switch the loopback interface on", &error))?;
        self.sandboxes.insert(sandbox, Sandbox::Created(netns));
        DONE
    }

    /// Takes over a namespace whose agent was killed, and removes what that one had attached.
    pub(crate) async fn adopt(&mut self, sandbox: String, netns: OwnedFd) -> Result<(), Failure> {
        let inside = self.netlink_in(netns.as_fd())?;
        let failed = |error: rtnetlink::Error| Failure::netlink("remove an earlier agent's interfaces", &error);
        for index in inside.with_other_end_from(FIRST_PORT).await.map_err(failed)? {
            inside.remove(index).await.map_err(failed)?;
        }
        self.sandboxes.insert(sandbox, Sandbox::Created(netns));
        Ok(())
    }

    fn attach_sandbox(&mut self, sandbox: String, netns: &NetnsRef, force: bool) -> Answer {
        self.know(sandbox, Attached::find(netns.clone())?, force)?;
        DONE
    }

    fn know_host(&mut self, sandbox: String) -> Answer {
        let netns = self.home.host().map_err(|error| Failure::io("find the host's network namespace", &error))?;
        self.sandboxes.insert(sandbox, Sandbox::Host(netns));
        DONE
    }

    /// Knows the namespace of a descriptor as a sandbox.
    pub(crate) async fn attach_given(&mut self, sandbox: String, descriptor: OwnedFd) -> Answer {
        let attached = Attached::given(descriptor)?;
        let (netns, opened) = (attached.reference().clone(), attached.open()?);
        self.know(sandbox, attached, false)?;
        // Engines leave it to their helper.
        let inside = self.netlink_in(opened.as_fd())?;
        inside.up(LOOPBACK).await.map_err(|error| Failure::netlink("switch the loopback interface on", &error))?;
        Ok((Reply::Namespace { netns }, Vec::new()))
    }

    /// Looks whether namespaces that are held open are still somebody's.
    pub(crate) fn look_at_held(&mut self) {
        for sandbox in self.sandboxes.values_mut() {
            if let Sandbox::Attached(attached) = sandbox {
                attached.look();
            }
        }
    }

    fn know(&mut self, sandbox: String, attached: Attached, force: bool) -> Result<(), Failure> {
        let netns = attached.reference();
        if !force && self.home.is_host(&attached) {
            return Err(Failure::new(
                FailureKind::Harmful,
                format!(
                    "{netns} is the host's own, which an interface of a network could cut off; attach it with --force if that is \
                     meant"
                ),
            ));
        }
        // Opening it may be allowed where entering is not.
        let opened = attached.open()?;
        let entered = self.home.visit(opened.as_fd(), || ());
        entered.map_err(|error| failure(attached.reference(), &error))?;
        if let Some(Sandbox::Created(_)) = self.sandboxes.get(&sandbox) {
            return Err(Failure::new(
                FailureKind::Exists,
                format!("sandbox {sandbox} exists already; remove it first"),
            ));
        }
        self.sandboxes.insert(sandbox, Sandbox::Attached(attached));
        Ok(())
    }

    async fn remove_sandbox(&mut self, sandbox: &str) -> Answer {
        let inside: Vec<String> =
            self.endpoints.iter().filter(|(_, e)| e.sandbox == sandbox).map(|(id, _)| id.clone()).collect();
        for endpoint in inside {
            self.detach(&endpoint).await?;
        }
        self.sandboxes.remove(sandbox);
        DONE
    }

    /// Opens sockets in a sandbox.
    fn open_socket(&self, sandbox: &str, socket: SandboxSocket) -> Answer {
        let netns = self.netns(sandbox)?;
        let opened = self.home.visit(netns.as_fd(), || sockets::open(socket)).and_then(|opened| opened);
        let sockets = opened.map_err(|error| match (error.kind(), socket) {
            (io::ErrorKind::AddrInUse, SandboxSocket::NameServer) => Failure::new(
                FailureKind::Exists,
                "port 53 is taken inside the container, so it has no name server; let its program listen on the \
                 container's own address only",
            ),
            _ => Failure::io("open a socket in the sandbox", &error),
        })?;
        Ok((Reply::Sockets, sockets))
    }

    async fn attach(&mut self, id: String, sandbox: String, link: &Link) -> Answer {
        if self.endpoints.contains_key(&id) {
            return Err(Failure::new(
                FailureKind::Exists,
                format!("endpoint {id} is attached already; detach it first"),
            ));
        }
        let netns = self.netns(&sandbox)?;
        let inside = self.netlink_in(netns.as_fd())?;
        if let (true, Some(name)) = (link.replace_tap, &link.interface) {
            let failed = |error: rtnetlink::Error| Failure::netlink(format!("replace the TAP {name}"), &error);
            inside.remove_tap(name).await.map_err(failed)?;
        }
        self.next += 1;
        let port_index = self.next;
        let port = format!("port{}", self.next - FIRST_PORT);
        let name = link.interface.as_deref().unwrap_or("eth%d");
        self.netlink.make_veth(&port, port_index, netns.as_fd(), name, link).await.map_err(|error| {
            Failure::netlink(format!("make interface {}", link.interface.as_deref().unwrap_or("ethN")), &error)
        })?;
        let failed = |error: rtnetlink::Error| Failure::netlink("find the interface that was just made", &error);
        let done = async {
            let index = self.netlink.other_end(port_index).await.map_err(failed)?;
            let interface = inside.name_of(index).await.map_err(failed)?;
            self.configure(netns.as_fd(), &inside, index, &interface, link).await?;
            if let (Some(Sandbox::Host(_)), false) = (self.sandboxes.get(&sandbox), link.bare) {
                self.forward_nothing(netns.as_fd(), &interface)?;
            }
            Ok((index, interface, open(&port)?))
        };
        match done.await {
            Ok((index, interface, socket)) => {
                let (ipv4, ipv6) = (link.ipv4, link.ipv6);
                let (loose, interface_name) = (Vec::new(), interface.clone());
                let endpoint =
                    Endpoint { sandbox, port, port_index, index, interface: interface_name, ipv4, ipv6, loose };
                self.endpoints.insert(id, endpoint);
                Ok((Reply::Endpoint { interface }, vec![socket]))
            }
            Err(failure) => {
                if let Err(error) = self.netlink.remove(port_index).await {
                    tracing::warn!("cannot remove interface {port} again: {error}");
                }
                Err(failure)
            }
        }
    }

    /// Addresses and settings of a new interface.
    async fn configure(
        &self,
        netns: BorrowedFd<'_>,
        inside: &Netlink,
        index: u32,
        interface: &str,
        link: &Link,
    ) -> Result<(), Failure> {
        let off = if link.enable_ipv6 { "0" } else { "1" };
        self.home
            .visit(netns, || {
                if !link.bare {
                    sysctl_ipv6(interface, "disable_ipv6", off);
                    // The link-local address is made from a MAC address that control keeps unique.
                    sysctl_ipv6(interface, "accept_dad", "0");
                }
                if let Err(error) = ethtool::switch_features_off(interface, &NOT_CARRIED) {
                    tracing::debug!("{interface} keeps features that no virtio-net header carries: {error}");
                }
            })
            .map_err(|error| Failure::io("enter the sandbox", &error))?;
        if link.bare {
            return Ok(());
        }
        inside.up(index).await.map_err(|error| Failure::netlink(format!("switch {interface} on"), &error))?;
        let ipv4 = link.ipv4.map(|(address, prefix)| (IpAddr::V4(address), prefix));
        let ipv6 = link.ipv6.map(|(address, prefix)| (IpAddr::V6(address), prefix));
        // As Docker has them.
        let link_local = link.link_local.iter().map(|&address| (address, if address.is_ipv4() { 16 } else { 64 }));
        for (address, prefix) in ipv4.into_iter().chain(ipv6).chain(link_local) {
            inside.add_address(index, address, prefix).await.map_err(|error| {
                Failure::netlink(format!("give {interface} the address {address}/{prefix}"), &error)
            })?;
        }
        Ok(())
    }

    /// A host that is a router is none for the network.
    fn forward_nothing(&self, netns: BorrowedFd<'_>, interface: &str) -> Result<(), Failure> {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
        let written = self.home.visit(netns, || std::fs::write(&path, "0")).and_then(|written| written);
        written.map_err(|error| Failure::io(format!("set {path} to 0"), &error))
    }

    /// One end of a veth pair has a carrier while the other one is switched on.
    async fn carrier(&self, id: &str, up: bool) -> Answer {
        let Endpoint { port_index, interface, .. } = self.endpoints.get(id).ok_or_else(|| Failure::no_endpoint(id))?;
        let done = if up { self.netlink.up(*port_index).await } else { self.netlink.down(*port_index).await };
        done.map_err(|error| Failure::netlink(format!("change the carrier of {interface}"), &error))?;
        DONE
    }

    /// Both ends of a veth pair have the same MTU, or the shorter one's packets are all that pass.
    async fn resize(&self, id: &str, mtu: u32) -> Answer {
        let endpoint = self.endpoints.get(id).ok_or_else(|| Failure::no_endpoint(id))?;
        let failed =
            |error: rtnetlink::Error| Failure::netlink(format!("change the MTU of {}", endpoint.interface), &error);
        let inside = self.netlink_in(self.netns(&endpoint.sandbox)?.as_fd())?;
        inside.resize(endpoint.index, mtu).await.map_err(failed)?;
        self.netlink.resize(endpoint.port_index, mtu).await.map_err(failed)?;
        DONE
    }

    async fn reopen(&self, id: &str) -> Answer {
        self.carrier(id, true).await?;
        let endpoint = self.endpoints.get(id).ok_or_else(|| Failure::no_endpoint(id))?;
        Ok((Reply::Endpoint { interface: endpoint.interface.clone() }, vec![open(&endpoint.port)?]))
    }

    async fn detach(&mut self, id: &str) -> Answer {
        // Out of the table first: its end is then no loss to report.
        let Some(endpoint) = self.endpoints.remove(id) else { return DONE };
        self.remove_loose(&endpoint).await;
        if let Err(error) = self.netlink.remove(endpoint.port_index).await {
            let failure = Failure::netlink(format!("remove interface {}", endpoint.interface), &error);
            self.endpoints.insert(id.to_owned(), endpoint);
            return Err(failure);
        }
        DONE
    }

    /// Routes that lead nowhere do not go with the interface for which they were made.
    async fn remove_loose(&self, endpoint: &Endpoint) {
        if endpoint.loose.is_empty() {
            return;
        }
        // With the namespace they are gone.
        let Ok(netns) = self.netns(&endpoint.sandbox) else { return };
        let Ok(inside) = self.netlink_in(netns.as_fd()) else { return };
        for route in &endpoint.loose {
            if let Err(error) = inside.remove_route(route).await {
                tracing::debug!("route {} stays: {error}", route.destination);
            }
        }
    }

    async fn default_route(
        &self,
        sandbox: &str,
        (ipv4, ipv6): (Option<Gateway<Ipv4Addr>>, Option<Gateway<Ipv6Addr>>),
        others: OtherRoutes,
    ) -> Answer {
        let ours = self.interfaces_in(sandbox);
        let find = |id: &str| match self.endpoints.get(id) {
            Some(endpoint) if endpoint.sandbox == sandbox => Ok(endpoint),
            _ => Err(Failure::no_endpoint(id)),
        };
        let via4 = match &ipv4 {
            Some((id, gateway)) => {
                let endpoint = find(id)?;
                let onlink = !endpoint.ipv4.is_some_and(|(address, prefix)| {
                    same_subnet(address.to_bits().into(), gateway.to_bits().into(), 96 + u32::from(prefix))
                });
                Some(Via { gateway: *gateway, interface: endpoint.index, onlink })
            }
            None => None,
        };
        let via6 = match &ipv6 {
            Some((id, gateway)) => {
                let endpoint = find(id)?;
                let near = endpoint
                    .ipv6
                    .is_some_and(|(address, prefix)| same_subnet(address.to_bits(), gateway.to_bits(), prefix.into()));
                let onlink = !near && !gateway.is_unicast_link_local();
                Some(Via { gateway: *gateway, interface: endpoint.index, onlink })
            }
            None => None,
        };
        let netns = self.netns(sandbox)?;
        let inside = self.netlink_in(netns.as_fd())?;
        let routes: Vec<String> = [
            inside.default_ipv4(&ours, via4, others).await?.map(|kept| format!("IPv4 {kept}")),
            inside.default_ipv6(&ours, via6, others).await?.map(|kept| format!("IPv6 {kept}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if routes.is_empty() { DONE } else { Ok((Reply::Kept { routes }, Vec::new())) }
    }

    async fn add_routes(&mut self, sandbox: &str, id: &str, routes: &[Route]) -> Answer {
        let inside = self.netlink_in(self.netns(sandbox)?.as_fd())?;
        let endpoint = self.endpoints.get_mut(id).filter(|endpoint| endpoint.sandbox == sandbox);
        let endpoint = endpoint.ok_or_else(|| Failure::no_endpoint(id))?;
        for route in routes {
            let near = match route.target {
                RouteTarget::Gateway(IpAddr::V4(gateway)) => endpoint.ipv4.is_some_and(|(address, prefix)| {
                    same_subnet(address.to_bits().into(), gateway.to_bits().into(), 96 + u32::from(prefix))
                }),
                RouteTarget::Gateway(IpAddr::V6(gateway)) => {
                    let own = endpoint.ipv6;
                    own.is_some_and(|(own, prefix)| same_subnet(own.to_bits(), gateway.to_bits(), prefix.into()))
                }
                target => target == RouteTarget::Link,
            };
            inside.add_route(near.then_some(endpoint.index), route).await?;
            if !near {
                endpoint.loose.push(route.clone());
            }
        }
        DONE
    }

    /// Indices of the interfaces in a sandbox's namespace. Of one that was attached more than once they are those of all.
    fn interfaces_in(&self, sandbox: &str) -> Vec<u32> {
        let same = |other: &str| match (self.sandboxes.get(sandbox), self.sandboxes.get(other)) {
            _ if other == sandbox => true,
            (Some(Sandbox::Attached(one)), Some(Sandbox::Attached(other))) => one.is_same(other),
            _ => false,
        };
        self.endpoints.values().filter(|endpoint| same(&endpoint.sandbox)).map(|endpoint| endpoint.index).collect()
    }

    /// Opens the network namespace of a sandbox.
    pub(crate) fn netns(&self, sandbox: &str) -> Result<OwnedFd, Failure> {
        match self.sandboxes.get(sandbox) {
            Some(Sandbox::Created(netns) | Sandbox::Host(netns)) => {
                netns.try_clone().map_err(|error| Failure::io("copy a descriptor", &error))
            }
            Some(Sandbox::Attached(attached)) => attached.open(),
            None => Err(Failure::no_sandbox(sandbox)),
        }
    }

    fn netlink_in(&self, netns: BorrowedFd<'_>) -> Result<Netlink, Failure> {
        let opened = self.home.visit(netns, Netlink::open).and_then(|opened| opened);
        opened.map_err(|error| Failure::io("enter the sandbox", &error))
    }

    /// The endpoint whose switch-side interface had this index, if its end is a loss.
    pub(crate) fn lost(&mut self, index: u32) -> Option<String> {
        let id = self.endpoints.iter().find(|(_, e)| e.port_index == index).map(|(id, _)| id.clone())?;
        self.endpoints.remove(&id);
        Some(id)
    }

    /// Looks which endpoints have lost their interface, and forgets them.
    pub(crate) async fn lost_unnoticed(&mut self) -> Vec<String> {
        let indices = match self.netlink.indices().await {
            Ok(indices) => indices,
            Err(error) => {
                tracing::warn!("cannot list the interfaces: {error}");
                return Vec::new();
            }
        };
        let gone = |_: &String, endpoint: &mut Endpoint| !indices.contains(&endpoint.port_index);
        self.endpoints.extract_if(.., gone).map(|(id, _)| id).collect()
    }

    /// What exists now.
    pub(crate) async fn survey(&mut self) -> Survey {
        // Whoever asks learns of these by their absence.
        self.lost_unnoticed().await;
        let living = |sandbox: &&String| self.netns(sandbox).is_ok();
        let sandboxes = self.sandboxes.keys().filter(living).cloned().collect();
        Survey { sandboxes, endpoints: self.endpoints.keys().cloned().collect() }
    }

    /// Removes everything.
    pub(crate) async fn clear(&mut self) -> Result<(), Failure> {
        self.sandboxes.clear();
        let any = !self.endpoints.is_empty();
        self.endpoints.clear();
        if any {
            let removed = self.netlink.remove_all().await;
            removed.map_err(|error| Failure::netlink("remove the interfaces", &error))?;
        }
        Ok(())
    }
}

const DONE: Answer = Ok((Reply::Done, Vec::new()));

/// Indices of the switch's ends begin above those of any sandbox: while the two of a pair are equal, the kernel takes up
/// to a second to believe that the link is up (`linkwatch_urgent_event` in net/core/link_watch.c).
const FIRST_PORT: u32 = 1 << 24;

/// What a veth would leave to the switch and no virtio-net header can tell it of: packets of tunnels inside the container, and
/// SCTP's. Their stack does it itself then.
const NOT_CARRIED: [&str; 9] = [
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-tunnel-remcsum-segmentation",
    "tx-sctp-segmentation",
    "tx-checksum-sctp",
];

/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;

/// Whether two addresses of 128 bits (IPv4 ones fill the last 32) agree in their first bits.
/// A packet socket on the switch's end of an endpoint.
fn open(port: &str) -> Result<OwnedFd, Failure> {
    let socket = packet::open(port).map_err(|error| Failure::io("open a packet socket", &error))?;
    if !packet::let_kernel_segment(socket.as_fd(), port) {
        tracing::debug!("{port} takes bursts of datagrams one by one");
    }
    Ok(socket)
}

fn same_subnet(one: u128, other: u128, prefix: u32) -> bool {
    prefix == 0 || (one ^ other).checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway is on the link exactly when it shares the prefix.
    #[test]
    fn compares_subnets() {
        let bits = |text: &str| u128::from(text.parse::<Ipv4Addr>().unwrap().to_bits());
        assert!(same_subnet(bits("10.0.0.2"), bits("10.0.0.1"), 96 + 24));
        assert!(!same_subnet(bits("10.0.0.2"), bits("10.0.1.1"), 96 + 24));
        assert!(!same_subnet(bits("10.0.0.2"), bits("10.0.0.1"), 96 + 32));
        assert!(same_subnet(bits("10.0.0.2"), bits("11.0.1.1"), 0));
    }
}
