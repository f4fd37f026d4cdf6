//! The owner of what should be: networks, containers and endpoints, and what the agent and the switch do about it.
//!
//! [`State`] is the desired state in memory, behind a mutex that is never held across an `await`, nor while the store is written:
//! whoever changes something has the *turn* besides, which is what holds meanwhile ([`desired`]). Deciding and committing happen in
//! a turn, and that includes reading the host's addresses and waiting for the switch's workers, each with a deadline or bounded;
//! agents are asked without either. Every operation has the same shape:
//!
//! 1. decide, in a turn: names resolved, addresses leased, everything refused that must be refused;
//! 2. act: the agent makes namespaces, interfaces and processes; the switch gets ports;
//! 3. commit, in another turn: the store first, while others look, then the memory that they see.
//!
//! When a step fails, the steps before it are undone in reverse order; what cannot be undone is logged and the undoing
//! goes on. Operations on one container exclude each other by that container's gate (an async mutex), so a process that
//! ends while its container is still being started is seen after the start; so do attaching and detaching a namespace, by
//! its endpoint's gate. The networks of a container that is being started are in use from the decision on.
//!
//! What is done when the store cannot be written is *owed* to it ([`Store::settle`]): it is told to who asked, holds in
//! memory, and is written when that is possible again.
//!
//! What an operation only decides (networks, addresses) is in `state`; what it does is in one file per noun.

mod addresses;
mod bridge;
mod capture;
mod container_filter;
mod containers;
mod desired;
mod dhcp;
mod docker_view;
mod endpoints;
mod engines;
mod etc;
mod events;
mod execs;
mod fdb;
mod features;
mod files;
mod flows;
mod frames;
mod health;
mod history;
mod host;
mod journal;
mod keeper;
mod lan;
mod lifecycle;
mod links;
mod logs;
mod machines;
mod membership;
mod names;
mod network_filter;
mod networks;
mod openings;
mod overlay;
mod packets;
mod peerings;
mod policies;
mod ports;
mod publish;
mod reconcile;
mod rename;
mod replay;
mod restarts;
mod routes;
mod services;
mod shutdown;
mod sizes;
mod state;
mod tasks;
mod topology;
mod uplink;
mod view;
mod volumes;
mod wires;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use vswitch_switch::Switch;

pub use container_filter::ContainerQuery;
pub use containers::{Created, Streams, WaitFor};
use desired::{Changing, Desired, Looking};
pub use engines::PortLease;
use execs::Execs;
pub use execs::{Begun, ExecState};
pub use files::HostFiles;
use flows::FlowFeed;
pub use flows::FlowWatch;
pub(crate) use frames::told;
use history::History;
pub use history::Listener;
pub use logs::{ContainerLog, Extent, LogQuery, Records};
pub use machines::{OpenMachinePort, PluggedMachine};
use names::Names;
pub use network_filter::NetworkFilter;
use overlay::Overlays;
pub use state::State;
pub use tasks::{Task, Usage};
use uplink::UplinkState;
pub use uplink::{Interface, OpenPacket, OpenSockets, OpenUplink};
pub use volumes::{DRIVER as VOLUME_DRIVER, VolumeFilter};

use crate::agent::client::{AgentClient, AgentError, Hello};
use crate::agent::protocol::{Event, FailureKind, Reply, Request};
use crate::blocking::may_block;
use crate::dns::Dns;
use crate::error::ControlError;
use crate::model::Defaults;
use crate::overlay::underlay::Monitor;
use crate::overlay::{OpenVtep, OverlayTable};
use crate::store::{Contents, Store, StoreError};
use crate::vital;

/// What a controller is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where records go.
    pub store: Store,
    /// What the store held.
    pub contents: Contents,
    /// The data plane.
    pub switch: Switch,
    /// The agent.
    pub agent: AgentClient,
    /// What it had when the connection began.
    pub hello: Hello,
    /// What it reports.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// The host's files.
    pub host: HostFiles,
    /// What the operator decided for all networks and containers.
    pub defaults: Defaults,
    /// The way out, if there is one.
    pub uplink: Option<OpenUplink>,
    /// What tunnels go over.
    pub underlay: Underlay,
    /// Overlay networks that are to exist.
    pub overlays: Vec<OverlayTable>,
    /// For containers' output.
    pub state_dir: PathBuf,
    /// Nothing outlives vswitchd, so nothing is written down for a next one.
    pub ephemeral: bool,
}

/// What the tunnels of overlay networks go over, opened while vswitchd still may.
#[derive(Debug)]
pub struct Underlay {
    /// This host's ends of tunnels.
    pub vteps: Vec<OpenVtep>,
    /// Looks at the host's interfaces.
    pub monitor: Monitor,
}

/// The controller. Clones are the same controller.
#[derive(Debug, Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    desired: Desired,
    store: Store,
    switch: Switch,
    agent: AgentClient,
    rootless: bool,
    host: HostFiles,
    uplink: Option<UplinkState>,
    overlays: Overlays,
    /// Looks at the host's interfaces.
    monitor: Monitor,
    state_dir: PathBuf,
    /// Further processes of Docker's clients.
    docker_execs: Execs,
    /// Who waits for the end of a process that `exec` started.
    execs: Mutex<HashMap<String, oneshot::Sender<i32>>>,
    feed: FlowFeed,
    history: History,
    names: Names,
    /// Which backends of services serve.
    healths: Mutex<services::Healths>,
    /// Services that somebody looks after.
    watched: Mutex<std::collections::BTreeSet<u64>>,
    /// What running containers have in /etc.
    given: etc::Given,
    ephemeral: bool,
    /// Of DHCP servers on LANs.
    leases: dhcp::DhcpLeases,
    /// Held by who works for a container engine.
    engines: tokio::sync::Mutex<()>,
    /// Whether names of containers are in the host's /etc/hosts. Held by whoever writes them.
    host_names: tokio::sync::Mutex<bool>,
    /// vswitchd is about to end: what ends now is not started again.
    closing: AtomicBool,
}

impl Controller {
    /// Builds the switch's networks from the store, makes the default ones, finds again what the agent still has, and
    /// begins to listen to the agent.
    ///
    /// # Errors
    /// When the switch or the store refuse.
    pub async fn start(parts: Parts) -> Result<Controller, ControlError> {
        let Parts {
            store,
            contents,
            switch,
            agent,
            hello,
            events,
            host,
            defaults,
            uplink,
            underlay,
            overlays: tables,
            state_dir,
            ephemeral,
        } = parts;
        let dns = Dns::start(host.resolv_conf.clone())
            .map_err(|error| ControlError::Internal(format!("the name server does not start: {error}")))?;
        let uplink = uplink.map(|open| UplinkState::new(&switch, open)).transpose()?;
        let Underlay { vteps, monitor } = underlay;
        let overlays = Overlays::new(&switch, vteps)?;
        let names = Names::start(dns, &switch)?;
        let controller = Controller {
            inner: Arc::new(Inner {
                desired: Desired::new(State::new(contents, defaults)),
                store,
                switch,
                agent,
                rootless: hello.rootless,
                host,
                uplink,
                overlays,
                monitor,
                state_dir,
                docker_execs: Execs::default(),
                execs: Mutex::default(),
                feed: FlowFeed::default(),
                history: History::default(),
                names,
                healths: Mutex::default(),
                watched: Mutex::default(),
                given: etc::Given::default(),
                ephemeral,
                leases: dhcp::DhcpLeases::default(),
                engines: tokio::sync::Mutex::default(),
                host_names: tokio::sync::Mutex::default(),
                closing: AtomicBool::new(false),
            }),
        };
        controller.settle_bridge(&hello)?;
        controller.look_at_underlays(&controller.inner.monitor);
        controller.restore_networks()?;
        controller.make_default_networks()?;
        let lost_ports = controller.retake_ports().await;
        controller.take_tables(tables)?;
        controller.refresh_router(&controller.state())?;
        controller.restore_flows();
        controller.warn_of_closed_ports();
        controller.warn_of_lost_uplinks(&controller.state());
        controller.reconcile(&hello).await?;
        controller.look_at_parents().await;
        // Last of all: whatever comes in before would be a stranger's.
        controller.plug_uplink()?;
        controller.restart_all();
        controller.watch_services();
        let runtime = tokio::runtime::Handle::current();
        vital::spawn(&runtime, "ports", may_block(controller.clone().regain_ports(lost_ports)));
        vital::spawn(&runtime, "events", may_block(controller.clone().listen(events)));
        vital::spawn(&runtime, "uplink", may_block(controller.clone().keep_uplink()));
        vital::spawn(&runtime, "parents", may_block(controller.clone().keep_parents()));
        vital::spawn(&runtime, "underlays", may_block(controller.clone().keep_underlays()));
        vital::spawn(&runtime, "overlays", may_block(controller.clone().keep_overlays()));
        vital::spawn(&runtime, "journal", may_block(controller.clone().keep_journal()));
        vital::spawn(&runtime, "store", may_block(controller.clone().keep_store()));
        vital::spawn(&runtime, "host names", may_block(controller.clone().keep_host_names()));
        vital::spawn(&runtime, "flows", may_block(controller.clone().pump_flows()));
        Ok(controller)
    }

    /// Whether containers live in a user namespace of the agent's own.
    #[must_use]
    pub fn rootless(&self) -> bool {
        self.inner.rootless
    }

    /// The absolute path of the state directory.
    #[must_use]
    pub fn state_dir(&self) -> &std::path::Path {
        &self.inner.state_dir
    }

    /// Ends when the agent is gone.
    pub async fn agent_closed(&self) {
        self.inner.agent.closed().await;
    }

    /// The state, to look at it.
    fn state(&self) -> Looking<'_> {
        self.inner.desired.look()
    }

    /// The state, to change it, after whoever changes it now.
    fn turn(&self) -> Changing<'_> {
        self.inner.desired.turn(&self.inner.store)
    }

    /// The same, with what the host occupies now. That is read before anybody has to wait for it.
    fn turn_with_host(&self) -> Changing<'_> {
        let host = self.inner.host.networks();
        let mut state = self.turn();
        state.host = host;
        state
    }

    /// Asks the agent for something whose answer carries nothing.
    async fn ask(&self, request: Request) -> Result<(), ControlError> {
        self.inner.agent.call(request, Vec::new()).await?;
        Ok(())
    }

    /// As [`Controller::ask`], for undoing and taking down: a failure is logged, what is gone already is none.
    async fn ask_anyway(&self, request: Request) {
        let what = format!("{request:?}");
        match self.inner.agent.call(request, Vec::new()).await {
            Ok(_) => {}
            Err(AgentError::Failed(failure)) if failure.kind == FailureKind::Gone => {}
            Err(error) => tracing::warn!("the agent could not do {what}: {error}"),
        }
    }
}

impl From<AgentError> for ControlError {
    fn from(error: AgentError) -> Self {
        let AgentError::Failed(failure) = error else { return ControlError::Internal(error.to_string()) };
        let message = failure.message;
        match failure.kind {
            FailureKind::Gone => ControlError::NamespaceGone(message),
            FailureKind::NotPermitted | FailureKind::Harmful => ControlError::NotPermitted(message),
            FailureKind::CommandNotFound => ControlError::Command { message, exit_code: 127 },
            FailureKind::CommandNotExecutable => ControlError::Command { message, exit_code: 126 },
            FailureKind::Exists => ControlError::Conflict(message),
            FailureKind::Other => ControlError::Internal(message),
        }
    }
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        ControlError::Internal(error.to_string())
    }
}

impl From<vswitch_switch::SwitchError> for ControlError {
    fn from(error: vswitch_switch::SwitchError) -> Self {
        use vswitch_switch::SwitchError as E;
        match error {
            E::NotUnicast(_) => ControlError::invalid(error.to_string()),
            E::FdbFull | E::VniTaken(_) | E::TooManyNetworks | E::TooManyPorts | E::Overlay(_) => {
                ControlError::Conflict(error.to_string())
            }
            _ => ControlError::Internal(error.to_string()),
        }
    }
}

/// The agent answered something that the request does not allow.
fn unexpected(reply: &Reply) -> ControlError {
    ControlError::Internal(format!("the agent answered {reply:?} out of turn; see that vswitchd and its agent match"))
}
