//! Networks that are joined on purpose.

use std::collections::BTreeMap;

use vswitch_api::network::NetworkPeering;
use vswitch_api::stats::PeeringStats;
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::rules::{PeeringSpec, PeeringTraffic, Traffic};

use super::desired::Changing;
use super::state::{NetworkState, State};
use super::{Controller, names, routes};
use crate::agent::protocol::Request;
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Network, Peering};
use crate::store::Change;

impl Controller {
    /// Joins two networks, or says anew what may pass between them.
    ///
    /// # Errors
    /// When one is unknown or cannot be reached through a gateway of the switch's, or the store refuses.
    pub fn peer_networks(&self, one: &str, other: &str, allow: Vec<Traffic>) -> Result<(), ControlError> {
        let mut state = self.turn();
        let (one, other) = (state.network(one)?.network.clone(), state.network(other)?.network.clone());
        if one.id == other.id {
            return Err(ControlError::invalid(format!(
                "network {} is not joined with itself: its members reach each other anyway",
                one.name
            )));
        }
        for network in [&one, &other] {
            check_routed(&state, network)?;
        }
        if families(&one, &other) == [false, false] {
            return Err(ControlError::invalid(format!(
                "networks {} and {} have no address family in common, so nothing could pass between them",
                one.name, other.name
            )));
        }
        // Whichever has it keeps it.
        let keeper = if other.peerings.iter().any(|peering| peering.with == one.id) { &other } else { &one };
        let with = if keeper.id == one.id { &other } else { &one };
        let mut changed = keeper.clone();
        changed.peerings.retain(|peering| peering.with != with.id);
        changed.peerings.push(Peering { with: with.id.clone(), allow });
        self.change_record(&mut state, changed)?;
        publish_names(&state, [&one.id, &other.id]);
        tracing::info!(network = one.name, with = other.name, "networks peered");
        Ok(())
    }

    /// Parts two networks that were joined.
    ///
    /// # Errors
    /// When one is unknown, they are not joined, or the store refuses.
    pub fn unpeer_networks(&self, one: &str, other: &str) -> Result<(), ControlError> {
        let mut state = self.turn();
        let (one, other) = (state.network(one)?.network.clone(), state.network(other)?.network.clone());
        let joins = |keeper: &Network, with: &Network| keeper.peerings.iter().any(|peering| peering.with == with.id);
        let (keeper, with) = match (joins(&one, &other), joins(&other, &one)) {
            (true, _) => (&one, &other),
            (false, true) => (&other, &one),
            (false, false) => return Err(ControlError::NotPeered(one.name, other.name)),
        };
        let mut changed = keeper.clone();
        changed.peerings.retain(|peering| peering.with != with.id);
        self.change_record(&mut state, changed)?;
        publish_names(&state, [&one.id, &other.id]);
        tracing::info!(network = one.name, from = other.name, "networks parted");
        Ok(())
    }

    /// Members of a network without a way out need its gateway for as long as it is joined with another one.
    pub async fn reroute_members(&self, networks: [&str; 2]) {
        let requests: Vec<Request> = {
            let state = self.state();
            let internal = networks.iter().filter_map(|name| state.network(name).ok()).filter(|on| on.network.internal);
            let members = internal.flat_map(|on| state.active_endpoints(on)).filter_map(|one| one.endpoint.container());
            let running = members.filter(|id| state.containers.get(id).is_some_and(|one| one.container.running()));
            running.map(|id| routes::default_routes(&state, id)).collect()
        };
        for request in requests {
            self.ask_anyway(request).await;
        }
    }

    /// The networks that one is joined with.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn peerings(&self, network: &str) -> Result<Vec<NetworkPeering>, ControlError> {
        let state = self.state();
        Ok(of(&state, state.network(network)?))
    }

    /// Puts a network's record in the place of what it was, in the store and in the router's rules, or leaves everything as it was.
    pub(super) fn change_record(&self, state: &mut Changing<'_>, changed: Network) -> Result<(), ControlError> {
        let id = changed.id.clone();
        state.commit(&Change::new().put_network(&changed))?;
        let Some(on) = state.networks.get_mut(&id) else { return Ok(()) };
        let before = std::mem::replace(&mut on.network, changed);
        if let Err(error) = self.refresh_router(state) {
            if let Some(on) = state.networks.get_mut(&id) {
                on.network = before.clone();
            }
            state.settle(&Change::new().put_network(&before))?;
            self.refresh_router_anyway(state);
            return Err(error);
        }
        self.tell_network(&state.networks[&id].network, "update");
        Ok(())
    }
}

pub(super) fn check_routed(state: &State, network: &Network) -> Result<(), ControlError> {
    if network.settings.is_some() {
        return Err(ControlError::SettingsOnly(network.name.clone()));
    }
    let on_switch = state.networks.get(&network.id).is_some_and(|on| on.index.is_some());
    if !on_switch || network.subnets().all(|plan| plan.own().is_none()) {
        return Err(ControlError::invalid(format!(
            "network {} has no gateway of the switch's, through which others would reach it; join networks with one",
            network.name
        )));
    }
    if network.options.overlap {
        return Err(ControlError::invalid(format!(
            "others may have the addresses of network {}, too (overlap=true), so it cannot be reached by them; publish ports there, \
             or give it a subnet of its own",
            network.name
        )));
    }
    Ok(())
}

/// Whether a network is joined with another one.
pub(super) fn is_joined(state: &State, network: &Network) -> bool {
    others(state, network).next().is_some()
}

/// Lets the members of joined networks find each other by name, and nobody else.
pub(super) fn publish_names<'i>(state: &State, networks: impl IntoIterator<Item = &'i Id>) {
    networks.into_iter().for_each(|network| names::publish_network(state, network));
}

/// Which families pass between two networks, IPv4 and IPv6: those of which both have a gateway of the switch's.
pub(super) fn families(one: &Network, other: &Network) -> [bool; 2] {
    let has = |network: &Network, ipv4| {
        network.subnets().filter_map(crate::ipam::SubnetPlan::own).any(|own| own.is_ipv4() == ipv4)
    };
    [true, false].map(|ipv4| has(one, ipv4) && has(other, ipv4))
}

/// The networks that are joined with one.
pub(super) fn others<'s>(state: &'s State, network: &'s Network) -> impl Iterator<Item = &'s NetworkState> {
    let joined = |other: &&NetworkState| {
        network.peerings.iter().any(|one| one.with == other.network.id)
            || other.network.peerings.iter().any(|one| one.with == network.id)
    };
    state.networks.values().filter(joined)
}

/// The networks that are joined with one, by name.
pub(super) fn of(state: &State, on: &NetworkState) -> Vec<NetworkPeering> {
    let peering = |network: &Network, allow: &[Traffic]| NetworkPeering {
        network: network.name.clone(),
        allow: allow.iter().map(ToString::to_string).collect(),
    };
    let kept = on.network.peerings.iter().filter_map(|one| {
        let other = state.networks.get(&one.with)?;
        Some(peering(&other.network, &one.allow))
    });
    let elsewhere = state.networks.values().flat_map(|other| {
        let with = other.network.peerings.iter().filter(|one| one.with == on.network.id);
        with.map(|one| peering(&other.network, &one.allow))
    });
    let mut all: Vec<_> = kept.chain(elsewhere).collect();
    all.sort_by(|a, b| a.network.cmp(&b.network));
    all
}

/// All of them, as the router is told.
pub(super) fn specs(state: &State) -> Vec<PeeringSpec> {
    let index = |id: &Id| state.networks.get(id)?.index;
    let of = |on: &NetworkState| {
        let spec =
            |one: &Peering| Some(PeeringSpec { between: [on.index?, index(&one.with)?], allow: one.allow.clone() });
        on.network.peerings.iter().filter_map(spec).collect::<Vec<_>>()
    };
    state.networks.values().flat_map(of).collect()
}

/// The records of the networks that are joined with one, without that.
pub(super) fn without(state: &State, gone: &Id) -> Vec<Network> {
    let joined = state.networks.values().filter(|on| on.network.peerings.iter().any(|one| one.with == *gone));
    joined
        .map(|on| {
            let mut network = on.network.clone();
            network.peerings.retain(|one| one.with != *gone);
            network
        })
        .collect()
}

/// What has passed, in the words of the API.
pub(super) fn stats(counted: &[PeeringTraffic], names: &BTreeMap<NetworkIndex, String>) -> Vec<PeeringStats> {
    let name = |index| names.get(&index).cloned().unwrap_or_default();
    let mut all: Vec<PeeringStats> = counted
        .iter()
        .flat_map(|one| {
            let [a, b] = one.between;
            let way = |from, to, passed: vswitch_switch::nat::table::Traffic| PeeringStats {
                from: name(from),
                to: name(to),
                packets: passed.packets,
                bytes: passed.bytes,
            };
            [way(a, b, one.passed[0]), way(b, a, one.passed[1])]
        })
        .collect();
    all.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    all
}
