//! Reading what a client asks for on its own connection, without taking it away.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, getsockname, recv, recvmsg};

use vswitch_api::network::NetworkCreate;

use super::{Order, refuse, wrong};
use crate::agent::protocol::{Failure, MAX_MESSAGE, Policy};
use crate::api::negotiable;
use crate::model::{
    ArchiveAction, Images, PARENT_OPTION, Parent, archive_command, create_from_docker, exec_from_docker,
};
use crate::peer::Peer;

/// Whether `connection` is a client's, and not something that vswitchd made.
pub(super) fn believe(connection: &OwnedFd, policy: &Policy, daemon: Option<u32>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io("look at the client's connection", &error);
    let address = getsockname(connection).map_err(|error| failed(error.into()))?;
    let address = SocketAddrUnix::try_from(address).map_err(|error| failed(error.into()))?;
    let own = |path: &PathBuf| address.path_bytes() == Some(path.as_os_str().as_bytes());
    let peer = Peer::of(connection).map_err(failed)?;
    let among = peer.is_among_us() || (policy.strangers && peer.pid.is_some());
    if !policy.sockets.iter().any(own) || peer.pid.is_none() || peer.pid == daemon || !among {
        return Err(refuse("this is not the connection of a client; send the request to the control socket"));
    }
    Ok(())
}

/// The request at the head of a connection, once it is there as a whole.
pub(super) async fn read(connection: &OwnedFd, images: &Images) -> Result<Order, Failure> {
    let failed = |error: io::Error| Failure::io("read the client's request", &error);
    let mut bytes = vec![0; LONGEST];
    let mut encouraged = false;
    loop {
        if let Some(descriptor) = beside(connection)? {
            return Ok(Order::Namespace(descriptor));
        }
        let there = match recv(connection.as_fd(), &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(refuse("the client went away")),
            Ok((count, _)) => &bytes[..count],
            Err(rustix::io::Errno::AGAIN) => &[],
            Err(error) => return Err(failed(error.into())),
        };
        if let Some(head) = Head::parse(there)? {
            if head.end + head.length > LONGEST {
                let sentence = "the order is too large; shorten the command, its environment or its mounts";
                return Err(refuse(sentence));
            }
            if there.len() >= head.end + head.length {
                return head.order(&there[head.end..head.end + head.length], images);
            }
            if head.expects && !encouraged {
                // What vswitchd would say once it had read the head.
                rustix::io::write(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
                    .map_err(|error| failed(error.into()))?;
                encouraged = true;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The descriptor that a client sent with the beginning of a request that hands a namespace over. Peeking copies it.
fn beside(connection: &OwnedFd) -> Result<Option<OwnedFd>, Failure> {
    let mut line = [0; LONGEST_LINE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match recvmsg(connection, &mut [IoSliceMut::new(&mut line)], &mut control, flags) {
        Err(rustix::io::Errno::AGAIN) => return Ok(None),
        other => other.map_err(|error| Failure::io("read the client's request", &error.into()))?,
    };
    let first = line[..received.bytes].split(|byte| *byte == b'\r').next().unwrap_or_default();
    if std::str::from_utf8(first).ok().and_then(kind_of) != Some(Kind::Namespace) {
        return Ok(None);
    }
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let given = descriptors.next().and_then(|mut descriptors| descriptors.next());
    given.map(Some).ok_or_else(|| {
        refuse("no descriptor of a network namespace came with the beginning of the request; send one by SCM_RIGHTS")
    })
}

/// What the head of a request says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    kind: Kind,
    /// Where the body begins.
    end: usize,
    /// Of the body.
    length: usize,
    /// The client waits to be told to go on.
    expects: bool,
    /// Of the request's target.
    query: String,
}

/// Requests that order something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Exec,
    DockerCreate,
    DockerExec,
    Namespace,
    Network,
    /// The order is in the head alone.
    Archive(ArchiveAction),
}

impl Head {
    /// `None`: there must be more of it.
    fn parse(bytes: &[u8]) -> Result<Option<Head>, Failure> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| refuse("the request's head is no text"))?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let kind = kind_of(line).ok_or_else(|| refuse("the request orders nothing"))?;
        let query = line.split(' ').nth(1).and_then(|target| target.split_once('?')).map_or("", |(_, query)| query);
        let query = query.to_owned();
        if matches!(kind, Kind::Archive(_)) {
            // What follows is not looked at here.
            return Ok(Some(Head { kind, end: end + 4, length: 0, expects: false, query }));
        }
        let (mut length, mut expects) = (None, false);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" if length.is_none() => length = value.trim().parse().ok(),
                "content-length" | "transfer-encoding" => {
                    return Err(refuse("send the request with one Content-Length"));
                }
                "expect" => expects = value.trim().eq_ignore_ascii_case("100-continue"),
                _ => {}
            }
        }
        let length = length.ok_or_else(|| refuse("send the request with a Content-Length"))?;
        Ok(Some(Head { kind, end: end + 4, length, expects, query }))
    }

    fn order(&self, body: &[u8], images: &Images) -> Result<Order, Failure> {
        let failed = |error: serde_json::Error| refuse(format!("invalid JSON in the request body: {error}"));
        match self.kind {
            Kind::Create => serde_json::from_slice(body).map(Order::Create).map_err(failed),
            Kind::Exec => serde_json::from_slice(body).map(Order::Exec).map_err(failed),
            Kind::DockerCreate => {
                let wire = serde_json::from_slice(body).map_err(failed)?;
                // Its name is vswitchd's to say.
                let translated = create_from_docker(wire, None, images).map_err(|error| refuse(error.to_string()))?;
                Ok(Order::Create(Box::new(translated.create)))
            }
            Kind::Archive(action) => archive_command(action, &self.query).map(Order::Exec).map_err(refuse),
            Kind::DockerExec => {
                let wire = serde_json::from_slice(body).map_err(failed)?;
                exec_from_docker(wire).map(Order::Exec).map_err(|faults| wrong(&faults))
            }
            Kind::Network => {
                let wire: NetworkCreate = serde_json::from_slice(body).map_err(failed)?;
                let parent = wire.options.get(PARENT_OPTION).map(|text| text.parse::<Parent>()).transpose();
                parent.map(|parent| Order::Network(parent.map(|parent| parent.interface))).map_err(refuse)
            }
            // Its order is beside the request, not in it.
            Kind::Namespace => Err(refuse("the request orders nothing")),
        }
    }
}

/// What a request line orders, if it does.
fn kind_of(line: &str) -> Option<Kind> {
    let (method, rest) = line.split_once(' ')?;
    let path = rest.split(' ').next()?.split('?').next()?;
    let action = match method {
        "POST" => None,
        "HEAD" => Some(ArchiveAction::Look),
        "GET" => Some(ArchiveAction::Fetch),
        "PUT" => Some(ArchiveAction::Store),
        _ => return None,
    };
    let mut segments = path.strip_prefix('/')?.split('/').collect::<Vec<_>>();
    if negotiable(segments[0]) {
        segments.remove(0);
    }
    if let Some(action) = action {
        return matches!(segments[..], ["containers", _, "archive"]).then_some(Kind::Archive(action));
    }
    match segments[..] {
        ["vswitch", "v1", "containers"] => Some(Kind::Create),
        ["vswitch", "v1", "containers", _, "exec"] => Some(Kind::Exec),
        ["containers", "create"] => Some(Kind::DockerCreate),
        ["containers", _, "exec"] => Some(Kind::DockerExec),
        ["networks", "create"] => Some(Kind::Network),
        ["vswitch", "v1", "engines", "endpoints"] => Some(Kind::Namespace),
        _ => None,
    }
}

/// Whether a request that begins so orders something that the agent must hear itself.
pub(crate) fn is_order(beginning: &[u8]) -> bool {
    let line = beginning.split(|byte| *byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    line.and_then(kind_of).is_some()
}

/// Enough for the first line of a request that orders something, bytes.
const LONGEST_LINE: usize = 512;

/// Longest request, bytes; what it starts must fit a message.
const LONGEST: usize = MAX_MESSAGE;

/// Between two looks at a request that is not there as a whole yet.
const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads are read as far as they matter, and refused where two readers could understand them differently.
    #[test]
    fn heads() {
        let head = |text: &str| Head::parse(text.as_bytes());
        let create = "POST /vswitch/v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        let expected =
            Head { kind: Kind::Create, end: create.len() - 2, length: 2, expects: false, query: String::new() };
        assert_eq!(head(create).unwrap(), Some(expected));
        for cut in 0..create.len() - 2 {
            assert_eq!(head(&create[..cut]).unwrap(), None, "{cut}");
        }
        let exec =
            "POST /vswitch/v1/containers/a/exec?x=1 HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length:7\r\n\r\n";
        assert!(matches!(head(exec).unwrap(), Some(Head { kind: Kind::Exec, length: 7, expects: true, .. })));
        for wrong in [
            "GET /vswitch/v1/containers HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
            "POST /vswitch/v1/containers/a/start HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
            "POST /vswitch/v1/containers HTTP/1.1\r\n\r\n",
            "POST /vswitch/v1/containers HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "POST /vswitch/v1/containers HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(head(wrong).is_err(), "{wrong}");
        }
        let copy = "PUT /v1.50/containers/a/archive?path=%2Ftmp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5";
        let copy = head(copy).unwrap().unwrap();
        let Order::Exec(command) = copy.order(b"", &Images::default()).unwrap() else { panic!() };
        assert_eq!((copy.kind, command.command[4].as_str()), (Kind::Archive(ArchiveAction::Store), "/tmp"));
        for kind in ["POST /v1.41/containers/create?name=a HTTP/1.1", "POST /containers/a/exec HTTP/1.1"] {
            assert!(matches!(kind_of(kind), Some(Kind::DockerCreate | Kind::DockerExec)), "{kind}");
        }
        assert!(is_order(b"POST /vswitch/v1/containers HTTP/1.1\r\nHo") && !is_order(b"POST /vswitch/v1/contai"));
    }
}
