//! New names for containers.

use super::{Controller, names, policies, services};
use crate::error::ControlError;
use crate::model::{Endpoint, container_name};
use crate::store::Change;

impl Controller {
    /// Gives a container another name, by which it is found at once.
    ///
    /// # Errors
    /// When it is unknown, or the name is no name, its own or somebody else's.
    pub async fn rename_container(&self, text: &str, name: &str) -> Result<(), ControlError> {
        if text.is_empty() || name.is_empty() {
            return Err(ControlError::invalid("Neither old nor new names may be empty"));
        }
        let name = container_name(name).map_err(ControlError::invalid)?;
        let id = self.state().container(text)?.container.id.clone();
        let gate = self.gate(&id)?;
        let _held = gate.lock().await;
        let old = {
            let mut state = self.turn();
            let mut container = state.container_by_id(&id)?.container.clone();
            if container.name == name {
                return Err(ControlError::invalid("Renaming a container with the same name as its current name"));
            }
            if let Some(other) = state.containers.values().find(|one| one.container.name == name) {
                return Err(ControlError::ContainerExists { name, id: other.container.id.to_string() });
            }
            services::check_name(&state, &name)?;
            if state.name_taken(&name) {
                return Err(ControlError::AttachmentExists(name));
            }
            let old = std::mem::replace(&mut container.name, name.clone());
            let ids = state.containers[&id].endpoints.clone();
            let mut endpoints: Vec<Endpoint> =
                ids.iter().filter_map(|id| state.endpoints.get(id)).map(|one| one.endpoint.clone()).collect();
            for endpoint in &mut endpoints {
                endpoint.name.clone_from(&name);
            }
            state.commit(&Change::new().put_container(&container).put_endpoints(&endpoints))?;
            state.container_mut(&id)?.container = container;
            for endpoint in endpoints {
                let network = endpoint.network.clone();
                if let Some(one) = state.endpoints.get_mut(&endpoint.id) {
                    one.endpoint = endpoint;
                }
                names::publish_network(&state, &network);
            }
            if policies::any(&state) || services::any(&state) {
                self.refresh_router_anyway(&state);
            }
            old
        };
        self.refresh_etc(&id).await;
        self.tell_by_id(&id, "rename", &[("oldName", old.as_str())]);
        tracing::info!(container = id.short(), old, name, "container renamed");
        Ok(())
    }
}
