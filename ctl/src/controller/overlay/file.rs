//! The `[[overlay]]` tables of `--config`: networks that are to exist, and what is known of them.

use super::super::Controller;
use super::super::state::State;
use crate::error::ControlError;
use crate::model::{Family, Network, NetworkSpec};
use crate::overlay::OverlayTable;

impl Controller {
    /// Makes the networks that are not there yet, and takes the tables' remotes and entries.
    ///
    /// # Errors
    /// When a table contradicts a network that is there, or cannot be.
    pub(in crate::controller) fn take_tables(&self, tables: Vec<OverlayTable>) -> Result<(), ControlError> {
        for table in tables {
            let name = table.spec.name.clone();
            let of_table = |error: ControlError| ControlError::Conflict(format!("overlay {name} of --config: {error}"));
            let known = self.state().networks.values().find(|on| on.network.name == name).map(|on| on.network.clone());
            match known {
                Some(network) => agree(&network, &table).map_err(of_table)?,
                None => drop(self.create_network(table.spec.clone()).map_err(of_table)?),
            }
            let own = self.inner.overlays.vtep(table.spec.overlay.and_then(|wish| wish.vtep));
            if let Some(own) = own {
                let directory = table.directory(own.spec.address);
                let directory = directory.map_err(|error| ControlError::Conflict(error.to_string()))?;
                self.inner.overlays.file.set(table.vni, directory);
            }
        }
        let mut state = self.turn();
        let State { networks, .. } = &mut *state;
        for on in networks.values_mut() {
            self.apply_directory(on);
        }
        Ok(())
    }
}

/// Whether a network that exists is the one that a table describes.
fn agree(network: &Network, table: &OverlayTable) -> Result<(), ControlError> {
    let differs = |what: &str, has: String| {
        Err(ControlError::Conflict(format!(
            "the network exists with {what} {has}; make the table agree, or remove the network first"
        )))
    };
    let Some(overlay) = &network.overlay else { return differs("the driver", network.driver.word().to_owned()) };
    if overlay.vni != table.vni {
        return differs("VNI", overlay.vni.to_string());
    }
    let NetworkSpec { ipv4, ipv6, .. } = &table.spec;
    for (family, plan) in [(ipv4, &network.ipv4), (ipv6, &network.ipv6)] {
        let same = match (family, plan) {
            (Family::Given(wish), Some(plan)) => wish.plan.net == plan.net && wish.plan.gateway == plan.gateway,
            (Family::Given(_), None) | (Family::Off, Some(_)) => false,
            _ => true,
        };
        if !same {
            let has =
                plan.as_ref().map_or("none".to_owned(), |plan| format!("{} and gateway {}", plan.net, plan.gateway));
            return differs("subnet", has);
        }
    }
    Ok(())
}
