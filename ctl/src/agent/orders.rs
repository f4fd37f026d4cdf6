//! What clients want to be run, from their own mouths.
//!
//! vswitchd parses frames, so it may be somebody else's by now; what it says a client wants proves nothing. So the agent
//! reads the request itself, on the client's own connection, while vswitchd has not read it yet (`MSG_PEEK` takes nothing
//! away). The connection is one that came by a control socket (its address says so, and vswitchd can make no such) and
//! its other end is a process that is not vswitchd. The body of `POST /containers` is kept under the id of the container
//! that vswitchd makes of it, in a folder *beside* the state directory, where vswitchd may write nothing; that of
//! `POST /containers/X/exec` is used once. With `POST /engines/endpoints` comes the descriptor of a network namespace, which
//! the agent takes itself in the same way.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io::{self, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt},
        },
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, getsockname, recv, recvmsg};
use vswitch_api::container::{ContainerCreate, ExecRequest};

use super::protocol::{ExecSpec, Failure, FailureKind, Policy, ProcessSpec};
use crate::api::negotiable;
use crate::model::{
    ArchiveAction, ContainerSpec, Faults, Images, Wanted, archive_command, create_from_docker, environment,
    exec_from_docker, merge_env, parse_container, parse_exec,
};
use crate::peer::Peer;
use crate::private;

/// A request that a client made.
#[derive(Debug)]
pub(crate) enum Order {
    /// To make a container.
    Create(Box<ContainerCreate>),
    /// To run one more process.
    Exec(ExecRequest),
    /// To attach the network namespace whose descriptor came with the request.
    Namespace(OwnedFd),
}

/// The orders that are kept.
#[derive(Debug)]
pub(crate) struct Orders {
    state_dir: PathBuf,
    /// Of the containers; `None`: there is no place for them, and they last as long as the agent.
    folder: Option<PathBuf>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Taken, and not yet used.
    taken: BTreeMap<u64, Order>,
    /// Without a folder.
    kept: BTreeMap<String, ContainerCreate>,
}

impl Orders {
    /// Those of containers of this state directory.
    pub(crate) fn of(state_dir: &Path) -> Orders {
        let folder = folder(state_dir);
        let made = prepare(&folder);
        if let Err(error) = &made {
            tracing::error!(
                "cannot keep what clients order in {} ({error}): containers must be created anew after a restart of the \
                 agent; let the user of vswitchd make this folder",
                folder.display()
            );
        }
        Orders { state_dir: state_dir.to_owned(), folder: made.is_ok().then_some(folder), table: Mutex::default() }
    }

    /// For an agent that starts nothing.
    pub(crate) fn none() -> Orders {
        Orders { state_dir: "/".into(), folder: None, table: Mutex::default() }
    }

    /// Reads what the client at the other end of `connection` asks for. `daemon` is vswitchd's own process.
    pub(crate) async fn take(&self, connection: OwnedFd, policy: &Policy, daemon: Option<u32>) -> Result<u64, Failure> {
        believe(&connection, policy, daemon)?;
        let read = tokio::time::timeout(PATIENCE, read(&connection, &policy.images)).await;
        let order = read.unwrap_or_else(|_| {
            Err(refuse("the request did not arrive as a whole; shorten the command, its environment or its mounts"))
        })?;
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        table.taken.insert(number, order);
        while table.taken.len() > MOST_TAKEN {
            table.taken.pop_first();
        }
        Ok(number)
    }

    /// Keeps a taken order as that of a container.
    pub(crate) fn keep(&self, number: u64, id: &str) -> Result<(), Failure> {
        let Some(Order::Create(order)) = self.table().taken.remove(&number) else { return Err(unknown()) };
        let Some(folder) = &self.folder else {
            self.table().kept.insert(id.to_owned(), *order);
            return Ok(());
        };
        let failed = |error: io::Error| Failure::io("keep the container's order", &error);
        let path = file(folder, id)?;
        let fresh = path.with_extension("new");
        let bytes = serde_json::to_vec(&order).map_err(|error| failed(error.into()))?;
        let write = || -> io::Result<()> {
            private::create(&fresh)?.write_all(&bytes)?;
            // One that is kept already is not replaced: the container is what it was ordered to be.
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                &fresh,
                rustix::fs::CWD,
                &path,
                rustix::fs::RenameFlags::NOREPLACE,
            )?;
            Ok(())
        };
        write().map_err(failed)
    }

    /// The namespace that came with a taken order, which is used up.
    pub(crate) fn namespace(&self, number: u64) -> Result<OwnedFd, Failure> {
        match self.table().taken.remove(&number) {
            Some(Order::Namespace(descriptor)) => Ok(descriptor),
            _ => Err(unknown()),
        }
    }

    /// Forgets that of a container.
    pub(crate) fn drop_kept(&self, id: &str) -> Result<(), Failure> {
        self.table().kept.remove(id);
        let Some(folder) = &self.folder else { return Ok(()) };
        private::remove(&file(folder, id)?).map_err(|error| Failure::io("forget the order", &error))
    }

    /// What a container was ordered to be.
    fn kept(&self, id: &str) -> Result<Wanted, Failure> {
        let order = match &self.folder {
            Some(folder) => fs::read(file(folder, id)?).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            None => self.table().kept.get(id).cloned(),
        };
        parse_container(order.ok_or_else(unknown)?).map_err(|faults| wrong(&faults))
    }

    /// What is started for a container: what its client ordered, with what is vswitchd's to say.
    pub(crate) fn start(&self, id: &str, said: ProcessSpec, policy: &Policy) -> Result<ProcessSpec, Failure> {
        if !policy.ordered {
            return Ok(said);
        }
        let Wanted { network, spec, hostname, .. } = self.kept(id)?;
        if said.sandbox.is_none() && network != HOST_NETWORK {
            return Err(refuse(
                "no client ordered the host's network for this container; create it with --network host",
            ));
        }
        let hostname = hostname.unwrap_or_else(|| said.hostname.clone());
        let env = environment(&spec, &hostname);
        let ContainerSpec {
            command,
            working_dir,
            tty,
            open_stdin,
            stdin_once,
            capabilities,
            isolation,
            mounts,
            process,
            ..
        } = spec;
        policy.allows(&capabilities)?;
        // Where output goes is not vswitchd's to say either. In its own folders it can make files, but nothing that leads elsewhere.
        let log = said.log.is_some().then(|| log(&self.state_dir, id)).transpose()?;
        Ok(ProcessSpec {
            command,
            env,
            working_dir,
            tty,
            open_stdin,
            stdin_once,
            capabilities,
            isolation,
            mounts,
            options: process,
            hostname,
            log,
            ..said
        })
    }

    /// Where the output of a container goes.
    pub(crate) fn output(&self, id: &str, said: String, policy: &Policy) -> Result<String, Failure> {
        if policy.ordered { log(&self.state_dir, id) } else { Ok(said) }
    }

    /// What is run in a container.
    pub(crate) fn exec(
        &self,
        container: &str,
        number: Option<u64>,
        said: ExecSpec,
        policy: &Policy,
    ) -> Result<ExecSpec, Failure> {
        if !policy.ordered {
            return Ok(said);
        }
        let Wanted { spec: own, hostname, .. } = self.kept(container)?;
        let hostname = hostname.unwrap_or_else(|| container.get(..12).unwrap_or(container).to_owned());
        let taken = number.and_then(|number| self.table().taken.remove(&number));
        let Some(Order::Exec(order)) = taken else { return Err(unknown()) };
        let order = parse_exec(order).map_err(|faults| wrong(&faults))?;
        policy.allows(&own.capabilities)?;
        Ok(ExecSpec {
            command: order.command,
            env: merge_env(&environment(&own, &hostname), order.env),
            working_dir: order.working_dir.unwrap_or(own.working_dir),
            tty: order.tty,
            capabilities: own.capabilities,
            isolation: own.isolation,
            options: Box::new(own.process.of_exec(&order.user)),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policy {
    /// Whether a container may have all of these.
    fn allows(&self, capabilities: &[u8]) -> Result<(), Failure> {
        let Some(allowed) = &self.capabilities else { return Ok(()) };
        match capabilities.iter().find(|one| !allowed.contains(one)) {
            Some(one) => Err(refuse(format!(
                "vswitchd was started with --allow-cap, which does not allow capability {}; take it away with --cap-drop",
                crate::model::capability_name(*one)
            ))),
            None => Ok(()),
        }
    }
}

/// Where the orders for containers of `state_dir` are.
pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.as_os_str().to_owned();
    name.push(".orders");
    name.into()
}

/// Makes a folder that is this user's alone, or finds it so.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let about = fs::symlink_metadata(folder)?;
    // Whoever else could write there could order.
    if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is not a folder of this user alone"));
    }
    Ok(())
}

/// The file for the output of a container.
fn log(state_dir: &Path, id: &str) -> Result<String, Failure> {
    let path = file(&state_dir.join("logs"), id)?.with_extension("log");
    path.into_os_string().into_string().map_err(|_| refuse("the path of the state directory is no text"))
}

fn file(folder: &Path, id: &str) -> Result<PathBuf, Failure> {
    let plain = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| folder.join(id)).ok_or_else(|| refuse("the id of a container consists of letters and digits"))
}

/// Whether `connection` is a client's, and not something that vswitchd made.
fn believe(connection: &OwnedFd, policy: &Policy, daemon: Option<u32>) -> Result<(), Failure> {
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
async fn read(connection: &OwnedFd, images: &Images) -> Result<Order, Failure> {
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
        ["vswitch", "v1", "engines", "endpoints"] => Some(Kind::Namespace),
        _ => None,
    }
}

/// Whether a request that begins so orders something that the agent must hear itself.
pub(crate) fn is_order(beginning: &[u8]) -> bool {
    let line = beginning.split(|byte| *byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    line.and_then(kind_of).is_some()
}

fn refuse(sentence: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotPermitted, sentence)
}

fn unknown() -> Failure {
    refuse(
        "no client has ordered this as far as the agent knows; create the container again, or send the request again",
    )
}

fn wrong(faults: &Faults) -> Failure {
    refuse(faults.to_string())
}

/// The network mode that needs no sandbox.
const HOST_NETWORK: &str = "host";

/// Enough for the first line of a request that orders something, bytes.
const LONGEST_LINE: usize = 512;

/// Longest request, bytes; what it starts must fit a message.
const LONGEST: usize = super::protocol::MAX_MESSAGE;

/// For the rest of a request whose beginning is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at a request that is not there as a whole yet.
const PAUSE: Duration = Duration::from_millis(2);

/// Orders that were taken and not used.
const MOST_TAKEN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::model::{Isolation, Mount, Mounts};

    fn policy(sockets: &[&str]) -> Policy {
        Policy { ordered: true, sockets: sockets.iter().map(PathBuf::from).collect(), ..Policy::default() }
    }

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

    /// A pair of sockets is no client's connection, whoever made it and whatever is said on it; nor is another socket's.
    #[tokio::test]
    async fn forged_connections() {
        let orders = Orders::none();
        let (one, other) = UnixStream::pair().unwrap();
        let request = b"POST /vswitch/v1/containers HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        (&other).write_all(request).unwrap();
        let refused = orders.take(one.into(), &policy(&["/run/v.sock"]), None).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::NotPermitted);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(request).unwrap();
        let accepted: OwnedFd = listener.accept().unwrap().0.into();
        let copy = || accepted.try_clone().unwrap();
        let own = policy(&[path.to_str().unwrap()]);
        assert!(orders.take(copy(), &policy(&["/elsewhere"]), None).await.is_err());
        assert!(orders.take(copy(), &own, Some(std::process::id())).await.is_err(), "vswitchd's own");
        assert!(orders.take(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), &own, None).await.is_err());
        // With another process as vswitchd, this one is a client; what it sent is still there for vswitchd.
        let number = orders.take(copy(), &own, Some(1)).await.unwrap();
        assert_eq!(recv(&accepted, &mut [0; 512][..], RecvFlags::DONTWAIT).unwrap().0, request.len());
        orders.keep(number, "c1").unwrap();
        assert!(orders.keep(number, "c2").is_err(), "an order counts once");
    }

    /// What is started is what was ordered, whatever vswitchd says; orders outlive the agent and are not replaced.
    #[tokio::test]
    async fn starts_what_was_ordered() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let create = |command: &str, network: &str| {
            let command = vec![command.to_owned()];
            Order::Create(Box::new(ContainerCreate { command, network: network.to_owned(), ..Default::default() }))
        };
        let orders = Orders::of(&state);
        orders.table().taken.extend([(1, create("good", "n")), (2, create("evil", "n")), (3, create("good", "host"))]);
        orders.keep(1, "c1").unwrap();
        assert!(orders.keep(2, "c1").is_err());
        orders.keep(3, "c3").unwrap();
        let said = |sandbox: Option<&str>| ProcessSpec {
            sandbox: sandbox.map(str::to_owned),
            command: vec!["evil".to_owned()],
            env: vec!["LD_PRELOAD=evil".to_owned()],
            working_dir: "/evil".to_owned(),
            capabilities: (0..41).collect(),
            isolation: Isolation { all_calls: true, open_paths: true, all_devices: true, no_new_privileges: false },
            mounts: Mounts { list: vec![Mount::parse("/:/mnt").unwrap()], ..Mounts::default() },
            ..ProcessSpec::default()
        };
        let orders = Orders::of(&state);
        let ordered = policy(&[]);
        let started = orders.start("c1", said(Some("s1")), &ordered).unwrap();
        assert_eq!(
            (started.command, started.working_dir, started.isolation, started.mounts),
            (vec!["good".to_owned()], "/".to_owned(), Isolation::default(), Mounts::default())
        );
        assert!(!started.env.is_empty() && !started.env.iter().any(|one| one.contains("evil")), "{:?}", started.env);
        assert_eq!(started.capabilities.len(), 14);
        assert!(orders.start("c1", said(None), &ordered).is_err(), "the host's network was not ordered");
        assert!(orders.start("c3", said(None), &ordered).is_ok());
        assert!(orders.start("c9", said(Some("s1")), &ordered).is_err());
        let none = Policy { capabilities: Some(vec![]), ..ordered.clone() };
        assert!(orders.start("c1", said(Some("s1")), &none).unwrap_err().message.contains("--allow-cap"));
        assert!(orders.start("../c1", said(Some("s1")), &ordered).is_err());
        orders
            .table()
            .taken
            .insert(4, Order::Exec(ExecRequest { command: vec!["more".to_owned()], ..Default::default() }));
        let exec = || ExecSpec { command: vec!["evil".to_owned()], ..ExecSpec::default() };
        assert!(orders.exec("c1", None, exec(), &ordered).is_err());
        assert_eq!(orders.exec("c1", Some(4), exec(), &ordered).unwrap().command, ["more"]);
        assert!(orders.exec("c1", Some(4), exec(), &ordered).is_err(), "an order counts once");
        orders.drop_kept("c1").unwrap();
        assert!(orders.start("c1", said(Some("s1")), &ordered).is_err());
    }

    /// A folder that others may write is not used.
    #[test]
    fn folders_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(folder(&state)).unwrap();
        fs::set_permissions(folder(&state), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Orders::of(&state).folder.is_none());
    }
}
