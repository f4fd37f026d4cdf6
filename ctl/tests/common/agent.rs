//! An agent that speaks the protocol and pretends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recvmsg, sendmsg, socketpair,
};
use vswitch_ctl::agent::protocol::{
    Envelope, Event, Existing, Failure, FailureKind, FromAgent, MAX_MESSAGE, PROTOCOL_VERSION, Reply, Request,
    SandboxSocket,
};

/// Clones share what they pretend to have, as connections of one agent do.
#[derive(Clone, Default)]
pub struct FakeAgent {
    pub state: Arc<Mutex<FakeState>>,
}

#[derive(Default)]
pub struct FakeState {
    /// Everything that was asked.
    pub requests: Vec<Request>,
    pub sandboxes: BTreeSet<String>,
    pub endpoints: BTreeSet<String>,
    pub running: BTreeMap<String, u32>,
    pub exited: BTreeMap<String, i32>,
    /// Requests whose debug text contains this fail, with this reason.
    pub fail: Option<(String, FailureKind)>,
    /// The next request whose debug text contains this waits, and everything after it.
    pub hold: Option<String>,
    /// One waits.
    pub held: bool,
    /// The pid of the next process, if it is to be a real one.
    pub pid: Option<u32>,
    next_pid: u32,
}

impl FakeAgent {
    /// A connection to it.
    pub fn connect(&self) -> OwnedFd {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let state = Arc::clone(&self.state);
        std::thread::spawn(move || serve(ours.as_fd(), &state));
        theirs
    }

    /// From now on requests whose debug text contains `text` fail.
    pub fn fail(&self, text: &str, kind: FailureKind) {
        self.state.lock().unwrap().fail = Some((text.to_owned(), kind));
    }

    /// The next request whose debug text contains `text` waits until [`FakeAgent::release`].
    pub fn hold(&self, text: &str) {
        self.state.lock().unwrap().hold = Some(text.to_owned());
    }

    /// Waits until one waits.
    pub fn wait_held(&self) {
        for _ in 0..2000 {
            if self.state.lock().unwrap().held {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("nothing was asked that is to wait: {:?}", self.asked());
    }

    pub fn release(&self) {
        self.state.lock().unwrap().hold = None;
    }

    pub fn recover(&self) {
        self.state.lock().unwrap().fail = None;
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// How many sandboxes, endpoints and processes it has.
    pub fn counts(&self) -> (usize, usize, usize) {
        let state = self.state.lock().unwrap();
        (state.sandboxes.len(), state.endpoints.len(), state.running.len())
    }
}

fn serve(socket: BorrowedFd<'_>, state: &Mutex<FakeState>) {
    let mut buffer = vec![0u8; MAX_MESSAGE];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let Ok(received) = received else { return };
        control.drain().for_each(drop);
        if received.bytes == 0 {
            return;
        }
        let Envelope { seq, body } = serde_json::from_slice::<Envelope<Request>>(&buffer[..received.bytes]).unwrap();
        let text = format!("{body:?}");
        while state.lock().unwrap().holds(&text) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let (reply, descriptors, event) = state.lock().unwrap().answer(body);
        let reply = FromAgent::Reply(Envelope { seq, body: reply });
        if send(socket, &reply, &descriptors).is_err() {
            return;
        }
        if let Some(event) = event {
            let _ = send(socket, &FromAgent::Event(event), &[]);
        }
    }
}

fn send(socket: BorrowedFd<'_>, message: &FromAgent, descriptors: &[OwnedFd]) -> rustix::io::Result<usize> {
    let bytes = serde_json::to_vec(message).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
}

type Answer = (Reply, Vec<OwnedFd>, Option<Event>);

impl FakeState {
    fn holds(&mut self, text: &str) -> bool {
        self.held = self.hold.as_ref().is_some_and(|part| text.contains(part));
        self.held
    }

    fn answer(&mut self, request: Request) -> Answer {
        let text = format!("{request:?}");
        if !matches!(
            request,
            Request::Hello { .. }
                | Request::Survey { .. }
                | Request::OrderTake
                | Request::OrderKeep { .. }
                | Request::OrderDrop { .. }
        ) {
            self.requests.push(request.clone());
        }
        if let Some((part, kind)) = &self.fail
            && text.contains(part)
        {
            let message = "the pretended agent was told to fail".to_owned();
            return (Reply::Failed(Failure { kind: *kind, message }), Vec::new(), None);
        }
        match request {
            Request::Hello { .. } => {
                (Reply::Hello { version: PROTOCOL_VERSION, pid: 1, rootless: true }, Vec::new(), None)
            }
            Request::OrderTake => (Reply::Order { order: 1 }, Vec::new(), None),
            Request::OrderKeep { .. } | Request::OrderDrop { .. } => (Reply::Done, Vec::new(), None),
            Request::Survey { from } => (self.survey(from), Vec::new(), None),
            Request::Routes { .. } => (Reply::Done, Vec::new(), None),
            Request::SandboxCreate { sandbox }
            | Request::SandboxAttach { sandbox, .. }
            | Request::SandboxHost { sandbox } => {
                self.sandboxes.insert(sandbox);
                (Reply::Done, Vec::new(), None)
            }
            Request::SandboxRemove { sandbox } => {
                self.sandboxes.remove(&sandbox);
                (Reply::Done, Vec::new(), None)
            }
            Request::EndpointAttach { endpoint, link, .. } => {
                let interface = link.interface.unwrap_or_else(|| "eth0".to_owned());
                self.endpoints.insert(endpoint);
                (Reply::Endpoint { interface }, vec![device()], None)
            }
            Request::EndpointReopen { endpoint } if self.endpoints.contains(&endpoint) => {
                (Reply::Endpoint { interface: "eth0".to_owned() }, vec![device()], None)
            }
            Request::EndpointReopen { endpoint } => {
                let message = format!("endpoint {endpoint} does not exist");
                (Reply::Failed(Failure { kind: FailureKind::Gone, message }), Vec::new(), None)
            }
            Request::EndpointDetach { endpoint } => {
                self.endpoints.remove(&endpoint);
                (Reply::Done, Vec::new(), None)
            }
            Request::HostTap { link, .. } => {
                (Reply::Endpoint { interface: link.interface.unwrap_or_default() }, vec![device()], None)
            }
            Request::ProcessStart { process, spec } => self.begin(process, &spec.command),
            Request::ProcessExec { process, exec, .. } => self.begin(process, &exec.command),
            Request::ProcessSignal { process, signal } => {
                let event = self.running.remove(&process).map(|_| {
                    self.exited.insert(process.clone(), 128 + signal);
                    Event::Exited { process, exit_code: 128 + signal }
                });
                (Reply::Done, Vec::new(), event)
            }
            Request::ProcessForget { process } => {
                self.exited.remove(&process);
                (Reply::Done, Vec::new(), None)
            }
            Request::UplinkOpen { .. } => (Reply::Uplink { mtu: 1500, addresses: Vec::new() }, vec![device()], None),
            Request::SandboxOpen { socket: SandboxSocket::NameServer, .. } => (Reply::Sockets, name_server(), None),
            Request::ParentOpen { interface, .. } => {
                let message = format!("-o parent interface was not found on the host: {interface}");
                (Reply::Failed(Failure { kind: FailureKind::Gone, message }), Vec::new(), None)
            }
            Request::SandboxOpen { .. } => {
                let message = "there is no way out of what is pretended".to_owned();
                (Reply::Failed(Failure { kind: FailureKind::Other, message }), Vec::new(), None)
            }
            Request::Hide { .. }
            | Request::ParentAllow { .. }
            | Request::DefaultRoute { .. }
            | Request::EndpointCarrier { .. }
            | Request::EndpointMtu { .. }
            | Request::ProcessFiles { .. }
            | Request::ProcessOutput { .. }
            | Request::ProcessResize { .. }
            | Request::ProcessFreeze { .. }
            | Request::HostNames { .. }
            | Request::Ephemeral
            | Request::Shutdown => (Reply::Done, Vec::new(), None),
            Request::VolumeMake { .. } | Request::VolumeList { .. } | Request::VolumeRemove { .. } => {
                (Reply::Volumes { volumes: Vec::new(), more: false }, Vec::new(), None)
            }
            Request::Sizes { volumes, roots } => {
                (Reply::Sizes { bytes: vec![0; volumes.len() + roots.len()] }, Vec::new(), None)
            }
            Request::PingOpen { .. } => (Reply::Sockets, Vec::new(), None),
            Request::Listen { .. } => (Reply::Listening, vec![device()], None),
            Request::ProcessAttach { .. } => (Reply::Attached, vec![device()], None),
        }
    }

    /// A few entries at a time.
    fn survey(&self, from: usize) -> Reply {
        let sandboxes = self.sandboxes.iter().cloned().map(Existing::Sandbox);
        let endpoints = self.endpoints.iter().cloned().map(Existing::Endpoint);
        let running = self.running.iter().map(|(id, pid)| Existing::Running(id.clone(), *pid));
        let exited = self.exited.iter().map(|(id, code)| Existing::Exited(id.clone(), *code));
        let mut rest: Vec<_> = sandboxes.chain(endpoints).chain(running).chain(exited).skip(from).collect();
        let more = rest.len() > 3;
        rest.truncate(3);
        Reply::Survey { existing: rest, more }
    }

    /// `exit N` ends at once; everything else runs until it is signalled.
    fn begin(&mut self, process: String, command: &[String]) -> Answer {
        self.next_pid += 1;
        let pid = self.pid.take().unwrap_or(1_000_000_000 + self.next_pid);
        if let [word, code] = command
            && word == "exit"
        {
            let exit_code = code.parse().unwrap();
            self.exited.insert(process.clone(), exit_code);
            return (Reply::Started { pid }, Vec::new(), Some(Event::Exited { process, exit_code }));
        }
        self.running.insert(process, pid);
        (Reply::Started { pid }, Vec::new(), None)
    }
}

/// Something that the switch can poll. It has a name, since the switch takes a socket without one for a packet socket
/// whose interface vanished.
fn device() -> OwnedFd {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("device")).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// A UDP and a TCP socket, as a name server has them.
fn name_server() -> Vec<OwnedFd> {
    vec![UdpSocket::bind("127.0.0.1:0").unwrap().into(), TcpListener::bind("127.0.0.1:0").unwrap().into()]
}
