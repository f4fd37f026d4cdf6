//! The shell: sockets of clients. Read first: RFC 7766 (DNS over TCP).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::query::Transport;
use super::service::{Client, Shared, Todo};

/// Longest question that is read. Questions are short; a longer datagram is malformed.
const LONGEST_DATAGRAM: usize = 4096;

/// How long a connection may be silent (RFC 7766 section 6.2.3), or its client may leave a reply unread.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions of one connection that are forwarded at the same time.
const MOST_AT_ONCE: usize = 16;

/// A pause when the kernel has no descriptor to give.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers datagrams for as long as the socket works.
pub(super) async fn datagrams(shared: Arc<Shared>, client: Arc<Client>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier reply, most likely.
                tracing::debug!("a name server's socket failed: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let bytes = &buffer[..length];
        match shared.take(&client, bytes, Transport::Udp) {
            // A client whose buffer is full asks again.
            Todo::Send(reply) => drop(socket.try_send_to(&reply, from)),
            Todo::Ask(question) => {
                let (shared, client, socket) = (Arc::clone(&shared), Arc::clone(&client), Arc::clone(&socket));
                let bytes = bytes.to_vec();
                tokio::spawn(async move {
                    if let Some(reply) = shared.forward(&client, &question, &bytes, Transport::Udp).await {
                        let _ = socket.send_to(&reply, from).await;
                    }
                });
            }
            Todo::Nothing => {}
        }
    }
}

/// Accepts connections for as long as the socket works.
pub(super) async fn listen(shared: Arc<Shared>, client: Arc<Client>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&client.connections).try_acquire_owned() {
                Ok(permit) => {
                    // Answers are small and are waited for.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(converse(Arc::clone(&shared), Arc::clone(&client), stream, permit));
                }
                Err(_) => shared.counters.connections_refused.add(),
            },
            Err(error) => {
                tracing::warn!("the name server cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the questions of one connection, each as soon as its answer is there, until its client is done or silent.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Send + 'static>(
    shared: Arc<Shared>,
    client: Arc<Client>,
    stream: S,
    permit: OwnedSemaphorePermit,
) {
    let (mut reader, writer) = tokio::io::split(stream);
    let (replies, queue) = mpsc::channel(MOST_AT_ONCE);
    let writing = tokio::spawn(write(writer, queue, permit));
    let at_once = Arc::new(tokio::sync::Semaphore::new(MOST_AT_ONCE));
    while let Ok(Ok(bytes)) = tokio::time::timeout(PATIENCE, read(&mut reader)).await {
        match shared.take(&client, &bytes, Transport::Tcp) {
            Todo::Send(reply) => {
                if replies.send(reply).await.is_err() {
                    break;
                }
            }
            Todo::Ask(question) => {
                let Ok(turn) = Arc::clone(&at_once).acquire_owned().await else { break };
                let (shared, client, replies) = (Arc::clone(&shared), Arc::clone(&client), replies.clone());
                tokio::spawn(async move {
                    if let Some(reply) = shared.forward(&client, &question, &bytes, Transport::Tcp).await {
                        // The client may be gone.
                        let _ = replies.send(reply).await;
                    }
                    drop(turn);
                });
            }
            // What asks for no answer on a connection of its own wastes it.
            Todo::Nothing => break,
        }
        if writing.is_finished() {
            break;
        }
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = reader.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes replies until all who could send one are gone, and then ends the connection.
async fn write<S: AsyncWrite>(
    mut writer: WriteHalf<S>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    _permit: OwnedSemaphorePermit,
) {
    while let Some(reply) = queue.recv().await {
        match tokio::time::timeout(PATIENCE, writer.write_all(&framed(&reply))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let _ = writer.shutdown().await;
}

/// A message with its length before it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(2 + message.len());
    bytes.extend(length.to_be_bytes());
    bytes.extend(&message[..length.into()]);
    bytes
}
