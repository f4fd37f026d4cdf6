//! Tracked flows, in the words of the API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::broadcast;
use vswitch_api::flow::{Flow, FlowEvent, FlowEventKind, FlowQuery, FlowSide, FlowsRebound, FlowsRemoved};
use vswitch_api::stats;
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::table::{self, EventKind, FlowFilter, FlowRecord, Leg};
use vswitch_switch::nat::{Protocol, Rebound, Tuple};
use vswitch_switch::router::RouterStats;

use super::uplink::UplinkState;
use super::{Controller, State, peerings};
use crate::error::ControlError;
use crate::uplink::router;

/// How often events are taken from the switch while somebody listens.
const TAKE_EVERY: Duration = Duration::from_millis(100);

/// Takings that a slow listener may be behind.
const BACKLOG: usize = 64;

/// Where events go: listeners each get all takings.
#[derive(Debug)]
pub(super) struct FlowFeed {
    sender: broadcast::Sender<Arc<Taking>>,
    /// Wakes the pump when there is a listener.
    wanted: tokio::sync::Notify,
}

/// Events since the last taking, and how many were lost before them.
#[derive(Debug)]
struct Taking {
    events: Vec<table::FlowEvent>,
    lost: u64,
}

impl Default for FlowFeed {
    fn default() -> Self {
        FlowFeed { sender: broadcast::channel(BACKLOG).0, wanted: tokio::sync::Notify::new() }
    }
}

/// A listener.
#[derive(Debug)]
pub struct FlowWatch {
    controller: Controller,
    filter: Vec<FlowFilter>,
    takings: broadcast::Receiver<Arc<Taking>>,
}

impl FlowWatch {
    /// The next events that match; `None` when the controller ends.
    pub async fn next(&mut self) -> Option<Vec<FlowEvent>> {
        let mut lost = 0;
        loop {
            match self.takings.recv().await {
                Ok(taking) => {
                    lost += taking.lost;
                    let names = self.controller.flow_names(&self.controller.state());
                    let matching =
                        taking.events.iter().filter(|one| self.filter.iter().any(|filter| matches(filter, &one.flow)));
                    let mut events: Vec<FlowEvent> = matching.map(|one| event(one, &names)).collect();
                    if let Some(first) = events.first_mut() {
                        first.lost = lost;
                        return Some(events);
                    }
                }
                // How many events these takings held is not known any more; that there was a gap is.
                Err(broadcast::error::RecvError::Lagged(takings)) => lost += takings,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Controller {
    /// The flows that match, oldest first.
    ///
    /// # Errors
    /// When the question makes no sense or names something unknown.
    pub fn flows(&self, query: &FlowQuery) -> Result<Vec<Flow>, ControlError> {
        let (filters, names) = {
            let state = self.state();
            (filters(&state, query)?, self.flow_names(&state))
        };
        let mut records: Vec<FlowRecord> = filters.iter().flat_map(|filter| self.inner.switch.flows(filter)).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.age.0));
        Ok(records.iter().map(|record| flow(record, &names)).collect())
    }

    fn flow_names(&self, state: &State) -> Names {
        let networks = state.networks.values().filter_map(|on| Some((on.index?, on.network.name.clone()))).collect();
        let uplinks = self.inner.uplink.as_ref().map_or_else(|| vec![router::NAME.to_owned()], UplinkState::names);
        Names { networks, uplinks }
    }

    /// Ends the flows that match.
    ///
    /// # Errors
    /// When the question makes no sense or names something unknown.
    pub fn flush_flows(&self, query: &FlowQuery) -> Result<FlowsRemoved, ControlError> {
        let filters = filters(&self.state(), query)?;
        let removed: usize = filters.iter().map(|filter| self.inner.switch.flush_flows(filter)).sum();
        Ok(FlowsRemoved { removed: u64::try_from(removed).unwrap_or(u64::MAX) })
    }

    /// Gives the flows that match another external port.
    ///
    /// # Errors
    /// When the question makes no sense or names something unknown.
    pub fn rebind_flows(&self, query: &FlowQuery) -> Result<FlowsRebound, ControlError> {
        let filters = filters(&self.state(), query)?;
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let mut rebound = FlowsRebound::default();
        for filter in &filters {
            let Rebound { moved, kept } = self.inner.switch.rebind_flows(filter);
            let by_sockets = self.inner.uplink.as_ref().map_or(0, |uplink| {
                let flows = self.inner.switch.flows(filter);
                wide(flows.iter().filter(|flow| uplink.rebind(flow)).count())
            });
            rebound.rebound += wide(moved) + by_sockets;
            rebound.kept += wide(kept).saturating_sub(by_sockets);
        }
        Ok(rebound)
    }

    /// What happens to the flows that match, from now on.
    ///
    /// # Errors
    /// When the question makes no sense or names something unknown, or there is no uplink and so never a flow.
    pub fn watch_flows(&self, query: &FlowQuery) -> Result<FlowWatch, ControlError> {
        if self.inner.uplink.is_none() && self.inner.switch.stats().router.is_none() {
            return Err(ControlError::invalid(
                "there are no flows to watch: this vswitchd runs with --uplink none; start it with --uplink \
                 sockets or --uplink packet:IFACE,address=A/LEN,gateway=A",
            ));
        }
        let filter = filters(&self.state(), query)?;
        let takings = self.inner.feed.sender.subscribe();
        self.inner.switch.listen_to_flows(true);
        self.inner.feed.wanted.notify_one();
        Ok(FlowWatch { controller: self.clone(), filter, takings })
    }

    /// Hands events to listeners; sleeps while there are none.
    pub(super) async fn pump_flows(self) {
        let feed = &self.inner.feed;
        loop {
            feed.wanted.notified().await;
            while feed.sender.receiver_count() > 0 {
                self.inner.switch.listen_to_flows(true);
                let (events, lost) = self.inner.switch.take_flow_events();
                if !events.is_empty() || lost > 0 {
                    // Fails when the last listener has just gone.
                    let _ = feed.sender.send(Arc::new(Taking { events, lost }));
                }
                tokio::time::sleep(TAKE_EVERY).await;
            }
            self.inner.switch.listen_to_flows(false);
        }
    }
}

/// The filters of which a flow must match one. A container has an address for each network and family.
fn filters(state: &State, query: &FlowQuery) -> Result<Vec<FlowFilter>, ControlError> {
    let subnet = |text: &str| -> Result<IpNet, ControlError> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address.or_else(|_| text.parse()).map_err(|_| {
            ControlError::invalid(format!("{text:?} is neither an address nor a subnet such as 10.9.0.0/24"))
        })
    };
    let port = |text: &str| {
        text.parse().map_err(|_| ControlError::invalid(format!("{text:?} is no port; write a number up to 65535")))
    };
    let filter = FlowFilter {
        protocol: query.protocol.as_deref().map(protocol).transpose()?,
        source: query.source.as_deref().map(subnet).transpose()?,
        destination: query.destination.as_deref().map(subnet).transpose()?,
        destination_port: query.dport.as_deref().map(port).transpose()?,
        network: query.network.as_deref().map(|text| network(state, text)).transpose()?,
        endpoint: None,
        kind: None,
    };
    let Some(endpoint) = query.endpoint.as_deref() else { return Ok(vec![filter]) };
    let addresses = addresses(state, endpoint)?;
    Ok(addresses.into_iter().map(|address| FlowFilter { endpoint: Some(address), ..filter.clone() }).collect())
}

fn protocol(text: &str) -> Result<Protocol, ControlError> {
    let named = [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6, Protocol::SCTP];
    let found = named.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(text));
    found.or_else(|| text.parse().ok().map(Protocol)).ok_or_else(|| {
        ControlError::invalid(format!(
            "{text:?} is no protocol; use tcp, udp, icmp, icmpv6, sctp or a number up to 255"
        ))
    })
}

fn network(state: &State, text: &str) -> Result<NetworkIndex, ControlError> {
    let on = state.network(text)?;
    on.index.ok_or_else(|| {
        ControlError::invalid(format!("network {} is not on the switch, so it has no flows", on.network.name))
    })
}

/// The addresses of a container or an attached endpoint, or the address that it is.
fn addresses(state: &State, text: &str) -> Result<Vec<IpAddr>, ControlError> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let ids = match state.container(text) {
        Ok(one) => one.endpoints.clone(),
        Err(unknown) => match state.endpoint(text) {
            Ok(one) => vec![one.endpoint.id.clone()],
            Err(_) => return Err(unknown),
        },
    };
    let endpoints = ids.iter().filter_map(|id| state.endpoints.get(id));
    Ok(endpoints.flat_map(|one| one.endpoint.addresses().collect::<Vec<_>>()).collect())
}

/// What a filter says of a record, as far as a record knows.
fn matches(filter: &FlowFilter, record: &FlowRecord) -> bool {
    let tuple = &record.original;
    filter.protocol.is_none_or(|protocol| protocol == tuple.protocol())
        && filter.source.is_none_or(|net| net.contains(&tuple.source()))
        && filter.destination.is_none_or(|net| net.contains(&tuple.destination()))
        && filter.destination_port.is_none_or(|port| port == tuple.destination_port())
        && filter.endpoint.is_none_or(|address| address == tuple.source() || address == record.reply.source())
        && filter.network.is_none_or(|network| record.egress.contains(&Leg::Inside(network)))
}

/// What the sides of flows are called.
struct Names {
    networks: BTreeMap<NetworkIndex, String>,
    uplinks: Vec<String>,
}

impl Names {
    fn of(&self, leg: Leg) -> String {
        let known = match leg {
            Leg::Uplink | Leg::UplinkOf(_) => self.uplinks.first(),
            Leg::Further(number) => self.uplinks.get(usize::from(number) + 1),
            Leg::Inside(network) => self.networks.get(&network),
        };
        known.cloned().unwrap_or_default()
    }
}

fn event(event: &table::FlowEvent, names: &Names) -> FlowEvent {
    let kind = match event.event {
        EventKind::New => FlowEventKind::New,
        EventKind::Update => FlowEventKind::Update,
        EventKind::Destroy => FlowEventKind::Destroy,
    };
    FlowEvent { event: kind, lost: 0, flow: flow(&event.flow, names) }
}

fn flow(record: &FlowRecord, names: &Names) -> Flow {
    let protocol = record.original.protocol();
    let kind = record.kind.name();
    let side = |tuple: &Tuple, at: usize| FlowSide {
        source: tuple.source().to_string(),
        destination: tuple.destination().to_string(),
        source_port: protocol.has_ports().then(|| tuple.source_port()),
        destination_port: protocol.has_ports().then(|| tuple.destination_port()),
        icmp_type: protocol.is_icmp().then(|| tuple.icmp_type()),
        icmp_id: protocol.is_icmp().then(|| tuple.source_port()),
        egress: names.of(record.egress[at]),
        packets: record.traffic[at].packets,
        bytes: record.traffic[at].bytes,
    };
    Flow {
        protocol: protocol.name().to_owned(),
        protocol_number: protocol.0,
        kind: kind.to_owned(),
        state: record.state.map(|state| state.name().to_owned()),
        timeout: record.timeout.0,
        age: record.age.0,
        replied: record.replied,
        assured: record.assured,
        original: side(&record.original, 0),
        reply: side(&record.reply, 1),
        text: record.to_string(),
    }
}

/// The router's counters.
pub(super) fn stats(
    router: &RouterStats,
    on: Option<&UplinkState>,
    uplinks: Vec<stats::UplinkStats>,
    names: &BTreeMap<NetworkIndex, String>,
) -> stats::RouterStats {
    let sockets = on.and_then(UplinkState::sockets_stats);
    let flows = &router.flows;
    stats::RouterStats {
        uplink: uplinks.first().cloned(),
        uplinks,
        flows: flows.flows,
        created: flows.created,
        expired: flows.expired,
        early_dropped: flows.early_dropped,
        refused_full: flows.refused_full,
        refused_endpoint: flows.refused_endpoint,
        route_drops: router.route_drops.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
        nat_drops: router.nat_drops.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
        errors_held_back: router.errors_held_back,
        peerings: peerings::stats(&router.peerings, names),
        services: Vec::new(),
        sockets,
    }
}
