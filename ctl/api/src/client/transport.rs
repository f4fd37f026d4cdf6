//! One request, one answer, over one connection.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Client};
use crate::{ClientError, ErrorBody, stdio};

/// A Unix socket's address holds this many bytes, the closing zero included (unix(7)).
const SUN_PATH: usize = 108;

/// What RFC 3986 calls unreserved stays as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as one segment of a path, or one value of a query.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A request that is being put together.
pub(super) struct Call<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    body: Result<Option<Bytes>, serde_json::Error>,
    /// Instead of it: comes while it is sent.
    pieces: Option<Pieces>,
    /// Goes with the first bytes.
    descriptor: Option<OwnedFd>,
    patience: Option<Duration>,
}

impl Client {
    /// A call of `path`, which is escaped already.
    pub(super) fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call {
            client: self,
            method,
            path: path.into(),
            body: Ok(None),
            pieces: None,
            descriptor: None,
            patience: Some(ANSWER_TIMEOUT),
        }
    }

    pub(super) fn broken(&self, detail: &dyn Display) -> ClientError {
        ClientError::Broken { socket: self.socket.display().to_string(), detail: detail.to_string() }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let unreachable = |source: io::Error| {
            let socket = self.socket.display().to_string();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::Denied { socket, source },
                _ => ClientError::Unreachable { socket, source },
            }
        };
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connect(&self.socket)).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => {
                return Err(unreachable(io::Error::new(io::ErrorKind::TimedOut, "it does not accept connections")));
            }
        };
        // Of the process that listens, before it has heard anything.
        let server = stream.peer_cred().map_err(unreachable)?;
        super::socket::check(&self.socket, self.named, server.uid())?;
        Ok(stream)
    }
}

impl Call<'_> {
    /// With `value` as JSON.
    pub(super) fn json(mut self, value: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(value).map(|bytes| Some(Bytes::from(bytes)));
        self
    }

    /// With a body that comes while it is sent; an error in it breaks the request off.
    pub(super) fn pieces(mut self, pieces: mpsc::Receiver<io::Result<Vec<u8>>>) -> Self {
        self.pieces = Some(Pieces(pieces));
        self
    }

    /// With a copy of a descriptor, which goes with the first bytes.
    pub(super) fn beside(mut self, descriptor: BorrowedFd<'_>) -> Result<Self, ClientError> {
        let copy = descriptor.try_clone_to_owned().map_err(|error| self.client.broken(&error))?;
        self.descriptor = Some(copy);
        Ok(self)
    }

    /// With another patience than [`ANSWER_TIMEOUT`]; `None` waits for ever.
    pub(super) fn patience(mut self, patience: Option<Duration>) -> Self {
        self.patience = patience;
        self
    }

    /// Send; the answer is JSON.
    pub(super) async fn answer<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let client = self.client;
        let body = self.bytes().await?;
        serde_json::from_slice(&body)
            .map_err(|error| client.broken(&format!("an answer that is not as agreed: {error}")))
    }

    /// Send; the answer's body, if any, does not matter.
    pub(super) async fn done(self) -> Result<(), ClientError> {
        self.bytes().await.map(drop)
    }

    /// Send; the answer's body as it is.
    pub(super) async fn bytes(self) -> Result<Bytes, ClientError> {
        let client = self.client;
        let patience = self.patience;
        client
            .within(patience, async move {
                let response = self.send(None).await?;
                let response = client.refusal(response).await?;
                client.body(response).await
            })
            .await
    }

    /// Send; the answer's body as it comes. The patience is for its beginning.
    pub(super) async fn stream(self) -> Result<Incoming, ClientError> {
        Ok(self.response().await?.into_body())
    }

    /// As [`Call::stream`], with the answer's headers.
    pub(super) async fn response(self) -> Result<Response<Incoming>, ClientError> {
        let client = self.client;
        let patience = self.patience;
        client
            .within(patience, async move {
                let response = self.send(None).await?;
                client.refusal(response).await
            })
            .await
    }

    /// Send and ask for the upgrade of [`stdio`]; what the connection carries from then on.
    pub(super) async fn upgrade(self) -> Result<(UnixStream, Bytes), ClientError> {
        self.upgrade_to(stdio::UPGRADE).await
    }

    /// Send and ask for another protocol; what the connection carries from then on.
    pub(super) async fn upgrade_to(self, protocol: &'static str) -> Result<(UnixStream, Bytes), ClientError> {
        let client = self.client;
        let patience = self.patience;
        client
            .within(patience, async move {
                let response = self.send(Some(protocol)).await?;
                let response = client.refusal(response).await?;
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    return Err(client.broken(&format!("status {} instead of an upgrade", response.status())));
                }
                let upgraded = hyper::upgrade::on(response).await.map_err(|error| client.broken(&error))?;
                let parts = upgraded
                    .downcast::<TokioIo<UnixStream>>()
                    .map_err(|_| client.broken(&"the upgraded connection is of another kind"))?;
                Ok((parts.io.into_inner(), parts.read_buf))
            })
            .await
    }

    async fn send(self, upgrade: Option<&'static str>) -> Result<Response<Incoming>, ClientError> {
        let client = self.client;
        let body = self.body.map_err(|error| client.broken(&error))?;
        let mut request = Request::builder().method(self.method).uri(self.path).header(header::HOST, "vswitch");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(protocol) = upgrade {
            request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, protocol);
        }
        let body = match self.pieces {
            Some(pieces) => Either::Right(pieces),
            None => Either::Left(Full::new(body.unwrap_or_default())),
        };
        let request = request.body(body).map_err(|error| client.broken(&error))?;
        let stream = client.connect().await?;
        if let Some(descriptor) = self.descriptor {
            let stream = WithDescriptor { stream, descriptor: Some(descriptor) };
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| client.broken(&error))?;
            tokio::spawn(connection);
            return sender.send_request(request).await.map_err(|error| client.broken(&error));
        }
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| client.broken(&error))?;
        // Ends by itself: with the answer, or when the caller drops it.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|error| client.broken(&error))
    }
}

/// A body that comes while it is sent.
struct Pieces(mpsc::Receiver<io::Result<Vec<u8>>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| Some(piece?.map(|bytes| Frame::data(bytes.into()))))
    }
}

/// A connection whose first bytes carry a descriptor.
struct WithDescriptor {
    stream: UnixStream,
    descriptor: Option<OwnedFd>,
}

impl AsyncRead for WithDescriptor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WithDescriptor {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while let Some(descriptor) = &self.descriptor {
            ready!(self.stream.poll_write_ready(context))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor.as_fd()];
            if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            }
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                Ok(sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => {
                    self.descriptor = None;
                    return Poll::Ready(sent);
                }
            }
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Client {
    async fn within<T>(
        &self,
        patience: Option<Duration>,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let Some(patience) = patience else { return work.await };
        match tokio::time::timeout(patience, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.broken(&format!("no answer within {} s", patience.as_secs()))),
        }
    }

    /// The answer, unless it is a refusal.
    async fn refusal(&self, response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        let body = self.body(response).await?;
        let body = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_else(|_| {
            let message = match body.is_empty() {
                true => format!("vswitchd refused the request with status {status}"),
                false => String::from_utf8_lossy(&body).trim().to_owned(),
            };
            ErrorBody { message, exit_code: None }
        });
        Err(ClientError::Refused { status: status.as_u16(), message: body.message, exit_code: body.exit_code })
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let collected = response.into_body().collect().await.map_err(|error| self.broken(&error))?;
        Ok(collected.to_bytes())
    }
}

/// Connect to a socket, also where its path is longer than a socket address can hold.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < SUN_PATH {
        return UnixStream::connect(path).await;
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory: File =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into();
    UnixStream::connect(Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)).await
}
