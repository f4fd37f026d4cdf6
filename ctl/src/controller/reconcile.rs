//! After a start: what the store says should be, against what the agent still has.

use std::collections::{BTreeMap, BTreeSet};

use super::{Controller, names, routes, services};
use crate::agent::client::Hello;
use crate::agent::protocol::{NetnsRef, Request};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Owner, Phase};

/// The status of an end that nobody saw, as if killed.
const UNSEEN_END: i32 = 137;

/// SIGKILL.
const SIGKILL: i32 = 9;

impl Controller {
    /// Re-attaches what still runs, marks ended what does not, and takes down what the store does not know.
    pub(super) async fn reconcile(&self, hello: &Hello) -> Result<(), ControlError> {
        let running: BTreeMap<&str, u32> = hello.running.iter().map(|(id, pid)| (id.as_str(), *pid)).collect();
        let exited: BTreeMap<&str, i32> = hello.exited.iter().map(|(id, code)| (id.as_str(), *code)).collect();
        let (containers, attached) = {
            let state = self.state();
            let containers: Vec<(Id, bool, Vec<Id>)> = state
                .containers
                .values()
                .map(|one| (one.container.id.clone(), one.container.running(), one.endpoints.clone()))
                .collect();
            let attached: Vec<Id> = state
                .endpoints
                .values()
                .filter(|one| matches!(one.endpoint.owner, Owner::Attached(_)))
                .map(|one| one.endpoint.id.clone())
                .collect();
            (containers, attached)
        };
        self.turn().restoring = true;
        for (id, was_running, endpoints) in &containers {
            match (was_running, running.get(id.as_str())) {
                (true, Some(pid)) => self.reattach(id, *pid, endpoints).await,
                (true, None) => match exited.get(id.as_str()) {
                    Some(code) => self.container_ended(id, *code).await,
                    None => self.container_ended(id, UNSEEN_END).await,
                },
                (false, _) => {}
            }
        }
        for id in &attached {
            if let Err(error) = self.reopen(id).await
                && !self.attach_again(id).await
            {
                self.lose(id, &error);
            }
        }
        self.settle_hosts().await;
        self.sweep_engines().await;
        {
            let mut state = self.turn();
            state.restoring = false;
            for network in state.networks.keys() {
                names::publish_network(&state, network);
            }
            if services::any(&state) {
                self.refresh_router_anyway(&state);
            }
        }
        self.take_down_strangers(hello, &running).await;
        Ok(())
    }

    async fn reattach(&self, id: &Id, pid: u32, endpoints: &[Id]) {
        let mut rebuilt = false;
        for endpoint in endpoints {
            if self.reopen(endpoint).await.is_ok() {
                continue;
            }
            // The agent was killed, too, and the interface went with its namespace; the sandbox is known to the new one.
            match self.bring_up(endpoint).await {
                Ok(()) => rebuilt = true,
                Err(error) => {
                    tracing::warn!("container {} lost its endpoint {}: {error}", id.short(), endpoint.short());
                }
            }
        }
        if rebuilt {
            let request = routes::default_routes(&self.state(), id);
            self.ask_anyway(request).await;
        }
        self.serve_names_anyway(id).await;
        self.resume_output(id).await;
        let mut state = self.turn();
        if let Ok(one) = state.container_mut(id)
            && let Phase::Running { started, .. } = one.container.phase
        {
            one.container.phase = Phase::Running { pid, started };
            one.phase.send_replace(one.container.phase);
        }
        tracing::info!(container = id.short(), pid, "container re-attached");
    }

    /// An engine's container may have outlived the agent: it gets its endpoint again. Whether it did.
    async fn attach_again(&self, id: &Id) -> bool {
        let request = {
            let state = self.state();
            let Ok(one) = state.endpoint(id.as_str()) else { return false };
            let (Some(_), Some(netns)) = (one.endpoint.engine(), one.endpoint.attached_to()) else { return false };
            // Where the interface was moved to, its engine knows alone.
            if *netns == NetnsRef::Host {
                return false;
            }
            Request::SandboxAttach { sandbox: one.endpoint.sandbox(), netns: netns.clone(), force: false }
        };
        let again = async {
            self.ask(request).await?;
            self.bring_attached_up(id, false).await
        };
        match again.await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!("endpoint {} cannot be attached again: {error}", id.short());
                false
            }
        }
    }

    fn lose(&self, id: &Id, why: &ControlError) {
        let mut state = self.turn();
        if let Some(one) = state.endpoints.get_mut(id) {
            one.endpoint.lost = true;
            tracing::warn!("attached endpoint {} is lost: {why}", one.endpoint.name);
        }
    }

    /// A crash between the agent's work and the commit leaves things that the store does not know.
    async fn take_down_strangers(&self, hello: &Hello, running: &BTreeMap<&str, u32>) {
        let (endpoints, containers, sandboxes) = {
            let state = self.state();
            let up = state.endpoints.values().filter(|one| one.port.is_some());
            let sandboxes: BTreeSet<String> = up.clone().map(|one| one.endpoint.sandbox()).collect();
            let endpoints: BTreeSet<String> = up.map(|one| one.endpoint.id.to_string()).collect();
            let containers = state.containers.values().filter(|one| one.container.running());
            let containers: BTreeSet<String> = containers.map(|one| one.container.id.to_string()).collect();
            (endpoints, containers, sandboxes)
        };
        for process in running.keys().filter(|id| !containers.contains(**id)) {
            self.ask_anyway(Request::ProcessSignal { process: (*process).to_owned(), signal: SIGKILL }).await;
        }
        for endpoint in hello.endpoints.iter().filter(|id| !endpoints.contains(*id)) {
            self.ask_anyway(Request::EndpointDetach { endpoint: endpoint.clone() }).await;
        }
        for sandbox in hello.sandboxes.iter().filter(|id| !containers.contains(*id) && !sandboxes.contains(*id)) {
            self.ask_anyway(Request::SandboxRemove { sandbox: sandbox.clone() }).await;
        }
        for (process, _) in hello.exited.iter().filter(|(id, _)| !containers.contains(id)) {
            self.ask_anyway(Request::ProcessForget { process: process.clone() }).await;
        }
    }
}
