//! vswitchctl against a daemon that is not there, or is a few lines of this file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, helpers included")]
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::Value;
use vswitch_api::stdio::StdioEvent;

/// The command with an environment in which no real daemon is found.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchctl"));
    command
        .env_remove("VSWITCH_SOCKET")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env_remove("CARGO")
        .stdin(Stdio::null());
    command
}

/// Run it without a daemon.
pub(crate) fn vswitchctl(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A request as the fake daemon got it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) upgrade: bool,
    pub(crate) body: Value,
}

impl Request {
    /// Method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What the fake daemon does with a request.
pub(crate) enum Reply {
    Json(u16, Value),
    Text(&'static str),
    Empty(u16),
    /// Close without an answer.
    HangUp,
    /// Bytes that are no HTTP.
    Garbage,
    /// Accept the hand-over and converse.
    Streams(Box<dyn FnOnce(Conversation) + Send>),
}

/// The daemon's side of a hand-over.
pub(crate) struct Conversation {
    pub(crate) stream: UnixStream,
    pub(crate) stdin: File,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

impl Conversation {
    pub(crate) fn say(&mut self, event: &StdioEvent) {
        let line = serde_json::to_string(event).unwrap() + "\n";
        self.stream.write_all(line.as_bytes()).unwrap();
    }
}

/// A daemon made of one function.
pub(crate) struct Fake {
    pub(crate) socket: PathBuf,
    seen: Arc<Mutex<Vec<Request>>>,
    _directory: tempfile::TempDir,
}

impl Fake {
    pub(crate) fn new(serve: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vswitch.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (serve, seen) = (Arc::new(serve), Arc::new(Mutex::new(Vec::new())));
        let record = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, record, stream) = (serve.clone(), record.clone(), stream.unwrap());
                thread::spawn(move || converse(stream, &*serve, &record));
            }
        });
        Fake { socket, seen, _directory: directory }
    }

    /// The command, pointed at this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command();
        command.arg("--socket").arg(&self.socket).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Run it, insist on success, give standard output.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Request::line).collect()
    }
}

fn converse(mut stream: UnixStream, serve: &dyn Fn(&Request) -> Reply, seen: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let (mut length, mut upgrade) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        upgrade |= header == "upgrade: vswitch-stdio";
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let request = Request { method, path, upgrade, body };
    seen.lock().unwrap().push(request.clone());
    let (status, body) = match serve(&request) {
        Reply::Json(status, value) => (status, value.to_string()),
        Reply::Text(text) => (200, text.to_owned()),
        Reply::Empty(status) => (status, String::new()),
        Reply::HangUp => return,
        Reply::Garbage => return stream.write_all(b"no http at all\r\n\r\n").unwrap(),
        Reply::Streams(handler) => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: vswitch-stdio\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            return handler(receive(stream));
        }
    };
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    // The client may have gone already.
    let _ = write!(stream, "HTTP/1.1 {status} X\r\n{length}Connection: close\r\n\r\n{body}");
}

fn receive(stream: UnixStream) -> Conversation {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [9];
    rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(byte, [0]);
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights.map(File::from));
        }
    }
    let [stdin, stdout, stderr]: [File; 3] = files.try_into().unwrap();
    Conversation { stream, stdin, stdout, stderr }
}
