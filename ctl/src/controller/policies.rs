//! Who may open flows to whom: the rules of networks, and the addresses that their subjects have now.

use std::collections::BTreeMap;

use ipnet::IpNet;
use vswitch_api::network::PolicyRule as ApiRule;
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::rules::{Party, PolicyAction, PolicyHits, PolicyRule, PolicySpec};

use super::Controller;
use super::state::{EndpointState, State};
use crate::error::ControlError;
use crate::model::{Endpoint, MOST_RULES, Network, PolicyRecord, PolicyWish, Subject, SubjectWish};

impl Controller {
    /// Adds a rule to a network and answers its number.
    ///
    /// # Errors
    /// When it speaks of somebody unknown, could never decide anything, leaves another one nothing to decide, or the store refuses.
    pub fn add_policy(&self, network: &str, wish: PolicyWish) -> Result<u32, ControlError> {
        let mut state = self.turn();
        let mut changed = state.network(network)?.network.clone();
        if state.networks[&changed.id].index.is_none() {
            return Err(ControlError::invalid(format!(
                "network {} is not on the switch, so no rule could hold there",
                changed.name
            )));
        }
        if changed.routed_elsewhere() {
            return Err(ControlError::invalid(format!(
                "network {} is on a LAN, whose traffic no router of the switch's sees, so no rule could hold there",
                changed.name
            )));
        }
        if changed.policy.len() >= MOST_RULES {
            return Err(ControlError::Conflict(format!(
                "network {} has {MOST_RULES} rules, and may have no more; let one speak of several by a label or addresses",
                changed.name
            )));
        }
        let at = match wish.before {
            None => changed.policy.len(),
            Some(number) => place(&changed, number)?,
        };
        let number = changed.policy.iter().map(|rule| rule.number).max().unwrap_or(0) + 1;
        let (from, to) = (look_up(&state, wish.from)?, look_up(&state, wish.to)?);
        let rule = PolicyRecord { number, action: wish.action, from, to, traffic: wish.traffic };
        check_place(&changed, at, &rule)?;
        changed.policy.insert(at, rule);
        self.change_record(&mut state, changed)?;
        tracing::info!(network, number, "rule added");
        Ok(number)
    }

    /// Removes a rule of a network.
    ///
    /// # Errors
    /// When the network or the rule is unknown, or the store refuses.
    pub fn remove_policy(&self, network: &str, number: u32) -> Result<(), ControlError> {
        let mut state = self.turn();
        let mut changed = state.network(network)?.network.clone();
        let at = place(&changed, number)?;
        changed.policy.remove(at);
        self.change_record(&mut state, changed)?;
        tracing::info!(network, number, "rule removed");
        Ok(())
    }

    /// The rules of a network, in the order in which they are asked.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn policy(&self, network: &str) -> Result<Vec<ApiRule>, ControlError> {
        let hits = self.inner.switch.stats().router.map(|router| router.policies).unwrap_or_default();
        let state = self.state();
        let on = state.network(network)?;
        let counted = |number| hits.iter().find(|one| Some(one.network) == on.index && one.number == number);
        let rule = |rule: &PolicyRecord| ApiRule {
            rule: rule.number,
            action: match rule.action {
                PolicyAction::Allow => "allow".to_owned(),
                PolicyAction::Deny => "deny".to_owned(),
            },
            from: rule.from.to_string(),
            to: rule.to.to_string(),
            traffic: rule.traffic.iter().map(ToString::to_string).collect(),
            hits: counted(rule.number).map_or(0, |one: &PolicyHits| one.hits),
        };
        Ok(on.network.policy.iter().map(rule).collect())
    }
}

fn place(network: &Network, number: u32) -> Result<usize, ControlError> {
    let at = network.policy.iter().position(|rule| rule.number == number);
    at.ok_or_else(|| ControlError::RuleNotFound { network: network.name.clone(), number })
}

/// Who is meant. Names are looked up, so that a misspelt one is found now; a rule holds for whoever has the name later.
fn look_up(state: &State, wish: SubjectWish) -> Result<Subject, ControlError> {
    Ok(match wish {
        SubjectWish::Plain(subject) => subject,
        SubjectWish::Network(text) => {
            let on = state.network(&text)?;
            if on.index.is_none() {
                return Err(ControlError::invalid(format!(
                    "network {} is not on the switch, so nobody is on it",
                    on.network.name
                )));
            }
            if on.network.routed_elsewhere() {
                return Err(ControlError::invalid(format!(
                    "network {} is on a LAN, and its members are outside for rules: write outside, or their addresses",
                    on.network.name
                )));
            }
            Subject::Network { id: on.network.id.clone(), name: on.network.name.clone() }
        }
        SubjectWish::Named(text) => match state.container(&text) {
            Ok(one) => Subject::Named(one.container.name.clone()),
            Err(unknown) => match state.endpoint(&text) {
                Ok(one) => Subject::Named(one.endpoint.name.clone()),
                Err(_) => return Err(unknown),
            },
        },
    })
}

/// A rule that could never decide anything is a mistake, and so is one that leaves another nothing to decide.
fn check_place(network: &Network, at: usize, rule: &PolicyRecord) -> Result<(), ControlError> {
    let (before, behind) = network.policy.split_at(at);
    if let Some(first) = before.iter().find(|one| one.covers(rule)) {
        let number = first.number;
        return Err(ControlError::Conflict(match first.action == rule.action {
            true => format!("rule {number} of network {} says that already: {first}", network.name),
            false => format!(
                "rule {number} of network {} contradicts it and comes first: {first}; use '--before {number}', or remove rule {number}",
                network.name
            ),
        }));
    }
    match behind.iter().find(|one| rule.covers(one)) {
        Some(lost) => Err(ControlError::Conflict(format!(
            "rule {} of network {} would have nothing to decide behind it: {lost}; remove rule {0}, or add this one behind it",
            lost.number, network.name
        ))),
        None => Ok(()),
    }
}

/// Whether there are rules, which then must know of every address before it is used.
pub(super) fn any(state: &State) -> bool {
    state.networks.values().any(|on| !on.network.policy.is_empty())
}

/// All of them, with the addresses that their subjects have now, as the router is told.
pub(super) fn specs(state: &State) -> Vec<PolicySpec> {
    let of = |on: &super::state::NetworkState| {
        let rule = |rule: &PolicyRecord| PolicyRule {
            number: rule.number,
            action: rule.action,
            from: party(state, &rule.from),
            to: party(state, &rule.to),
            traffic: rule.traffic.clone(),
        };
        let rules: Vec<PolicyRule> = on.network.policy.iter().map(rule).collect();
        Some(PolicySpec { network: on.index?, rules }).filter(|spec| !spec.rules.is_empty())
    };
    state.networks.values().filter_map(of).collect()
}

fn party(state: &State, subject: &Subject) -> Party {
    let members = |is: &dyn Fn(&EndpointState) -> bool| {
        let mut members: Vec<(NetworkIndex, IpNet)> = state
            .endpoints
            .values()
            .filter(|one| is(one))
            .filter_map(|one| Some((state.networks.get(&one.endpoint.network)?.index?, &one.endpoint)))
            .flat_map(|(index, endpoint)| nets(endpoint).map(move |net| (index, net)))
            .collect();
        members.sort_unstable();
        members.dedup();
        Party::Members(members)
    };
    match subject {
        Subject::Any => Party::Any,
        Subject::Outside => Party::Outside,
        Subject::Net(net) => Party::Net(*net),
        Subject::Network { id, .. } => match state.networks.get(id).and_then(|on| on.index) {
            Some(index) => Party::Network(index),
            None => Party::Members(Vec::new()),
        },
        Subject::Named(name) => members(&|one| one.endpoint.name == *name),
        Subject::Label(key, value) => members(&|one| {
            let container = one.endpoint.container().and_then(|id| state.containers.get(id));
            let labels = container.map(|one| &one.container.spec.labels);
            let has = |held: &String| value.as_ref().is_none_or(|value| value == held);
            labels.is_some_and(|labels: &BTreeMap<String, String>| labels.get(key).is_some_and(has))
        }),
    }
}

/// Everything that an endpoint may send from.
fn nets(endpoint: &Endpoint) -> impl Iterator<Item = IpNet> {
    let macs = std::iter::once(endpoint.mac).chain(endpoint.allowed.macs.iter().copied());
    let links: Vec<IpNet> = macs.map(|mac| IpNet::from(std::net::IpAddr::V6(mac.link_local_ipv6()))).collect();
    let own: Vec<IpNet> = endpoint.addresses().chain(endpoint.link_local.iter().copied()).map(IpNet::from).collect();
    own.into_iter().chain(links).chain(endpoint.allowed.nets.iter().map(IpNet::trunc))
}
