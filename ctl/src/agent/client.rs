//! vswitchd's side of the connection to its agent.
//!
//! [`launch`] is blocking and needs no runtime, so that vswitchd can start its agent before it drops its privileges and
//! starts threads; [`AgentClient::connect`] then takes the connection into the runtime.

use std::{
    collections::HashMap,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
};

use super::{
    key::Key,
    protocol::{Envelope, Event, Existing, Failure, FromAgent, PROTOCOL_VERSION, Policy, Reply, Request},
    socket,
    wire::{Channel, Exhausted},
};
use crate::log::agent_file;

/// How to start the agent.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Where its socket is; exists, and belongs to this user.
    pub state_dir: PathBuf,
    /// The agent takes everything down when the connection ends.
    pub ephemeral: bool,
    /// It removes its directory when it ends.
    pub temporary: bool,
    /// The interfaces of the host that it may open for ways out.
    pub uplinks: Vec<String>,
    /// What it lets be done.
    pub policy: Policy,
}

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It refused; nothing was changed.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// It is gone.
    #[error("the agent of vswitchd ended; restart vswitchd, and see agent.log in its state directory")]
    Lost,
    /// It did not start; the sentence says why.
    #[error("{0}")]
    Start(String),
    /// It has not answered; what was asked may still be done.
    #[error(
        "the agent of vswitchd did not answer within {} s; see agent.log in the state directory, and what keeps process \
         {agent} busy",
        .patience.as_secs()
    )]
    Late {
        /// How long it was waited for.
        patience: Duration,
        /// Its process id, 0 before it has said it.
        agent: u32,
    },
    /// Its answer came with descriptors that vswitchd had no room for; what was asked is done.
    #[error("vswitchd has as many open files as it may have; raise its limit (ulimit -n), or stop containers")]
    Exhausted,
    /// The request is larger than a message may be.
    #[error("the request is too large for the agent; shorten the command, its environment or its hosts file")]
    TooLarge,
    /// The connection failed.
    #[error("cannot talk to the agent of vswitchd ({0}); restart vswitchd")]
    Io(io::Error),
}

/// What the agent had when the connection began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// Process id of the agent.
    pub pid: u32,
    /// Whether it lives in a user namespace of its own.
    pub rootless: bool,
    /// Ids of sandboxes whose namespace still exists.
    pub sandboxes: Vec<String>,
    /// Ids of endpoints whose interface still exists.
    pub endpoints: Vec<String>,
    /// Running processes: id and host pid.
    pub running: Vec<(String, u32)>,
    /// Ended and not yet forgotten: id and exit status.
    pub exited: Vec<(String, i32)>,
}

/// A connection that no runtime drives yet.
#[derive(Debug)]
pub struct AgentConnection {
    socket: OwnedFd,
    child: Option<Child>,
    /// Proves to the agent that we are the vswitchd of its state directory.
    key: String,
    policy: Policy,
}

impl AgentConnection {
    /// Of an agent whose SEQPACKET socket is at hand.
    #[must_use]
    pub fn new(socket: OwnedFd) -> AgentConnection {
        AgentConnection { socket, child: None, key: String::new(), policy: Policy::default() }
    }
}

/// For an answer. Longer than the agent waits for a container to start, so that what is given up here is given up there.
const PATIENCE: Duration = Duration::from_secs(30);

/// For the answer to [`Request::Shutdown`], which waits for processes and for the kernel to remove interfaces.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(60);

/// How often and how long a connection is tried while a new agent, or the end of another vswitchd, is on its way.
const RETRY: (u32, Duration) = (100, Duration::from_millis(10));

/// Connects to the living agent of the state directory, or starts one. Blocking; a new agent runs this executable
/// (`vswitchd agent …`) with the privileges that the caller has now.
///
/// # Errors
/// The agent's own sentence when it cannot start (user namespaces forbidden, not permitted).
pub fn launch(options: &AgentOptions) -> Result<AgentConnection, AgentError> {
    let state_dir = options.state_dir.canonicalize().map_err(AgentError::Io)?;
    let policy = options.policy.clone();
    if let Ok(socket) = socket::connect(&state_dir) {
        return Ok(AgentConnection { socket, child: None, key: Key::read(&state_dir), policy });
    }
    let mut child = Some(spawn(&state_dir, options)?);
    let mut last = io::Error::from(io::ErrorKind::NotConnected);
    for _ in 0..RETRY.0 {
        match socket::connect(&state_dir) {
            Ok(socket) => {
                return Ok(AgentConnection { socket, child: child.take(), key: Key::read(&state_dir), policy });
            }
            Err(error) => last = error,
        }
        thread::sleep(RETRY.1);
    }
    Err(AgentError::Io(last))
}

/// A handle on the agent; clones share the connection.
#[derive(Debug, Clone)]
pub struct AgentClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    channel: Arc<Channel>,
    pending: Arc<Mutex<Pending>>,
    closed: watch::Receiver<bool>,
    reader: AbortHandle,
    /// Of the agent, once it has said so.
    pid: AtomicU32,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.reader.abort();
        // At once, whenever the reader is dropped.
        self.channel.close();
    }
}

type Answer = (Reply, Result<Vec<OwnedFd>, Exhausted>);

#[derive(Debug, Default)]
struct Pending {
    next: u64,
    closed: bool,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl AgentClient {
    /// [`launch`] and [`AgentClient::connect`] in one.
    ///
    /// # Errors
    /// As for both.
    pub async fn start(
        options: &AgentOptions,
    ) -> Result<(AgentClient, Hello, mpsc::UnboundedReceiver<Event>), AgentError> {
        let options = options.clone();
        let launched = tokio::task::spawn_blocking(move || launch(&options)).await;
        AgentClient::connect(launched.map_err(|error| AgentError::Io(io::Error::other(error)))??).await
    }

    /// Drives a connection. The receiver of events ends when the agent is gone.
    ///
    /// # Errors
    /// When another vswitchd uses the agent, it speaks another version, or the connection breaks.
    pub async fn connect(
        connection: AgentConnection,
    ) -> Result<(AgentClient, Hello, mpsc::UnboundedReceiver<Event>), AgentError> {
        if let Some(mut child) = connection.child {
            // Its end is seen on the socket; this only collects its exit status. A thread may start here, and not in
            // `launch`: vswitchd has dropped its privileges by now.
            thread::spawn(move || {
                // Waiting would close it, and it says that vswitchd lives.
                let _life = child.stdin.take();
                child.wait()
            });
        }
        let channel = Arc::new(Channel::new(connection.socket).map_err(AgentError::Io)?);
        let pending = Arc::<Mutex<Pending>>::default();
        let (closed_sender, closed) = watch::channel(false);
        // Their number is bounded by that of processes and endpoints; a bound here could block answers.
        let (events_sender, events) = mpsc::unbounded_channel();
        let reader = read(Arc::clone(&channel), Arc::clone(&pending), events_sender, closed_sender);
        let reader = tokio::spawn(reader).abort_handle();
        let client =
            AgentClient { shared: Arc::new(Shared { channel, pending, closed, reader, pid: AtomicU32::new(0) }) };
        let hello = Request::Hello { version: PROTOCOL_VERSION, key: connection.key, policy: connection.policy };
        match client.call(hello, Vec::new()).await? {
            (Reply::Hello { version: _, pid, rootless }, _) => {
                client.shared.pid.store(pid, Ordering::Relaxed);
                let hello = client.survey(Hello { pid, rootless, ..Hello::default() }).await?;
                Ok((client, hello, events))
            }
            _ => Err(AgentError::Io(io::Error::from(io::ErrorKind::InvalidData))),
        }
    }

    /// Adds what exists, page by page.
    async fn survey(&self, mut hello: Hello) -> Result<Hello, AgentError> {
        let mut from = 0;
        loop {
            let (Reply::Survey { existing, more }, _) = self.call(Request::Survey { from }, Vec::new()).await? else {
                return Err(AgentError::Io(io::Error::from(io::ErrorKind::InvalidData)));
            };
            from += existing.len();
            // A page without entries would be asked for for ever.
            let more = more && !existing.is_empty();
            for one in existing {
                match one {
                    Existing::Sandbox(id) => hello.sandboxes.push(id),
                    Existing::Endpoint(id) => hello.endpoints.push(id),
                    Existing::Running(id, pid) => hello.running.push((id, pid)),
                    Existing::Exited(id, code) => hello.exited.push((id, code)),
                }
            }
            if !more {
                return Ok(hello);
            }
        }
    }

    /// Asks and waits for the answer; many calls may be under way at once. Descriptors are given away.
    ///
    /// # Errors
    /// [`AgentError::Failed`] with the agent's reason, [`AgentError::Late`], or a broken connection.
    pub async fn call(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), AgentError> {
        let patience = if matches!(request, Request::Shutdown) { SHUTDOWN_PATIENCE } else { PATIENCE };
        let agent = self.shared.pid.load(Ordering::Relaxed);
        let answer = tokio::time::timeout(patience, self.ask(request, descriptors)).await;
        answer.unwrap_or(Err(AgentError::Late { patience, agent }))
    }

    async fn ask(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<(Reply, Vec<OwnedFd>), AgentError> {
        let (sender, answer) = oneshot::channel();
        let seq = {
            let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.closed {
                return Err(AgentError::Lost);
            }
            pending.next += 1;
            let seq = pending.next;
            pending.waiting.insert(seq, sender);
            seq
        };
        let _forget = Forget { shared: &self.shared, seq };
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        self.shared.channel.send(&Envelope { seq, body: request }, &borrowed).await.map_err(|error| {
            match error.kind() {
                io::ErrorKind::FileTooLarge => AgentError::TooLarge,
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => AgentError::Lost,
                _ => AgentError::Io(error),
            }
        })?;
        drop(descriptors);
        match answer.await {
            Ok((Reply::Failed(failure), _)) => Err(AgentError::Failed(failure)),
            Ok((reply, descriptors)) => Ok((reply, descriptors.map_err(|Exhausted| AgentError::Exhausted)?)),
            Err(_) => Err(AgentError::Lost),
        }
    }

    /// Waits until the agent is gone.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.clone();
        // An error says that the reader ended, which is the same.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

/// Forgets a question whose asker stopped waiting.
struct Forget<'a> {
    shared: &'a Shared,
    seq: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.seq);
    }
}

/// Hands every answer to its asker and every event to the receiver, until the agent is gone.
async fn read(
    channel: Arc<Channel>,
    pending: Arc<Mutex<Pending>>,
    events: mpsc::UnboundedSender<Event>,
    closed: watch::Sender<bool>,
) {
    while let Ok(Some((bytes, descriptors))) = channel.receive().await {
        match serde_json::from_slice(&bytes) {
            Ok(FromAgent::Reply(Envelope { seq, body })) => {
                let asker = pending.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&seq);
                // An asker that no longer waits drops the descriptors, too.
                if let Some(asker) = asker {
                    let _ = asker.send((body, descriptors));
                }
            }
            Ok(FromAgent::Event(event)) => {
                let _ = events.send(event);
            }
            Err(error) => tracing::warn!("the agent sent a message that makes no sense: {error}"),
        }
    }
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    pending.closed = true;
    pending.waiting.clear();
    let _ = closed.send(true);
}

/// Starts `vswitchd agent` and waits until it serves its socket or says why it cannot.
fn spawn(state_dir: &Path, options: &AgentOptions) -> Result<Child, AgentError> {
    let log = agent_file(&state_dir.join("agent.log")).map_err(AgentError::Io)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("vswitchd").arg("agent").arg("--state-dir").arg(state_dir);
    if options.ephemeral {
        command.arg("--ephemeral");
    }
    if options.temporary {
        command.arg("--temporary");
    }
    for interface in &options.uplinks {
        command.arg("--uplink").arg(interface);
    }
    // Its end tells an ephemeral agent that vswitchd is gone, also before they have spoken.
    let input = if options.ephemeral { Stdio::piped() } else { Stdio::null() };
    command.current_dir("/").stdin(input).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(AgentError::Io)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).map_err(AgentError::Io)?;
    }
    if said == READY {
        return Ok(child);
    }
    let _ = child.wait();
    if said.is_empty() {
        said = "the agent of vswitchd ended at once; see agent.log in its state directory".to_owned();
    }
    Err(AgentError::Start(said))
}

/// What a new agent writes to its standard output when it serves.
pub(crate) const READY: &str = "ready\n";
