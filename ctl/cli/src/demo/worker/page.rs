//! A page over HTTP/1.1 (RFC 9112), served and fetched in the fewest words.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{clock, output};

/// How long the network may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest page that is read.
const LIMIT: u64 = 64 << 10;

/// A page that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fetched {
    /// Its text.
    pub(crate) page: String,
    /// From the connection's first packet to the page's last.
    pub(crate) time: Duration,
}

/// What a page says: whose it is, and whom its server saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) server: String,
    pub(crate) client: std::net::IpAddr,
}

impl Fetched {
    /// The page's words.
    pub(crate) fn read(&self) -> anyhow::Result<Page> {
        serde_json::from_str(&self.page).with_context(|| format!("the page says '{}'", self.page.trim()))
    }
}

/// Serve the page of `server` for ever.
pub(crate) fn serve(listener: &TcpListener, server: &str) {
    loop {
        if let Err(error) = listener.accept().and_then(|(stream, client)| answer(&stream, client, server)) {
            output::note(&format!("a page was not served: {error}"));
        }
    }
}

fn answer(mut stream: &TcpStream, client: SocketAddr, server: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    // The request ends with an empty line; what it asks for does not matter.
    while lines.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        line.clear();
    }
    let page = Page { server: server.to_owned(), client: client.ip().to_canonical() };
    let page = serde_json::to_string(&page)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all((head + &page).as_bytes())
}

/// Fetch the page at `address`.
pub(crate) fn fetch(address: SocketAddr) -> anyhow::Result<Fetched> {
    let start = clock::instant();
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("no TCP connection to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.take(LIMIT).read_to_string(&mut text).with_context(|| format!("{address} did not send its page"))?;
    match text.split_once("\r\n\r\n") {
        Some((head, page)) if head.starts_with("HTTP/1.1 200 ") => {
            Ok(Fetched { page: page.to_owned(), time: start.elapsed() })
        }
        _ => bail!("{address} answered '{}'", text.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page names its server and the client that it saw, over the loopback interface.
    #[test]
    fn loopback() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(&listener, "here"));
        let page = fetch(address).unwrap().read().unwrap();
        assert_eq!(page, Page { server: "here".into(), client: address.ip() });
    }
}
