//! Who may open flows to whom: the policies of networks.
//!
//! A network's rules are asked in their order for each flow with an end on it, and the first that matches decides; where none does,
//! the flow may pass. Between two networks both are asked. A flow remembers that it may pass, so rules are walked once for each
//! flow, and once more when they change; what is refused is remembered by flows that were open before.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;

use super::Traffic;
use crate::NatDrop;
use crate::table::Leg;
use crate::tuple::{Tuple, mapped};

/// The rules of one network, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Whose they are.
    pub network: NetworkIndex,
    /// The first that matches decides.
    pub rules: Vec<PolicyRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// By which it is known; unique within its network.
    pub number: u32,
    /// What it decides.
    pub action: PolicyAction,
    /// Who opens the flow.
    pub from: Party,
    /// Towards whom, where it really goes.
    pub to: Party,
    /// Of which kinds; empty: of every kind.
    #[serde(default)]
    pub traffic: Vec<Traffic>,
}

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyAction {
    /// It may pass.
    Allow,
    /// It may not.
    Deny,
}

/// Whom a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// Everybody.
    Any,
    /// Whoever is behind the uplink.
    Outside,
    /// Everybody on a network.
    Network(NetworkIndex),
    /// Addresses, wherever they are.
    Net(IpNet),
    /// Certain members of networks; nobody if there are none.
    Members(Vec<(NetworkIndex, IpNet)>),
}

/// Who has an end of a flow, and on which side of the translator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) leg: Leg,
    pub(crate) address: IpAddr,
}

/// How often a rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyHits {
    /// Whose rule.
    pub network: NetworkIndex,
    /// Which.
    pub number: u32,
    /// Flows that it let pass, or packets that it refused.
    pub hits: u64,
}

/// All policies, sorted by network.
#[derive(Debug, Clone, Default)]
pub(super) struct Policies(Vec<Policy>);

#[derive(Debug, Clone)]
struct Policy {
    network: NetworkIndex,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    spec: PolicyRule,
    /// The members' addresses, sorted, so that thousands are found in a few steps.
    from: Vec<(NetworkIndex, Ipv6Addr)>,
    to: Vec<(NetworkIndex, Ipv6Addr)>,
    /// Handed on to the next rules.
    hits: Arc<AtomicU64>,
}

impl Policies {
    /// Counts for itself from now on.
    pub(super) fn part(&mut self) {
        self.0.iter_mut().flat_map(|policy| &mut policy.rules).for_each(|rule| rule.hits = Arc::default());
    }

    pub(super) fn new(specs: Vec<PolicySpec>) -> Policies {
        let policy =
            |spec: PolicySpec| Policy { network: spec.network, rules: spec.rules.into_iter().map(Rule::new).collect() };
        let mut policies: Vec<Policy> = specs.into_iter().filter(|spec| !spec.rules.is_empty()).map(policy).collect();
        policies.sort_by_key(|policy| policy.network);
        Policies(policies)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn of(&self, network: NetworkIndex) -> Option<&Policy> {
        let at = self.0.binary_search_by_key(&network, |policy| policy.network).ok()?;
        Some(&self.0[at])
    }

    /// Whether a network has rules.
    pub(super) fn cover(&self, network: NetworkIndex) -> bool {
        self.of(network).is_some()
    }

    /// Whether `from` may open `flow`, whose destination is where it really goes, towards `to`. Where the ports are not known,
    /// as of a fragment, whatever could be allowed is.
    pub(super) fn check(&self, from: End, to: End, flow: &Tuple, ports: Ports) -> Result<(), NatDrop> {
        let first = self.check_for(from.leg, from, to, flow, ports);
        if from.leg == to.leg { first } else { first.and_then(|()| self.check_for(to.leg, from, to, flow, ports)) }
    }

    fn check_for(&self, whose: Leg, from: End, to: End, flow: &Tuple, ports: Ports) -> Result<(), NatDrop> {
        let Leg::Inside(network) = whose else { return Ok(()) };
        let Some(policy) = self.of(network) else { return Ok(()) };
        let Some(rule) = policy.rules.iter().find(|rule| rule.matches(from, to, flow, ports)) else { return Ok(()) };
        rule.hits.fetch_add(1, Ordering::Relaxed);
        match rule.spec.action {
            PolicyAction::Allow => Ok(()),
            PolicyAction::Deny => Err(NatDrop::Denied),
        }
    }

    /// Whether the same may pass.
    pub(super) fn allow_as(&self, other: &Policies) -> bool {
        let same_rules = |a: &Policy, b: &Policy| {
            a.rules.len() == b.rules.len() && a.rules.iter().zip(&b.rules).all(|(a, b)| a.spec == b.spec)
        };
        let same = |(a, b): (&Policy, &Policy)| a.network == b.network && same_rules(a, b);
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }

    /// Goes on counting where `earlier` was.
    pub(super) fn count_on(&mut self, earlier: &Policies) {
        for policy in &mut self.0 {
            let Some(before) = earlier.of(policy.network) else { continue };
            for rule in &mut policy.rules {
                if let Some(same) = before.rules.iter().find(|one| one.spec.number == rule.spec.number) {
                    rule.hits = Arc::clone(&same.hits);
                }
            }
        }
    }

    pub(super) fn hits(&self) -> impl Iterator<Item = PolicyHits> {
        self.0.iter().flat_map(|policy| {
            policy.rules.iter().map(|rule| PolicyHits {
                network: policy.network,
                number: rule.spec.number,
                hits: rule.hits.load(Ordering::Relaxed),
            })
        })
    }
}

/// Whether the ports of a packet are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    Known,
    Unknown,
}

impl Rule {
    fn new(spec: PolicyRule) -> Rule {
        let hosts = |party: &Party| {
            let Party::Members(members) = party else { return Vec::new() };
            let hosts = members.iter().filter(|(_, net)| net.prefix_len() == net.max_prefix_len());
            let mut hosts: Vec<_> = hosts.map(|(network, net)| (*network, mapped(net.addr()))).collect();
            hosts.sort_unstable();
            hosts
        };
        Rule { from: hosts(&spec.from), to: hosts(&spec.to), spec, hits: Arc::default() }
    }

    fn matches(&self, from: End, to: End, flow: &Tuple, ports: Ports) -> bool {
        self.is_kind(flow, ports)
            && is_party(&self.spec.from, &self.from, from)
            && is_party(&self.spec.to, &self.to, to)
    }

    fn is_kind(&self, flow: &Tuple, ports: Ports) -> bool {
        let could_be = |traffic: &Traffic| match (ports, traffic) {
            (Ports::Known, _) | (_, Traffic::Icmp | Traffic::Ports(_, None)) => traffic.matches(flow),
            // A fragment goes the way of the first one, which was judged with its ports: without it nothing comes of it.
            (Ports::Unknown, Traffic::Ports(transport, Some(_))) => {
                transport.protocol() == flow.protocol() && self.spec.action == PolicyAction::Allow
            }
        };
        self.spec.traffic.is_empty() || self.spec.traffic.iter().any(could_be)
    }
}

fn is_party(party: &Party, hosts: &[(NetworkIndex, Ipv6Addr)], end: End) -> bool {
    match party {
        Party::Any => true,
        Party::Outside => end.leg.is_uplink(),
        Party::Network(network) => end.leg == Leg::Inside(*network),
        Party::Net(net) => net.contains(&end.address),
        Party::Members(members) => {
            let Leg::Inside(network) = end.leg else { return false };
            let routed = || {
                let nets = members.iter().filter(|(_, net)| net.prefix_len() < net.max_prefix_len());
                nets.filter(|(on, _)| *on == network).any(|(_, net)| net.contains(&end.address))
            };
            hosts.binary_search(&(network, mapped(end.address))).is_ok() || members.len() > hosts.len() && routed()
        }
    }
}
