//! Connections that become the streams of a process: what comes from the client is its standard input, what goes to the client
//! are Docker's frames, or a terminal's bytes. The agent frames; here they are carried.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::UnixStream;

use crate::agent::output::frame;
use crate::api::answer::{Answer, Refusal};
use crate::api::stream::FdStream;
use crate::blocking;
use crate::logline::Stream;

/// What a client is connected with.
pub(super) struct Streams {
    /// The other end is the agent's.
    pub(super) socket: OwnedFd,
    /// Goes to the client before anything else.
    pub(super) before: Vec<u8>,
    /// Bytes of a terminal, no frames.
    pub(super) tty: bool,
    /// What a client types to leave a terminal.
    pub(super) detach: Vec<u8>,
}

impl Streams {
    pub(super) fn new(socket: OwnedFd, tty: bool, detach_keys: &str) -> Answer<Streams> {
        Ok(Streams { socket, before: Vec::new(), tty, detach: keys(detach_keys)? })
    }

    /// Streams on which nothing comes but a sentence.
    pub(super) fn sentence(text: &str, tty: bool) -> std::io::Result<Streams> {
        let (ours, _) = std::os::unix::net::UnixStream::pair()?;
        let line = format!("{text}\r\n");
        let before = if tty { line.into_bytes() } else { frame(Stream::Errors, line.as_bytes()) };
        Ok(Streams { socket: ours.into(), before, tty, detach: Vec::new() })
    }
}

/// Connects a client: with `Upgrade` both ways, without it what the process writes is the body of the answer. When that has
/// ended, `settled` is waited for before the client hears of it.
pub(super) fn connect(
    request: &mut Request,
    streams: Streams,
    settled: impl Future<Output = ()> + Send + 'static,
) -> Answer<Response> {
    let kind = if streams.tty { RAW } else { MULTIPLEXED };
    let socket = std::os::unix::net::UnixStream::from(streams.socket);
    let prepared = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
    let socket = prepared.map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot use the process's streams: {error}"))
    })?;
    let upgrade =
        request.headers().contains_key(header::UPGRADE).then(|| request.extensions_mut().remove::<OnUpgrade>());
    let Some(upgrade) = upgrade.flatten() else {
        let body = Body::from_stream(futures_util::stream::unfold(
            (socket, streams.before, Some(settled)),
            |(mut socket, before, settled)| async move {
                if !before.is_empty() {
                    return Some((Ok::<_, std::io::Error>(Bytes::from(before)), (socket, Vec::new(), settled)));
                }
                let mut piece = vec![0; PIECE];
                match socket.read(&mut piece).await {
                    Ok(count @ 1..) => {
                        piece.truncate(count);
                        Some((Ok(piece.into()), (socket, Vec::new(), settled)))
                    }
                    _ => {
                        if let Some(settled) = settled {
                            let _ = tokio::time::timeout(PATIENCE, Box::pin(settled)).await;
                        }
                        None
                    }
                }
            },
        ));
        return Ok(([(header::CONTENT_TYPE, kind)], body).into_response());
    };
    blocking::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<FdStream>>() else { return };
        let mut client = parts.io.into_inner();
        client.be_patient();
        carry(client, &parts.read_buf, socket, &streams.before, &streams.detach, settled).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

async fn carry(
    client: FdStream,
    early: &[u8],
    process: UnixStream,
    before: &[u8],
    detach: &[u8],
    settled: impl Future<Output = ()>,
) {
    let gone = client.watch();
    let (mut from_client, mut to_client) = split(client);
    let (from_process, to_process) = process.into_split();
    let input = carry_input(&mut from_client, early, to_process, detach);
    let output = async {
        to_client.write_all(before).await?;
        let done = carry_output(from_process, &mut to_client).await;
        // Whoever hears of the end asks for the exit status next.
        let _ = tokio::time::timeout(PATIENCE, settled).await;
        done
    };
    let input = async {
        match input.await {
            End::Detached => {}
            // It may listen still, and must not be kept when it does not.
            End::Input => gone.await,
        }
    };
    tokio::select! {
        _ = output => {}
        () = input => {}
    }
    from_client.unsplit(to_client).finish().await;
}

async fn carry_output(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece).await? {
            0 => return Ok(()),
            count => {
                to.write_all(&piece[..count]).await?;
                to.flush().await?;
            }
        }
    }
}

/// Why nothing more comes from a client.
enum End {
    /// It sends no more.
    Input,
    /// It leaves, and the process goes on.
    Detached,
}

async fn carry_input(
    mut from: impl AsyncRead + Unpin,
    early: &[u8],
    mut to: impl AsyncWrite + Unpin,
    detach: &[u8],
) -> End {
    let mut escape = Escape { keys: detach, seen: 0 };
    let mut piece = vec![0; PIECE];
    let mut count = early.len().min(piece.len());
    piece[..count].copy_from_slice(&early[..count]);
    loop {
        let (send, leave) = escape.filter(&piece[..count]);
        // A process that takes no input is no reason to stop listening to its client.
        let _ = to.write_all(&send).await;
        if leave {
            return End::Detached;
        }
        count = match from.read(&mut piece).await {
            Ok(count @ 1..) => count,
            _ => {
                let _ = to.shutdown().await;
                return End::Input;
            }
        };
    }
}

/// Looks for the keys by which a client leaves.
struct Escape<'a> {
    keys: &'a [u8],
    seen: usize,
}

impl Escape<'_> {
    /// What is to be sent, and whether the keys were among it.
    fn filter(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (bytes.to_vec(), false);
        }
        let mut send = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (send, true);
                }
                continue;
            }
            // What looked like the beginning of them was meant for the process.
            send.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(*byte == self.keys[0]);
            if self.seen == 0 {
                send.push(*byte);
            }
        }
        (send, false)
    }
}

/// Those that a client names; Docker's own if it names none.
fn keys(text: &str) -> Answer<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT_KEYS.to_vec());
    }
    vswitch_api::keys::detach_keys(text).map_err(Refusal::bad)
}

/// Ctrl-P, Ctrl-Q.
const DEFAULT_KEYS: &[u8] = &[0x10, 0x11];

/// One stream.
const RAW: &str = "application/vnd.docker.raw-stream";

/// Frames of two.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Bytes that are carried at a time.
const PIECE: usize = 32 << 10;

/// For the news of a process's end, when its streams have ended.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys are found wherever they are cut, and nothing else is swallowed.
    #[test]
    fn detaching() {
        assert_eq!(keys("").unwrap(), [0x10, 0x11]);
        assert_eq!(keys("ctrl-a,x,ctrl-]").unwrap(), [1, b'x', 0x1d]);
        assert!(keys("ctrl-1").is_err() && keys("word").is_err());
        let mut escape = Escape { keys: b"\x10\x11", seen: 0 };
        assert_eq!(escape.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(escape.filter(b"c\x10\x10"), (b"\x10c\x10".to_vec(), false));
        assert_eq!(escape.filter(b"\x11rest"), (Vec::new(), true));
    }
}
