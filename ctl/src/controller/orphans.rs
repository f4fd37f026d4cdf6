//! Containers that outlived their agent, and the vswitchd that it belonged to.
//!
//! Their interfaces went with the agent's namespace. A new agent enters the surviving namespace through a process of the
//! container and makes the interfaces again; the process itself is followed, and signalled, by a pidfd, since it is
//! nobody's child any more. Its exit status cannot be known, and no further process can be started in it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::unix::pipe::Receiver;

use super::{Controller, routes};
use crate::agent::protocol::{NetnsRef, Request};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{NetworkMode, Phase};

/// The status of an end that nobody saw, as if killed.
pub(super) const UNSEEN_END: i32 = 137;

/// How often an interface is tried whose predecessor the kernel is still taking down, and how long apart.
const TRIES: (u32, Duration) = (50, Duration::from_millis(20));

/// When a process was started, in clock ticks since the machine was: what tells it from a later one with its number.
/// Read first: proc_pid_stat(5), field 22.
pub(super) fn birth(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Controller {
    /// Takes over a container whose process lives although the agent does not know it. Answers whether it does.
    pub(super) async fn adopt(&self, id: &Id, endpoints: &[Id]) -> bool {
        let Some(process) = self.survivor(id) else { return false };
        for endpoint in endpoints {
            if let Err(error) = self.rebuild(id, endpoint).await {
                tracing::warn!("container {} goes on without endpoint {}: {error}", id.short(), endpoint.short());
            }
        }
        if !endpoints.is_empty() {
            let request = routes::default_routes(&self.state(), id);
            self.ask_anyway(request).await;
        }
        self.serve_names_anyway(id).await;
        if let Ok(one) = self.state().container_by_id(id) {
            one.orphan = Some(Arc::clone(&process));
        }
        let (controller, id) = (self.clone(), id.clone());
        tracing::info!(container = id.short(), "container taken over from an agent that is gone");
        tokio::spawn(async move {
            if let Err(error) = ended(&process).await {
                tracing::warn!("cannot follow the process of container {}: {error}", id.short());
            }
            controller.container_ended(&id, UNSEEN_END).await;
        });
        true
    }

    /// Signals the process of a container that the agent does not know. Answers whether it is one.
    pub(super) fn signal_orphan(&self, id: &str, signal: i32) -> Result<bool, ControlError> {
        let orphan = self.state().container(id)?.orphan.clone();
        let Some(process) = orphan else { return Ok(false) };
        let signal = Signal::from_named_raw(signal)
            .ok_or_else(|| ControlError::invalid(format!("Invalid signal: {signal}; this container takes 1 to 31")))?;
        match pidfd_send_signal(process.as_fd(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(true),
            Err(error) => Err(ControlError::NotPermitted(format!("cannot signal container {id}: {error}"))),
        }
    }

    /// The process of a running container, if it is still the one that was started.
    fn survivor(&self, id: &Id) -> Option<Arc<OwnedFd>> {
        let state = self.state();
        let Phase::Running { pid, birth: Some(recorded), .. } = state.containers.get(id)?.container.phase else {
            return None;
        };
        drop(state);
        let process = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Asked after the pidfd is at hand: from then on the number cannot change its meaning.
        (birth(pid) == Some(recorded)).then(|| Arc::new(process))
    }

    async fn rebuild(&self, id: &Id, endpoint: &Id) -> Result<(), ControlError> {
        let attach = {
            let state = self.state();
            let container = &state.container(id.as_str())?.container;
            match (&container.mode, container.pid()) {
                (NetworkMode::Networks, Some(pid)) => {
                    Request::SandboxAttach { sandbox: id.to_string(), netns: NetnsRef::Pid(pid) }
                }
                _ => return Ok(()),
            }
        };
        // Saying it once more for a further endpoint changes nothing.
        self.ask_anyway(attach).await;
        let mut result = Ok(());
        for _ in 0..TRIES.0 {
            result = self.bring_up(endpoint).await;
            if !matches!(result, Err(ControlError::Conflict(_))) {
                break;
            }
            tokio::time::sleep(TRIES.1).await;
        }
        result
    }
}

/// Waits for the end of a process.
async fn ended(process: &OwnedFd) -> std::io::Result<()> {
    // A pidfd is no pipe, but like one it becomes readable at the end; nothing is ever read from it. This is tokio's safe
    // way to wait for a descriptor that it has no type for.
    Receiver::from_owned_fd_unchecked(process.try_clone()?)?.readable().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process has one birth, and a number that nobody has has none.
    #[test]
    fn births() {
        let own = birth(std::process::id());
        assert!(own.is_some() && own == birth(std::process::id()));
        assert_eq!(birth(u32::MAX), None);
    }
}
