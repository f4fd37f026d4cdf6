//! Events: the latest ones are kept for whoever comes late, all of them are told to whoever listens.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use super::Controller;
use super::state::State;
use crate::clock::Moment;
use crate::ids::Id;
use crate::model::{Container, Event, Network};

/// Events that are kept, as many as Docker keeps.
const KEPT: usize = 256;

/// Events that may wait for a listener; a slower one loses the oldest.
const WAITING: usize = 1024;

/// The latest events and their listeners.
#[derive(Debug)]
pub(super) struct History {
    latest: Mutex<VecDeque<Event>>,
    listeners: broadcast::Sender<Event>,
}

impl Default for History {
    fn default() -> Self {
        History { latest: Mutex::default(), listeners: broadcast::Sender::new(WAITING) }
    }
}

impl History {
    fn tell(&self, event: Event) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back(event.clone());
        // Nobody needs to listen. Sent with the lock held, so that a listener misses none and hears none twice.
        let _ = self.listeners.send(event);
    }

    fn listen(&self) -> (Vec<Event>, Listener) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        (latest.iter().cloned().collect(), Listener(self.listeners.subscribe()))
    }
}

/// Hears of events from now on.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Event>);

impl Listener {
    /// The next event; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    tracing::warn!(count, "a client that listens to events is too slow and lost some");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Controller {
    /// The latest events, oldest first, and all that come after them.
    #[must_use]
    pub fn events(&self) -> (Vec<Event>, Listener) {
        self.inner.history.listen()
    }

    pub(super) fn tell_network(&self, network: &Network, action: &'static str) {
        self.inner.history.tell(Event::of_network(Moment::now(), network, action));
    }

    pub(super) fn tell_prune(&self) {
        self.inner.history.tell(Event::of_prune(Moment::now()));
    }

    /// A container joined or left a network.
    pub(super) fn tell_member(&self, network: &Network, container: &Id, action: &'static str) {
        let event = Event::of_network(Moment::now(), network, action);
        self.inner.history.tell(event.with([("container", container.as_str())]));
    }

    /// A container joined or left all the networks on which it has endpoints.
    pub(super) fn tell_members(&self, state: &State, container: &Id, action: &'static str) {
        let endpoints = state.containers.get(container).map(|one| one.endpoints.as_slice()).unwrap_or_default();
        for endpoint in endpoints.iter().filter_map(|id| state.endpoints.get(id)) {
            if let Some(on) = state.networks.get(&endpoint.endpoint.network) {
                self.tell_member(&on.network, container, action);
            }
        }
    }

    pub(super) fn tell_container(&self, container: &Container, action: &'static str, more: &[(&str, &str)]) {
        let event = Event::of_container(Moment::now(), container, action);
        self.inner.history.tell(event.with(more.iter().copied()));
    }

    /// As [`Controller::tell_container`], for a container that may be gone already.
    pub(super) fn tell_by_id(&self, id: &Id, action: &'static str, more: &[(&str, &str)]) {
        let container = self.state().containers.get(id).map(|one| one.container.clone());
        if let Some(container) = container {
            self.tell_container(&container, action, more);
        }
    }
}
