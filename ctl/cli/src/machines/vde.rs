//! The handshake of `vde_switch`. Read first: its manual page, and libvdeplug's.
//!
//! A client connects to `DIRECTORY/ctl`, and says where its own datagram socket is; it is answered with the address of another one, by
//! which frames go, one in each datagram. The port lasts as long as the connection.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::net::{SocketAddrUnix, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vswitch_api::Client;

use super::files::{self, Bound};
use crate::output;

/// How long a client may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(10);

const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;
/// Magic number, version and the kind of request, in the host's byte order.
const HEAD: usize = 12;
/// `struct sockaddr_un`: its family, and a path.
const ADDRESS: usize = 110;
const FAMILY: usize = 2;
/// What a client says of itself, at most.
const DESCRIPTION: usize = 128;

/// The socket that clients of the directory connect to.
pub(super) fn listen(directory: &Path) -> io::Result<(UnixListener, Bound)> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    files::listen(&directory.join("ctl"))
}

/// Plugs a client in for as long as it stays connected.
pub(super) async fn stay(client: Client, port: String, stream: UnixStream, directory: PathBuf) {
    if let Err(error) = serve(&client, &port, stream, &directory).await {
        output::note(&format!("a machine is sent away: {error:#}"));
    }
}

async fn serve(client: &Client, port: &str, stream: UnixStream, directory: &Path) -> anyhow::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let mut stream = tokio::net::UnixStream::from_std(stream)?;
    let peer = tokio::time::timeout(PATIENCE, hear(&mut stream)).await.context("it says nothing")??;
    let name = format!("{:03}.{}", COUNT.fetch_add(1, Relaxed), std::process::id());
    let own = directory.join(name);
    let (socket, _bound) = files::bind_datagram(&own).with_context(|| format!("cannot bind {}", own.display()))?;
    connect(&socket, &peer).context("it is not where it says")?;
    let (machine, mut hold) = client.plug_machine(port, socket.as_fd()).await?;
    stream.write_all(&address(&own)).await?;
    let mut byte = [0];
    tokio::select! {
        why = hold.ended() => output::note(&format!("{}: {}", machine.name, why.unwrap_or_default())),
        _ = stream.read(&mut byte) => {}
    }
    Ok(())
}

/// Where a client's datagram socket is.
async fn hear(stream: &mut tokio::net::UnixStream) -> anyhow::Result<SocketAddrUnix> {
    let mut request = [0; HEAD + ADDRESS];
    stream.read_exact(&mut request).await.context("it went away")?;
    // The rest is for people.
    let mut description = [0; DESCRIPTION];
    let _ = stream.try_read(&mut description);
    peer(&request)
}

fn peer(request: &[u8; HEAD + ADDRESS]) -> anyhow::Result<SocketAddrUnix> {
    let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap_or_default());
    if (number(0), number(4)) != (MAGIC, VERSION) {
        bail!("it does not speak VDE's protocol of version {VERSION}");
    }
    let path = &request[HEAD + FAMILY..];
    let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
    if end == 0 {
        bail!("its socket has no path");
    }
    Ok(SocketAddrUnix::new(&path[..end])?)
}

fn address(path: &Path) -> [u8; ADDRESS] {
    let mut address = [0; ADDRESS];
    let family = rustix::net::AddressFamily::UNIX.as_raw();
    address[..FAMILY].copy_from_slice(&family.to_ne_bytes());
    let path = path.as_os_str().as_encoded_bytes();
    // It was bound, so it fits.
    address[FAMILY..FAMILY + path.len()].copy_from_slice(path);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's address is read back as libvdeplug writes it; another version, another magic number and no path are refused.
    #[test]
    fn requests() {
        let request = |magic: u32, version: u32, path: &str| {
            let mut request = [0; HEAD + ADDRESS];
            request[..4].copy_from_slice(&magic.to_ne_bytes());
            request[4..8].copy_from_slice(&version.to_ne_bytes());
            request[HEAD..].copy_from_slice(&address(Path::new(path)));
            peer(&request)
        };
        let heard = request(MAGIC, VERSION, "/tmp/vde/.1-0").unwrap();
        assert_eq!(heard.path().unwrap().to_str(), Ok("/tmp/vde/.1-0"));
        assert!(
            request(MAGIC, 2, "/x").is_err()
                && request(1, VERSION, "/x").is_err()
                && request(MAGIC, VERSION, "").is_err()
        );
    }
}
