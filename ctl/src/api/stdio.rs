//! The upgrade that hands over a container's streams; `vswitch_api::stdio` is the contract.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vswitch_api::stdio::{StdioEvent, UPGRADE};
use vswitch_api::text::printable;

use super::answer::{Answer, Refusal};
use super::stream::FdStream;
use crate::blocking;
use crate::error::ControlError;

/// How long a client may take to send its streams.
const STREAMS_PATIENCE: Duration = Duration::from_secs(10);

/// Exactly standard input, output and error.
pub(super) const STREAMS: usize = 3;

/// Exit status where the daemon is at fault, as Docker's.
const DAEMON_ERROR: i32 = 125;

/// The upgrade that a request asks for, if it does.
pub(super) fn requested(request: &mut Request) -> Answer<Option<OnUpgrade>> {
    let Some(protocol) = request.headers().get(header::UPGRADE) else { return Ok(None) };
    if protocol.as_bytes() != UPGRADE.as_bytes() {
        let name = String::from_utf8_lossy(protocol.as_bytes()).into_owned();
        return Err(Refusal::bad(format!("cannot upgrade to {name}; the only protocol is {UPGRADE}")));
    }
    match request.extensions_mut().remove::<OnUpgrade>() {
        Some(upgrade) => Ok(Some(upgrade)),
        None => Err(Refusal::bad("this connection cannot be upgraded; send Connection: Upgrade with HTTP/1.1")),
    }
}

/// Answers 101, and goes on in the background: takes the streams, lets `start` run, reports.
pub(super) fn accept<S, F, E>(upgrade: OnUpgrade, start: S) -> Response
where
    S: FnOnce(Vec<OwnedFd>) -> F + Send + 'static,
    F: Future<Output = Result<(u32, E), ControlError>> + Send,
    E: Future<Output = Option<i32>> + Send,
{
    blocking::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<FdStream>>() else { return };
        let mut stream = parts.io.into_inner();
        let mut seen = parts.read_buf.len();
        let received = tokio::time::timeout(STREAMS_PATIENCE, receive(&mut stream, &mut seen)).await;
        let Ok(Some(streams)) = received else {
            tell(&mut stream, &failed("send one byte with exactly three descriptors after the upgrade", DAEMON_ERROR))
                .await;
            stream.finish().await;
            return;
        };
        match start(streams).await {
            Err(error) => {
                tell(&mut stream, &failed(&error.to_string(), exit_code(&error))).await;
                stream.finish().await;
            }
            Ok((pid, ended)) => report(stream, pid, ended).await,
        }
    });
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static(UPGRADE));
    response
}

/// One byte and three descriptors; `None` when the client sent something else or went away.
async fn receive(stream: &mut FdStream, seen: &mut usize) -> Option<Vec<OwnedFd>> {
    let mut byte = [0u8; 1];
    while *seen == 0 {
        *seen += stream.read(&mut byte).await.ok().filter(|count| *count > 0)?;
    }
    let descriptors = stream.take_descriptors();
    (descriptors.len() == STREAMS).then_some(descriptors)
}

/// Tells of the start and of the end. A client that goes away before is no reason to end the process.
async fn report(mut stream: FdStream, pid: u32, ended: impl Future<Output = Option<i32>>) {
    tell(&mut stream, &StdioEvent::Started { pid }).await;
    let mut byte = [0u8; 1];
    let code = tokio::select! {
        code = ended => code,
        _ = stream.read(&mut byte) => return stream.finish().await,
    };
    let event = match code {
        Some(exit_code) => StdioEvent::Exited { exit_code },
        None => failed("the process was lost", DAEMON_ERROR),
    };
    tell(&mut stream, &event).await;
    stream.finish().await;
}

async fn tell(stream: &mut FdStream, event: &StdioEvent) {
    let mut line = serde_json::to_vec(event).expect("events are plain data");
    line.push(b'\n');
    // A client that does not listen any more has nobody to complain to.
    let _ = stream.write_all(&line).await;
    let _ = stream.flush().await;
}

fn failed(message: &str, exit_code: i32) -> StdioEvent {
    StdioEvent::Failed { message: printable(message).into_owned(), exit_code }
}

const fn exit_code(error: &ControlError) -> i32 {
    match error {
        ControlError::Command { exit_code, .. } => *exit_code,
        _ => DAEMON_ERROR,
    }
}
