//! The agent's side of the connection to vswitchd.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{self, Relaxed},
        },
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, unix::pipe},
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
};

use super::{
    foreign::{Foreign, HelperSpawner},
    key::Key,
    network::{self, Answer, Network},
    orders::Orders,
    pidfd,
    processes::Processes,
    protocol::{
        Envelope, Event, Existing, Failure, FailureKind, FromAgent, NetnsRef, PROTOCOL_VERSION, Policy, Reply, Request,
    },
    sizes,
    survivors::Survivor,
    users,
    wire::{Channel, Exhausted},
};
use crate::peer::Peer;

/// What came beside a request.
type Beside = Result<Vec<OwnedFd>, Exhausted>;

/// Everything that the agent owns.
#[derive(Debug)]
pub(crate) struct Agent {
    network: Network,
    processes: Processes,
    foreign: Foreign,
    rootless: bool,
    /// Everything goes when the connection ends; a later vswitchd may want that, too.
    ephemeral: AtomicBool,
    /// The one interface of the host that may be opened.
    uplinks: Vec<String>,
    /// To the vswitchd that is connected now.
    connection: Mutex<Option<Arc<Channel>>>,
    /// What the vswitchd that is connected now may have done.
    policy: Mutex<Policy>,
    /// Its process id, 0 if it is not known.
    daemon: AtomicU32,
    orders: Orders,
    /// What existed when vswitchd asked last.
    surveyed: Mutex<Vec<Existing>>,
    /// What a vswitchd of the state directory knows; nothing is asked of whoever started a helper.
    key: Option<Key>,
    /// Names of containers may be in the host's /etc/hosts.
    named: AtomicBool,
    /// The agent has taken everything down and should end.
    finished: Notify,
}

/// The socket on which vswitchd connects.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

impl Listener {
    /// Takes a listening socket; needs a running tokio reactor.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Listener(UnixListener::from_std(socket.into())?))
    }

    async fn accept(&self) -> io::Result<Channel> {
        let (stream, _) = self.0.accept().await?;
        let peer = Peer::of(&stream)?;
        if peer.uid != rustix::process::geteuid().as_raw() || !peer.is_among_us() {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        Channel::new(stream.into_std()?.into())
    }
}

/// Serves until everything is taken down. A helper has one connection from the beginning and no listener; an agent with a
/// starter ends with it.
pub(crate) async fn serve(
    agent: Agent,
    listener: Option<Listener>,
    connected: Option<Channel>,
    starter: Option<pipe::Receiver>,
    mut lost: mpsc::UnboundedReceiver<String>,
) -> io::Result<()> {
    let agent = Arc::new(agent);
    let mut children = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A hangup of a terminal that vswitchd was started from is not for the agent.
    let _hangup = signal(SignalKind::hangup())?;
    if let Some(channel) = connected {
        tokio::spawn(Arc::clone(&agent).converse(channel));
    }
    if let Some(mut starter) = starter {
        let agent = Arc::clone(&agent);
        drop(tokio::spawn(async move {
            // Nobody writes to it.
            let _end = starter.read(&mut [0]).await;
            // A conversation that ends takes everything down by itself.
            let spoken = agent.connection.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if !spoken {
                agent.finish().await;
            }
        }));
    }
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = agent.finished.notified() => return Ok(()),
            channel = accepted => match channel {
                Ok(channel) => drop(tokio::spawn(Arc::clone(&agent).converse(channel))),
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    // Out of descriptors, most likely: do not spin.
                    tokio::time::sleep(PAUSE).await;
                }
            },
            _ = children.recv() => agent.reap().await,
            () = agent.processes.orphan_ended() => agent.reap().await,
            Some(endpoint) = lost.recv() => agent.tell(Event::EndpointLost { endpoint }).await,
            _ = terminate.recv() => drop(tokio::spawn(Arc::clone(&agent).finish())),
        }
    }
}

impl Agent {
    /// An agent that nobody is connected to.
    pub(crate) fn new(
        network: Network,
        processes: Processes,
        spawner: Option<HelperSpawner>,
        lost: mpsc::UnboundedSender<String>,
        rootless: bool,
        ephemeral: bool,
    ) -> Agent {
        Agent {
            network,
            processes,
            foreign: Foreign::new(spawner, lost),
            rootless,
            ephemeral: AtomicBool::new(ephemeral),
            uplinks: Vec::new(),
            key: None,
            connection: Mutex::default(),
            policy: Mutex::default(),
            daemon: AtomicU32::new(0),
            orders: Orders::none(),
            surveyed: Mutex::default(),
            named: AtomicBool::new(false),
            finished: Notify::new(),
        }
    }

    /// Takes over what survived an earlier agent.
    pub(crate) async fn adopt(&self, survivors: Vec<Survivor>) {
        for survivor in survivors {
            let Survivor { pid, pidfd, sandbox, .. } = &survivor;
            if let Some(sandbox) = sandbox {
                let netns = network::open_netns(&NetnsRef::Pid(*pid));
                if pidfd::ended(pidfd) {
                    continue;
                }
                let adopted = match netns.map_err(|error| Failure::io("enter a surviving container", &error)) {
                    Ok(netns) => self.network.adopt(sandbox, netns.into()).await,
                    Err(failure) => Err(failure),
                };
                if let Err(failure) = adopted {
                    tracing::error!("sandbox {sandbox}: {}", failure.message);
                }
            }
            self.processes.adopt(survivor);
        }
    }

    /// May open this interface of the host.
    pub(crate) fn with_uplinks(mut self, interfaces: Vec<String>) -> Agent {
        self.uplinks = interfaces;
        self
    }

    /// Starts what clients ordered.
    pub(crate) fn with_orders(mut self, orders: Orders) -> Agent {
        self.orders = orders;
        self
    }

    fn policy(&self) -> Policy {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Believes those who know this.
    pub(crate) fn with_key(mut self, key: Key) -> Agent {
        self.key = Some(key);
        self
    }

    /// Speaks with one vswitchd until it is gone.
    async fn converse(self: Arc<Agent>, channel: Channel) {
        let channel = Arc::new(channel);
        // Whoever does not say at once what a vswitchd knows keeps no vswitchd out.
        let greeted = tokio::time::timeout(GREETING_PATIENCE, self.greet(&channel)).await;
        let Ok(Some((seq, policy))) = greeted else { return };
        let taken = self.take_over(&channel).await;
        if taken {
            *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
            self.daemon.store(channel.peer().unwrap_or_default(), Ordering::Relaxed);
        }
        let body = if taken {
            Reply::Hello { version: PROTOCOL_VERSION, pid: std::process::id(), rootless: self.rootless }
        } else {
            let sentence = "another vswitchd uses this state directory; stop it, or choose another with --state-dir";
            Reply::Failed(Failure::new(FailureKind::Exists, sentence))
        };
        let answered = channel.send(&FromAgent::Reply(Envelope { seq, body }), &[]).await;
        if !taken {
            return;
        }
        if let Err(error) = answered {
            tracing::warn!("cannot answer vswitchd: {error}");
        }
        loop {
            let (bytes, descriptors) = match channel.receive().await {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!("the connection to vswitchd broke: {error}");
                    break;
                }
            };
            match serde_json::from_slice::<Envelope<Request>>(&bytes) {
                Ok(Envelope { seq, body }) => {
                    drop(tokio::spawn(Arc::clone(&self).handle(Arc::clone(&channel), seq, body, descriptors)));
                }
                Err(error) => tracing::warn!("vswitchd sent a message that makes no sense: {error}"),
            }
        }
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|current| Arc::ptr_eq(current, &channel));
        if self.ephemeral.load(Relaxed) {
            self.finish().await;
        }
    }

    /// Makes this the connection to vswitchd. The last one may be about to end.
    async fn take_over(&self, channel: &Arc<Channel>) -> bool {
        for _ in 0..10 {
            {
                let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
                if connection.is_none() {
                    *connection = Some(Arc::clone(channel));
                    return true;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }

    /// Waits for a hello; answers what is wrong with it, or returns its number.
    async fn greet(&self, channel: &Channel) -> Option<(u64, Policy)> {
        let (bytes, _) = channel.receive().await.ok()??;
        let Ok(Envelope { seq, body: Request::Hello { version, key, policy } }) = serde_json::from_slice(&bytes) else {
            tracing::warn!("a stranger connected, who does not speak as vswitchd");
            return None;
        };
        let failure = if version != PROTOCOL_VERSION {
            Failure::other(format!(
                "the running agent speaks version {PROTOCOL_VERSION} and this vswitchd {version}; stop the containers and end \
                 process {} before starting this vswitchd",
                std::process::id()
            ))
        } else if self.key.as_ref().is_some_and(|own| !own.is(&key)) {
            tracing::warn!("a process that does not know the key of the state directory was refused");
            let sentence = "this is not a vswitchd of the agent's state directory; see agent.key there";
            Failure::new(FailureKind::NotPermitted, sentence)
        } else {
            return Some((seq, policy));
        };
        let _ = channel.send(&FromAgent::Reply(Envelope { seq, body: Reply::Failed(failure) }), &[]).await;
        None
    }

    async fn handle(self: Arc<Agent>, channel: Arc<Channel>, seq: u64, request: Request, descriptors: Beside) {
        let started = match &request {
            Request::ProcessStart { process, .. } | Request::ProcessExec { process, .. } => Some(process.clone()),
            _ => None,
        };
        let last = matches!(request, Request::Shutdown);
        let answer = match descriptors {
            Ok(descriptors) => self.answer(request, descriptors).await,
            Err(Exhausted) => Err(Failure::other(
                "the agent of vswitchd has as many open files as it may have; raise the limit (ulimit -n) that vswitchd \
                 is started with, or stop containers",
            )),
        };
        let (body, descriptors) = match answer {
            Ok(answer) => answer,
            Err(failure) => (Reply::Failed(failure), Vec::new()),
        };
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        if let Err(error) = channel.send(&FromAgent::Reply(Envelope { seq, body }), &borrowed).await {
            tracing::warn!("cannot answer vswitchd: {error}");
            // Whoever asked would wait for nothing.
            let body = Reply::Failed(Failure::other(format!("the agent's answer cannot be sent: {error}")));
            let _ = channel.send(&FromAgent::Reply(Envelope { seq, body }), &[]).await;
        }
        if let Some(process) = started {
            // Only now, so that vswitchd hears of the end after it heard of the start.
            self.processes.announce(&process).await;
            self.reap().await;
        }
        if last {
            self.finished.notify_one();
        }
    }

    async fn answer(&self, request: Request, descriptors: Vec<OwnedFd>) -> Answer {
        tracing::debug!(?request, "asked");
        match request {
            Request::Survey { from } => self.survey(from).await,
            Request::Hide { folders } => self.processes.hide(folders),
            Request::ProcessStart { process, spec } => {
                let spec = Box::new(self.orders.start(&process, *spec, &self.policy())?);
                let owner = self.policy().own_root(&spec)?;
                let netns = match &spec.sandbox {
                    Some(sandbox) => Some(self.network.netns(sandbox).await?),
                    None => None,
                };
                let own_users = netns.as_ref().map_or(Ok(false), users::owns_itself)?;
                if own_users != owner.is_some() {
                    return Err(Failure::new(
                        FailureKind::Exists,
                        "the network is that of a container in another user namespace; give both --userns=host, or neither, \
                         and start the other one anew if vswitchd has changed its mind",
                    ));
                }
                self.processes.start(&process, *spec, netns, owner, descriptors).await
            }
            Request::SandboxCreate { sandbox } => {
                let remap = self.policy().remap.filter(|_| !self.orders.host_users(&sandbox));
                let netns = match remap {
                    Some(ids) => Some(users::make_network(&ids).await?),
                    None => None,
                };
                self.network.create(sandbox, netns).await
            }
            Request::OrderTake => {
                let none = || Failure::other("an order comes with the client's connection");
                let connection = descriptors.into_iter().next().ok_or_else(none)?;
                let daemon = self.daemon.load(Ordering::Relaxed);
                let order = self.orders.take(connection, &self.policy(), (daemon != 0).then_some(daemon)).await?;
                Ok((Reply::Order { order }, Vec::new()))
            }
            Request::OrderKeep { order, process } => {
                self.orders.keep(order, &process).map(|()| (Reply::Done, Vec::new()))
            }
            Request::OrderDrop { process } => {
                self.processes.give_up(&process);
                let dropped = self.orders.drop_kept(&process);
                self.processes.data().forget(&process).and(dropped).map(|()| (Reply::Done, Vec::new()))
            }
            Request::VolumeMake { name, labels, options } => {
                let made = self.processes.data().make_volume(&name, labels, options)?;
                Ok((Reply::Volumes { volumes: vec![made], more: false }, Vec::new()))
            }
            Request::VolumeList { after } => {
                let (volumes, more) = self.processes.data().list_volumes(&after)?;
                Ok((Reply::Volumes { volumes, more }, Vec::new()))
            }
            Request::Sizes { volumes, roots } => {
                let folders = self.processes.data().folders_of(&volumes, &roots)?;
                let count = move || folders.iter().map(|folder| sizes::below(folder)).collect();
                let bytes = tokio::task::spawn_blocking(count).await;
                let bytes = bytes.map_err(|error| Failure::io("count sizes", &error.into()))?;
                Ok((Reply::Sizes { bytes }, Vec::new()))
            }
            Request::VolumeRemove { name } => {
                self.processes.data().remove_volume(&name).map(|()| (Reply::Done, Vec::new()))
            }
            Request::ProcessAttach { process, attach } => self.processes.attach(&process, attach),
            Request::ProcessFreeze { process, frozen } => self.processes.freeze(&process, frozen).await,
            Request::ProcessResize { process, rows, columns } => self.processes.resize(&process, (rows, columns)),
            Request::ProcessExec { process, container, exec, order, attach } => {
                let exec = self.orders.exec(&container, order, exec, &self.policy())?;
                self.processes.exec(&process, &container, exec, descriptors, attach).await
            }
            Request::ProcessSignal { process, signal } => self.processes.signal(&process, signal).await,
            Request::ProcessFiles { process, etc_hosts, etc_resolv_conf } => {
                self.processes.replace_files(&process, etc_hosts, etc_resolv_conf)
            }
            Request::ProcessOutput { process, log, limit } => {
                let log = self.orders.output(&process, log, &self.policy())?;
                self.processes.resume_output(&process, &log, limit)
            }
            Request::ProcessForget { process } => self.processes.forget(&process),
            Request::Ephemeral => {
                self.ephemeral.store(true, Relaxed);
                Ok((Reply::Done, Vec::new()))
            }
            Request::Shutdown => self.clear().await,
            Request::Hello { .. } => Err(Failure::other("the hello of this connection was said already")),
            Request::UplinkOpen { interface } => super::uplink::open(&interface, &self.uplinks, self.rootless).await,
            Request::HostTap { link, user } => super::host::open_tap(&link, user).await,
            Request::HostNames { lines, wanted } => {
                self.named.store(true, Relaxed);
                super::host_names::write(&lines, wanted)
            }
            Request::ParentAllow { order } => self.orders.allow_parent(order).map(|()| (Reply::Done, Vec::new())),
            Request::ParentOpen { interface, place } => {
                self.orders.check_parent(&interface, &self.policy())?;
                super::parent::open(&interface, &place, self.rootless).await
            }
            Request::Listen { binding } => super::listen::open(&binding),
            Request::PingOpen { ipv6 } => super::ping::open(ipv6),
            Request::SandboxAttach { sandbox, netns: NetnsRef::Ordered(order), .. } => {
                self.attach_given(sandbox, self.orders.namespace(order)?).await
            }
            Request::SandboxAttach { sandbox, netns: NetnsRef::Beside, .. } => {
                let none = || Failure::other("a namespace that is handed over comes with the request");
                self.attach_given(sandbox, descriptors.into_iter().next().ok_or_else(none)?).await
            }
            Request::SandboxAttach { sandbox, netns, force } => self.attach(sandbox, netns, force).await,
            request => match self.foreign.request(&request).await {
                Some(answer) => answer,
                None => self.network.request(request).await,
            },
        }
    }

    /// A namespace that the agent may not enter can belong to another user namespace of the same user.
    async fn attach(&self, sandbox: String, netns: NetnsRef, force: bool) -> Answer {
        let request = Request::SandboxAttach { sandbox: sandbox.clone(), netns: netns.clone(), force };
        let direct = self.network.request(request);
        match direct.await {
            Err(failure) if failure.kind == FailureKind::NotPermitted => {
                self.foreign.attach(sandbox, netns, None, failure).await
            }
            answer => answer,
        }
    }

    /// As [`Agent::attach`], of a namespace that somebody opened.
    async fn attach_given(&self, sandbox: String, descriptor: OwnedFd) -> Answer {
        let copy = descriptor.try_clone().map_err(|error| Failure::io("copy a namespace's descriptor", &error))?;
        match self.network.attach_given(&sandbox, copy).await {
            Err(failure) if failure.kind == FailureKind::NotPermitted => {
                self.foreign.attach(sandbox, NetnsRef::Beside, Some(descriptor), failure).await
            }
            answer => answer,
        }
    }

    /// A page of what exists. One message has no room for thousands of containers.
    async fn survey(&self, from: usize) -> Answer {
        if from == 0 {
            self.reap().await;
            let mut survey = self.network.survey().await;
            self.foreign.survey(&mut survey);
            let sandboxes = survey.sandboxes.into_iter().map(Existing::Sandbox);
            let endpoints = survey.endpoints.into_iter().map(Existing::Endpoint);
            let running = self.processes.list_running().into_iter().map(|(id, pid)| Existing::Running(id, pid));
            let exited = self.processes.list_exited().into_iter().map(|(id, code)| Existing::Exited(id, code));
            let all = sandboxes.chain(endpoints).chain(running).chain(exited).collect();
            *self.surveyed.lock().unwrap_or_else(PoisonError::into_inner) = all;
        }
        let all = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        let existing: Vec<_> = all.iter().skip(from).take(PAGE).cloned().collect();
        let more = from.saturating_add(existing.len()) < all.len();
        Ok((Reply::Survey { existing, more }, Vec::new()))
    }

    async fn reap(&self) {
        for (process, exit_code) in self.processes.reap() {
            self.processes.finish_output(&process).await;
            self.tell(Event::Exited { process, exit_code }).await;
        }
    }

    /// Tells vswitchd; one that connects later finds it in the hello.
    async fn tell(&self, event: Event) {
        let channel = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(channel) = channel
            && let Err(error) = channel.send(&FromAgent::Event(event), &[]).await
        {
            tracing::debug!("cannot tell vswitchd of an event: {error}");
        }
    }

    /// Takes everything down, whatever fails on the way.
    async fn clear(&self) -> Answer {
        let slow = |_| Err(Failure::other("the namespaces are not removed yet; the kernel goes on with it"));
        let named = self.named.swap(false, Relaxed);
        let results = [
            if named { super::host_names::write(&[], false).map(|_| ()) } else { Ok(()) },
            self.processes.clear().await,
            tokio::time::timeout(PATIENCE, self.foreign.clear()).await.unwrap_or_else(slow),
            tokio::time::timeout(PATIENCE, self.network.clear()).await.unwrap_or_else(slow),
        ];
        let failures: Vec<String> = results.into_iter().filter_map(Result::err).map(|f| f.message).collect();
        if failures.is_empty() { Ok((Reply::Done, Vec::new())) } else { Err(Failure::other(failures.join("; "))) }
    }

    async fn finish(self: Arc<Agent>) {
        if let Err(failure) = self.clear().await {
            tracing::error!("{}", failure.message);
        }
        self.finished.notify_one();
    }
}

/// For the kernel to remove all interfaces; ending the agent removes them in any case.
const PATIENCE: Duration = Duration::from_secs(10);

/// For the first message of a connection. A vswitchd that starts connects early and speaks late, which is seconds later on a machine
/// where a hundred start at once.
const GREETING_PATIENCE: Duration = Duration::from_secs(30);

/// Entries of one answer to [`Request::Survey`]; ids are at most some 80 bytes, and a message holds 256 KiB.
const PAGE: usize = 1000;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
