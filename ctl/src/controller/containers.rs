//! Containers: create, remove, list, wait, output, further processes.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::OwnedFd;

use tokio::sync::{oneshot, watch};

use super::container_filter::PruneFilter;
use super::state::{ContainerState, State};
use super::{Controller, links, ports, services, unexpected, view};
use crate::agent::output::Attach;
use crate::agent::protocol::{self, Reply, Request};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::logfile::{self, Limit};
use crate::model::{
    Container, ContainerSpec, DEFAULT_NETWORK, Driver, Endpoint, EndpointSpec, ExecSpec, HostAddress, NetworkMode,
    Owner, Phase, Wanted, check_users, environment, merge_env,
};
use crate::namegen;
use crate::store::Change;

/// Standard input, output and error of a process, or none (output goes to the container's log).
pub type Streams = Vec<OwnedFd>;

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: Id,
    /// Its name, given or chosen.
    pub name: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// That it does not run, which may be so already.
    NotRunning,
    /// The next end of its process.
    NextExit,
    /// That it is gone.
    Removed,
}

impl Controller {
    /// Makes a container: named, addressed, not started.
    ///
    /// # Errors
    /// When a name is taken or a network or address cannot be had.
    pub fn create_container(&self, mut wanted: Wanted) -> Result<Created, ControlError> {
        let mut state = self.turn();
        if wanted.network == DEFAULT_NETWORK {
            wanted.network = state.defaults.network().to_owned();
        }
        let name = match wanted.name {
            Some(name) => {
                if let Some(other) = state.containers.values().find(|one| one.container.name == name) {
                    let id = other.container.id.to_string();
                    return Err(ControlError::ContainerExists { name, id });
                }
                services::check_name(&state, &name)?;
                if state.name_taken(&name) {
                    return Err(ControlError::AttachmentExists(name));
                }
                name
            }
            None => namegen::generate(&mut rand::rng(), |name| state.name_taken(name)),
        };
        let id = Id::random(&mut rand::rng());
        let (mode, mode_text) = resolve_mode(&state, &wanted.network, &wanted.endpoint, wanted.more.is_empty())?;
        let mut wishes: Vec<(Id, EndpointSpec)> = Vec::new();
        if mode == NetworkMode::Networks {
            let all = std::iter::once((wanted.network, wanted.endpoint)).chain(wanted.more);
            for (network, mut spec) in all {
                let on = state.network(&network)?;
                if wishes.iter().any(|(id, _)| *id == on.network.id) {
                    let network = on.network.name.clone();
                    return Err(ControlError::EndpointExists { container: name, network });
                }
                links::resolve(&state, &on.network, &mut spec)?;
                wishes.push((on.network.id.clone(), spec));
            }
        }
        self.check_resolving(&mode, &wanted.spec)?;
        if matches!(mode, NetworkMode::Container(_)) && wanted.hostname.is_some() {
            return Err(ControlError::invalid("conflicting options: hostname and the network mode"));
        }
        wanted.spec.log_limit = state.defaults.log.with(&wanted.log_options)?;
        if state.defaults.remap.is_some() {
            let (isolation, root) = (wanted.spec.isolation, &wanted.spec.mounts.root);
            // Whether the agent's policy has a bound is the agent's to say, at the start.
            check_users(isolation, root, mode == NetworkMode::Host, false).map_err(ControlError::invalid)?;
        }
        let networks: Vec<Id> = wishes.iter().map(|(network, _)| network.clone()).collect();
        let mut warnings = self.check_publish(&state, &wanted.spec.publish_text, &mode, &networks)?;
        warnings.extend(wishes.iter().flat_map(|(_, spec)| spec.warnings.iter().cloned()));
        warnings.extend(self.host_warnings(&wanted.spec));
        warnings.extend(ports::loopback_warnings(self.inner.uplink.as_ref(), &wanted.spec.publish));
        let container = Container {
            hostname: wanted.hostname.unwrap_or_else(|| id.short().to_owned()),
            id: id.clone(),
            name: name.clone(),
            created: Moment::now(),
            mode,
            mode_text,
            phase: Phase::Created,
            ports: Vec::new(),
            restarts: 0,
            stopped: false,
            spec: wanted.spec,
        };
        state.insert_container(container.clone());
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let result = wishes.iter().try_for_each(|(network, spec)| {
            endpoints.push(state.add_endpoint(network, Owner::Container(id.clone()), &name, spec)?);
            Ok::<_, ControlError>(())
        });
        let result =
            result.and_then(|()| Ok(state.commit(&Change::new().put_container(&container).put_endpoints(&endpoints))?));
        if let Err(error) = result {
            for endpoint in &endpoints {
                state.remove_endpoint(&endpoint.id);
            }
            state.containers.remove(&id);
            return Err(error);
        }
        tracing::info!(container = name, id = id.short(), "container created");
        self.tell_container(&container, "create", &[]);
        Ok(Created { id, name, warnings })
    }

    /// Lets the agent read a client's request from its connection, before anybody else does. Answers the order's number.
    ///
    /// # Errors
    /// When the agent does not believe that it is a client's, or cannot read it.
    pub async fn take_order(&self, connection: OwnedFd) -> Result<u64, ControlError> {
        match self.inner.agent.call(Request::OrderTake, vec![connection]).await? {
            (Reply::Order { order }, _) => Ok(order),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Makes a container by a client's order, without which the agent does not start it.
    ///
    /// # Errors
    /// As [`Controller::create_container`], and when the agent cannot keep the order.
    pub async fn create_ordered(&self, wanted: Wanted, order: u64) -> Result<Created, ControlError> {
        self.make_volumes(wanted.spec.mounts.volumes().map(str::to_owned).collect()).await?;
        let created = self.create_container(wanted)?;
        if let Err(error) = self.ask(Request::OrderKeep { order, process: created.id.to_string() }).await {
            // The first error is the one to report.
            if let Err(left) = self.forget_container(&created.id) {
                tracing::warn!("container {} was not made: {left}", created.name);
            }
            return Err(error);
        }
        Ok(created)
    }

    /// Refuses what a container without a resolver of its own cannot have, and words that mean nothing here.
    fn check_resolving(&self, mode: &NetworkMode, spec: &ContainerSpec) -> Result<(), ControlError> {
        let shared = matches!(mode, NetworkMode::Container(_));
        if shared && !(spec.dns_words().is_empty() && spec.dns_search.is_empty() && spec.dns_options.is_empty()) {
            return Err(ControlError::invalid("conflicting options: dns and the network mode"));
        }
        if shared && !spec.extra_hosts.is_empty() {
            return Err(ControlError::invalid("conflicting options: custom host-to-IP mapping and the network mode"));
        }
        Ok(())
    }

    /// What is said of a container that names the host where the host cannot be reached.
    fn host_warnings(&self, spec: &ContainerSpec) -> Option<String> {
        let word = spec.extra_hosts.iter().find(|extra| matches!(extra.address, HostAddress::Word(_)));
        word.filter(|_| self.host_address().is_none()).map(|extra| {
            format!(
                "{}:host-gateway is the network's gateway, where nobody serves anything: containers reach the host only by \
                 --uplink sockets with --host-loopback",
                extra.name
            )
        })
    }

    /// Removes a container; a running one only by `force`, which kills it.
    ///
    /// # Errors
    /// When it is unknown, or running without `force`, or when the store cannot be told.
    pub async fn remove_container(&self, text: &str, force: bool) -> Result<(), ControlError> {
        let (id, running, auto_remove) = {
            let state = self.state();
            let one = &state.container(text)?.container;
            (one.id.clone(), one.running(), one.spec.auto_remove)
        };
        if force {
            // It must not come back between here and the end.
            self.cancel_restart(&id);
        } else if self.restarting(&id) {
            return Err(ControlError::ContainerRunning(text.to_owned()));
        }
        if running {
            if !force {
                return Err(ControlError::ContainerRunning(text.to_owned()));
            }
            self.note_stop(&id);
            self.end_container(&id, std::time::Duration::ZERO).await?;
            if auto_remove {
                return Ok(self.inner.store.is_paid(&id)?);
            }
        }
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        if self.state().container_by_id(&id)?.container.running() {
            return Err(ControlError::ContainerRunning(text.to_owned()));
        }
        self.forget_container(&id)
    }

    /// Removes all containers that match and do not run. Answers their ids.
    ///
    /// # Errors
    /// When a filter makes no sense.
    pub async fn prune_containers(&self, by_key: BTreeMap<String, Vec<String>>) -> Result<Vec<String>, ControlError> {
        let unused: Vec<Id> = {
            let state = self.state();
            let filter = PruneFilter::new(by_key)?;
            let still = state.containers.values().filter(|one| !one.starting && !one.container.running());
            still.filter(|one| filter.matches(&one.container)).map(|one| one.container.id.clone()).collect()
        };
        let mut removed = Vec::new();
        for id in unused {
            match self.remove_container(id.as_str(), false).await {
                Ok(()) => removed.push(id.to_string()),
                // It was started or removed meanwhile, which is as good.
                Err(ControlError::ContainerNotFound(_) | ControlError::ContainerRunning(_)) => {}
                Err(error) => tracing::warn!("container {} is not removed: {error}", id.short()),
            }
        }
        Ok(removed)
    }

    /// Drops the record, the addresses and the output of a container that does not run. Its gate is held. An error says
    /// that the store does not know of it yet.
    pub(super) fn forget_container(&self, id: &Id) -> Result<(), ControlError> {
        let mut state = self.turn();
        let endpoints = state.container_by_id(id)?.endpoints.clone();
        let settled = state.settle(&Change::new().drop_container(id).drop_endpoints(&endpoints));
        for endpoint in &endpoints {
            state.remove_endpoint(endpoint);
        }
        let mut limit = Limit::default();
        if let Some(one) = state.containers.remove(id) {
            limit = one.container.spec.log_limit;
            tracing::info!(container = one.container.name, id = id.short(), "container removed");
            self.tell_container(&one.container, "destroy", &[]);
        }
        drop(state);
        logfile::remove(&self.log_path(id), limit);
        let (controller, process) = (self.clone(), id.to_string());
        crate::blocking::spawn(async move { controller.ask_anyway(Request::OrderDrop { process }).await });
        Ok(settled?)
    }

    /// Containers, newest first; only running ones unless `all`.
    #[must_use]
    pub fn list_containers(&self, all: bool) -> Vec<vswitch_api::container::Container> {
        let state = self.state();
        let lives = |one: &&ContainerState| one.container.running() || one.restart.waiting.is_some();
        let mut found: Vec<_> = state.containers.values().filter(|one| all || lives(one)).collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.container.created));
        found.into_iter().map(|one| view::container(&state, one)).collect()
    }

    /// One container.
    ///
    /// # Errors
    /// When it is unknown or ambiguous.
    pub fn inspect_container(&self, text: &str) -> Result<vswitch_api::container::Container, ControlError> {
        let state = self.state();
        Ok(view::container(&state, state.container(text)?))
    }

    /// Waits for the end of a container's process (one that is not started yet, too) and answers its exit status.
    ///
    /// # Errors
    /// When it is unknown, or removed without ever having run.
    pub async fn wait_container(&self, text: &str) -> Result<i32, ControlError> {
        let waiting = {
            let state = self.state();
            ended(state.container(text)?.phase.subscribe())
        };
        waiting.await.ok_or_else(|| ControlError::ContainerNotFound(text.to_owned()))
    }

    /// The exit status of the next end of a container's process; `None` when the container is removed before.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn watch_container(
        &self,
        text: &str,
    ) -> Result<impl Future<Output = Option<i32>> + Send + use<>, ControlError> {
        let mut phase = self.state().container(text)?.phase.subscribe();
        Ok(async move {
            // An end that is there already is that of an earlier run.
            phase.mark_unchanged();
            while phase.changed().await.is_ok() {
                if let Phase::Exited { code, .. } = *phase.borrow_and_update() {
                    return Some(code);
                }
            }
            match *phase.borrow() {
                Phase::Exited { code, .. } => Some(code),
                _ => None,
            }
        })
    }

    /// Waits as Docker's clients ask for it, and answers the exit status of the latest end.
    ///
    /// # Errors
    /// When the container is unknown.
    pub fn await_container(
        &self,
        text: &str,
        until: WaitFor,
    ) -> Result<impl Future<Output = i32> + Send + use<>, ControlError> {
        let mut phase = self.state().container(text)?.phase.subscribe();
        phase.mark_unchanged();
        Ok(async move {
            let code = |phase: &Phase| match phase {
                Phase::Exited { code, .. } => *code,
                Phase::Created | Phase::Running { .. } => 0,
            };
            // An error says that the container was removed, which is the end of every wait.
            match until {
                WaitFor::NotRunning => {
                    let _ = phase.wait_for(|phase| !matches!(phase, Phase::Running { .. })).await;
                }
                WaitFor::NextExit => {
                    while phase.changed().await.is_ok() {
                        if matches!(*phase.borrow_and_update(), Phase::Exited { .. }) {
                            break;
                        }
                    }
                }
                WaitFor::Removed => while phase.changed().await.is_ok() {},
            }
            code(&phase.borrow())
        })
    }

    /// Whether a container has a terminal, and takes standard input from clients.
    ///
    /// # Errors
    /// When it is unknown or ambiguous.
    pub fn container_streams(&self, text: &str) -> Result<(bool, bool), ControlError> {
        let state = self.state();
        let spec = &state.container(text)?.container.spec;
        Ok((spec.tty, spec.open_stdin))
    }

    /// Whether a container's process runs.
    ///
    /// # Errors
    /// When it is unknown or ambiguous.
    pub fn container_runs(&self, text: &str) -> Result<bool, ControlError> {
        Ok(self.state().container(text)?.container.running())
    }

    /// How many containers there are, and how many of them run.
    #[must_use]
    pub fn container_counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.containers.len(), state.containers.values().filter(|one| one.container.running()).count())
    }

    /// Whether a start could begin.
    ///
    /// # Errors
    /// When the container is unknown or runs already.
    pub fn check_startable(&self, text: &str) -> Result<(), ControlError> {
        match self.state().container(text)?.container.running() {
            true => Err(ControlError::AlreadyRunning(text.to_owned())),
            false => Ok(()),
        }
    }

    /// Whether a further process could begin.
    ///
    /// # Errors
    /// When the container is unknown or does not run.
    pub fn check_running(&self, text: &str) -> Result<(), ControlError> {
        match self.state().container(text)?.container.running() {
            true => Ok(()),
            false => Err(ControlError::NotRunning(text.to_owned())),
        }
    }

    /// Starts one more process in a running container. Answers its host pid and where its exit status comes.
    ///
    /// # Errors
    /// When the container does not run or the program cannot be started.
    pub async fn exec(
        &self,
        text: &str,
        spec: ExecSpec,
        streams: Streams,
        order: u64,
    ) -> Result<(u32, oneshot::Receiver<i32>), ControlError> {
        let process = Id::random(&mut rand::rng()).to_string();
        let (pid, ended, _) = self.exec_as(process, text, spec, streams, order, None).await?;
        Ok((pid, ended))
    }

    /// As [`Controller::exec`], with the id of the process, and with a client that takes part in its streams.
    pub(super) async fn exec_as(
        &self,
        process: String,
        text: &str,
        spec: ExecSpec,
        streams: Streams,
        order: u64,
        attach: Option<Attach>,
    ) -> Result<(u32, oneshot::Receiver<i32>, Option<OwnedFd>), ControlError> {
        let request = {
            let state = self.state();
            let one = &state.container(text)?.container;
            if !one.running() {
                return Err(ControlError::NotRunning(text.to_owned()));
            }
            let env = merge_env(&environment(&one.spec, &one.hostname), spec.env);
            let exec = protocol::ExecSpec {
                command: spec.command,
                env,
                working_dir: spec.working_dir.unwrap_or_else(|| one.spec.working_dir.clone()),
                tty: spec.tty,
                capabilities: one.spec.capabilities.clone(),
                isolation: one.spec.isolation,
                profile: one.spec.profile.clone(),
                options: Box::new(one.spec.process.of_exec(&spec.user)),
            };
            Request::ProcessExec {
                process: process.clone(),
                container: one.id.to_string(),
                exec,
                order: Some(order),
                attach,
            }
        };
        let (sender, ended) = oneshot::channel();
        self.execs().insert(process.clone(), sender);
        match self.inner.agent.call(request, streams).await {
            Ok((Reply::Started { pid }, streams)) => Ok((pid, ended, streams.into_iter().next())),
            Ok((reply, _)) => {
                self.execs().remove(&process);
                Err(unexpected(&reply))
            }
            Err(error) => {
                self.execs().remove(&process);
                Err(error.into())
            }
        }
    }

    pub(super) fn log_path(&self, id: &Id) -> std::path::PathBuf {
        self.inner.state_dir.join("logs").join(format!("{id}.log"))
    }

    /// The gate of a container.
    pub(super) fn gate(&self, id: &Id) -> Result<std::sync::Arc<tokio::sync::Mutex<()>>, ControlError> {
        Ok(self.state().container_by_id(id)?.gate.clone())
    }
}

/// The exit status, once there is one; `None` when the container is removed before.
async fn ended(mut phase: watch::Receiver<Phase>) -> Option<i32> {
    let ended = |phase: &Phase| matches!(phase, Phase::Exited { .. });
    // The sender goes with the container; its last word stays.
    let _ = phase.wait_for(ended).await;
    match *phase.borrow() {
        Phase::Exited { code, .. } => Some(code),
        _ => None,
    }
}

/// What `--network` means.
fn resolve_mode(
    state: &State,
    text: &str,
    spec: &EndpointSpec,
    alone: bool,
) -> Result<(NetworkMode, String), ControlError> {
    let mode = if let Some(other) = text.strip_prefix("container:") {
        let other = &state.container(other)?.container;
        if matches!(other.mode, NetworkMode::Container(_)) {
            return Err(ControlError::Conflict(format!(
                "cannot join the network of container {}, which itself joins another's; join that one",
                other.name
            )));
        }
        (NetworkMode::Container(other.id.clone()), format!("container:{}", other.id))
    } else {
        let network = &state.network(text)?.network;
        if network.settings.is_some() {
            return Err(ControlError::SettingsOnly(network.name.clone()));
        }
        let mode = match network.driver {
            Driver::Bridge | Driver::Overlay | Driver::Macvlan | Driver::Ipvlan => NetworkMode::Networks,
            Driver::Host => NetworkMode::Host,
            Driver::Null => NetworkMode::None,
        };
        (mode, network.name.clone())
    };
    if mode.0 != NetworkMode::Networks {
        if spec.ipv4.is_some() || spec.ipv6.is_some() {
            return Err(ControlError::invalid("user specified IP address is supported on user defined networks only"));
        }
        if spec.mac.is_some() {
            return Err(ControlError::invalid(
                "conflicting options: mac-address and the network mode; only an endpoint on a network has one",
            ));
        }
        if !spec.aliases.is_empty() {
            return Err(ControlError::invalid("network-scoped aliases are only supported for user-defined networks"));
        }
        if !spec.links.is_empty() {
            let kind = match mode.0 {
                NetworkMode::Host => "host type networking",
                NetworkMode::Container(_) => "container type network",
                _ => "network none",
            };
            return Err(ControlError::invalid(format!(
                "conflicting options: {kind} can't be used with links. This would result in undefined behavior"
            )));
        }
        if !alone {
            return Err(match mode.0 {
                NetworkMode::None => ControlError::PrivateMode,
                _ => ControlError::SharedNamespace,
            });
        }
    }
    Ok(mode)
}
