//! The client against a small server that behaves well and badly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, helpers included")]

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use vswitch_api::client::{Filters, Streams};
use vswitch_api::container::{ContainerCreate, ExecRequest};
use vswitch_api::network::NetworkCreate;
use vswitch_api::stdio::{self, StdioEvent};
use vswitch_api::{Client, ClientError};

/// Method, path with query, body.
type Seen = Arc<Mutex<Vec<(String, String, String)>>>;

struct Fake {
    seen: Seen,
    client: Client,
    _directory: tempfile::TempDir,
}

/// Serve `answer` (a status and a body) for every ordinary request.
fn fake(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Fake {
    let directory = tempfile::tempdir().unwrap();
    fake_at(directory.path().join("s.sock"), directory, answer)
}

fn fake_at(
    socket: PathBuf,
    directory: tempfile::TempDir,
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> Fake {
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();
    let seen = Seen::default();
    let (answer, record) = (Arc::new(answer), seen.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, record) = (answer.clone(), record.clone());
            let service = service_fn(move |request| serve(request, answer.clone(), record.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    Fake { seen, client: Client::new(socket), _directory: directory }
}

async fn serve(
    mut request: Request<Incoming>,
    answer: Arc<impl Fn(&str) -> (u16, String)>,
    seen: Seen,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().to_string();
    let method = request.method().to_string();
    let upgrade = request.headers().get("upgrade").is_some_and(|value| value == stdio::UPGRADE);
    let upgraded = hyper::upgrade::on(&mut request);
    let body = request.into_body().collect().await?.to_bytes();
    seen.lock().unwrap().push((method, path.clone(), String::from_utf8(body.to_vec()).unwrap()));
    let (status, body) = answer(&path);
    let mut response = Response::new(Full::new(Bytes::from(body.clone())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if upgrade && status == 101 {
        *response.body_mut() = Full::default();
        response.headers_mut().insert("upgrade", stdio::UPGRADE.parse().unwrap());
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        tokio::spawn(async move {
            let parts = upgraded.await.unwrap().downcast::<TokioIo<UnixStream>>().unwrap();
            converse(parts.io.into_inner(), &body).await;
        });
    }
    Ok(response)
}

/// Take the descriptors, write to the second, and say `lines` in two halves.
async fn converse(mut stream: UnixStream, lines: &str) {
    let descriptors = stream.async_io(Interest::READABLE, || Ok(receive(&stream)?)).await.unwrap();
    assert_eq!(descriptors.len(), 3);
    let mut output = File::from(descriptors.into_iter().nth(1).unwrap());
    output.write_all(b"from the container").unwrap();
    let (first, second) = lines.split_at(lines.len() / 2);
    stream.write_all(first.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    stream.write_all(second.as_bytes()).await.unwrap();
}

fn receive(stream: &UnixStream) -> rustix::io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [9];
    rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    assert_eq!(byte, [0]);
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(descriptors)
}

impl Fake {
    fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(method, path, _)| format!("{method} {path}")).collect()
    }
}

/// Every method asks the route that the API names, with names and filters escaped.
#[tokio::test]
async fn routes() {
    let fake = fake(|path| match path {
        _ if path.contains("/fdb") => (200, r#"{"removed":3}"#.into()),
        _ if path.ends_with("create") => (201, r#"{"Id":"ab","Warning":""}"#.into()),
        _ if path.contains("/wait") => (200, r#"{"exit_code":3}"#.into()),
        _ if path.starts_with("/networks?") => (200, "[]".into()),
        _ if path.contains("all=") => (200, "[]".into()),
        _ => (204, String::new()),
    });
    let client = &fake.client;
    client.ping().await.unwrap();
    let filters = Filters::from([("name".into(), vec!["a b".into()])]);
    assert_eq!(client.networks(&filters).await.unwrap(), []);
    let created = client.create_network(&NetworkCreate { name: "x".into(), ..Default::default() }).await.unwrap();
    assert_eq!(created.id, "ab");
    client.remove_network("a/b c").await.unwrap();
    assert_eq!(client.flush_fdb("n").await.unwrap().removed, 3);
    assert_eq!(client.remove_fdb("n", "02:42:00:00:00:01").await.unwrap().removed, 3);
    assert_eq!(client.containers(true).await.unwrap(), []);
    assert_eq!(client.wait_container("c").await.unwrap().exit_code, 3);
    client.stop_container("c", Some(std::time::Duration::from_secs(7))).await.unwrap();
    client.stop_container("c", None).await.unwrap();
    client.kill_container("c", 15).await.unwrap();
    client.remove_container("c", true).await.unwrap();
    client.detach("e").await.unwrap();
    assert_eq!(
        fake.requests(),
        [
            "GET /_ping",
            "GET /networks?filters=%7B%22name%22%3A%5B%22a%20b%22%5D%7D",
            "POST /networks/create",
            "DELETE /networks/a%2Fb%20c",
            "DELETE /vswitch/v1/networks/n/fdb",
            "DELETE /vswitch/v1/networks/n/fdb/02%3A42%3A00%3A00%3A00%3A01",
            "GET /vswitch/v1/containers?all=true",
            "GET /vswitch/v1/containers/c/wait",
            "POST /vswitch/v1/containers/c/stop?timeout=7",
            "POST /vswitch/v1/containers/c/stop",
            "POST /vswitch/v1/containers/c/kill?signal=15",
            "DELETE /vswitch/v1/containers/c?force=true",
            "DELETE /vswitch/v1/endpoints/e",
        ]
    );
    let body = fake.seen.lock().unwrap()[2].2.clone();
    assert!(body.contains(r#""Name":"x""#), "{body}");
}

/// A refusal carries the daemon's sentence and status, whatever the body is.
#[tokio::test]
async fn refusals() {
    let fake = fake(|path| match path {
        "/networks/json" => (404, r#"{"message":"network json not found"}"#.into()),
        "/networks/text" => (500, "oh no\n".into()),
        _ => (503, String::new()),
    });
    for (network, status, sentence) in [
        ("json", 404, "network json not found"),
        ("text", 500, "oh no"),
        ("empty", 503, "vswitchd refused the request with status 503 Service Unavailable"),
    ] {
        match fake.client.network(network).await {
            Err(ClientError::Refused { status: found, message, exit_code: None }) => {
                assert_eq!((found, &*message), (status, sentence));
            }
            other => panic!("{network}: {other:?}"),
        }
    }
    let streams = std::io::stdin();
    let refused = fake.client.start_container_with("x", Streams::all(streams.as_fd())).await;
    assert!(matches!(refused, Err(ClientError::Refused { status: 503, .. })), "{refused:?}");
}

/// An answer that is no JSON, or another JSON, is a broken daemon and not a panic.
#[tokio::test]
async fn nonsense() {
    let fake = fake(|path| (200, if path.ends_with("stats") { "{}".into() } else { "<html>".into() }));
    assert!(matches!(fake.client.version().await, Err(ClientError::Broken { .. })));
    let error = fake.client.stats().await.unwrap_err().to_string();
    assert!(error.contains("not as agreed") && error.contains("s.sock"), "{error}");
    let stdin = std::io::stdin();
    let session = fake.client.start_container_with("x", Streams::all(stdin.as_fd())).await;
    assert!(matches!(session, Err(ClientError::Broken { .. })), "200 is no upgrade: {session:?}");
}

/// Nobody there: the sentence names the socket and says how to start the daemon.
#[tokio::test]
async fn unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let absent = Client::new(directory.path().join("absent.sock"));
    let error = absent.version().await.unwrap_err().to_string();
    assert!(error.contains("absent.sock") && error.contains("--socket"), "{error}");
    let stale = directory.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(matches!(Client::new(stale).version().await, Err(ClientError::Unreachable { .. })));
}

/// A daemon that closes before it answers is told from one that is not there.
#[tokio::test]
async fn hang_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = Client::new(socket).ping().await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
}

/// A socket whose path is longer than a socket address can hold is reached all the same.
#[tokio::test]
async fn long_path() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    // Bind under a short name for the same directory.
    let short = directory.path().join("short");
    std::os::unix::fs::symlink(&deep, &short).unwrap();
    let fake = fake_at(short.join("s.sock"), directory, |_| (204, String::new()));
    Client::new(deep.join("s.sock")).ping().await.unwrap();
    assert_eq!(fake.requests(), ["GET /_ping"]);
}

/// The three descriptors arrive, and the events come in order, also when a line arrives in two pieces.
#[tokio::test]
async fn session() {
    let lines = [StdioEvent::Started { pid: 42 }, StdioEvent::Exited { exit_code: 7 }]
        .map(|event| serde_json::to_string(&event).unwrap() + "\n")
        .concat();
    let fake = fake(move |_| (101, lines.clone()));
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let streams = Streams { stdin: null.as_fd(), stdout: writer.as_fd(), stderr: null.as_fd() };
    let request = ExecRequest { command: vec!["true".into()], ..Default::default() };
    let mut session = fake.client.exec_with("c", &request, streams).await.unwrap();
    drop(writer);
    assert_eq!(session.next().await.unwrap(), Some(StdioEvent::Started { pid: 42 }));
    assert_eq!(session.next().await.unwrap(), Some(StdioEvent::Exited { exit_code: 7 }));
    assert_eq!(session.next().await.unwrap(), None);
    let mut output = String::new();
    File::from(reader).read_to_string(&mut output).unwrap();
    assert_eq!(output, "from the container");
    assert!(fake.seen.lock().unwrap()[0].2.contains("true"));
}

/// Many calls at once do not disturb each other, and the client may be used from any task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let fake = fake(|_| (201, r#"{"id":"1","name":"n","warnings":[]}"#.into()));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = fake.client.clone();
            tokio::spawn(async move { client.create_container(&ContainerCreate::default()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().id, "1");
    }
    assert_eq!(fake.requests().len(), 100);
}
