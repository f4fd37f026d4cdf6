//! The end of vswitchd.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::Controller;
use crate::agent::protocol::Request;
use crate::ids::Id;
use crate::model::Owner;

impl Controller {
    /// Stops all containers, detaches attached namespaces and lets the agent go. What was created stays in the store.
    pub async fn shut_down(&self) {
        self.inner.closing.store(true, Ordering::Relaxed);
        let (running, attached) = {
            let state = self.state();
            let running = state.containers.values().filter(|one| one.container.running());
            let running: Vec<_> =
                running.map(|one| (one.container.id.clone(), one.container.spec.stopping.patience(None))).collect();
            let attached = state.endpoints.values().filter(|one| matches!(one.endpoint.owner, Owner::Attached(_)));
            let attached: Vec<Id> = attached.map(|one| one.endpoint.id.clone()).collect();
            (running, attached)
        };
        // Nobody asked for it: they are started again with vswitchd, if their policy says so.
        let stops = running.iter().map(|(id, patience)| self.end_container(id, *patience));
        for error in join_all(stops).await.into_iter().filter_map(Result::err) {
            tracing::warn!("while stopping: {error}");
        }
        for id in attached {
            if let Err(error) = self.detach(id.as_str()).await {
                tracing::warn!("while detaching: {error}");
            }
        }
        self.ask_anyway(Request::Shutdown).await;
        self.close_store();
    }

    /// The way of `--ephemeral` and of a second signal: the agent kills and removes everything at once.
    pub async fn shut_down_at_once(&self) {
        self.ask_anyway(Request::Shutdown).await;
        self.close_store();
    }
}
