//! `/containers/{id}/archive`: `docker cp`, by programs of the container itself.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use vswitch_api::ErrorBody;
use vswitch_api::docker::archive::{PathStat, STAT_HEADER};

use crate::agent::output::Attach;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::Segments;
use crate::api::orders::ClientOrder;
use crate::clock::Moment;
use crate::controller::Begun;
use crate::model::{ArchiveAction, archive_command, parse_exec};

/// What a path is.
#[utoipa::path(head, path = "/containers/{id}/archive",
    params(("id" = String, Path), ("path" = String, Query, description = "in the container")),
    responses((status = 200, description = "X-Docker-Container-Path-Stat: base64 of a PathStat"), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn look(
    State(app): State<App>,
    Segments(id): Segments<String>,
    request: Request,
) -> Answer<Response> {
    let mut archive = Archive::begin(&app, &id, ArchiveAction::Look, request).await?.0;
    let stat = archive.stat(&id).await?;
    Ok((StatusCode::OK, stat_header(&stat)).into_response())
}

/// A path and what is below it, as a tar archive.
#[utoipa::path(get, path = "/containers/{id}/archive",
    params(("id" = String, Path), ("path" = String, Query, description = "in the container")),
    responses((status = 200, content_type = "application/x-tar"), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn fetch(
    State(app): State<App>,
    Segments(id): Segments<String>,
    request: Request,
) -> Answer<Response> {
    let mut archive = Archive::begin(&app, &id, ArchiveAction::Fetch, request).await?.0;
    let stat = archive.stat(&id).await?;
    let body = futures_util::stream::unfold(archive, |mut archive| async move {
        match archive.piece().await {
            Ok(Some(bytes)) => Some((Ok::<_, std::io::Error>(Bytes::from(bytes)), archive)),
            Ok(None) => None,
            Err(error) => Some((Err(error), archive)),
        }
    });
    Ok((stat_header(&stat), [(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(body)).into_response())
}

/// Unpacks a tar archive at a path.
#[utoipa::path(put, path = "/containers/{id}/archive",
    params(("id" = String, Path), ("path" = String, Query, description = "a folder in the container")),
    request_body(content_type = "application/x-tar"),
    responses((status = 200), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn store(
    State(app): State<App>,
    Segments(id): Segments<String>,
    request: Request,
) -> Answer<StatusCode> {
    let (mut archive, body) = Archive::begin(&app, &id, ArchiveAction::Store, request).await?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refusal::bad("the archive broke off; send it again"))?;
        // One that ended early says why.
        if archive.socket.write_all(&piece).await.is_err() {
            break;
        }
    }
    let _ = archive.socket.shutdown().await;
    while archive.piece().await.map_err(|error| archive.broken(&error))?.is_some() {}
    match archive.code().await {
        0 => Ok(StatusCode::OK),
        _ => Err(archive.failed(&id)),
    }
}

/// A command of the container that reads or writes an archive.
struct Archive {
    socket: UnixStream,
    ended: Option<tokio::sync::oneshot::Receiver<i32>>,
    /// What it wrote and nobody has read.
    early: Vec<u8>,
    /// What it complained about.
    errors: Vec<u8>,
    path: String,
}

impl Archive {
    async fn begin(app: &App, id: &str, action: ArchiveAction, mut request: Request) -> Answer<(Archive, Body)> {
        let order = ClientOrder::of(request.extensions_mut());
        let query = request.uri().query().unwrap_or_default().to_owned();
        app.controller.check_running(id).map_err(|error| match app.controller.container_runs(id) {
            Ok(_) => Refusal::new(
                StatusCode::CONFLICT,
                format!(
                    "container {id} is not running, and its files are seen by its own programs only; start it first"
                ),
            ),
            Err(_) => error.into(),
        })?;
        let command = archive_command(action, &query).map_err(Refusal::bad)?;
        let path = command.command.last().cloned().unwrap_or_default();
        let attach = Attach { input: action == ArchiveAction::Store, output: true, errors: true };
        let exec = app.controller.make_exec(id, parse_exec(command)?, attach, order.number()?)?;
        let Begun { streams, ended } = app.controller.start_exec(exec.as_str(), true).await?;
        let unusable = |error: std::io::Error| {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot use the archive's streams: {error}"))
        };
        let streams = streams.ok_or_else(|| unusable(std::io::ErrorKind::NotFound.into()))?;
        let socket = std::os::unix::net::UnixStream::from(streams);
        socket.set_nonblocking(true).map_err(unusable)?;
        let socket = UnixStream::from_std(socket).map_err(unusable)?;
        let archive = Archive { socket, ended: Some(ended), early: Vec::new(), errors: Vec::new(), path };
        Ok((archive, request.into_body()))
    }

    /// The next piece of standard output.
    async fn piece(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        if !self.early.is_empty() {
            return Ok(Some(std::mem::take(&mut self.early)));
        }
        loop {
            let mut head = [0; 8];
            match self.socket.read(&mut head[..1]).await {
                // Of a program that ended before it had read all: what it said came first.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Ok(0) => return Ok(None),
                read => read?,
            };
            self.socket.read_exact(&mut head[1..]).await?;
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            self.socket.read_exact(&mut bytes).await?;
            if head[0] == 1 {
                return Ok(Some(bytes));
            }
            bytes.truncate(MOST_COMPLAINTS.saturating_sub(self.errors.len()));
            self.errors.extend(bytes);
        }
    }

    async fn code(&mut self) -> i32 {
        match self.ended.take() {
            Some(ended) => ended.await.unwrap_or(1),
            None => 1,
        }
    }

    /// The two lines about the path.
    async fn stat(&mut self, id: &str) -> Answer<PathStat> {
        let mut lines = Vec::new();
        while lines.iter().filter(|byte| **byte == b'\n').count() < 2 {
            match self.piece().await.map_err(|error| self.broken(&error))? {
                Some(bytes) => lines.extend(bytes),
                None => {
                    return Err(self.failed(id));
                }
            }
        }
        let end = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).map_or(0, |(at, _)| at + 1);
        self.early = lines.split_off(end);
        let text = String::from_utf8_lossy(&lines).into_owned();
        let mut lines = text.lines();
        let numbers: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let parsed = match numbers[..] {
            [size, mode, time] => size.parse().ok().zip(u32::from_str_radix(mode, 16).ok()).zip(time.parse().ok()),
            _ => None,
        };
        let Some(((size, mode), time)) = parsed else { return Err(self.failed(id)) };
        Ok(PathStat {
            name: self.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
            size,
            mode: go_mode(mode),
            mtime: Moment::from_unix_seconds(time).to_string(),
            link_target: lines.next().unwrap_or_default().to_owned(),
        })
    }

    /// What the programs said, as a refusal.
    fn failed(&self, id: &str) -> Refusal {
        let said = String::from_utf8_lossy(&self.errors).trim().to_owned();
        let missing = said.contains("No such file") || said.contains("not found") || said.contains("Not a directory");
        let status = if missing { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        let what = if missing {
            format!("Could not find the file {}", self.path)
        } else {
            "Could not use the file".to_owned()
        };
        Refusal::new(status, format!("{what} in container {id}: {said}"))
    }

    fn broken(&self, error: &std::io::Error) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the archive broke off: {error}"))
    }
}

/// Bytes of standard error that are told.
const MOST_COMPLAINTS: usize = 4096;

fn stat_header(stat: &PathStat) -> [(HeaderName, HeaderValue); 1] {
    let json = serde_json::to_vec(stat).unwrap_or_default();
    let value = HeaderValue::from_str(&base64(&json)).unwrap_or_else(|_| HeaderValue::from_static(""));
    [(HeaderName::from_static(STAT_HEADER), value)]
}

/// A mode as Go's os.FileMode has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => PathStat::FOLDER,
        0o120_000 => PathStat::LINK,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bit = |linux: u32, go: u32| if mode & linux == 0 { 0 } else { go };
    kind | (mode & 0o777) | bit(0o4000, 1 << 23) | bit(0o2000, 1 << 22) | bit(0o1000, 1 << 20)
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            text.push(if place <= three.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encoded as the RFC's examples, and modes as Go writes them.
    #[test]
    fn encodings() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o120_777), 1 << 27 | 0o777);
    }
}
