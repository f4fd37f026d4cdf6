//! What the agent and the switch report unasked.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Controller;
use crate::agent::protocol::{Event, Request};
use crate::ids::Id;
use crate::model::Owner;
use crate::store::Change;

/// How often the switch is asked for ports whose interface vanished.
const LOST_PORTS_EVERY: Duration = Duration::from_secs(2);

impl Controller {
    /// Handles events until the agent is gone.
    pub(super) async fn listen(self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut tick = tokio::time::interval(LOST_PORTS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                _ = tick.tick() => self.look_for_lost_ports(),
            }
        }
    }

    fn handle(&self, event: Event) {
        match event {
            Event::Exited { process, exit_code } => {
                let controller = self.clone();
                // Waits for the gate of a container that is being started, so it must not hold up other events.
                crate::blocking::spawn(async move { controller.process_ended(process, exit_code).await });
            }
            Event::EndpointLost { endpoint } => {
                if let Ok(id) = endpoint.parse() {
                    self.endpoint_lost(&id);
                }
            }
        }
    }

    async fn process_ended(&self, process: String, exit_code: i32) {
        let waiting = self.execs().remove(&process);
        if let Some(waiting) = waiting {
            let _ = waiting.send(exit_code);
            self.ask_anyway(Request::ProcessForget { process }).await;
            return;
        }
        match process.parse::<Id>() {
            Ok(id) if self.state().containers.contains_key(&id) => self.container_ended(&id, exit_code).await,
            _ => self.ask_anyway(Request::ProcessForget { process }).await,
        }
    }

    /// An interface or its namespace vanished: the port goes, the record says so.
    fn endpoint_lost(&self, id: &Id) {
        self.unplug(id);
        let mut state = self.turn();
        let Some(one) = state.endpoints.get_mut(id) else { return };
        if one.endpoint.container().is_some() || one.endpoint.lost {
            return;
        }
        one.endpoint.lost = true;
        if one.endpoint.engine().is_some() {
            // Whoever made it will not come back for it.
            let controller = self.clone();
            crate::blocking::spawn(async move { controller.sweep_engines().await });
            return;
        }
        if one.endpoint.owner == Owner::Host {
            tracing::warn!(
                network = one.endpoint.network_name,
                "somebody removed the host's interface; it is made again when vswitchd starts"
            );
        } else {
            tracing::info!(endpoint = one.endpoint.name, "the namespace of an attached endpoint vanished");
        }
        // Whoever is attaching it stores it when it is whole, or not at all; whoever is detaching it drops it.
        let Ok(_held) = one.gate.clone().try_lock_owned() else { return };
        let endpoint = one.endpoint.clone();
        if let Err(error) = state.settle(&Change::new().put_endpoints([&endpoint])) {
            tracing::warn!("endpoint {} is lost: {error}", endpoint.name);
        }
    }

    fn look_for_lost_ports(&self) {
        for port in self.inner.switch.lost_ports() {
            let id = {
                let state = self.state();
                let one = state.endpoints.values().find(|one| one.port == Some(port));
                one.map(|one| one.endpoint.id.clone())
            };
            if let Some(id) = id {
                self.endpoint_lost(&id);
            }
        }
    }

    pub(super) fn execs(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<i32>>> {
        self.inner.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
