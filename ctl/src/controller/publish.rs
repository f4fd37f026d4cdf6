//! `port add` and `port rm`: published ports of a container that exists, and at once if it runs.

use super::Controller;
use super::ports::all_specs;
use super::state::State;
use super::uplink::UplinkState;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::Container;
use crate::publish::{self, Binding, PublishSpec};
use crate::store::Change;

impl Controller {
    /// Publishes further ports of a container, all or none of them.
    ///
    /// # Errors
    /// When one makes no sense, is published already, or cannot be had.
    pub async fn publish(&self, text: &str, wanted: &[String]) -> Result<Vec<String>, ControlError> {
        let specs = parse(wanted)?;
        let id = self.state().container(text)?.container.id.clone();
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        let (before, running, warnings) = {
            let mut state = self.turn();
            let networks: Vec<Id> = {
                let ids = state.container(id.as_str())?.endpoints.iter();
                ids.filter_map(|id| state.endpoints.get(id)).map(|one| one.endpoint.network.clone()).collect()
            };
            let mode = state.container(id.as_str())?.container.mode.clone();
            let warnings = self.check_publish(&state, wanted, &mode, &networks)?;
            let one = state.container_mut(&id)?;
            let before = one.container.clone();
            if let Some(twice) = specs.iter().find(|spec| before.spec.publish.contains(spec)) {
                return Err(ControlError::Conflict(format!(
                    "port {} of container {} is published already",
                    publish::text(twice),
                    before.name
                )));
            }
            one.container.spec.publish.extend(&specs);
            one.container.spec.publish_text.extend(wanted.iter().cloned());
            (before, one.container.running(), warnings)
        };
        let result = if running { self.lease_further(&id, &specs).await } else { Ok(()) };
        let result = result.and_then(|()| self.keep_published(&id));
        if let Err(error) = result {
            let mut state = self.turn();
            self.give_back_all_but(&mut state, &id, &before.ports);
            if let Ok(one) = state.container_mut(&id) {
                one.container.spec.publish = before.spec.publish;
                one.container.spec.publish_text = before.spec.publish_text;
            }
            self.refresh_router_anyway(&state);
            return Err(error);
        }
        tracing::info!(container = id.short(), ports = wanted.join(" "), "published");
        Ok(warnings)
    }

    /// Publishes ports of a container no more. What is named without a port of the host is every one that leads there.
    ///
    /// # Errors
    /// When one makes no sense or is not published.
    pub async fn unpublish(&self, text: &str, unwanted: &[String]) -> Result<(), ControlError> {
        let specs = parse(unwanted)?;
        let id = self.state().container(text)?.container.id.clone();
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        {
            let mut state = self.turn();
            let container = &state.container_by_id(&id)?.container;
            let named = |one: &PublishSpec| specs.iter().any(|spec| means(spec, one));
            if let Some(missing) = specs.iter().find(|spec| !container.spec.publish.iter().any(|one| means(spec, one)))
            {
                return Err(ControlError::invalid(format!(
                    "port {} of container {} is not published; see 'vswitchctl port {1}'",
                    publish::text(missing),
                    container.name
                )));
            }
            let left: Vec<PublishSpec> = container.spec.publish.iter().filter(|one| !named(one)).copied().collect();
            let all = all_specs(&left, &container.spec);
            let bindings: Vec<Binding> =
                container.ports.iter().filter(|one| all.iter().any(|spec| leads(spec, one))).copied().collect();
            let one = state.container_mut(&id)?;
            one.container.spec.publish_text = left.iter().map(publish::text).collect();
            one.container.spec.publish = left;
            self.give_back_all_but(&mut state, &id, &bindings);
            self.refresh_router_anyway(&state);
        }
        tracing::info!(container = id.short(), ports = unwanted.join(" "), "published no more");
        let mut state = self.turn();
        let container = state.container_by_id(&id)?.container.clone();
        Ok(state.settle(&Change::new().put_container(&container))?)
    }

    fn keep_published(&self, id: &Id) -> Result<(), ControlError> {
        let mut state = self.turn();
        let container: Container = state.container_by_id(id)?.container.clone();
        state.commit(&Change::new().put_container(&container))?;
        drop(state);
        self.open_ports(id)
    }

    /// Gives back what a container has of the host, but for these.
    pub(super) fn give_back_all_but(&self, state: &mut State, id: &Id, left: &[Binding]) {
        let Ok(one) = state.container_mut(id) else { return };
        let gone: Vec<Binding> = one.container.ports.iter().filter(|one| !left.contains(one)).copied().collect();
        one.container.ports.retain(|one| left.contains(one));
        let kept = one.container.ports.clone();
        state.ports.release(id);
        state.ports.keep(&kept, id);
        if let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink {
            sockets.release(&gone);
        }
    }
}

fn parse(texts: &[String]) -> Result<Vec<PublishSpec>, ControlError> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(publish::parse(text).map_err(|error| ControlError::invalid(error.to_string()))?);
    }
    match all.is_empty() {
        true => {
            Err(ControlError::invalid("no port specified: write [IP:][HOST:]CONTAINER[/PROTO] such as 8080:80/tcp"))
        }
        false => Ok(all),
    }
}

/// Whether what somebody names is this one.
fn means(named: &PublishSpec, one: &PublishSpec) -> bool {
    (named.transport, named.target_port) == (one.transport, one.target_port)
        && (named.host.is_none() || named.host == one.host)
        && (named.host_ports.is_none() || named.host_ports == one.host_ports)
}

/// Whether a binding can be what became of this.
fn leads(spec: &PublishSpec, binding: &Binding) -> bool {
    (spec.transport, spec.target_port) == (binding.transport, binding.target_port)
        && spec.host.is_none_or(|host| host == binding.host)
        && spec.host_ports.is_none_or(|ports| (ports.first()..=ports.last()).contains(&binding.host_port))
}
