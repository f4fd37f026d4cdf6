//! The flows: found by who is inside, ended by age, evicted where there are most.
//!
//! Time is kept in whole seconds, so that a busy flow is filed anew once a second and not once a datagram.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;

use super::peers::{Peers, PeersOfAll};
use super::settings::DatagramLimits;
use crate::proxy::shares::{Owner, Owners, Shares};

/// What carries a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// UDP.
    Datagram,
    /// ICMP echo; where ports stand elsewhere there is the identifier.
    Echo,
}

/// A flow, and the host socket that carries it. Its place in vectors is used again when it has ended, by a flow with another
/// generation: so whoever kept a slot for longer finds nothing by it, and never somebody else's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// For vectors beside the table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
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
    /// Whose it is.
    pub(super) owner: Owner,
    /// Whom it has written to.
    pub(super) peers: Peers,
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
    pub(super) owners: Owners,
    places: Vec<Place>,
    free: Vec<u32>,
    by_key: HashMap<Key, Slot, FixedState>,
    by_client: HashMap<(Listener, SocketAddr), Slot, FixedState>,
    /// Flows of each owner, by last use.
    shares: Shares<(u32, Slot)>,
    peers: PeersOfAll,
    /// Flows by their end.
    ends: BTreeSet<(u32, Slot)>,
    closed: VecDeque<(Slot, End)>,
}

/// Where one flow after the other is kept.
#[derive(Debug, Default)]
struct Place {
    /// Of the flow that is here, or comes next.
    generation: u32,
    flow: Option<Flow>,
}

impl Table {
    pub(super) fn new(limits: DatagramLimits, seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Table {
            limits,
            owners: Owners::default(),
            places: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_hasher(state.clone()),
            by_client: HashMap::with_hasher(state),
            shares: Shares::new(),
            peers: PeersOfAll::new(limits),
            ends: BTreeSet::new(),
            closed: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, key: &Key) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    pub(super) fn find_client(&self, listener: Listener, client: SocketAddr) -> Option<Slot> {
        self.by_client.get(&(listener, client)).copied()
    }

    pub(super) fn flow(&self, slot: Slot) -> Option<&Flow> {
        let place = self.places.get(slot.index()).filter(|place| place.generation == slot.generation)?;
        place.flow.as_ref()
    }

    pub(super) fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        place_of(&mut self.places, slot)?.flow.as_mut()
    }

    /// Opens a flow; where there is no room the one that was idle longest goes, of the same owner if that has its share,
    /// else of the one with most flows.
    pub(super) fn open(&mut self, key: Key, client: Option<Client>, names_only: bool, now: u32) -> Slot {
        let inside = match key {
            Key::Mapping(_, inside) | Key::Session(inside, _) => inside,
        };
        let owner = self.owners.of(None, inside.ip());
        if self.shares.of(owner) >= self.limits.per_endpoint.max(1) {
            self.evict(owner);
        } else if self.len() >= self.limits.flows.max(1) {
            self.evict(self.shares.greatest().unwrap_or(owner));
        }
        let flow = Flow { key, owner, peers: Peers::default(), client, names_only, answered: false, used: now, end: 0 };
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.places[index as usize];
        let slot = Slot { index, generation: place.generation };
        place.flow = Some(flow);
        self.by_key.insert(key, slot);
        if let Some(client) = client {
            self.by_client.insert((client.listener, client.address), slot);
        }
        self.shares.insert(owner, (now, slot));
        self.date(slot, now);
        slot
    }

    /// Takes note that a flow is in use.
    pub(super) fn touch(&mut self, slot: Slot, answer: bool, now: u32) {
        let Some(flow) = self.flow_mut(slot) else { return };
        let news = answer && !flow.answered;
        flow.answered |= answer;
        if news || flow.used != now {
            self.date(slot, now);
        }
    }

    /// Takes note that a flow asks somebody who is no name server.
    pub(super) fn mixes(&mut self, slot: Slot, now: u32) {
        if let Some(flow) = self.flow_mut(slot).filter(|flow| flow.names_only) {
            flow.names_only = false;
            self.date(slot, now);
        }
    }

    /// Takes note that a flow writes to somebody, or hears of him.
    pub(super) fn meets(&mut self, slot: Slot, peer: SocketAddr, now: u32) {
        let Some(flow) = place_of(&mut self.places, slot).and_then(|place| place.flow.as_mut()) else { return };
        if flow.peers.is_last(peer, now) {
            return;
        }
        let owner = flow.owner;
        if flow.peers.note(peer, now, |old| self.peers.renew(owner, slot, peer, old, now)) {
            return;
        }
        // Somebody new. Who was not heard of for longest makes room.
        if let Some((from, forgotten)) = self.peers.add(owner, slot, peer, now)
            && let Some(flow) = self.flow_mut(from)
        {
            flow.peers.forget(forgotten);
        }
    }

    /// Whether a flow has written to somebody lately.
    pub(super) fn has_met(&self, slot: Slot, peer: SocketAddr, now: u32) -> bool {
        let met = self.flow(slot).and_then(|flow| flow.peers.met(peer));
        met.is_some_and(|met| met.saturating_add(self.limits.both_ways.0) >= now)
    }

    pub(super) fn close(&mut self, slot: Slot, end: End) {
        let Some(place) = place_of(&mut self.places, slot) else { return };
        let Some(flow) = place.flow.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        self.ends.remove(&(flow.end, slot));
        self.shares.remove(flow.owner, &(flow.used, slot));
        for (peer, met) in flow.peers.iter() {
            self.peers.remove(flow.owner, slot, peer, met);
        }
        self.by_key.remove(&flow.key);
        if let Some(client) = flow.client {
            self.by_client.remove(&(client.listener, client.address));
        }
        self.free.push(slot.index);
        self.closed.push_back((slot, end));
    }

    /// Makes hash tables as small as what is in them.
    pub(super) fn shrink(&mut self) {
        self.by_key.shrink_to_fit();
        self.by_client.shrink_to_fit();
        self.closed.shrink_to_fit();
    }

    /// Ends the flows of one address, or of one listener.
    pub(super) fn close_if(&mut self, of: impl Fn(&Flow) -> bool) {
        let slots: Vec<_> = self.slots().filter(|&slot| self.flow(slot).is_some_and(&of)).collect();
        for slot in slots {
            self.close(slot, End::Closed);
        }
    }

    pub(super) fn take_closed(&mut self) -> Option<(Slot, End)> {
        self.closed.pop_front()
    }

    /// The second in which the next flow ends.
    pub(super) fn next_end(&self) -> Option<u32> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub(super) fn expire(&mut self, now: u32) {
        while let Some(&(_, slot)) = self.ends.first().filter(|(end, _)| *end <= now) {
            self.close(slot, End::Expired);
        }
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        let places = self.places.iter().enumerate().filter(|(_, place)| place.flow.is_some());
        places.filter_map(|(index, place)| {
            u32::try_from(index).ok().map(|index| Slot { index, generation: place.generation })
        })
    }

    fn evict(&mut self, owner: Owner) {
        if let Some((_, slot)) = self.shares.first(owner) {
            self.close(slot, End::Evicted);
        }
    }

    /// Files a flow by its use and its end.
    fn date(&mut self, slot: Slot, now: u32) {
        let limits = self.limits;
        let Some(flow) = self.flow_mut(slot) else { return };
        let life = match (flow.kind(), flow.names_only, flow.answered) {
            (Kind::Echo, ..) => limits.echo,
            (Kind::Datagram, true, _) => limits.names,
            (Kind::Datagram, false, false) => limits.one_way,
            (Kind::Datagram, false, true) => limits.both_ways,
        };
        let (owner, used, end) = (flow.owner, flow.used, flow.end);
        flow.used = now;
        // One more than the timer, so that a flow of the last millisecond of a second has its whole time.
        flow.end = now.saturating_add(life.0).saturating_add(1);
        let next = flow.end;
        self.ends.remove(&(end, slot));
        self.ends.insert((next, slot));
        self.shares.renew(owner, &(used, slot), (now, slot));
    }
}

/// Where a flow is, unless its place is another's by now.
fn place_of(places: &mut [Place], slot: Slot) -> Option<&mut Place> {
    places.get_mut(slot.index()).filter(|place| place.generation == slot.generation)
}
