//! The flows: found by who is inside, ended by age, evicted where there are most.
//!
//! Time is kept in whole seconds, so that a busy flow is filed anew once a second and not once a datagram.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;

use super::settings::DatagramLimits;

/// What carries a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// UDP.
    Datagram,
    /// ICMP echo; where ports stand elsewhere there is the identifier.
    Echo,
}

/// A flow's number, and that of the host socket that carries it. It is used again when its flow has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// For vectors beside the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The slot with this index. A shell that keeps indices elsewhere may hold one that means another flow by now.
    #[must_use]
    pub const fn from_index(index: u32) -> Slot {
        Slot(index)
    }
}

/// A port of the host that leads inside, by the number that the shell gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener(pub u32);

/// What a flow is found by when a packet comes from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Whoever it talks to: one host socket for a socket inside (RFC 4787 REQ-1).
    Mapping(Kind, SocketAddr),
    /// A socket inside and who it answers by a published port.
    Session(SocketAddr, SocketAddr),
}

/// A flow.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) key: Key,
    /// Of a session, what it came by.
    pub(super) client: Option<Client>,
    /// It has asked nobody but name servers.
    pub(super) names_only: bool,
    pub(super) answered: bool,
    used: u32,
    end: u32,
}

/// Who is behind a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) listener: Listener,
    pub(super) address: SocketAddr,
    /// The host's address that it wrote to.
    pub(super) local: Option<IpAddr>,
}

impl Flow {
    pub(super) const fn inside(&self) -> SocketAddr {
        match self.key {
            Key::Mapping(_, inside) | Key::Session(inside, _) => inside,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self.key {
            Key::Mapping(kind, _) => kind,
            Key::Session(..) => Kind::Datagram,
        }
    }
}

/// How a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Expired,
    Evicted,
    Closed,
}

#[derive(Debug)]
pub(super) struct Table {
    limits: DatagramLimits,
    flows: Vec<Option<Flow>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32, FixedState>,
    by_client: HashMap<(Listener, SocketAddr), u32, FixedState>,
    /// Flows of each address inside, by last use.
    endpoints: BTreeMap<IpAddr, BTreeSet<(u32, u32)>>,
    /// Flows by their end.
    ends: BTreeSet<(u32, u32)>,
    closed: VecDeque<(Slot, Flow, End)>,
}

impl Table {
    pub(super) fn new(limits: DatagramLimits, seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Table {
            limits,
            flows: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_hasher(state.clone()),
            by_client: HashMap::with_hasher(state),
            endpoints: BTreeMap::new(),
            ends: BTreeSet::new(),
            closed: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, key: &Key) -> Option<Slot> {
        self.by_key.get(key).copied().map(Slot)
    }

    pub(super) fn find_client(&self, listener: Listener, client: SocketAddr) -> Option<Slot> {
        self.by_client.get(&(listener, client)).copied().map(Slot)
    }

    pub(super) fn flow(&self, slot: Slot) -> Option<&Flow> {
        self.flows.get(slot.index())?.as_ref()
    }

    pub(super) fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.flows.get_mut(slot.index())?.as_mut()
    }

    /// Opens a flow; where there is no room the one that was idle longest goes, of the same endpoint if that has its share,
    /// else of the endpoint with most flows.
    pub(super) fn open(&mut self, key: Key, client: Option<Client>, names_only: bool, now: u32) -> Slot {
        let flow = Flow { key, client, names_only, answered: false, used: now, end: 0 };
        let endpoint = flow.inside().ip();
        let own = self.endpoints.get(&endpoint).map_or(0, BTreeSet::len);
        if own >= self.limits.per_endpoint.max(1) {
            self.evict(endpoint);
        } else if self.len() >= self.limits.flows.max(1) {
            let most = self.endpoints.iter().max_by_key(|(_, flows)| flows.len()).map(|(&address, _)| address);
            self.evict(most.unwrap_or(endpoint));
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            u32::try_from(self.flows.len() - 1).unwrap_or(u32::MAX)
        });
        self.by_key.insert(key, index);
        if let Some(client) = client {
            self.by_client.insert((client.listener, client.address), index);
        }
        self.flows[index as usize] = Some(flow);
        self.file(index, now);
        Slot(index)
    }

    /// Takes note that a flow is in use.
    pub(super) fn touch(&mut self, slot: Slot, answer: bool, now: u32) {
        let Some(flow) = self.flow_mut(slot) else { return };
        let news = answer && !flow.answered;
        flow.answered |= answer;
        if news || flow.used != now {
            self.unfile(slot.0);
            self.file(slot.0, now);
        }
    }

    /// Takes note that a flow asks somebody who is no name server.
    pub(super) fn mixes(&mut self, slot: Slot, now: u32) {
        if let Some(flow) = self.flow_mut(slot).filter(|flow| flow.names_only) {
            flow.names_only = false;
            self.unfile(slot.0);
            self.file(slot.0, now);
        }
    }

    pub(super) fn close(&mut self, slot: Slot, end: End) {
        self.unfile(slot.0);
        let Some(flow) = self.flows.get_mut(slot.index()).and_then(Option::take) else { return };
        self.by_key.remove(&flow.key);
        if let Some(client) = flow.client {
            self.by_client.remove(&(client.listener, client.address));
        }
        self.free.push(slot.0);
        self.closed.push_back((slot, flow, end));
    }

    /// Ends the flows of one address, or of one listener.
    pub(super) fn close_if(&mut self, of: impl Fn(&Flow) -> bool) {
        let matching = self.flows.iter().enumerate().filter(|(_, flow)| flow.as_ref().is_some_and(&of));
        let slots: Vec<_> = matching.filter_map(|(index, _)| u32::try_from(index).ok().map(Slot)).collect();
        for slot in slots {
            self.close(slot, End::Closed);
        }
    }

    pub(super) fn take_closed(&mut self) -> Option<(Slot, Flow, End)> {
        self.closed.pop_front()
    }

    /// The second in which the next flow ends.
    pub(super) fn next_end(&self) -> Option<u32> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub(super) fn expire(&mut self, now: u32) {
        while let Some(&(_, index)) = self.ends.first().filter(|(end, _)| *end <= now) {
            self.close(Slot(index), End::Expired);
        }
    }

    fn evict(&mut self, endpoint: IpAddr) {
        let oldest = self.endpoints.get(&endpoint).and_then(|flows| flows.first()).map(|&(_, index)| Slot(index));
        if let Some(slot) = oldest {
            self.close(slot, End::Evicted);
        }
    }

    fn file(&mut self, index: u32, now: u32) {
        let limits = self.limits;
        let Some(flow) = self.flow_mut(Slot(index)) else { return };
        let life = match (flow.kind(), flow.names_only, flow.answered) {
            (Kind::Echo, ..) => limits.echo,
            (Kind::Datagram, true, _) => limits.names,
            (Kind::Datagram, false, false) => limits.one_way,
            (Kind::Datagram, false, true) => limits.both_ways,
        };
        flow.used = now;
        // One more than the timer, so that a flow of the last millisecond of a second has its whole time.
        flow.end = now.saturating_add(life.0).saturating_add(1);
        let (end, endpoint) = (flow.end, flow.inside().ip());
        self.ends.insert((end, index));
        self.endpoints.entry(endpoint).or_default().insert((now, index));
    }

    fn unfile(&mut self, index: u32) {
        let Some(flow) = self.flow(Slot(index)) else { return };
        let (end, used, endpoint) = (flow.end, flow.used, flow.inside().ip());
        self.ends.remove(&(end, index));
        if let Some(flows) = self.endpoints.get_mut(&endpoint) {
            flows.remove(&(used, index));
            if flows.is_empty() {
                self.endpoints.remove(&endpoint);
            }
        }
    }
}
