//! The networks that always exist, and what the operator decides about them: at the start, and again on SIGHUP.

use std::collections::BTreeMap;

use super::Controller;
use super::state::State;
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Defaults, Driver, Family, IpamDriver, Network, NetworkOptions};
use crate::store::Change;

impl Controller {
    /// `bridge`, `host` and `none` exist always. `bridge` is as the operator says; what is left open stays as it was.
    ///
    /// # Errors
    /// When `bridge` should change while endpoints hold its addresses, or a subnet cannot be had.
    pub(super) fn make_default_networks(&self) -> Result<(), ControlError> {
        let mut state = self.state();
        for (name, driver) in [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)] {
            let network = match state.networks.values().find(|on| on.network.name == name) {
                Some(_) => continue,
                None if driver == Driver::Bridge => self.new_bridge(&mut state)?,
                None => predefined(name, driver),
            };
            self.add_network(&mut state, network)?;
        }
        Ok(())
    }

    /// Before the switch knows of any network: `bridge` as the store has it becomes what the operator says.
    pub(super) fn settle_bridge(&self) -> Result<(), ControlError> {
        let mut state = self.state();
        let defaults = state.defaults.clone();
        if let Some(network) = self.changed_bridge(&mut state, &defaults)? {
            self.inner.store.commit(&Change::new().put_network(&network))?;
            state.replace_network(network);
        }
        check_default_network(&state, &defaults)
    }

    /// Takes new settings over, all or none of them. Running containers keep what they have.
    ///
    /// # Errors
    /// When the network `bridge` would change while endpoints are on it, or the default network does not exist.
    pub fn reload(&self, defaults: Defaults) -> Result<(), ControlError> {
        let mut state = self.state();
        check_default_network(&state, &defaults)?;
        let old = std::mem::replace(&mut state.defaults, defaults);
        let wanted = state.defaults.clone();
        let result = self.changed_bridge(&mut state, &wanted).and_then(|changed| match changed {
            Some(network) => self.exchange_bridge(&mut state, network),
            None => Ok(()),
        });
        if result.is_err() {
            state.defaults = old;
        } else {
            self.publish_gateways(&state);
        }
        result
    }

    /// The settings that hold now.
    #[must_use]
    pub fn defaults(&self) -> Defaults {
        self.state().defaults.clone()
    }

    /// What tells this daemon's state from others': the id of its network `bridge`, which lasts as long as the state.
    #[must_use]
    pub fn instance(&self) -> String {
        let state = self.state();
        let bridge = state.networks.values().find(|on| on.network.name == "bridge");
        bridge.map(|on| on.network.id.to_string()).unwrap_or_default()
    }

    /// Who has no endpoint can be taken from the switch and put back under the same id.
    fn exchange_bridge(&self, state: &mut State, network: Network) -> Result<(), ControlError> {
        let Some(on) = state.networks.get(&network.id) else { return Ok(()) };
        if !on.endpoints.is_empty() {
            let endpoints = holders(state, &on.network.id);
            return Err(ControlError::BridgeInUse { endpoints });
        }
        let (old, old_index) = (on.network.clone(), on.index);
        let index = self.switch_network(&network)?;
        let result = self.inner.store.commit(&Change::new().put_network(&network)).map_err(ControlError::from);
        let result = result.and_then(|()| {
            state.networks.remove(&network.id);
            state.insert_network(network, index);
            self.refresh_router(state)
        });
        let gone = match &result {
            Ok(()) => old_index,
            Err(_) => {
                // The first error is the one to report.
                if let Err(error) = self.inner.store.settle(&Change::new().put_network(&old)) {
                    tracing::warn!("network bridge stays as it was: {error}");
                }
                state.networks.remove(&old.id);
                state.insert_network(old, old_index);
                self.refresh_router_anyway(state);
                index
            }
        };
        if let Some(gone) = gone {
            self.flush_network(gone);
            let _ = self.inner.switch.remove_network(gone);
        }
        tracing::info!("network bridge is as the settings say");
        result
    }

    /// The record of `bridge` as it should be, if that differs from what it is.
    fn changed_bridge(&self, state: &mut State, defaults: &Defaults) -> Result<Option<Network>, ControlError> {
        let Some(on) = state.networks.values().find(|on| on.network.name == "bridge") else { return Ok(None) };
        let (old, index, busy) = (on.network.clone(), on.index, !on.endpoints.is_empty());
        let wish = &defaults.bridge;
        let mut new = Network { options: wish.options.clone(), ..old.clone() };
        new.raw_options = shown(&new.options);
        let readdressed = !fits(&wish.ipv4, &old.ipv4) || !fits(&wish.ipv6, &old.ipv6);
        if readdressed {
            if busy {
                return Err(ControlError::BridgeInUse { endpoints: holders(state, &old.id) });
            }
            // Its own subnets are no hindrance to its new ones.
            state.networks.remove(&old.id);
            let ipv4 = if fits(&wish.ipv4, &old.ipv4) {
                Ok(old.ipv4.clone())
            } else {
                self.plan_ipv4(state, wish.ipv4.clone())
            };
            let ipv6 = if fits(&wish.ipv6, &old.ipv6) {
                Ok(old.ipv6.clone())
            } else {
                self.plan_ipv6(state, wish.ipv6.clone())
            };
            state.insert_network(old.clone(), index);
            (new.ipv4, new.ipv6) = (ipv4?, ipv6?);
        }
        Ok((new != old).then_some(new))
    }

    fn new_bridge(&self, state: &mut State) -> Result<Network, ControlError> {
        let wish = state.defaults.bridge.clone();
        Ok(Network {
            ipam: IpamDriver::Default,
            ipv4: self.plan_ipv4(state, wish.ipv4)?,
            ipv6: self.plan_ipv6(state, wish.ipv6)?,
            raw_options: shown(&wish.options),
            options: wish.options,
            ..predefined("bridge", Driver::Bridge)
        })
    }
}

/// Whether what a network has of one family is what is wished for.
fn fits(wish: &Family, has: &Option<crate::ipam::SubnetPlan>) -> bool {
    match (wish, has) {
        (Family::Off, has) => has.is_none(),
        (Family::Automatic, has) => has.is_some(),
        (Family::Given(wish), Some(has)) => wish.plan == *has,
        (Family::Given(_), None) => false,
    }
}

/// What differs from the built-in options, in Docker's words.
fn shown(options: &NetworkOptions) -> BTreeMap<String, String> {
    let plain = NetworkOptions::default();
    let mtu = (options.mtu != plain.mtu).then(|| ("com.docker.network.driver.mtu", options.mtu.to_string()));
    let icc = (options.icc != plain.icc).then(|| ("com.docker.network.bridge.enable_icc", options.icc.to_string()));
    mtu.into_iter().chain(icc).map(|(key, value)| (key.to_owned(), value)).collect()
}

fn predefined(name: &str, driver: Driver) -> Network {
    Network {
        id: Id::random(&mut rand::rng()),
        name: name.to_owned(),
        created: Moment::now(),
        driver,
        internal: false,
        attachable: false,
        ipam: IpamDriver::Null,
        ipv4: None,
        ipv6: None,
        options: NetworkOptions::default(),
        raw_options: BTreeMap::new(),
        labels: BTreeMap::new(),
        overlay: None,
    }
}

fn check_default_network(state: &State, defaults: &Defaults) -> Result<(), ControlError> {
    match &defaults.network {
        // The three that always exist may not exist yet.
        Some(name) if !Network::PREDEFINED.contains(&name.as_str()) => match state.network(name) {
            Ok(_) => Ok(()),
            Err(_) => Err(ControlError::DefaultNetworkMissing(name.clone())),
        },
        _ => Ok(()),
    }
}

fn holders(state: &State, network: &Id) -> String {
    let on = state.endpoints.values().filter(|one| one.endpoint.network == *network);
    on.map(|one| one.endpoint.name.as_str()).collect::<Vec<_>>().join(", ")
}
