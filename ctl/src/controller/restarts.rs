//! Starts that nobody asks for: by a container's restart policy, after its end and when vswitchd starts.
//!
//! A wait has a number; whoever starts, stops or removes the container takes it away, and the wait comes to nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Controller;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{LastEnd, Phase, RestartPolicy, back_off};
use crate::store::Change;

impl Controller {
    /// After an end that has been stored: waits and starts it again, if its policy says so.
    pub(super) fn maybe_restart(&self, id: &Id, lasted: Duration) {
        if self.inner.closing.load(Ordering::Relaxed) {
            return;
        }
        let (number, wait) = {
            let mut state = self.turn();
            let Ok(one) = state.container_mut(id) else { return };
            let Phase::Exited { code, .. } = one.container.phase else { return };
            let end = LastEnd { code, stopped: one.container.stopped, restarts: one.container.restarts };
            if !one.container.spec.restart.after_end(end) {
                return;
            }
            let wait = back_off(one.restart.last, lasted);
            one.restart.last = Some(wait);
            (one.wait_for_restart(), wait)
        };
        self.restart_later(id.clone(), number, wait);
    }

    /// When vswitchd starts: those that do not run and should.
    pub(super) fn restart_all(&self) {
        let mut state = self.turn();
        let mut due = Vec::new();
        for one in state.containers.values_mut() {
            let Phase::Exited { code, .. } = one.container.phase else { continue };
            let end = LastEnd { code, stopped: one.container.stopped, restarts: one.container.restarts };
            if one.restart.waiting.is_none() && one.container.spec.restart.at_start(end) {
                due.push((one.container.id.clone(), one.wait_for_restart()));
            }
        }
        drop(state);
        for (id, number) in due {
            self.restart_later(id, number, Duration::ZERO);
        }
    }

    fn restart_later(&self, id: Id, number: u64, wait: Duration) {
        let controller = self.clone();
        crate::blocking::spawn(async move {
            tokio::time::sleep(wait).await;
            let taken = {
                let mut state = controller.turn();
                let Ok(one) = state.container_mut(&id) else { return };
                let taken = one.restart.waiting.take_if(|waiting| *waiting == number).is_some();
                one.container.restarts = one.container.restarts.saturating_add(u32::from(taken));
                taken
            };
            if !taken || controller.inner.closing.load(Ordering::Relaxed) {
                return;
            }
            match controller.start_again(&id).await {
                Ok(_) | Err(ControlError::AlreadyRunning(_)) => {}
                Err(error) => tracing::warn!("container {} is not started again: {error}", id.short()),
            }
        });
    }

    /// Somebody starts it: what was before does not count any more.
    pub(super) fn forget_restarts(&self, id: &Id) {
        if let Ok(one) = self.turn().container_mut(id) {
            (one.restart.waiting, one.restart.last) = (None, None);
            (one.container.restarts, one.container.stopped) = (0, false);
        }
    }

    /// Somebody asks it to end: it stays so.
    pub(super) fn note_stop(&self, id: &Id) {
        self.cancel_restart(id);
        let mut state = self.turn();
        let Ok(one) = state.container_mut(id) else { return };
        one.container.stopped = true;
        // One that runs is stored with its end.
        if !one.container.running() {
            let container = one.container.clone();
            if let Err(error) = state.settle(&Change::new().put_container(&container)) {
                tracing::warn!("that container {} was stopped: {error}", id.short());
            }
        }
    }

    /// It is not started by itself any more; whether it would have been.
    pub(super) fn cancel_restart(&self, id: &Id) -> bool {
        self.turn().container_mut(id).is_ok_and(|one| one.restart.waiting.take().is_some())
    }

    /// Whether it is about to be started by itself.
    pub(super) fn restarting(&self, id: &Id) -> bool {
        self.state().container_by_id(id).is_ok_and(|one| one.restart.waiting.is_some())
    }

    /// Stops it, if it runs, and starts it.
    ///
    /// # Errors
    /// As stopping and starting.
    pub async fn restart_container(&self, text: &str, seconds: Option<i64>) -> Result<(), ControlError> {
        self.stop_container(text, seconds).await?;
        self.start_container(text, Vec::new()).await?;
        // Whoever removed it meanwhile has told of that.
        let id = self.state().container(text).map(|one| one.container.id.clone());
        if let Ok(id) = id {
            self.tell_by_id(&id, "restart", &[]);
        }
        Ok(())
    }

    /// Gives it another policy.
    ///
    /// # Errors
    /// When it is unknown, or goes at its end, or the store refuses.
    pub fn set_restart_policy(&self, text: &str, policy: RestartPolicy) -> Result<(), ControlError> {
        let mut state = self.turn();
        let id = state.container(text)?.container.id.clone();
        let one = state.container_mut(&id)?;
        if one.container.spec.auto_remove && policy != RestartPolicy::No {
            let name = &one.container.name;
            return Err(ControlError::Conflict(format!(
                "Restart policy cannot be updated because AutoRemove is enabled for the container {name}"
            )));
        }
        let mut container = one.container.clone();
        container.spec.restart = policy;
        state.commit(&Change::new().put_container(&container))?;
        let one = state.container_mut(&id)?;
        one.container = container;
        if policy == RestartPolicy::No {
            one.restart.waiting = None;
        }
        self.tell_container(&one.container, "update", &[]);
        Ok(())
    }
}
