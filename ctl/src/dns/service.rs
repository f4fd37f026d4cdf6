//! The server: a thread of its own, clients that it serves, and what they share.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use vswitch_api::stats::DnsStats;
use vswitch_switch::ServicePort;

use super::answer::{Outcome, Step, answer};
use super::gateways::{self, Backlog, Gateways};
use super::limits::{Bucket, Limits};
use super::outlet::Outlet;
use super::query::{Question, Transport};
use super::resolv::ResolvConf;
use super::scope::Scope;
use super::server;
use super::stats::Counters;
use super::upstream::Pending;
use crate::clock::Stopwatch;
use crate::vital;

/// Forwarded questions at the same time, of all clients together.
const MOST_WAITING: usize = 4096;

/// The name server. Clones are the same server, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Dns {
    shared: Arc<Shared>,
    handle: Handle,
    _thread: Arc<Stop>,
}

/// What the server's tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) counters: Counters,
    pub(super) host: ResolvConf,
    pub(super) waiting: Semaphore,
    clock: Stopwatch,
}

/// Ends the thread when it is dropped.
#[derive(Debug)]
struct Stop(Option<oneshot::Sender<()>>);

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            let _ = stop.send(());
        }
    }
}

impl Dns {
    /// Starts the server's thread. `resolv_conf` names the host's resolvers.
    ///
    /// # Errors
    /// When the kernel gives no thread or no epoll.
    pub fn start(resolv_conf: PathBuf) -> io::Result<Dns> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        vital::on_end().spawn("dns", move || {
            // An error says that nobody is left who could stop it.
            let _ = runtime.block_on(stopped);
            Ok(())
        })?;
        let shared = Arc::new(Shared {
            counters: Counters::default(),
            host: ResolvConf::new(resolv_conf),
            waiting: Semaphore::new(MOST_WAITING),
            clock: Stopwatch::start(),
        });
        Ok(Dns { shared, handle, _thread: Arc::new(Stop(Some(stop))) })
    }

    /// Everything counted until now.
    #[must_use]
    pub fn stats(&self) -> DnsStats {
        self.shared.counters.read()
    }

    /// Serves a client on a bound UDP socket and a listening TCP socket, until what is returned is dropped.
    ///
    /// # Errors
    /// When these are no such sockets.
    pub fn serve(&self, client: Arc<Client>, udp: OwnedFd, tcp: OwnedFd) -> io::Result<Serving> {
        let _inside = self.handle.enter();
        rustix::io::ioctl_fionbio(&udp, true)?;
        rustix::io::ioctl_fionbio(&tcp, true)?;
        let udp = Arc::new(UdpSocket::from_std(udp.into())?);
        let tcp = TcpListener::from_std(tcp.into())?;
        let asked = (Arc::clone(&self.shared), Arc::clone(&client));
        let listened = (Arc::clone(&self.shared), Arc::clone(&client));
        let tasks = vec![
            vital::spawn(&self.handle, "dns", server::datagrams(asked.0, asked.1, udp)),
            vital::spawn(&self.handle, "dns", server::listen(listened.0, listened.1, tcp)),
        ];
        Ok(Serving { client, tasks })
    }

    /// Answers what comes to gateways, through the switch's port for it.
    pub fn serve_gateways(&self, gateways: Gateways, backlog: Backlog, port: ServicePort) {
        let serving = gateways::serve(Arc::clone(&self.shared), gateways, backlog, port);
        vital::spawn(&self.handle, "dns", serving);
    }
}

/// A client that is being served, until this is dropped.
#[derive(Debug)]
pub struct Serving {
    client: Arc<Client>,
    tasks: Vec<AbortHandle>,
}

impl Serving {
    /// Who is served.
    #[must_use]
    pub const fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Who asks: a sandbox, or a network by its gateway.
#[derive(Debug)]
pub struct Client {
    scope: Arc<ArcSwap<Scope>>,
    pub(super) outlet: Outlet,
    pub(super) waiting: Semaphore,
    pub(super) connections: Arc<Semaphore>,
    pub(super) pending: Pending,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    questions: Bucket,
    forwarded: Bucket,
    /// Upstreams that failed, and until when they are asked last.
    lame: HashMap<IpAddr, Duration>,
}

/// How long an upstream that failed is asked last.
const LAME: Duration = Duration::from_secs(30);

/// Most upstreams that are remembered.
const MOST_LAME: usize = 16;

impl Client {
    /// A client that sees `scope` and opens its sockets at `outlet`.
    #[must_use]
    pub fn new(scope: Scope, outlet: Outlet, limits: Limits) -> Arc<Client> {
        Client::seeing(Arc::new(ArcSwap::from_pointee(scope)), outlet, limits)
    }

    /// A client that sees what others see, too.
    pub(super) fn seeing(scope: Arc<ArcSwap<Scope>>, outlet: Outlet, limits: Limits) -> Arc<Client> {
        let bucket = |rate| Bucket::new(rate, Duration::ZERO);
        let (questions, forwarded) = (bucket(limits.questions), bucket(limits.forwarded));
        Arc::new(Client {
            scope,
            outlet,
            waiting: Semaphore::new(limits.waiting),
            connections: Arc::new(Semaphore::new(limits.connections)),
            pending: Pending::default(),
            state: Mutex::new(State { questions, forwarded, lame: HashMap::new() }),
        })
    }

    /// Whether this is what the client sees.
    pub(super) fn sees(&self, scope: &Arc<ArcSwap<Scope>>) -> bool {
        Arc::ptr_eq(&self.scope, scope)
    }

    /// Replaces what the client sees.
    pub fn publish(&self, scope: Scope) {
        self.scope.store(Arc::new(scope));
    }

    /// What the client sees.
    #[must_use]
    pub fn scope(&self) -> Arc<Scope> {
        self.scope.load_full()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an upstream failed lately.
    pub(super) fn is_lame(&self, server: IpAddr, now: Duration) -> bool {
        self.state().lame.get(&server).is_some_and(|until| *until > now)
    }

    /// Remembers how an upstream did.
    pub(super) fn note(&self, server: IpAddr, answered: bool, now: Duration) {
        let lame = &mut self.state().lame;
        if answered {
            lame.remove(&server);
            return;
        }
        lame.retain(|_, until| *until > now);
        if lame.len() < MOST_LAME {
            lame.insert(server, now + LAME);
        }
    }
}

/// What is to be done about a question.
pub(super) enum Todo {
    /// Send this.
    Send(Vec<u8>),
    /// Ask an upstream, then send.
    Ask(Box<Question>),
    /// Nothing.
    Nothing,
}

impl Shared {
    /// Time since the server was started.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Answers a question as far as that goes without waiting.
    pub(super) fn take(&self, client: &Client, bytes: &[u8], transport: Transport) -> Todo {
        self.counters.questions.add();
        if !client.state().questions.take(self.now()) {
            self.counters.limited.add();
            return Todo::Nothing;
        }
        match answer(bytes, transport, &client.scope.load(), &mut rand::rng()) {
            Step::Reply(reply, outcome) => {
                match outcome {
                    Outcome::Answered => self.counters.answered.add(),
                    Outcome::Missing => self.counters.missing.add(),
                    Outcome::Refused => self.counters.refused.add(),
                }
                Todo::Send(reply)
            }
            Step::Forward(question) if client.state().forwarded.take(self.now()) => Todo::Ask(question),
            Step::Forward(question) => self.limit(&question, transport).map_or(Todo::Nothing, Todo::Send),
            Step::Ignore => {
                self.counters.ignored.add();
                Todo::Nothing
            }
        }
    }
}
