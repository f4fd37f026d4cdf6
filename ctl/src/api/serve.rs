//! Accepting clients. A slow, silent or dead one costs one connection for a bounded time, and nobody else waits for it.

use std::convert::Infallible;
use std::future::Future;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use super::answer::Refusal;
use super::docker::images::one_segment;
use super::docker::version::negotiate;
use super::extract;
use super::orders::{Slot, Usher};
use super::stream::{Carried, FdStream};
use crate::blocking::may_block;
use crate::controller::Controller;
use crate::peer::Peer;

/// Connections at a time, however many descriptors there are.
const MAX_CONNECTIONS: usize = 1024;

/// Of the descriptors that the process may have, one in this many is a client's at most: flows have three quarters
/// (`controller::uplink`), endpoints at least what is left.
const DESCRIPTORS_PER_CONNECTION: u64 = 8;

/// Connections that are always possible.
const MIN_CONNECTIONS: usize = 4;

/// How long a client may take to send the head of a request; an idle connection ends after it, too.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long to wait when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Which clients are served, of those that the socket's mode lets connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clients {
    /// Those of vswitchd's own pid namespace, whatever their other namespaces: containers are strangers.
    #[default]
    OwnProcesses,
    /// Those of containers, too.
    Containers,
}

/// Serves clients of vswitchd's own pid namespace until dropped.
///
/// # Errors
/// As [`serve_to`].
pub async fn serve(listener: StdListener, router: Router) -> std::io::Result<()> {
    serve_to(Clients::default(), None, listener, router).await
}

/// Serves clients until dropped. What they order to be run is shown to the agent of `orders`; without, nothing can be ordered.
///
/// # Errors
/// When the listener cannot be given to the runtime.
pub async fn serve_to(
    clients: Clients,
    orders: Option<Controller>,
    listener: StdListener,
    router: Router,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(room(getrlimit(Resource::Nofile).current)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a client: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = if admit(&stream, clients) { router.clone() } else { strangers() };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => drop(tokio::spawn(one(stream, router, orders.clone(), permit))),
            Err(_) => drop(tokio::spawn(refuse(stream))),
        }
    }
}

/// How many connections there may be under a limit of descriptors.
fn room(descriptors: Option<u64>) -> usize {
    let share = descriptors.and_then(|limit| usize::try_from(limit / DESCRIPTORS_PER_CONNECTION).ok());
    share.unwrap_or(MAX_CONNECTIONS).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

async fn one(stream: UnixStream, router: Router, orders: Option<Controller>, _permit: OwnedSemaphorePermit) {
    let slot = Slot::default();
    let carried = Carried::default();
    let usher = orders.map(|controller| Usher::new(controller, slot.clone()));
    let connection = FdStream::new(stream, usher, carried.clone());
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(connection), Routed { router, slot, carried })
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!("a client's connection ended: {error}");
    }
}

/// More clients than there is room for learn it at once.
async fn refuse(mut stream: UnixStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
        content-length: 74\r\nconnection: close\r\n\r\n\
        {\"message\":\"vswitchd serves as many clients as it can; try again shortly\"}";
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(ANSWER)).await;
}

/// Whether a client is served.
fn admit(stream: &UnixStream, clients: Clients) -> bool {
    match Peer::of(stream) {
        Ok(peer) => {
            let admitted = clients == Clients::Containers || peer.is_among_us();
            tracing::debug!(uid = peer.uid, pid = peer.pid, admitted, "client connected");
            admitted
        }
        Err(error) => {
            tracing::debug!("client connected; its credentials cannot be read: {error}");
            clients == Clients::Containers
        }
    }
}

/// What clients of other pid namespaces are answered.
fn strangers() -> Router {
    Router::new().fallback(async |request: axum::extract::Request| {
        extract::drain(request).await;
        Refusal::new(
            StatusCode::FORBIDDEN,
            "vswitchd does not serve processes of another pid namespace, such as containers; start it with \
             --allow-from-containers to let them in",
        )
    })
}

/// About what the head of a request took on the wire. hyper stops reading a head at its buffer's end, but takes one that
/// was whole when it looked.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + target + headers.sum::<usize>()
}

/// The router behind Docker's version prefix.
#[derive(Clone)]
struct Routed {
    router: Router,
    slot: Slot,
    carried: Carried,
}

impl hyper::service::Service<Request<Incoming>> for Routed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.slot.take());
        request.extensions_mut().insert(self.carried.clone());
        match negotiate(request.uri()) {
            Ok(Some(uri)) => *request.uri_mut() = uri,
            Ok(None) => {}
            Err(refusal) => return Box::pin(async move { Ok(refusal.into_response()) }),
        }
        if let Some(uri) = one_segment(request.uri()) {
            *request.uri_mut() = uri;
        }
        if head_bytes(&request) > MAX_HEAD_BYTES {
            let sentence =
                format!("the request's head is larger than {MAX_HEAD_BYTES} bytes; send fewer or shorter headers");
            let refusal = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, sentence);
            return Box::pin(async move { Ok(refusal.into_response()) });
        }
        let mut router = self.router.clone();
        Box::pin(may_block(async move { router.call(request.map(Body::new)).await }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use axum::routing::get;
    use tokio::io::AsyncReadExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn ask(path: &std::path::Path, target: &str) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Requests that block, more than there are threads, hold up nobody else.
    #[test]
    fn blocked_handlers_block_nobody() {
        const THREADS: usize = 2;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("v.sock");
        let listener = StdListener::bind(&path).unwrap();
        let (blocked, blocks) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let hold = get(move || async move {
            blocked.send(()).unwrap();
            // As a disk would.
            let _ = held.lock().unwrap().recv();
            "held"
        });
        let router = Router::new().route("/hold", hold).route("/version", get(|| async { "version" }));
        runtime.spawn(serve(listener, router));
        let waiting: Vec<_> = (0..=THREADS)
            .map(|_| {
                let path = path.clone();
                runtime.spawn(async move { ask(&path, "/hold").await })
            })
            .collect();
        // This test's own client must not need the threads that it blocks.
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for _ in &waiting {
            blocks.recv_timeout(PATIENCE).expect("every request reaches its handler");
        }
        let answer = own.block_on(async { tokio::time::timeout(PATIENCE, ask(&path, "/version")).await });
        assert!(answer.unwrap().ends_with("version"));
        drop(release);
        for answer in waiting {
            assert!(own.block_on(answer).unwrap().ends_with("held"));
        }
    }
}
