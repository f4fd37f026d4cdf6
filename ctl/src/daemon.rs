//! The life of vswitchd.
//!
//! The order of the start matters. With privileges, on one thread: the state directory is locked, the store opened, the
//! sockets bound, and last the agent started or found, since it would outlive a start that fails. Then all privileges go,
//! and what is left is confined. Without any: the switch's workers and the runtime start, the controller finds again what
//! still runs, and clients are served.

use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;
use vswitch_api::version::Confinement;
use vswitch_switch::Switch;
use vswitch_switch::nat::rules::Settings;
use vswitch_switch::sys::{datagram, scheduling};

use crate::agent::client::{AgentClient, AgentConnection, AgentError, AgentOptions, Hello, launch};
use crate::agent::protocol::{Policy, Reply, Request};
use crate::agent::resolv;
use crate::api::serve::Clients;
use crate::api::{self, App, listen};
use crate::args::Options;
use crate::blocking;
use crate::confinement::{self, ConfinementError, Places};
use crate::controller::{Controller, HostFiles, Interface, OpenPacket, OpenSockets, OpenUplink, Parts, Underlay};
use crate::error::ControlError;
use crate::log::Log;
use crate::overlay::underlay::{Monitor, UnderlayError};
use crate::overlay::{OpenVtep, VtepError};
use crate::privileges::{self, PrivilegeError};
use crate::store::{StateDir, StateDirError, Store, StoreError};
use crate::uplink::{PacketUplink, PingSockets, SocketsUplink, Uplink};
use crate::userns::{RemapError, RemapWish};
use crate::vital;

/// Why vswitchd did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The control socket.
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Privileges.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// Seccomp or landlock.
    #[error(transparent)]
    Confinement(#[from] ConfinementError),
    /// The ids of containers.
    #[error(transparent)]
    Remap(#[from] RemapError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data plane.
    #[error("the switch does not start: {0}")]
    Switch(#[from] vswitch_switch::SwitchError),
    /// The uplink's interface.
    #[error(transparent)]
    Uplink(ControlError),
    /// A VTEP's socket.
    #[error(transparent)]
    Vtep(#[from] VtepError),
    /// The host's interfaces.
    #[error(transparent)]
    Underlay(#[from] UnderlayError),
    /// The controller.
    #[error("cannot restore networks and containers: {0}")]
    Control(#[from] ControlError),
    /// The runtime or its signals.
    #[error("cannot start serving ({0})")]
    Io(#[from] std::io::Error),
}

/// Where clients come.
struct Sockets {
    /// Both dialects.
    control: listen::ControlSocket,
    /// Docker's alone.
    docker: Option<listen::ControlSocket>,
}

impl Sockets {
    /// Where they are.
    fn folders(&self) -> std::io::Result<Vec<PathBuf>> {
        let all = std::iter::once(&self.control).chain(&self.docker);
        all.map(|socket| folder(socket.path()).canonicalize()).collect()
    }
}

/// Threads of the control side. The data plane has its own.
const CONTROL_THREADS: usize = 2;

/// Nanoseconds that a thread of vswitchd has a core for while others wait for it, so that neither a flood nor vswitchd itself
/// holds up who has little to do (docs/decisions/0016-turns-and-budgets.md). The kernel's least.
const SLICE: u64 = 100_000;

/// Runs vswitchd until it is told to stop.
///
/// # Errors
/// One sentence that says why it did not start, or why it ended by itself.
pub fn run(options: &Options, log: &Log) -> Result<(), DaemonError> {
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    raise_descriptor_limit();
    vswitch_switch::sys::memory::keep_large_blocks_apart();
    let remap = options.defaults.remap.as_ref().map(RemapWish::on_this_host).transpose()?;
    let state_dir = StateDir::lock(&options.state_dir)?;
    let store = Store::open(state_dir.path())?;
    let socket = match listen::ControlSocket::inherited(&options.socket)? {
        Some(socket) => socket,
        None => listen::ControlSocket::bind(&options.socket, options.group.as_deref())?,
    };
    let bind = |path: &PathBuf| listen::ControlSocket::bind(path, options.group.as_deref());
    let docker = options.docker_socket.as_ref().map(bind).transpose()?;
    let vteps = options.vteps.iter().map(|spec| OpenVtep::bind(*spec)).collect::<Result<Vec<_>, _>>()?;
    let monitor = Monitor::open()?;
    let agent = launch(&AgentOptions {
        state_dir: state_dir.path().to_owned(),
        ephemeral: options.ephemeral,
        temporary: options.follow_stdin,
        uplinks: options.uplink.packets().iter().map(|uplink| uplink.interface.clone()).collect(),
        policy: Policy {
            ordered: true,
            sockets: std::iter::once(&socket).chain(&docker).map(|socket| socket.path().to_owned()).collect(),
            strangers: options.clients == Clients::Containers,
            capabilities: options.capabilities.clone(),
            images: options.images.clone(),
            remap,
        },
    })?;
    privileges::drop_all()?;
    // For all threads to come; the agent and what it starts were left out.
    if let Err(error) = scheduling::ask_for_slices(SLICE) {
        tracing::warn!(
            "round trips will be slower beside busy neighbours, as the kernel refuses short slices: {error}"
        );
    }
    let confinement = confinement::confine(options.confinement, &places(options, &state_dir))?;
    // The first thread: until here there had to be one only.
    if let Err(error) = log.start() {
        tracing::warn!("the log is written without a thread of its own: {error}");
    }
    let switch = Switch::start_supervised(options.settings.clone(), &vital::on_end())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let underlay = Underlay { vteps, monitor };
    let sockets = Sockets { control: socket, docker };
    let (store, contents) = store;
    let opened = Opened { sockets, agent, store, contents, switch, underlay };
    let served = runtime.block_on(serve(options, &state_dir, opened, confinement));
    blocking::end();
    served
}

/// What was opened while vswitchd had its privileges, and what was made after that.
struct Opened {
    sockets: Sockets,
    agent: AgentConnection,
    store: Store,
    contents: crate::store::Contents,
    switch: Switch,
    underlay: Underlay,
}

async fn serve(
    options: &Options,
    state_dir: &StateDir,
    opened: Opened,
    confinement: Confinement,
) -> Result<(), DaemonError> {
    let Opened { sockets, agent, store, contents, switch, underlay } = opened;
    // Signals are caught before anything is restored, so that a stop during the start is orderly, too.
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (agent, hello, events) = AgentClient::connect(agent).await?;
    let folders = sockets.folders().map_err(DaemonError::Io)?;
    agent.call(Request::Hide { folders }, Vec::new()).await?;
    if options.ephemeral {
        // It may be an earlier vswitchd's, which was to outlive that one.
        agent.call(Request::Ephemeral, Vec::new()).await?;
    }
    let workers = switch.stats().workers;
    let uplink = open_uplink(options, &agent, &hello).await.map_err(DaemonError::Uplink)?;
    let controller = Controller::start(Parts {
        store,
        contents,
        switch,
        agent,
        hello,
        events,
        host: HostFiles { resolv_conf: state_dir.path().join(resolv::NAME), ..HostFiles::default() },
        defaults: options.defaults.clone(),
        uplink,
        underlay,
        overlays: options.overlays.clone(),
        state_dir: state_dir.path().to_owned(),
        ephemeral: options.ephemeral,
    })
    .await?;
    let app = App {
        controller: controller.clone(),
        uplink: options.uplink.clone(),
        workers,
        confinement,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        live_restore: options.live_restore,
        images: std::sync::Arc::new(options.images.clone()),
    };
    let runtime = tokio::runtime::Handle::current();
    let mut servers = Vec::new();
    if let Some(docker) = &sockets.docker {
        let (orders, listener) = (Some(controller.clone()), docker.listener()?);
        let serving = api::serve::serve_to(options.clients, orders, listener, api::docker_router(app.clone()));
        servers.push(vital::spawn_fallible(&runtime, "control", serving));
        tracing::info!(socket = %docker.path().display(), "serving the Docker Engine API");
    }
    let (orders, listener) = (Some(controller.clone()), sockets.control.listener()?);
    let serving = api::serve::serve_to(options.clients, orders, listener, api::router(app));
    servers.push(vital::spawn_fallible(&runtime, "control", serving));
    tracing::info!(socket = %sockets.control.path().display(), state = %state_dir.path().display(), "serving");
    announce(&sockets.control);
    let starter = starter(options.follow_stdin)?;
    tokio::pin!(starter);
    let lost = loop {
        tokio::select! {
            () = signals.any() => break false,
            () = &mut starter => break false,
            () = controller.agent_closed() => break true,
            _ = hangup.recv() => reload(options, &controller),
        }
    };
    servers.iter().for_each(AbortHandle::abort);
    if lost {
        return Err(AgentError::Lost.into());
    }
    if options.live_restore {
        tracing::info!("stopping; containers go on running");
        controller.save();
    } else if options.ephemeral {
        tracing::info!("stopping, with everything in it");
        controller.shut_down_at_once().await;
    } else {
        tracing::info!("stopping containers; a second signal stops them at once");
        tokio::select! {
            () = controller.shut_down() => {}
            () = signals.any() => controller.shut_down_at_once().await,
        }
    }
    Ok(())
}

/// Ends when standard input does, if vswitchd is to follow it.
fn starter(followed: bool) -> std::io::Result<impl Future<Output = ()>> {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    if followed {
        std::thread::Builder::new().name("starter".to_owned()).spawn(move || {
            // Nothing is said there; the end is what counts.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            drop(sender);
        })?;
        return Ok(futures_util::future::Either::Left(async move { drop(receiver.await) }));
    }
    Ok(futures_util::future::Either::Right(std::future::pending()))
}

/// The files that vswitchd needs from here on.
fn places(options: &Options, state_dir: &StateDir) -> Places {
    // It is read again on SIGHUP. Who changes it mostly puts another one in its place, so it is the folder that counts; but
    // not where everything else is, too.
    let settings =
        options.docker.file().map(|file| if folder(file) == Path::new("/etc") { file } else { folder(file) });
    let sockets = std::iter::once(&options.socket).chain(&options.docker_socket);
    Places {
        own: vec![state_dir.path().to_owned()],
        sockets: sockets.map(|socket| folder(socket).to_owned()).collect(),
        read: settings.into_iter().map(Path::to_owned).collect(),
    }
}

/// Where a file is.
fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens the uplink's interface before anything else is done, so that a vswitchd without it does not begin. An agent that
/// has nothing yet is not left behind then.
async fn open_uplink(
    options: &Options,
    agent: &AgentClient,
    hello: &Hello,
) -> Result<Option<OpenUplink>, ControlError> {
    let settings = options.nat.clone();
    let uplinks = match &options.uplink {
        Uplink::None => return Ok(None),
        Uplink::Sockets(uplink) => {
            let ping = open_ping(agent).await;
            warn_of_limits(uplink);
            return Ok(Some(OpenUplink::Sockets(Box::new(OpenSockets { uplink: uplink.clone(), settings, ping }))));
        }
        Uplink::Packet(uplinks) => uplinks,
    };
    match open_all(agent, uplinks, &settings).await {
        Ok(open) => Ok(Some(OpenUplink::Packet(open))),
        Err(error) => {
            if hello.sandboxes.is_empty() && hello.running.is_empty() {
                // What goes wrong with that changes nothing about the sentence.
                let _ = agent.call(Request::Shutdown, Vec::new()).await;
            }
            Err(error)
        }
    }
}

async fn open_all(
    agent: &AgentClient,
    uplinks: &[PacketUplink],
    settings: &Settings,
) -> Result<Vec<OpenPacket>, ControlError> {
    let mut open = Vec::new();
    for uplink in uplinks {
        let interface = Interface::open(agent, uplink).await?;
        open.push(OpenPacket { uplink: uplink.clone(), settings: settings.clone(), interface });
    }
    Ok(open)
}

/// What containers ping by where the host lets nobody of vswitchd's group do so; the agent may know better. If not, that is said once,
/// with what to type.
async fn open_ping(agent: &AgentClient) -> PingSockets {
    let denied = |ipv6| {
        let opened = datagram::open(datagram::DatagramKind::Ping, ipv6);
        opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let mut ping = PingSockets::default();
    let most = most_ping_sockets();
    for (ipv6, sockets) in [(false, &mut ping.v4), (true, &mut ping.v6)] {
        while sockets.len() < most && denied(ipv6) {
            match agent.call(Request::PingOpen { ipv6 }, Vec::new()).await {
                Ok((Reply::Sockets, opened)) if !opened.is_empty() => sockets.extend(opened),
                _ => break,
            }
        }
        sockets.truncate(most);
    }
    if ping.v4.is_empty() && denied(false) {
        tracing::warn!(
            "containers cannot ping what is outside, for the host lets nobody of this group do so; to allow it, type as root: \
             sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
        );
    }
    ping
}

/// Echo requests of so many programs are under way at once, of each family; fewer where descriptors are few, for containers need them.
fn most_ping_sockets() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(PING_SOCKETS, |limit| PING_SOCKETS.min(limit / SHARE_OF_PINGS))
}

const PING_SOCKETS: usize = 16;
/// One descriptor of so many may be a ping socket.
const SHARE_OF_PINGS: usize = 32;

/// Says once what containers will not have over the host's sockets, and what to type.
fn warn_of_limits(uplink: &SocketsUplink) {
    for source in uplink.sources() {
        let bound = datagram::open(datagram::DatagramKind::Udp, source.is_ipv6())
            .and_then(|socket| datagram::bind(&socket, source));
        if let Err(error) = bound {
            tracing::warn!(
                "nothing leaves from {source} ({error}) before the host has that address; see outbound-address"
            );
        }
    }
}

/// Reads dockerd's settings again. What is wrong with them is said in the log, and changes nothing.
fn reload(options: &Options, controller: &Controller) {
    tracing::info!("SIGHUP: reading the settings again");
    let result = options.docker.read().map_err(|error| error.to_string());
    let reloaded = result.and_then(|read| {
        if let Some(warning) = &read.warning {
            tracing::warn!("{warning}");
        }
        controller.reload(read.defaults).map_err(|error| error.to_string())
    });
    match reloaded {
        Ok(()) => tracing::info!("the settings hold from now on; running containers keep what they have"),
        Err(error) => tracing::error!("the settings stay as they were: {error}"),
    }
}

/// The one line that says to whoever started vswitchd that it serves.
fn announce(socket: &listen::ControlSocket) {
    let mut out = std::io::stdout().lock();
    // Nobody needs to read it.
    let _ = writeln!(out, "vswitchd ready: socket {}", socket.path().display());
    let _ = out.flush();
}

/// Every endpoint is a descriptor, and so is every client.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
