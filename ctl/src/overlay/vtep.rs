//! `--vtep ADDR[,port=N]`: this host's end of the tunnels.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use vswitch_switch::sys::udp;

/// The UDP port that IANA assigned to VXLAN (RFC 7348 section 8).
pub const DEFAULT_PORT: u16 = 4789;

/// Shown wherever somebody has to be told the shape.
const EXAMPLE: &str = "--vtep 192.0.2.1 or --vtep 192.0.2.1,port=8472";

/// A VTEP, as the flag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VtepSpec {
    /// An address of the host.
    pub address: IpAddr,
    /// The UDP port, at both ends.
    pub port: u16,
}

/// What is wrong with a VTEP.
#[derive(Debug, thiserror::Error)]
pub enum VtepError {
    /// Text that is no address.
    #[error("--vtep {0} does not begin with an IP address; write {EXAMPLE}")]
    Address(String),
    /// An address that no host can have.
    #[error("--vtep {0} is no host's address; name the one that other hosts reach this one by")]
    NoHost(IpAddr),
    /// Not a key.
    #[error("--vtep has {0:?} where port=N should be; write {EXAMPLE}")]
    Key(String),
    /// Not a port.
    #[error("--vtep port {0} is no UDP port; use 1 to 65535")]
    Port(String),
    /// Two sockets cannot share an address.
    #[error("--vtep names {0} twice; name each address once")]
    Twice(IpAddr),
    /// The address is not the host's.
    #[error("--vtep {0}: this host does not have that address; see 'ip address'")]
    NotHere(IpAddr),
    /// Somebody else has the port.
    #[error(
        "--vtep {address}: UDP port {port} is in use; end the other vswitchd or vxlan device, or use another port on \
         all hosts with {address},port=N"
    )]
    PortInUse {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// What else the kernel said.
    #[error("--vtep {address}: UDP port {port} cannot be opened ({source})")]
    Socket {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

impl FromStr for VtepSpec {
    type Err = VtepError;

    fn from_str(text: &str) -> Result<Self, VtepError> {
        let (address, rest) = text.split_once(',').map_or((text, None), |(address, rest)| (address, Some(rest)));
        let address: IpAddr = address.parse().map_err(|_| VtepError::Address(text.to_owned()))?;
        let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        if address.is_unspecified() || address.is_multicast() || broadcast {
            return Err(VtepError::NoHost(address));
        }
        let port = match rest {
            None => DEFAULT_PORT,
            Some(rest) => {
                let value = rest.strip_prefix("port=").ok_or_else(|| VtepError::Key(rest.to_owned()))?;
                let port = value.parse().ok().filter(|port| *port != 0);
                port.ok_or_else(|| VtepError::Port(value.to_owned()))?
            }
        };
        Ok(VtepSpec { address, port })
    }
}

/// As the flag is written.
impl fmt::Display for VtepSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            DEFAULT_PORT => self.address.fmt(f),
            port => write!(f, "{},port={port}", self.address),
        }
    }
}

/// All of them, if each address is named once.
///
/// # Errors
/// When one is no VTEP, or named twice.
pub fn parse_all(texts: &[String]) -> Result<Vec<VtepSpec>, VtepError> {
    let mut all: Vec<VtepSpec> = Vec::new();
    for text in texts {
        let spec: VtepSpec = text.parse()?;
        if all.iter().any(|other| other.address == spec.address) {
            return Err(VtepError::Twice(spec.address));
        }
        all.push(spec);
    }
    Ok(all)
}

/// A VTEP whose socket is bound.
#[derive(Debug)]
pub struct OpenVtep {
    /// What it should be like.
    pub spec: VtepSpec,
    /// The socket.
    pub socket: OwnedFd,
}

impl OpenVtep {
    /// Binds the socket.
    ///
    /// # Errors
    /// When the address is not the host's, or the port is taken.
    pub fn bind(spec: VtepSpec) -> Result<OpenVtep, VtepError> {
        let VtepSpec { address, port } = spec;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => VtepError::PortInUse { address, port },
            io::ErrorKind::AddrNotAvailable => VtepError::NotHere(address),
            _ => VtepError::Socket { address, port, source },
        };
        let socket = udp::open(SocketAddr::new(address, port)).map_err(failed)?;
        Ok(OpenVtep { spec, socket })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Both families, with and without a port, survive a round trip.
    #[test]
    fn round_trip() {
        for (text, port) in [("10.0.0.1", 4789), ("10.0.0.1,port=8472", 8472), ("fd00::1", 4789)] {
            let spec: VtepSpec = text.parse().unwrap();
            assert_eq!((spec.to_string().as_str(), spec.port), (text, port));
        }
    }

    /// What is no VTEP is refused with one sentence that says what to write.
    #[test]
    fn refusals() {
        for (text, says) in [
            ("eth0", "does not begin with an IP address"),
            ("10.0.0.1:4789", "does not begin with an IP address"),
            ("0.0.0.0", "no host's address"),
            ("239.1.1.1", "no host's address"),
            ("255.255.255.255", "no host's address"),
            ("::", "no host's address"),
            ("10.0.0.1,4789", "port=N"),
            ("10.0.0.1,port=0", "1 to 65535"),
            ("10.0.0.1,port=65536", "1 to 65535"),
        ] {
            let error = text.parse::<VtepSpec>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
        let twice = ["10.0.0.1".to_owned(), "10.0.0.1,port=1".to_owned()];
        assert!(matches!(parse_all(&twice), Err(VtepError::Twice(_))));
    }

    /// A port that is taken and an address of another host each have their sentence.
    #[test]
    fn sockets() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let spec = VtepSpec { address: "127.0.0.1".parse().unwrap(), port: taken.local_addr().unwrap().port() };
        assert!(matches!(OpenVtep::bind(spec), Err(VtepError::PortInUse { .. })));
        let spec = VtepSpec { address: "192.0.2.77".parse().unwrap(), port: 4789 };
        assert!(matches!(OpenVtep::bind(spec), Err(VtepError::NotHere(_))));
    }
}
