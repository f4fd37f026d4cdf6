//! Network namespaces that another user namespace of the same user owns: rootless podman's, or one of `unshare -Urn`.
//!
//! An ordinary user's agent is root in a user namespace of its own, and as such a stranger to every other one. The user
//! itself, outside of both, may enter any that it owns. So the agent leaves a *helper spawner* outside before it enters its own;
//! that starts a *helper* for each foreign namespace, which enters it and then is an agent like any other, with
//! switch-side ends of its own (the kernel joins no veth across unrelated user namespaces). The agent passes requests on
//! to it as vswitchd does to the agent.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::mpsc;
use vswitch_switch::sys::namespace;

use super::{
    client::{AgentClient, AgentConnection, AgentError},
    network::{self, Answer, Network, Survey},
    processes::{Processes, Settings},
    protocol::{Envelope, Event, Failure, FailureKind, FromAgent, NetnsRef, Reply, Request},
    server::{self, Agent},
    wire::{self, Channel},
};
use crate::sandbox::message::take_socket;

/// The process that the agent leaves in its user's own namespace.
#[derive(Debug)]
pub(crate) struct HelperSpawner {
    socket: OwnedFd,
}

impl HelperSpawner {
    /// Starts it. It ends when its socket does.
    pub(crate) fn start() -> io::Result<HelperSpawner> {
        let (socket, theirs) = wire::pair()?;
        Command::new("/proc/self/exe")
            .args(["agent", "--helper-spawner"])
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(HelperSpawner { socket })
    }

    /// Asks for a helper in the user namespace that owns a network namespace: `given`, or the one that is referred to.
    async fn helper(&self, netns: &NetnsRef, given: Option<BorrowedFd<'_>>) -> Result<AgentConnection, Failure> {
        let failed = |error: io::Error| Failure::io("start a helper for a foreign namespace", &error);
        let channel = Channel::new(self.socket.try_clone().map_err(failed)?).map_err(failed)?;
        channel.send(netns, given.as_slice()).await.map_err(failed)?;
        let Some((bytes, descriptors)) = channel.receive().await.map_err(failed)? else {
            return Err(Failure::other("the agent's helper spawner ended; restart vswitchd"));
        };
        serde_json::from_slice::<Result<(), Failure>>(&bytes).map_err(|error| failed(error.into()))??;
        let socket = descriptors.map_err(|error| failed(io::Error::other(error)))?.into_iter().next();
        socket.map(AgentConnection::new).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }
}

/// `vswitchd agent --helper-spawner`.
pub(crate) fn spawner_main() -> io::Result<()> {
    let _ = rustix::process::setsid();
    let socket = take_socket()?;
    while let Some((bytes, beside)) = wire::receive(socket.as_fd())? {
        let given = beside.ok().and_then(|descriptors| descriptors.into_iter().next());
        let result = serde_json::from_slice(&bytes).map_err(io::Error::from).map(|netns| start_helper(&netns, given));
        let (answer, descriptor) = match result? {
            Ok(descriptor) => (Ok(()), Some(descriptor)),
            Err(failure) => (Err(failure), None),
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        wire::send(socket.as_fd(), &wire::encode(&answer)?, &descriptors)?;
    }
    Ok(())
}

fn start_helper(netns: &NetnsRef, given: Option<OwnedFd>) -> Result<OwnedFd, Failure> {
    let refused = |error: &io::Error| network::namespace_failure(netns, error);
    let file = match given {
        Some(descriptor) => network::check_netns(&descriptor).map(|()| File::from(descriptor)),
        None => network::open_netns(netns),
    };
    let file = file.map_err(|error| refused(&error))?;
    network::refuse_the_hosts(netns, &file)?;
    let owner = namespace::owner(&file).map_err(|error| refused(&error))?;
    let failed = |error: io::Error| Failure::io("start a helper for a foreign namespace", &error);
    let (ours, theirs) = wire::pair().map_err(failed)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["agent", "--foreign"])
        .stdin(theirs)
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // Only to collect it.
    thread::spawn(move || child.wait());
    wire::send(ours.as_fd(), b"enter", &[owner.as_fd()]).map_err(failed)?;
    Ok(ours)
}

/// `vswitchd agent --foreign`.
pub(crate) fn helper_main() -> io::Result<()> {
    let _ = rustix::process::setsid();
    let socket = take_socket()?;
    let (lost, lost_endpoints) = mpsc::unbounded_channel();
    let network = match enter_owner(&socket).and_then(|()| Network::start(lost.clone())) {
        Ok(network) => network,
        Err(error) => return refuse(&socket, &error),
    };
    // It starts no processes.
    let settings = Settings { ephemeral: true, open_files: None, state_dir: "/".into(), homes: Vec::new() };
    let agent = Agent::new(network, Processes::new(settings), None, lost, true, true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { server::serve(agent, None, Some(Channel::new(socket)?), None, lost_endpoints).await })
}

/// Enters the user namespace whose descriptor comes first.
fn enter_owner(socket: &OwnedFd) -> io::Result<()> {
    let (_, descriptors) = wire::receive(socket.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let descriptors = descriptors.map_err(io::Error::other)?;
    let owner: File = descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData)?.into();
    Ok(move_into_link_name_space(owner.as_fd(), Some(LinkNameSpaceType::User))?)
}

/// Answers the first request with the reason why there is no helper.
fn refuse(socket: &OwnedFd, error: &io::Error) -> io::Result<()> {
    if let Some((bytes, _)) = wire::receive(socket.as_fd())? {
        let Envelope { seq, body: _ } = serde_json::from_slice::<Envelope<Request>>(&bytes)?;
        let sentence = format!("cannot enter the user namespace that owns the network namespace: {error}");
        let body = Reply::Failed(Failure::new(FailureKind::NotPermitted, sentence));
        wire::send(socket.as_fd(), &wire::encode(&FromAgent::Reply(Envelope { seq, body }))?, &[])?;
    }
    Ok(())
}

/// The agent's helpers.
#[derive(Debug)]
pub(crate) struct Foreign {
    spawner: tokio::sync::Mutex<Option<HelperSpawner>>,
    lost: mpsc::UnboundedSender<String>,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// The helper of each foreign sandbox.
    helpers: BTreeMap<String, AgentClient>,
    /// The sandbox of each endpoint in one.
    endpoints: BTreeMap<String, String>,
}

impl Foreign {
    /// None yet. Ids of endpoints whose interface vanished go to `lost`.
    pub(crate) fn new(spawner: Option<HelperSpawner>, lost: mpsc::UnboundedSender<String>) -> Foreign {
        Foreign { spawner: tokio::sync::Mutex::new(spawner), lost, table: Arc::default() }
    }

    /// Attaches a namespace that the agent itself may not enter, for which `refusal` is the reason: `given`, or the one that
    /// is referred to.
    pub(crate) async fn attach(
        &self,
        sandbox: String,
        netns: NetnsRef,
        given: Option<OwnedFd>,
        refusal: Failure,
    ) -> Answer {
        let connection = match &*self.spawner.lock().await {
            Some(spawner) => spawner.helper(&netns, given.as_ref().map(AsFd::as_fd)).await?,
            None => return Err(refusal),
        };
        let (client, _, events) = AgentClient::connect(connection).await.map_err(failure)?;
        // The host has no network namespace that belongs to such a user namespace.
        let request = Request::SandboxAttach { sandbox: sandbox.clone(), netns, force: false };
        let answer = client.call(request, given.into_iter().collect()).await;
        let answer = answer.map_err(failure)?;
        table(&self.table).helpers.insert(sandbox.clone(), client);
        tokio::spawn(watch(sandbox, events, Arc::clone(&self.table), self.lost.clone()));
        Ok(answer)
    }

    /// Passes a request on, if it is about a foreign sandbox.
    pub(crate) async fn request(&self, request: &Request) -> Option<Answer> {
        let client = {
            let table = table(&self.table);
            let sandbox = match request {
                Request::SandboxRemove { sandbox }
                | Request::EndpointAttach { sandbox, .. }
                | Request::DefaultRoute { sandbox, .. }
                | Request::Routes { sandbox, .. } => sandbox,
                Request::EndpointReopen { endpoint }
                | Request::EndpointCarrier { endpoint, .. }
                | Request::EndpointMtu { endpoint, .. }
                | Request::EndpointDetach { endpoint } => table.endpoints.get(endpoint)?,
                _ => return None,
            };
            table.helpers.get(sandbox)?.clone()
        };
        let answer = client.call(request.clone(), Vec::new()).await.map_err(failure);
        if answer.is_ok() {
            let helper = {
                let mut table = table(&self.table);
                match request {
                    Request::EndpointAttach { endpoint, sandbox, .. } => {
                        table.endpoints.insert(endpoint.clone(), sandbox.clone());
                        None
                    }
                    Request::EndpointDetach { endpoint } => {
                        table.endpoints.remove(endpoint);
                        None
                    }
                    Request::SandboxRemove { sandbox } => {
                        table.endpoints.retain(|_, inside| inside != sandbox);
                        table.helpers.remove(sandbox)
                    }
                    _ => None,
                }
            };
            if let Some(helper) = helper {
                return Some(helper.call(Request::Shutdown, Vec::new()).await.map_err(failure));
            }
        }
        Some(answer)
    }

    /// Adds what exists in foreign namespaces.
    pub(crate) fn survey(&self, survey: &mut Survey) {
        let table = table(&self.table);
        survey.sandboxes.extend(table.helpers.keys().cloned());
        survey.endpoints.extend(table.endpoints.keys().cloned());
    }

    /// Ends every helper, and with it what it made.
    pub(crate) async fn clear(&self) -> Result<(), Failure> {
        let helpers = {
            let mut table = table(&self.table);
            table.endpoints.clear();
            std::mem::take(&mut table.helpers)
        };
        let mut result = Ok(());
        for helper in helpers.into_values() {
            match helper.call(Request::Shutdown, Vec::new()).await {
                // One that ended before has nothing left.
                Ok(_) | Err(AgentError::Lost) => {}
                Err(error) => result = Err(failure(error)),
            }
        }
        result
    }
}

/// Passes on what a helper reports; when it ends, all its endpoints are lost.
async fn watch(
    sandbox: String,
    mut events: mpsc::UnboundedReceiver<Event>,
    shared: Arc<Mutex<Table>>,
    lost: mpsc::UnboundedSender<String>,
) {
    while let Some(event) = events.recv().await {
        if let Event::EndpointLost { endpoint } = event
            && table(&shared).endpoints.remove(&endpoint).is_some()
        {
            let _ = lost.send(endpoint);
        }
    }
    let mut table = table(&shared);
    table.helpers.remove(&sandbox);
    let ours = |_: &String, inside: &mut String| *inside == sandbox;
    for (endpoint, _) in table.endpoints.extract_if(.., ours) {
        let _ = lost.send(endpoint);
    }
}

fn table(shared: &Mutex<Table>) -> MutexGuard<'_, Table> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A helper's failure as the agent's own.
fn failure(error: AgentError) -> Failure {
    match error {
        AgentError::Failed(failure) => failure,
        other => Failure::other(format!("the helper in the namespace failed ({other}); detach it and attach it again")),
    }
}
