//! The networks that always exist, and what the operator decides about them: at the start, and again on SIGHUP.

use std::collections::BTreeMap;

use super::desired::Changing;
use super::{Controller, networks};
use crate::agent::client::Hello;
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{
    Defaults, Driver, Endpoint, EngineNames, Family, IpamDriver, Network, NetworkOptions, network_name,
};
use crate::store::Change;

impl Controller {
    /// `bridge`, `host` and `none` exist always, and so does what the operator named for containers that name none.
    ///
    /// # Errors
    /// When a subnet cannot be had.
    pub(super) fn make_default_networks(&self) -> Result<(), ControlError> {
        let mut state = self.turn_with_host();
        for (name, driver) in [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)] {
            let network = match state.networks.values().find(|on| on.network.name == name) {
                Some(_) => continue,
                None if driver == Driver::Bridge => self.new_bridge(&mut state)?,
                None => predefined(name, driver),
            };
            self.add_network(&mut state, network)?;
        }
        self.make_default_network(&mut state).map(|_| ())
    }

    /// Before the switch knows of any network: `bridge` as the store has it becomes what the operator says. Who ran before
    /// this start and runs no more is not on it.
    ///
    /// # Errors
    /// When somebody who runs is on a `bridge` that the operator wants otherwise, or a subnet cannot be had.
    pub(super) fn settle_bridge(&self, hello: &Hello) -> Result<(), ControlError> {
        let mut state = self.turn_with_host();
        let defaults = state.defaults.clone();
        let runs = |id: &Id| hello.running.iter().any(|(running, _)| running == id.as_str());
        let result = self.changed_bridge(&mut state, &defaults, runs);
        let network = match result {
            // Nothing that was said is broken by that, and nobody who runs is to lose the network over it.
            Err(ControlError::BridgeInUse { endpoints }) if defaults.bridge.says_nothing() => {
                tracing::warn!(
                    "network bridge keeps what earlier settings made of it while containers are on it ({endpoints}); it \
                     changes when vswitchd starts, or gets SIGHUP, without them"
                );
                None
            }
            other => other?,
        };
        if let Some(network) = network {
            let (on, endpoints) = state.resettle(network, None)?;
            state.commit(&Change::new().put_network(&on.network).put_endpoints(&endpoints))?;
            state.exchange(on, endpoints);
        }
        Ok(())
    }

    /// Takes new settings over, all or none of them. Running containers keep what they have.
    ///
    /// # Errors
    /// When the network `bridge` would change while somebody is active on it, or a network cannot be had.
    pub fn reload(&self, defaults: Defaults) -> Result<(), ControlError> {
        let mut state = self.turn_with_host();
        if state.defaults.remap != defaults.remap {
            return Err(ControlError::Conflict(
                "userns-remap holds from the start to the end of vswitchd; restart it to change that".to_owned(),
            ));
        }
        let old = std::mem::replace(&mut state.defaults, defaults);
        let wanted = state.defaults.clone();
        let running: Vec<Id> = {
            let busy = state.containers.values().filter(|one| one.starting || one.container.running());
            busy.map(|one| one.container.id.clone()).collect()
        };
        let result = self.make_default_network(&mut state).and_then(|made| {
            let changed = self.changed_bridge(&mut state, &wanted, |id| running.contains(id));
            let result = changed.and_then(|changed| match changed {
                Some(network) => self.exchange_bridge(&mut state, network),
                None => Ok(()),
            });
            if let (Err(_), Some(made)) = (&result, made)
                && let Err(error) = self.drop_network(&mut state, &made)
            {
                tracing::warn!("a network stays that is not needed: {error}");
            }
            result
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

    /// Who has no active endpoint can be taken from the switch and put back under the same id.
    fn exchange_bridge(&self, state: &mut Changing<'_>, network: Network) -> Result<(), ControlError> {
        let Some(on) = state.networks.get(&network.id) else { return Ok(()) };
        let (old, old_index) = (on.network.clone(), on.index);
        let index = self.switch_network(&network)?;
        let exchanged = state.resettle(network, index).and_then(|(on, endpoints)| {
            state.commit(&Change::new().put_network(&on.network).put_endpoints(&endpoints))?;
            Ok(state.exchange(on, endpoints))
        });
        let result = exchanged.and_then(|(was, endpoints)| {
            let Err(error) = self.refresh_router(state) else { return Ok(()) };
            // The first error is the one to report.
            if let Err(error) = state.settle(&Change::new().put_network(&old).put_endpoints(&endpoints)) {
                tracing::warn!("network bridge stays as it was: {error}");
            }
            if let Some(was) = was {
                state.exchange(was, endpoints);
            }
            self.refresh_router_anyway(state);
            Err(error)
        });
        let gone = if result.is_ok() { old_index } else { index };
        if let Some(gone) = gone {
            self.flush_network(gone);
            let _ = self.inner.switch.remove_network(gone);
        }
        if result.is_ok() {
            tracing::info!("network bridge is as the settings say");
        }
        result
    }

    /// The record of `bridge` as it should be, if that differs from what it is.
    ///
    /// # Errors
    /// When it would change under somebody who is active on it; `runs` says which containers are.
    fn changed_bridge(
        &self,
        state: &mut Changing<'_>,
        defaults: &Defaults,
        runs: impl Fn(&Id) -> bool,
    ) -> Result<Option<Network>, ControlError> {
        let Some(on) = state.networks.values().find(|on| on.network.name == "bridge") else { return Ok(None) };
        let (old, index) = (on.network.clone(), on.index);
        let active = |endpoint: &Endpoint| endpoint.container().map_or(!endpoint.lost, &runs);
        let holders: Vec<String> = on
            .endpoints
            .iter()
            .filter_map(|id| state.endpoints.get(id))
            .filter(|one| active(&one.endpoint))
            .map(|one| one.endpoint.name.clone())
            .collect();
        let wish = &defaults.bridge;
        let mut new = Network { options: wish.options.clone(), ..old.clone() };
        new.raw_options = shown(&new.options);
        let readdressed = !fits(&wish.ipv4, &old.ipv4) || !fits(&wish.ipv6, &old.ipv6);
        // Options alone may change at a start, when the switch does not know the network yet.
        let changes = readdressed || index.is_some() && new != old;
        if changes && !holders.is_empty() {
            return Err(ControlError::BridgeInUse { endpoints: holders.join(", ") });
        }
        if readdressed {
            if wish.ipv6 == Family::Automatic {
                // Written before the network is taken out, for others look while something is.
                self.ula_pool(state)?;
            }
            // Its own subnets are no hindrance to its new ones.
            let Some(was) = state.networks.remove(&old.id) else { return Ok(None) };
            let ipv4 = if fits(&wish.ipv4, &old.ipv4) {
                Ok(old.ipv4.clone())
            } else {
                self.plan_ipv4(state, wish.ipv4.clone(), networks::Overlap::Refused)
            };
            let ipv6 = if fits(&wish.ipv6, &old.ipv6) {
                Ok(old.ipv6.clone())
            } else {
                self.plan_ipv6(state, wish.ipv6.clone(), networks::Overlap::Refused)
            };
            state.networks.insert(was.network.id.clone(), was);
            (new.ipv4, new.ipv6) = (ipv4?, ipv6?);
        }
        Ok((new != old).then_some(new))
    }

    /// The network of containers that name none is made if it does not exist.
    ///
    /// # Errors
    /// When its name is none, or it cannot be made.
    fn make_default_network(&self, state: &mut Changing<'_>) -> Result<Option<Id>, ControlError> {
        let defaults = state.defaults.clone();
        let Some(name) = defaults.network else { return Ok(None) };
        if state.network(&name).is_ok() {
            return Ok(None);
        }
        network_name(&name).map_err(|fault| ControlError::invalid(format!("the setting bridge: {fault}")))?;
        let family = |wish: &Family| match wish {
            Family::Off => Family::Off,
            // What is said of addresses is about the network bridge.
            Family::Automatic | Family::Given(_) => Family::Automatic,
        };
        let wish = defaults.bridge;
        let network = Network {
            ipam: IpamDriver::Default,
            ipv4: self.plan_ipv4(state, Family::Automatic, networks::Overlap::Refused)?,
            ipv6: self.plan_ipv6(state, family(&wish.ipv6), networks::Overlap::Refused)?,
            raw_options: shown(&wish.options),
            options: wish.options,
            ..predefined(&name, Driver::Bridge)
        };
        let id = self.add_network(state, network)?;
        tracing::info!(network = name, "made for containers that name no network, as the setting bridge says");
        Ok(Some(id))
    }

    fn new_bridge(&self, state: &mut Changing<'_>) -> Result<Network, ControlError> {
        let wish = state.defaults.bridge.clone();
        Ok(Network {
            ipam: IpamDriver::Default,
            ipv4: self.plan_ipv4(state, wish.ipv4, networks::Overlap::Refused)?,
            ipv6: self.plan_ipv6(state, wish.ipv6, networks::Overlap::Refused)?,
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
        // One that was named belongs to who named it: without that it would be nobody's.
        (Family::Automatic, has) => has.as_ref().is_some_and(|plan| !plan.given),
        (Family::Given(wish), Some(has)) => wish.plan == *has,
        (Family::Given(_), None) => false,
    }
}

/// What differs from the built-in options, in Docker's words.
fn shown(options: &NetworkOptions) -> BTreeMap<String, String> {
    let plain = NetworkOptions::default();
    let mtu = (options.mtu != plain.mtu).then(|| ("com.docker.network.driver.mtu", options.mtu.to_string()));
    let icc = (options.icc != plain.icc).then(|| ("com.docker.network.bridge.enable_icc", options.icc.to_string()));
    let masquerade = (options.masquerade != plain.masquerade)
        .then(|| ("com.docker.network.bridge.enable_ip_masquerade", options.masquerade.to_string()));
    mtu.into_iter().chain(icc).chain(masquerade).map(|(key, value)| (key.to_owned(), value)).collect()
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
        settings: None,
        config_from: String::new(),
        peerings: Vec::new(),
        policy: Vec::new(),
        names: EngineNames::default(),
        services: Vec::new(),
    }
}
