//! `network connect` and `network disconnect`, of running and of stopped containers.

use super::desired::Changing;
use super::{Controller, links, routes};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{EndpointSpec, NetworkMode, Owner};
use crate::store::Change;

impl Controller {
    /// Gives a container an endpoint on one more network, at once if it runs.
    ///
    /// # Errors
    /// When it has one there already, shares somebody's namespace, or an address cannot be had.
    pub async fn connect(&self, network: &str, container: &str, mut spec: EndpointSpec) -> Result<(), ControlError> {
        let id = self.state().container(container)?.container.id.clone();
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        let (endpoint, running) = {
            let mut state = self.turn();
            let network = state.network(network)?.network.clone();
            let one = &state.container_by_id(&id)?.container;
            let (name, running, mode) = (one.name.clone(), one.running(), one.mode.clone());
            match mode {
                NetworkMode::Networks => {}
                NetworkMode::None => return Err(ControlError::PrivateMode),
                NetworkMode::Host | NetworkMode::Container(_) => return Err(ControlError::SharedNamespace),
            }
            if state.endpoint_of(&id, &network.id).is_some() {
                return Err(ControlError::EndpointExists { container: name, network: network.name });
            }
            links::resolve(&state, &network, &mut spec)?;
            (state.add_endpoint(&network.id, Owner::Container(id.clone()), &name, &spec)?, running)
        };
        let result = if running { self.connect_live(&id, &endpoint.id).await } else { Ok(()) };
        let result = result.and_then(|()| {
            let mut state = self.turn();
            let endpoint = state.endpoint(endpoint.id.as_str())?.endpoint.clone();
            Ok(state.commit(&Change::new().put_endpoints([&endpoint]))?)
        });
        if let Err(error) = result {
            if running {
                self.take_down(&endpoint.id).await;
            }
            self.turn().remove_endpoint(&endpoint.id);
            return Err(error);
        }
        if running && let Ok(on) = self.state().network(endpoint.network.as_str()) {
            self.tell_member(&on.network, &id, "connect");
        }
        if running {
            self.refresh_etc(&id).await;
        }
        tracing::info!(container = id.short(), network = endpoint.network_name, "connected");
        Ok(())
    }

    async fn connect_live(&self, container: &Id, endpoint: &Id) -> Result<(), ControlError> {
        self.bring_up(endpoint).await?;
        let request = routes::default_routes(&self.state(), container);
        self.ask(request).await?;
        self.serve_names(container).await?;
        // The ports may now be published through the new endpoint.
        self.settle_ports(container).await
    }

    /// Takes a container's endpoint on a network away. The name of an attached namespace is detached.
    ///
    /// # Errors
    /// When there is no such endpoint, or when the store cannot be told.
    pub async fn disconnect(&self, network: &str, container: &str) -> Result<(), ControlError> {
        if let Some((id, endpoint)) = self.left_behind(network, container) {
            return self.drop_left_behind(&id, &endpoint).await;
        }
        let id = match self.member(network, container)? {
            Member::Container(id) => id,
            Member::Attached(id) => return self.detach(id.as_str()).await,
        };
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        let (endpoint, running) = {
            let mut state = self.turn();
            let network = state.network(network)?.network.clone();
            let one = &state.container_by_id(&id)?.container;
            let (running, mode) = (one.running(), one.mode.clone());
            if matches!(mode, NetworkMode::Host) && network.name == "host" {
                return Err(ControlError::invalid(
                    "container cannot be disconnected from host network or connected to host network",
                ));
            }
            if mode == NetworkMode::None && network.name == "none" {
                return self.leave_none(&mut state, &id);
            }
            let Some(one) = state.endpoint_of(&id, &network.id) else {
                return Err(ControlError::NotConnected { container: container.to_owned(), network: network.name });
            };
            (one.endpoint.clone(), running)
        };
        if running {
            self.take_down(&endpoint.id).await;
        }
        let settled = {
            let mut state = self.turn();
            let settled = state.settle(&Change::new().drop_endpoints([&endpoint.id]));
            state.remove_endpoint(&endpoint.id);
            settled
        };
        if running {
            let request = routes::default_routes(&self.state(), &id);
            self.ask_anyway(request).await;
            if let Err(error) = self.settle_ports(&id).await {
                tracing::error!("the ports of container {} are not published as they should be: {error}", id.short());
            }
            self.refresh_router_anyway(&self.state());
            self.publish_scope(&self.state(), &id);
            self.refresh_etc(&id).await;
            let network = self.state().networks.get(&endpoint.network).and_then(|on| on.index);
            self.flush_addresses(network, endpoint.addresses());
        }
        if let Ok(on) = self.state().network(endpoint.network.as_str()) {
            self.tell_member(&on.network, &id, "disconnect");
        }
        tracing::info!(container = id.short(), network = endpoint.network_name, "disconnected");
        Ok(settled?)
    }

    /// A container's endpoint on a network that was removed while it did not run.
    fn left_behind(&self, network: &str, container: &str) -> Option<(Id, Id)> {
        let state = self.state();
        let one = state.container(container).ok().filter(|_| state.network(network).is_err())?;
        let mut endpoints = one.endpoints.iter().filter_map(|id| state.endpoints.get(id)).map(|on| &on.endpoint);
        let found = endpoints.find(|on| on.network_name == network || on.network.as_str() == network)?;
        Some((one.container.id.clone(), found.id.clone()))
    }

    async fn drop_left_behind(&self, id: &Id, endpoint: &Id) -> Result<(), ControlError> {
        let gate = self.gate(id)?;
        let _held = gate.lock().await;
        let mut state = self.turn();
        let settled = state.settle(&Change::new().drop_endpoints([endpoint]));
        state.remove_endpoint(endpoint);
        tracing::info!(container = id.short(), "disconnected from a network that is gone");
        Ok(settled?)
    }

    /// Whom `container` means on a network.
    fn member(&self, network: &str, container: &str) -> Result<Member, ControlError> {
        let state = self.state();
        let on = state.network(network)?;
        let unknown = match state.container(container) {
            Ok(one) => return Ok(Member::Container(one.container.id.clone())),
            Err(unknown) => unknown,
        };
        let attached = state.endpoint(container).ok().map(|one| &one.endpoint);
        let attached = attached.filter(|endpoint| endpoint.network == on.network.id && endpoint.container().is_none());
        attached.map(|endpoint| Member::Attached(endpoint.id.clone())).ok_or(unknown)
    }

    /// A container that leaves `none` may join networks.
    fn leave_none(&self, state: &mut Changing<'_>, id: &Id) -> Result<(), ControlError> {
        let mut container = state.container_by_id(id)?.container.clone();
        container.mode = NetworkMode::Networks;
        state.commit(&Change::new().put_container(&container))?;
        state.container_mut(id)?.container = container;
        Ok(())
    }
}

/// Somebody on a network.
enum Member {
    Container(Id),
    Attached(Id),
}
