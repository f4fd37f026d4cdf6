//! What ports are asked beyond learning and flooding, changed while traffic runs.

use std::collections::BTreeMap;

use vswitch_api::endpoint::{Endpoint as ApiEndpoint, Violation};
use vswitch_frame::MacAddr;
use vswitch_switch::l2::{Mirror, PortFeatures};

use super::state::{EndpointState, State};
use super::{Controller, view};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Faults, MirrorWord, Network, PortOptions, closest};
use crate::store::Change;

impl Controller {
    /// Changes options of an endpoint's port; an empty value is no wish of the endpoint's own.
    ///
    /// # Errors
    /// When the endpoint is unknown, an option or value makes no sense, contradicts another endpoint's, or the store refuses.
    pub fn set_options(
        &self,
        endpoint: &str,
        network: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<ApiEndpoint, ControlError> {
        let mut state = self.turn();
        let id = find(&state, endpoint, network)?;
        let mut changed = state.endpoint(id.as_str())?.endpoint.clone();
        let mut faults = Faults::new("");
        for (name, value) in options {
            match changed.options.set(name, value) {
                Some(Ok(())) => {}
                Some(Err(sentence)) => faults.add(sentence),
                None => faults.add(unknown(name)),
            }
        }
        faults.take(changed.options.check());
        faults.finish(()).map_err(|faults| ControlError::invalid(faults.to_string()))?;
        state.check_options(&changed.network, Some(&id), changed.mac, &changed.options)?;
        state.commit(&Change::new().put_endpoints([&changed]))?;
        let Some(one) = state.endpoints.get_mut(&id) else {
            return Err(ControlError::EndpointNotFound(id.to_string()));
        };
        one.endpoint.options = changed.options;
        let one = &state.endpoints[&id];
        if let Some(port) = one.port {
            let features = to_switch(&state, one);
            self.inner
                .switch
                .set_features(port, features)
                .map_err(|error| ControlError::Conflict(error.to_string()))?;
        }
        tracing::info!(endpoint = one.endpoint.name, network = one.endpoint.network_name, "options changed");
        Ok(self.shown(&state, one))
    }

    /// Changes options of a network that is in use, for all of its endpoints that say nothing else themselves.
    ///
    /// # Errors
    /// When the network is unknown, an option or value makes no sense or does not change, or the store refuses.
    pub fn change_network(&self, network: &str, options: &BTreeMap<String, String>) -> Result<(), ControlError> {
        let mut state = self.turn();
        let before = state.network(network)?.network.clone();
        if before.predefined() {
            return Err(ControlError::invalid(format!(
                "network {} is as vswitchd's settings say; change those, or make a network of your own",
                before.name
            )));
        }
        if before.settings.is_some() {
            return Err(ControlError::SettingsOnly(before.name));
        }
        let changed = before.options.changed(&before.raw_options, options, before.driver);
        let (options, raw_options) = changed.map_err(|faults| ControlError::invalid(faults.to_string()))?;
        let id = before.id.clone();
        self.check_uplinks(&options, before.internal)?;
        self.change_record(&mut state, Network { options, raw_options, ..before })?;
        let Some(on) = state.networks.get(&id) else { return Ok(()) };
        self.settle_network(on)?;
        for one in on.endpoints.iter().filter_map(|id| state.endpoints.get(id)) {
            if let Some(port) = one.port {
                let features = to_switch(&state, one);
                let set = self.inner.switch.set_features(port, features);
                set.map_err(|error| ControlError::Conflict(error.to_string()))?;
            }
        }
        tracing::info!(network = on.network.name, "options changed");
        Ok(())
    }

    /// Tells the switch of mirrors that lead to an endpoint, whose port is another one now.
    pub(super) fn follow_mirror(&self, state: &State, name: &str) {
        for one in state.endpoints.values() {
            if let Some(port) = one.port
                && in_effect(state, one).mirror_to.as_deref() == Some(name)
                && let Err(error) = self.inner.switch.set_features(port, to_switch(state, one))
            {
                tracing::warn!(endpoint = one.endpoint.name, "its frames are not mirrored: {error}");
            }
        }
    }

    /// An endpoint with what its port has met.
    pub(super) fn shown(&self, state: &State, one: &EndpointState) -> ApiEndpoint {
        let violations = one.port.map(|port| self.inner.switch.violations(port)).unwrap_or_default();
        let violations = violations.into_iter().map(|one| Violation {
            mac_address: one.mac.to_string(),
            frames: one.frames,
            age_seconds: one.age_seconds,
        });
        ApiEndpoint { violations: violations.collect(), ..view::endpoint(state, one) }
    }
}

impl State {
    /// Nobody may have an address that is bound to somebody else's port, and VLANs are those of bridges.
    pub(super) fn check_options(
        &self,
        network: &Id,
        own: Option<&Id>,
        mac: MacAddr,
        options: &PortOptions,
    ) -> Result<(), ControlError> {
        if let Some((own, to)) = own.and_then(|own| self.endpoints.get(own)).zip(options.mirror_to.as_ref())
            && own.endpoint.name == *to
        {
            return Err(ControlError::invalid(format!("{to} cannot be a mirror of itself; name another endpoint")));
        }
        if let Some(on) = self.networks.get(network).filter(|_| options.is_in_vlans())
            && !on.network.has_vlans()
        {
            return Err(ControlError::invalid(format!(
                "network {} is one VLAN by itself ({}); ports of bridge networks can be in several",
                on.network.name,
                on.network.driver.word()
            )));
        }
        let wanted = options.mac_static.as_deref().unwrap_or_default();
        let others =
            self.endpoints.values().filter(|one| one.endpoint.network == *network && own != Some(&one.endpoint.id));
        for other in others.map(|one| &one.endpoint) {
            let theirs = other.options.mac_static.as_deref().unwrap_or_default();
            let taken = wanted.iter().find(|mac| **mac == other.mac || theirs.contains(mac));
            let taken = taken.or_else(|| theirs.iter().find(|theirs| **theirs == mac));
            if let Some(taken) = taken {
                return Err(ControlError::Conflict(format!(
                    "{taken} is an address of {} on network {}; choose another, or take it from there first",
                    other.name, other.network_name
                )));
            }
        }
        Ok(())
    }
}

/// An endpoint's own wishes, and its network's.
pub(super) fn in_effect(state: &State, one: &EndpointState) -> PortOptions {
    let network = state.networks.get(&one.endpoint.network).map(|on| &on.network.options);
    network.map_or_else(|| one.endpoint.options.clone(), |options| one.endpoint.options.over(&options.ports))
}

/// What the switch is told of an endpoint's port now.
pub(super) fn to_switch(state: &State, one: &EndpointState) -> PortFeatures {
    let options = in_effect(state, one);
    let word = options.mirror.unwrap_or(MirrorWord::Both);
    let is_there = |other: &&EndpointState| other.endpoint.id != one.endpoint.id && other.port.is_some();
    let named = |other: &&EndpointState| Some(&other.endpoint.name) == options.mirror_to.as_ref();
    // Rather the one on the same network.
    let found = state.endpoints.values().filter(named).filter(is_there);
    let to = found.max_by_key(|other| other.endpoint.network == one.endpoint.network).and_then(|other| other.port);
    let mirror = to.map(|to| Mirror { to, received: word != MirrorWord::Out, sent: word != MirrorWord::In });
    PortFeatures { mirror, ..options.to_features() }
}

fn find(state: &State, endpoint: &str, network: Option<&str>) -> Result<Id, ControlError> {
    let Some(network) = network else {
        let Ok(container) = state.container(endpoint) else { return Ok(state.endpoint(endpoint)?.endpoint.id.clone()) };
        return match &container.endpoints[..] {
            [one] => Ok(one.clone()),
            [] => Err(ControlError::invalid(format!("container {endpoint} is on no network; connect it to one first"))),
            _ => Err(ControlError::invalid(format!(
                "container {endpoint} is on several networks; say which one with --network"
            ))),
        };
    };
    let on = state.network(network)?;
    let one = match state.container(endpoint) {
        Ok(container) => state.endpoint_of(&container.container.id, &on.network.id),
        Err(_) => {
            on.endpoints.iter().filter_map(|id| state.endpoints.get(id)).find(|one| one.endpoint.name == endpoint)
        }
    };
    let absent = || ControlError::NotConnected { container: endpoint.to_owned(), network: on.network.name.clone() };
    Ok(one.ok_or_else(absent)?.endpoint.id.clone())
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = PortOptions::names().collect();
    let near = closest(name, known.iter().copied()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("unknown option {name}{near} (known options: {})", known.join(", "))
}
