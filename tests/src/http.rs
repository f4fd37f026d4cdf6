//! The control socket by hand: well-formed requests, and any other bytes.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status; 0 if the daemon closed the connection without one.
    pub status: u16,
    /// Head, with the status line.
    pub head: String,
    /// Body, as it came.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects a status, and with it a JSON error message that contains `text`, whatever its case.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn refused(&self, status: u16, text: &str) {
        let message = self.json()["message"].as_str().unwrap_or_default().to_lowercase();
        assert!(
            self.status == status && message.contains(&text.to_lowercase()),
            "expected status {status} and '{text}': {self:?}"
        );
    }
}

/// A connection with a time limit on reading.
///
/// # Panics
/// When nobody listens.
#[must_use]
#[track_caller]
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// One request with an optional JSON body, and its answer.
///
/// # Panics
/// When there is no answer in time.
#[track_caller]
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(socket, head.as_bytes())
}

/// Sends `bytes` as they are and reads until the daemon closes.
///
/// # Panics
/// When it does not close in time.
#[track_caller]
pub fn raw(socket: &Path, bytes: &[u8]) -> Answer {
    let mut stream = connect(socket);
    // The daemon may refuse and close before it has read everything.
    let _ = stream.write_all(bytes);
    answer(&mut stream)
}

/// Reads an answer until the daemon closes.
///
/// # Panics
/// When it does not close in time.
#[track_caller]
pub fn answer(stream: &mut UnixStream) -> Answer {
    let mut bytes = Vec::new();
    let mut piece = [0; 16384];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no end of the answer within {} s: {}", LIMIT.as_secs(), String::from_utf8_lossy(&bytes))
            }
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { joined(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

/// The chunks of a body, joined.
fn joined(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or_default();
        if length == 0 || after.len() < length {
            break;
        }
        body.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    body
}
