//! The neighbour cache: which MAC address a next hop has. Read first: RFC 4861 section 7.3 (the states), RFC 1122 section
//! 2.3.2 (ARP cache and queue).
//!
//! It serves ARP and Neighbor Discovery alike: it says when to ask, and is told what was heard. Packets wait here, as
//! whatever the shell keeps them in (`P`), until their next hop is known or given up.
//!
//! Bounds: entries in all, of which at most half may be unresolved, so that a scan of a subnet cannot push out neighbours
//! that answer; packets that wait for one neighbour. When full, the entry that was used longest ago goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vswitch_frame::{MacAddr, Timestamp};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighbourLimits {
    /// Entries in all.
    pub entries: usize,
    /// Packets that wait for one neighbour; of more the oldest goes.
    pub queue: usize,
}

impl Default for NeighbourLimits {
    fn default() -> Self {
        NeighbourLimits { entries: 4096, queue: 16 }
    }
}

/// Where an entry is in its life (RFC 4861 section 7.3.2; DELAY is part of PROBE here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NeighbourState {
    /// Being asked for; no address is known.
    Incomplete,
    /// Known, and confirmed not long ago.
    Reachable,
    /// Known, but not confirmed for a while.
    Stale,
    /// Known, in use, and being asked again.
    Probe,
}

/// An entry as listings show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourEntry {
    /// The neighbour.
    pub address: IpAddr,
    /// Its MAC address, when known.
    pub mac: Option<MacAddr>,
    /// Where the entry is in its life.
    pub state: NeighbourState,
}

/// What [`Neighbours::resolve`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution<P> {
    /// The packet can be sent there now. `ask` says to send a solicitation as well, to that very address.
    Known {
        /// The packet.
        packet: P,
        /// Where to.
        mac: MacAddr,
        /// Whether to ask whether it is still there.
        ask: bool,
    },
    /// The packet waits.
    Queued {
        /// Whether a solicitation is to be sent, to all.
        ask: bool,
        /// The packet that had to make room, if the queue was full.
        dropped: Option<P>,
    },
    /// There is no room to wait.
    Refused(P),
}

/// What [`Neighbours::probe`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probed {
    /// It has answered, and has not left questions unanswered too often since.
    Answers,
    /// It is being asked for the first time.
    Asked,
    /// It does not answer, and is asked again.
    Silent,
}

/// How a neighbour's address was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It answered a solicitation.
    Answer,
    /// It asked us, or announced itself; trusted only as a hint for entries that exist.
    Hint,
}

/// What time brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions<P> {
    /// Solicitations to send: whom to ask for, and to whom if not to all.
    pub ask: Vec<(IpAddr, Option<MacAddr>)>,
    /// Neighbours given up, each with the packets that waited; each packet's sender is told "host unreachable".
    pub given_up: Vec<(IpAddr, Vec<P>)>,
}

#[derive(Debug)]
struct Entry<P> {
    state: NeighbourState,
    mac: Option<MacAddr>,
    asked: u8,
    deadline: Option<Timestamp>,
    used: Timestamp,
    queue: Vec<P>,
}

/// The cache of one leg.
#[derive(Debug)]
pub struct Neighbours<P> {
    entries: BTreeMap<IpAddr, Entry<P>>,
    deadlines: BTreeSet<(Timestamp, IpAddr)>,
    unresolved: usize,
    /// What is known of those that are probed, which outlives their entries: packets for one that is silent make it another.
    watched: BTreeMap<IpAddr, Probed>,
    limits: NeighbourLimits,
}

impl<P> Neighbours<P> {
    /// An empty cache.
    #[must_use]
    pub const fn new(limits: NeighbourLimits) -> Self {
        Neighbours {
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            unresolved: 0,
            watched: BTreeMap::new(),
            limits,
        }
    }

    /// The MAC address of `address` if it is known, and whether to ask whether it is still there, by a solicitation to that
    /// very address. For callers that keep no packet: [`Neighbours::resolve`] is for the others.
    pub fn known(&mut self, address: IpAddr, now: Timestamp) -> Option<(MacAddr, bool)> {
        let entry = self.entries.get_mut(&address)?;
        let mac = entry.mac?;
        entry.used = now;
        let ask = entry.state == NeighbourState::Stale;
        if ask {
            entry.state = NeighbourState::Probe;
            entry.asked = 1;
            self.set_deadline(address, Some(now + ASK_INTERVAL));
        }
        Some((mac, ask))
    }

    /// Finds the MAC address of `address` for a packet, or keeps the packet until it is known.
    pub fn resolve(&mut self, address: IpAddr, packet: P, now: Timestamp) -> Resolution<P> {
        if let Some((mac, ask)) = self.known(address, now) {
            return Resolution::Known { packet, mac, ask };
        }
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.used = now;
            let dropped = (entry.queue.len() >= self.limits.queue.max(1)).then(|| entry.queue.remove(0));
            entry.queue.push(packet);
            return Resolution::Queued { ask: false, dropped };
        }
        if self.unresolved >= self.limits.entries.div_ceil(2) || !self.make_room() {
            return Resolution::Refused(packet);
        }
        let state = NeighbourState::Incomplete;
        let entry = Entry { state, mac: None, asked: 1, deadline: None, used: now, queue: vec![packet] };
        self.entries.insert(address, entry);
        self.unresolved += 1;
        self.set_deadline(address, Some(now + ASK_INTERVAL));
        Resolution::Queued { ask: true, dropped: None }
    }

    /// Asks a neighbour whether it is there, in addition to what packets for it bring about, and says what is known so far. To be
    /// called again and again: the questions go out with [`Neighbours::handle_timeout`].
    pub fn probe(&mut self, address: IpAddr, now: Timestamp) -> Probed {
        let known = self.entries.get(&address).is_some_and(|entry| entry.mac.is_some());
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.used = now;
            if matches!(entry.state, NeighbourState::Reachable | NeighbourState::Stale) {
                (entry.state, entry.asked) = (NeighbourState::Probe, 0);
                self.set_deadline(address, Some(now));
            }
        } else if self.make_room() {
            let state = NeighbourState::Incomplete;
            let entry = Entry { state, mac: None, asked: 0, deadline: None, used: now, queue: Vec::new() };
            self.entries.insert(address, entry);
            self.unresolved += 1;
            self.set_deadline(address, Some(now));
        }
        *self.watched.entry(address).or_insert(if known { Probed::Answers } else { Probed::Asked })
    }

    /// Takes note of a neighbour's MAC address and returns the packets that waited for it, oldest first. Only an answer to
    /// a question, or what concerns an entry that exists, is taken note of: nobody fills the cache by announcing.
    pub fn learn(&mut self, address: IpAddr, mac: MacAddr, news: News, now: Timestamp) -> Vec<P> {
        if !mac.is_station() {
            return Vec::new();
        }
        let Some(entry) = self.entries.get_mut(&address) else { return Vec::new() };
        if let Some(probed) = self.watched.get_mut(&address).filter(|_| news == News::Answer) {
            *probed = Probed::Answers;
        }
        let was_unresolved = entry.mac.is_none();
        let is_same = entry.mac == Some(mac);
        if news == News::Hint && is_same {
            return Vec::new();
        }
        entry.mac = Some(mac);
        let (state, deadline) = match news {
            News::Answer => (NeighbourState::Reachable, Some(now + REACHABLE)),
            // Usable at once, and asked about when it is next used.
            News::Hint => (NeighbourState::Stale, None),
        };
        entry.state = state;
        let packets = std::mem::take(&mut entry.queue);
        self.unresolved -= usize::from(was_unresolved);
        self.set_deadline(address, deadline);
        packets
    }

    /// Corrects an entry that has another MAC address, and says whether there was one; no other is touched.
    pub fn learn_if_known(&mut self, address: IpAddr, mac: MacAddr, now: Timestamp) -> bool {
        let stale = self.entries.get(&address).is_some_and(|entry| entry.mac.is_some_and(|known| known != mac));
        // A resolved entry keeps no packets.
        stale && self.learn(address, mac, News::Hint, now).is_empty()
    }

    /// When [`Neighbours::handle_timeout`] is to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Actions<P> {
        let mut actions = Actions { ask: Vec::new(), given_up: Vec::new() };
        while let Some(&(at, address)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, address));
            let Some(entry) = self.entries.get_mut(&address) else { continue };
            entry.deadline = None;
            match entry.state {
                NeighbourState::Reachable => entry.state = NeighbourState::Stale,
                NeighbourState::Stale => {}
                NeighbourState::Incomplete | NeighbourState::Probe if entry.asked < MAX_ASKED => {
                    entry.asked += 1;
                    actions.ask.push((address, entry.mac));
                    self.set_deadline(address, Some(now + ASK_INTERVAL));
                }
                NeighbourState::Incomplete | NeighbourState::Probe => {
                    if let Some(probed) = self.watched.get_mut(&address) {
                        *probed = Probed::Silent;
                    }
                    if let Some(entry) = self.remove(address) {
                        actions.given_up.push((address, entry.queue));
                    }
                }
            }
        }
        actions
    }

    /// All entries, by address.
    pub fn entries(&self) -> impl Iterator<Item = NeighbourEntry> {
        self.entries.iter().map(|(&address, entry)| NeighbourEntry { address, mac: entry.mac, state: entry.state })
    }

    /// The same without what waits, for whoever wants to know what would be.
    #[must_use]
    pub fn apart(&self) -> Neighbours<P> {
        let copied = |entry: &Entry<P>| Entry { queue: Vec::new(), ..*entry };
        Neighbours {
            entries: self.entries.iter().map(|(address, entry)| (*address, copied(entry))).collect(),
            deadlines: self.deadlines.clone(),
            unresolved: self.unresolved,
            limits: self.limits,
            watched: self.watched.clone(),
        }
    }

    /// Room for one entry more: takes out the resolved one that was used longest ago.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < self.limits.entries {
            return true;
        }
        let resolved = self.entries.iter().filter(|(_, entry)| entry.mac.is_some());
        let oldest = resolved.min_by_key(|(_, entry)| entry.used).map(|(&address, _)| address);
        oldest.is_some_and(|address| self.remove(address).is_some())
    }

    fn remove(&mut self, address: IpAddr) -> Option<Entry<P>> {
        self.set_deadline(address, None);
        let entry = self.entries.remove(&address)?;
        self.unresolved -= usize::from(entry.mac.is_none());
        Some(entry)
    }

    fn set_deadline(&mut self, address: IpAddr, deadline: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.deadlines.remove(&(old, address));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, address));
        }
    }
}

/// RFC 4861 section 10: RETRANS_TIMER, MAX_UNICAST_SOLICIT and MAX_MULTICAST_SOLICIT, REACHABLE_TIME.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
const MAX_ASKED: u8 = 3;
const REACHABLE: Duration = Duration::from_secs(30);
