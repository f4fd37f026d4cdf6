//! Where sockets to upstreams are opened.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use vswitch_switch::sys::datagram::report_errors;

use crate::agent::client::AgentClient;
use crate::agent::protocol::{Reply, Request, SandboxSocket};

/// Where sockets to upstreams are opened.
#[derive(Debug, Clone)]
pub enum Outlet {
    /// In vswitchd's own network namespace, the host's.
    Host,
    /// Inside a sandbox, by the agent: what is sent leaves as everything else of the container does.
    Sandbox {
        /// Who opens them.
        agent: AgentClient,
        /// Id of the sandbox.
        sandbox: String,
    },
}

/// The number of an interface of vswitchd's own network namespace; a zone may also be a number.
pub(super) fn zone_number(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse() {
        return Some(number);
    }
    let socket = std::net::UdpSocket::bind(("::", 0)).ok()?;
    rustix::net::netdevice::name_to_index(socket, zone).ok()
}

impl Outlet {
    /// A datagram socket connected to `server`, from a port that nobody can know beforehand (RFC 5452 section 4.5).
    pub(super) async fn datagram(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let socket = match self {
            Outlet::Host if server.is_ipv4() => UdpSocket::bind(("0.0.0.0", 0)).await?,
            Outlet::Host => UdpSocket::bind(("::", 0)).await?,
            Outlet::Sandbox { .. } => {
                let descriptor = self.open(SandboxSocket::Datagram { ipv6: server.is_ipv6() }).await?;
                UdpSocket::from_std(descriptor.into())?
            }
        };
        // Otherwise a socket keeps it to itself when there is no way, and a resolver out of reach costs the whole patience.
        report_errors(socket.as_fd(), server.is_ipv6())?;
        socket.connect(server).await?;
        Ok(socket)
    }

    /// A connection to `server`.
    pub(crate) async fn stream(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let socket = match self {
            Outlet::Host if server.is_ipv4() => TcpSocket::new_v4()?,
            Outlet::Host => TcpSocket::new_v6()?,
            Outlet::Sandbox { .. } => {
                let descriptor = self.open(SandboxSocket::Stream { ipv6: server.is_ipv6() }).await?;
                TcpSocket::from_std_stream(descriptor.into())
            }
        };
        socket.connect(server).await
    }

    async fn open(&self, socket: SandboxSocket) -> io::Result<OwnedFd> {
        let Outlet::Sandbox { agent, sandbox } = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let request = Request::SandboxOpen { sandbox: sandbox.clone(), socket };
        match agent.call(request, Vec::new()).await.map_err(io::Error::other)? {
            (Reply::Sockets, mut descriptors) => descriptors.pop().ok_or_else(|| io::ErrorKind::InvalidData.into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
