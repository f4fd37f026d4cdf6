//! Streams of containers for clients that attach, and further processes that are made first and started later, as Docker's
//! clients do it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Controller, unexpected};
use crate::agent::output::Attach;
use crate::agent::protocol::{Reply, Request};
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::ExecSpec;

/// Further processes that are remembered. The oldest that does not run gives way.
const MOST: usize = 1024;

/// Further processes by id.
#[derive(Debug, Default)]
pub(super) struct Execs(Mutex<BTreeMap<Id, Exec>>);

impl Execs {
    fn table(&self) -> MutexGuard<'_, BTreeMap<Id, Exec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a container, by id.
    pub(super) fn of(&self, container: &Id) -> Vec<(Id, ExecState)> {
        let table = self.table();
        table
            .iter()
            .filter(|(_, exec)| exec.container == *container)
            .map(|(id, exec)| (id.clone(), exec.state))
            .collect()
    }
}

/// A further process of a container.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Whose.
    pub container: Id,
    /// What.
    pub spec: ExecSpec,
    /// The client's order, until it is started.
    order: Option<u64>,
    /// The streams in which its client takes part.
    pub attach: Attach,
    /// Where it is in its life.
    pub state: ExecState,
    made: Moment,
}

/// Where a further process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecState {
    /// Not started.
    Created,
    /// On its way.
    Starting,
    /// It runs, with this number on the host.
    Running(u32),
    /// It ended with this status.
    Exited(i32),
}

/// A process that has begun, its streams, and its end.
#[derive(Debug)]
pub struct Begun {
    /// The client's end of its streams.
    pub streams: Option<OwnedFd>,
    /// Comes when it has ended and that is known.
    pub ended: tokio::sync::oneshot::Receiver<i32>,
}

impl Controller {
    /// Attaches a client to the streams of a container, which need not have begun. Answers the client's end.
    ///
    /// # Errors
    /// When the container is unknown, or has the streams of the client that started it.
    pub async fn attach_streams(&self, text: &str, attach: Attach) -> Result<OwnedFd, ControlError> {
        let process = self.state().container(text)?.container.id.clone();
        let request = Request::ProcessAttach { process: process.to_string(), attach };
        match self.inner.agent.call(request, Vec::new()).await? {
            (Reply::Attached, streams) => {
                self.tell_by_id(&process, "attach", &[]);
                streams.into_iter().next().ok_or_else(|| ControlError::Internal("no streams came".to_owned()))
            }
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Changes the size of a container's terminal.
    ///
    /// # Errors
    /// When it is unknown, does not run, or has none of the agent's.
    pub async fn resize_container(&self, text: &str, rows: u16, columns: u16) -> Result<(), ControlError> {
        let process = {
            let state = self.state();
            let one = &state.container(text)?.container;
            if !one.running() {
                return Err(ControlError::NotRunning(text.to_owned()));
            }
            one.id.to_string()
        };
        self.ask(Request::ProcessResize { process, rows, columns }).await
    }

    /// Remembers a further process for a running container, by the client's order. Answers its id.
    ///
    /// # Errors
    /// When the container is unknown or does not run, or too many processes run.
    pub fn make_exec(&self, text: &str, spec: ExecSpec, attach: Attach, order: u64) -> Result<Id, ControlError> {
        let container = {
            let state = self.state();
            let known = state.container(text)?;
            let one = &known.container;
            if !one.running() {
                return Err(ControlError::NotRunning(text.to_owned()));
            }
            if known.paused {
                let sentence = format!("Container {text} is paused, unpause the container before exec");
                return Err(ControlError::Conflict(sentence));
            }
            one.id.clone()
        };
        let id = Id::random(&mut rand::rng());
        let exec = Exec {
            container: container.clone(),
            spec,
            order: Some(order),
            attach,
            state: ExecState::Created,
            made: Moment::now(),
        };
        let mut table = self.inner.docker_execs.table();
        if table.len() >= MOST {
            let idle = |exec: &Exec| matches!(exec.state, ExecState::Created | ExecState::Exited(_));
            let oldest = table.iter().filter(|(_, exec)| idle(exec)).min_by_key(|(_, exec)| exec.made);
            let oldest = oldest.map(|(id, _)| id.clone());
            let sentence = format!("{MOST} processes run by exec; wait for some to end");
            table.remove(&oldest.ok_or(ControlError::Conflict(sentence))?);
        }
        table.insert(id.clone(), exec);
        drop(table);
        self.tell_by_id(&container, "exec_create", &[("execID", id.as_str())]);
        Ok(id)
    }

    /// A further process.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn exec_record(&self, text: &str) -> Result<(Id, Exec), ControlError> {
        let missing = || ControlError::ExecNotFound(text.to_owned());
        let table = self.inner.docker_execs.table();
        let mut found = table.iter().filter(|(id, _)| !text.is_empty() && id.as_str().starts_with(text));
        let (id, exec) = found.next().ok_or_else(missing)?;
        if found.next().is_some() { Err(missing()) } else { Ok((id.clone(), exec.clone())) }
    }

    /// Starts a further process; with `attached`, its client takes part in its streams.
    ///
    /// # Errors
    /// When it was started before, its container does not run any more, or the program cannot be started.
    pub async fn start_exec(&self, text: &str, attached: bool) -> Result<Begun, ControlError> {
        let (id, exec, order) = {
            let (id, _) = self.exec_record(text)?;
            let mut table = self.inner.docker_execs.table();
            let missing = || ControlError::ExecNotFound(text.to_owned());
            let exec = table.get_mut(&id).ok_or_else(missing)?;
            let Some(order) = exec.order.take() else {
                return Err(ControlError::Conflict(format!("Error: Exec command {id} is already running")));
            };
            exec.state = ExecState::Starting;
            (id, exec.clone(), order)
        };
        let attach = attached.then_some(exec.attach);
        let (process, container) = (id.to_string(), exec.container.as_str());
        let begun = self.exec_as(process, container, exec.spec, Vec::new(), order, attach).await;
        let (pid, ended, streams) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let code = if let ControlError::Command { exit_code, .. } = &error { *exit_code } else { FAILED };
                self.set_exec(&id, ExecState::Exited(code));
                return Err(error);
            }
        };
        self.set_exec(&id, ExecState::Running(pid));
        self.tell_by_id(&exec.container, "exec_start", &[("execID", id.as_str())]);
        let (told, teller) = tokio::sync::oneshot::channel();
        let controller = self.clone();
        crate::blocking::spawn(async move {
            let code = ended.await.unwrap_or(FAILED);
            controller.set_exec(&id, ExecState::Exited(code));
            let status = code.to_string();
            controller.tell_by_id(&exec.container, "exec_die", &[("execID", id.as_str()), ("exitCode", &status)]);
            // Nobody may be interested any more.
            let _ = told.send(code);
        });
        Ok(Begun { streams, ended: teller })
    }

    /// Changes the size of a further process's terminal.
    ///
    /// # Errors
    /// When there is none of this id, or it has no terminal.
    pub async fn resize_exec(&self, text: &str, rows: u16, columns: u16) -> Result<(), ControlError> {
        let (id, _) = self.exec_record(text)?;
        self.ask(Request::ProcessResize { process: id.to_string(), rows, columns }).await
    }

    fn set_exec(&self, id: &Id, state: ExecState) {
        if let Some(exec) = self.inner.docker_execs.table().get_mut(id) {
            exec.state = state;
        }
    }
}

/// Exit status of a process that was never seen to end.
const FAILED: i32 = 126;
