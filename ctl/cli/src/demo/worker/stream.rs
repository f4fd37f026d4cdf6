//! One TCP connection as fast as it goes.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::say;
use crate::{clock, output};

/// Large enough that system calls do not count.
const BUFFER: usize = 1 << 20;
/// How long the network may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) port: u16,
}

/// What went over the connection, from the first byte to the receiver's answer that it had the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

/// Serve one connection after the other, for ever.
pub(crate) fn serve(port: u16) -> anyhow::Result<()> {
    // Where there is no IPv6, take IPv4 alone.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)))
        .with_context(|| format!("TCP port {port} cannot be served"))?;
    say(&Ready { port })?;
    let mut buffer = vec![0; BUFFER];
    loop {
        if let Err(error) = listener.accept().and_then(|(stream, _)| take(stream, &mut buffer)) {
            output::note(&format!("a connection broke: {error}"));
        }
    }
}

fn take(mut stream: TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = 0_u64;
    loop {
        match stream.read(buffer)? {
            0 => return stream.write_all(&bytes.to_be_bytes()),
            length => bytes += length as u64,
        }
    }
}

/// Send for `time`; the receiver must have got exactly what was sent.
pub(crate) fn send(address: SocketAddr, time: Duration) -> anyhow::Result<Sent> {
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("no TCP connection to {address}"))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let buffer = vec![0x76; BUFFER];
    let mut bytes = 0_u64;
    let start = clock::instant();
    while start.elapsed() < time {
        bytes += stream.write(&buffer).context("the TCP connection broke")? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).context("the receiver did not say how much it got")?;
    let received = u64::from_be_bytes(answer);
    ensure!(received == bytes, "{bytes} bytes were sent but {received} received");
    Ok(Sent { bytes, time: start.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is sent is received, over the loopback interface.
    #[test]
    fn loopback() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || take(listener.accept().unwrap().0, &mut vec![0; BUFFER]).unwrap());
        let sent = send(address, Duration::from_millis(50)).unwrap();
        server.join().unwrap();
        assert!(sent.bytes > 0 && sent.time >= Duration::from_millis(50));
    }
}
