//! A container's process: start, stop, kill, end.

use std::time::Duration;

use tokio::sync::watch;

use super::etc::Etc;
use super::state::State;
use super::{Controller, Streams, links, routes, unexpected};
use crate::agent::client::AgentError;
use crate::agent::protocol::{ProcessSpec, Reply, Request};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Container, Endpoint, NetworkMode, Phase, environment};
use crate::store::Change;

/// How long a killed process may take to be reported.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// SIGKILL.
const SIGKILL: i32 = 9;

impl Controller {
    /// Starts a container's process: sandbox, endpoints, routes, process. Answers its host pid.
    ///
    /// # Errors
    /// When it runs already, its network is gone, or a step fails; everything before that step is undone.
    pub async fn start_container(&self, text: &str, streams: Streams) -> Result<u32, ControlError> {
        let id = self.state().container(text)?.container.id.clone();
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        if !self.state().container_by_id(&id)?.container.running() {
            self.forget_restarts(&id);
        }
        let result = self.start_held(&id, streams).await;
        if result.is_err() {
            let auto_remove = {
                let state = self.state();
                let one = &state.container_by_id(&id)?.container;
                one.spec.auto_remove && !one.running()
            };
            // As Docker: what was to be removed at its end is not kept when it never began.
            if auto_remove && let Err(error) = self.forget_container(&id) {
                tracing::warn!("container {} is removed: {error}", id.short());
            }
        }
        result
    }

    /// As [`Controller::start_container`], by itself.
    pub(super) async fn start_again(&self, id: &Id) -> Result<u32, ControlError> {
        let gate = self.gate(id)?;
        let _held = gate.lock().await;
        self.start_held(id, Vec::new()).await
    }

    async fn start_held(&self, id: &Id, streams: Streams) -> Result<u32, ControlError> {
        let (mode, endpoints) = {
            let mut state = self.turn();
            let one = state.container_mut(id)?;
            if one.container.running() {
                return Err(ControlError::AlreadyRunning(one.container.name.clone()));
            }
            let (mode, endpoints) = (one.container.mode.clone(), one.endpoints.clone());
            if let NetworkMode::Container(other) = &mode {
                let target =
                    state.containers.get(other).ok_or_else(|| ControlError::ContainerNotFound(other.to_string()))?;
                if !target.container.running() {
                    return Err(ControlError::JoinNotRunning(target.container.name.clone()));
                }
            }
            links::check(&state, id)?;
            state.take_addresses(id)?;
            // From here on nobody takes its networks away, until it runs or all is undone.
            state.container_mut(id)?.starting = true;
            (mode, endpoints)
        };
        let _starting = Starting { controller: self, id };
        let own_sandbox = matches!(mode, NetworkMode::Networks | NetworkMode::None);
        self.lease_ports(id).await?;
        if own_sandbox && let Err(error) = self.ask(Request::SandboxCreate { sandbox: id.to_string() }).await {
            self.release_ports(id);
            return Err(error);
        }
        let mut up = Vec::new();
        let result = self.start_inside(id, &endpoints, &mut up, streams).await;
        if result.is_err() {
            self.stop_names(id);
            self.release_ports(id);
            if up.len() == endpoints.len() {
                self.tell_members(&self.state(), id, "disconnect");
            }
            for endpoint in up.iter().rev() {
                self.take_down(endpoint).await;
            }
            if own_sandbox {
                self.ask_anyway(Request::SandboxRemove { sandbox: id.to_string() }).await;
            }
        }
        result
    }

    /// Everything after the sandbox; `up` tells the caller what to undo.
    async fn start_inside(
        &self,
        id: &Id,
        endpoints: &[Id],
        up: &mut Vec<Id>,
        streams: Streams,
    ) -> Result<u32, ControlError> {
        for endpoint in endpoints {
            self.bring_up(endpoint).await?;
            up.push(endpoint.clone());
        }
        self.tell_members(&self.state(), id, "connect");
        if !endpoints.is_empty() {
            let request = routes::default_routes(&self.state(), id);
            self.ask(request).await?;
        }
        self.serve_names(id).await?;
        self.open_ports(id)?;
        let spec = Box::new(self.process_spec(id, streams.is_empty())?);
        let (hosts, resolv_conf) = (spec.etc_hosts.clone(), spec.etc_resolv_conf.clone());
        let etc = hosts.zip(resolv_conf).map(|(hosts, resolv_conf)| Etc { hosts, resolv_conf });
        self.note_etc(id, etc).await;
        let request = Request::ProcessStart { process: id.to_string(), spec };
        let started = self.inner.agent.call(request, streams).await;
        if let Err(AgentError::Late { .. }) = started {
            // It may have begun all the same.
            self.ask_anyway(Request::ProcessSignal { process: id.to_string(), signal: SIGKILL }).await;
        }
        let pid = match started? {
            (Reply::Started { pid }, _) => pid,
            (reply, _) => return Err(unexpected(&reply)),
        };
        let committed = self.commit_phase(id, Phase::Running { pid, started: Moment::now() });
        if committed.is_err() {
            self.ask_anyway(Request::ProcessSignal { process: id.to_string(), signal: SIGKILL }).await;
        }
        committed?;
        if let Ok(one) = self.turn().container_mut(id) {
            one.phase.send_replace(one.container.phase);
        }
        tracing::info!(container = id.short(), pid, "container started");
        self.tell_by_id(id, "start", &[]);
        // Whatever has changed since its files were written, and for those that are linked to it.
        self.refresh_etc(id).await;
        Ok(pid)
    }

    fn process_spec(&self, id: &Id, to_log: bool) -> Result<ProcessSpec, ControlError> {
        let mut log = None;
        if to_log {
            let path = self.log_path(id);
            make_log_dir(&path);
            log = Some(path.to_string_lossy().into_owned());
        }
        let state = self.state();
        let container = &state.container(id.as_str())?.container;
        let etc = self.etc(&state, id);
        let sandbox = match &container.mode {
            NetworkMode::Networks | NetworkMode::None => Some(id.to_string()),
            NetworkMode::Container(other) => Some(other.to_string()),
            NetworkMode::Host => None,
        };
        Ok(ProcessSpec {
            sandbox,
            command: container.spec.command.clone(),
            env: environment(&container.spec, &container.hostname),
            working_dir: container.spec.working_dir.clone(),
            hostname: container.hostname.clone(),
            etc_hosts: etc.as_ref().map(|etc| etc.hosts.clone()),
            etc_resolv_conf: etc.map(|etc| etc.resolv_conf),
            tty: container.spec.tty,
            open_stdin: container.spec.open_stdin,
            stdin_once: container.spec.stdin_once,
            capabilities: container.spec.capabilities.clone(),
            isolation: container.spec.isolation,
            profile: container.spec.profile.clone(),
            mounts: container.spec.mounts.clone(),
            options: container.spec.process.clone(),
            log,
            log_limit: container.spec.log_limit,
        })
    }

    /// Stores a container's new phase, with its endpoints as they are now.
    fn commit_phase(&self, id: &Id, phase: Phase) -> Result<(), ControlError> {
        let mut state = self.turn();
        let (container, endpoints) = with_phase(&state, id, phase)?;
        state.commit(&Change::new().put_container(&container).put_endpoints(&endpoints))?;
        state.container_mut(id)?.container = container;
        Ok(())
    }

    /// As [`Controller::commit_phase`], for what has happened whether it can be stored now or not.
    fn settle_phase(&self, id: &Id, phase: Phase) -> Result<(), ControlError> {
        let mut state = self.turn();
        let (container, endpoints) = with_phase(&state, id, phase)?;
        let settled = state.settle(&Change::new().put_container(&container).put_endpoints(&endpoints));
        state.container_mut(id)?.container = container;
        Ok(settled?)
    }

    /// Asks a container's process to end, and kills it after so many seconds (negative: never), or those that were said when
    /// it was created. Answers when it has ended.
    ///
    /// # Errors
    /// When the container is unknown or does not end even then, or when its end could not be stored.
    pub async fn stop_container(&self, text: &str, seconds: Option<i64>) -> Result<(), ControlError> {
        let (id, patience) = {
            let state = self.state();
            let one = &state.container(text)?.container;
            (one.id.clone(), one.spec.stopping.patience(seconds))
        };
        self.note_stop(&id);
        self.end_container(&id, patience).await?;
        Ok(self.inner.store.is_paid(&id)?)
    }

    /// As [`Controller::stop_container`], whether that can be stored or not.
    pub(super) async fn end_container(&self, id: &Id, patience: Duration) -> Result<(), ControlError> {
        let (mut phase, polite) = {
            let state = self.state();
            let one = state.container(id.as_str())?;
            if !one.container.running() {
                return Ok(());
            }
            (one.phase.subscribe(), one.container.spec.stopping.signal())
        };
        // Whoever is held still cannot end by itself.
        let paused = self.turn().container_mut(id).is_ok_and(|one| std::mem::take(&mut one.paused));
        if paused {
            self.ask_anyway(Request::ProcessFreeze { process: id.to_string(), frozen: false }).await;
        }
        let mut signals = vec![(SIGKILL, KILL_PATIENCE)];
        if !patience.is_zero() {
            signals.insert(0, (polite, patience));
        }
        for (signal, patience) in signals {
            self.signal(id.as_str(), signal).await?;
            let ended = phase.wait_for(|phase| !matches!(phase, Phase::Running { .. }));
            // An error here says that the container was removed, which is an end, too.
            if tokio::time::timeout(patience, ended).await.is_ok() {
                self.tell_by_id(id, "stop", &[]);
                return Ok(());
            }
        }
        Err(ControlError::Internal(format!(
            "container {} did not end when killed; see its process on the host",
            id.short()
        )))
    }

    /// Holds all processes of a running container still, or lets them go on.
    ///
    /// # Errors
    /// When it is unknown, does not run, or is so already.
    pub async fn pause_container(&self, text: &str, paused: bool) -> Result<(), ControlError> {
        let id = self.state().container(text)?.container.id.clone();
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        {
            let mut state = self.turn();
            let one = state.container_mut(&id)?;
            if paused && !one.container.running() {
                return Err(ControlError::NotRunning(text.to_owned()));
            }
            if one.paused == paused {
                let word = if paused { "already" } else { "not" };
                return Err(ControlError::Conflict(format!("Container {text} is {word} paused")));
            }
        }
        self.ask(Request::ProcessFreeze { process: id.to_string(), frozen: paused }).await?;
        self.turn().container_mut(&id)?.paused = paused;
        self.tell_by_id(&id, if paused { "pause" } else { "unpause" }, &[]);
        Ok(())
    }

    /// Sends a signal to a container's process. Whoever kills it is answered when it has ended.
    ///
    /// # Errors
    /// When the container does not run or the signal does not exist.
    pub async fn kill_container(&self, text: &str, signal: i32) -> Result<(), ControlError> {
        if !(1..=31).contains(&signal) {
            return Err(ControlError::invalid(format!("Invalid signal: {signal}; use 1 to 31")));
        }
        let (id, polite, mut phase) = {
            let state = self.state();
            let one = state.container(text)?;
            if !one.container.running() {
                return Err(ControlError::NotRunning(text.to_owned()));
            }
            (one.container.id.clone(), one.container.spec.stopping.signal(), one.phase.subscribe())
        };
        // As Docker: who sends it what ends it does not want it back.
        if signal == SIGKILL || signal == polite {
            self.note_stop(&id);
        }
        self.signal(id.as_str(), signal).await?;
        if signal == SIGKILL {
            let ended = phase.wait_for(|phase| !matches!(phase, Phase::Running { .. }));
            // What takes longer than that is the kernel's to end.
            let _ = tokio::time::timeout(KILL_PATIENCE, ended).await;
        }
        Ok(())
    }

    async fn signal(&self, process: &str, signal: i32) -> Result<(), ControlError> {
        if let Ok(id) = process.parse() {
            self.tell_by_id(&id, "kill", &[("signal", signal.to_string().as_str())]);
        }
        self.ask(Request::ProcessSignal { process: process.to_owned(), signal }).await
    }

    /// A container's process ended: its endpoints go down, its status is kept, waiters learn of it.
    pub(super) async fn container_ended(&self, id: &Id, code: i32) {
        let Ok(gate) = self.gate(id) else { return };
        let _held = gate.lock().await;
        let (endpoints, started, own_sandbox) = {
            let state = self.state();
            let Some(one) = state.containers.get(id) else { return };
            let Phase::Running { started, .. } = one.container.phase else { return };
            let own = matches!(one.container.mode, NetworkMode::Networks | NetworkMode::None);
            (one.endpoints.clone(), started, own)
        };
        let lasted = Moment::now().since(started).as_secs().to_string();
        self.tell_by_id(id, "die", &[("execDuration", lasted.as_str()), ("exitCode", code.to_string().as_str())]);
        self.stop_names(id);
        self.note_etc(id, None).await;
        // Before the endpoints go: their flows are flushed then, and no new ones may come.
        self.release_ports(id);
        for endpoint in &endpoints {
            self.take_down(endpoint).await;
        }
        self.tell_members(&self.state(), id, "disconnect");
        if own_sandbox {
            self.ask_anyway(Request::SandboxRemove { sandbox: id.to_string() }).await;
        }
        let phase = Phase::Exited { code, started: Some(started), finished: Moment::now() };
        tracing::info!(container = id.short(), code, "container ended");
        if let Ok(one) = self.turn().container_mut(id) {
            one.paused = false;
        }
        let waiters = self.keep_end(id, phase);
        self.ask_anyway(Request::ProcessForget { process: id.to_string() }).await;
        // Last of all: whoever waited may use the name and the addresses of a removed container at once.
        if let Some(waiters) = waiters {
            waiters.send_replace(phase);
        }
        self.maybe_restart(id, Moment::now().since(started));
    }

    /// Stores the end of a container's process, or removes a container that was to be removed at its end. Answers who
    /// is to be told.
    fn keep_end(&self, id: &Id, phase: Phase) -> Option<watch::Sender<Phase>> {
        let (waiters, auto_remove) = {
            let state = self.state();
            let one = state.containers.get(id)?;
            (one.phase.clone(), one.container.spec.auto_remove)
        };
        let result = if auto_remove { self.forget_container(id) } else { self.settle_phase(id, phase) };
        if let Err(error) = result {
            tracing::error!("the end of container {}: {error}", id.short());
        }
        Some(waiters)
    }
}

/// Keeps a container's networks while it is being started, whatever becomes of that.
struct Starting<'a> {
    controller: &'a Controller,
    id: &'a Id,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Ok(one) = self.controller.turn().container_mut(self.id) {
            one.starting = false;
        }
    }
}

/// The records of a container in another phase.
fn with_phase(state: &State, id: &Id, phase: Phase) -> Result<(Container, Vec<Endpoint>), ControlError> {
    let mut container = state.container_by_id(id)?.container.clone();
    container.phase = phase;
    let ids = state.containers[id].endpoints.iter();
    let endpoints = ids.filter_map(|id| state.endpoints.get(id)).map(|one| one.endpoint.clone()).collect();
    Ok((container, endpoints))
}

/// Without it the container runs and its output is lost, which the agent's log says.
fn make_log_dir(path: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt;
    let Some(dir) = path.parent() else { return };
    if let Err(error) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        tracing::warn!("cannot make the folder {} for output: {error}", dir.display());
    }
}
