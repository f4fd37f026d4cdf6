//! Who asked for which group, where the routers are, and when to ask again. Read first: RFC 4541 section 2, RFC 3376 section 8.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vswitch_frame::{PortId, Timestamp};

use super::message::{Message, Wish};

/// A VLAN of a network, 0 for frames without a tag.
pub(super) type Vlan = u16;

/// How a port is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Whether a router for multicast is behind it.
    pub router: RouterPort,
    /// Who leaves was alone behind it, so nobody else is asked.
    pub fast_leave: bool,
}

/// Whether a port leads to routers, which get every group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouterPort {
    /// While a querier or router is heard there.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never, whatever is said there.
    Never,
}

/// Something to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) vlan: Vlan,
    /// About one group that somebody left; otherwise about all.
    pub(super) group: Option<IpAddr>,
    pub(super) ipv4: bool,
    /// Tenths of a second in which to answer.
    pub(super) response: u8,
}

/// The table of a network.
#[derive(Debug, Default)]
pub(super) struct Table {
    groups: BTreeMap<(Vlan, IpAddr), Vec<Member>>,
    routers: Vec<(Vlan, Member)>,
    /// Who else asks, by VLAN and whether that is in IPv4, and until when that holds.
    queriers: BTreeMap<(Vlan, bool), (IpAddr, Timestamp)>,
    /// Groups to ask about once more because somebody left them.
    left: Vec<(Vlan, IpAddr)>,
    /// When memberships of before may be taken as known.
    settled: Option<Timestamp>,
    /// When all are asked again, and how often they were.
    next: Option<Timestamp>,
    asked: u32,
    /// The table was full when somebody asked for more.
    overflowed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    port: PortId,
    until: Timestamp,
}

impl Table {
    /// Takes in what came by `port`.
    pub(super) fn hear(&mut self, message: &Message, vlan: Vlan, port: PortId, manner: Manner, now: Timestamp) {
        match message {
            Message::Query { querier, .. } => {
                if !querier.is_unspecified() {
                    let known = self.queriers.get(&(vlan, querier.is_ipv4())).filter(|(_, until)| *until > now);
                    if known.is_none_or(|(known, _)| querier <= known) {
                        self.queriers.insert((vlan, querier.is_ipv4()), (*querier, now + OTHER_QUERIER));
                    }
                    self.hear_router(vlan, port, manner, now);
                }
            }
            Message::Router => self.hear_router(vlan, port, manner, now),
            Message::Report(wishes) => {
                for &(group, wish) in wishes.iter().filter(|(group, _)| !is_link_local(*group)) {
                    match wish {
                        Wish::Join => self.join(vlan, group, port, now),
                        Wish::Leave => self.leave(vlan, group, port, manner, now),
                    }
                }
            }
        }
    }

    fn hear_router(&mut self, vlan: Vlan, port: PortId, manner: Manner, now: Timestamp) {
        if manner.router == RouterPort::Never {
            return;
        }
        self.routers.retain(|(there, one)| (*there, one.port) != (vlan, port) && one.until > now);
        if self.routers.len() < MOST_ROUTERS {
            self.routers.push((vlan, Member { port, until: now + OTHER_QUERIER }));
        }
    }

    fn join(&mut self, vlan: Vlan, group: IpAddr, port: PortId, now: Timestamp) {
        let until = now + MEMBERSHIP;
        let full = self.groups.len() >= MOST_GROUPS;
        if let Some(members) = self.groups.get_mut(&(vlan, group)) {
            match members.iter_mut().find(|member| member.port == port) {
                Some(member) => member.until = until,
                None => members.push(Member { port, until }),
            }
        } else if full || self.groups_of(port) >= MOST_GROUPS_OF_PORT {
            self.overflowed |= full;
        } else {
            self.groups.insert((vlan, group), vec![Member { port, until }]);
        }
    }

    fn leave(&mut self, vlan: Vlan, group: IpAddr, port: PortId, manner: Manner, now: Timestamp) {
        let Some(members) = self.groups.get_mut(&(vlan, group)) else { return };
        if manner.fast_leave {
            members.retain(|member| member.port != port);
            if members.is_empty() {
                self.groups.remove(&(vlan, group));
            }
        } else if let Some(member) = members.iter_mut().find(|member| member.port == port) {
            member.until = member.until.min(now + LAST_MEMBER);
            if !self.left.contains(&(vlan, group)) && self.left.len() < MOST_GROUPS {
                self.left.push((vlan, group));
            }
        }
    }

    /// Who gets a frame for `group`, put behind what `out` holds; `false`: everybody.
    pub(super) fn audience(&mut self, vlan: Vlan, group: IpAddr, now: Timestamp, out: &mut Vec<PortId>) -> bool {
        let settled = *self.settled.get_or_insert(now + SETTLING);
        match self.groups.get(&(vlan, group)) {
            Some(members) => out.extend(members.iter().filter(|member| member.until > now).map(|member| member.port)),
            None if self.overflowed || now < settled => return false,
            None => {}
        }
        self.routers(vlan, now, out);
        true
    }

    /// The ports that lead to routers, put behind what `out` holds.
    pub(super) fn routers(&self, vlan: Vlan, now: Timestamp, out: &mut Vec<PortId>) {
        let here = self.routers.iter().filter(|(there, one)| *there == vlan && one.until > now);
        out.extend(here.map(|(_, one)| one.port));
    }

    /// Forgets what is over and says what is to be asked now; `own` is the switch's address in a family, if it asks.
    pub(super) fn tick(&mut self, vlans: &[Vlan], own: [Option<IpAddr>; 2], now: Timestamp) -> Vec<Question> {
        self.settled.get_or_insert(now + SETTLING);
        self.groups.retain(|_, members| {
            members.retain(|member| member.until > now);
            !members.is_empty()
        });
        self.routers.retain(|(_, one)| one.until > now);
        self.queriers.retain(|_, (_, until)| *until > now);
        self.overflowed &= self.groups.len() >= MOST_GROUPS;
        let mut questions = Vec::new();
        for (vlan, group) in std::mem::take(&mut self.left) {
            if self.asks(vlan, own, group.is_ipv4()) && self.groups.contains_key(&(vlan, group)) {
                questions.push(Question { vlan, group: Some(group), ipv4: group.is_ipv4(), response: 10 });
            }
        }
        if self.next.is_none_or(|next| next <= now) {
            for (&vlan, ipv4) in vlans.iter().flat_map(|vlan| [(vlan, true), (vlan, false)]) {
                if self.asks(vlan, own, ipv4) {
                    // At first everybody is to answer soon.
                    let response = if self.asked == 0 { 10 } else { 100 };
                    questions.push(Question { vlan, group: None, ipv4, response });
                }
            }
            self.asked += 1;
            self.next = Some(now + if self.asked < 2 { INTERVAL / 4 } else { INTERVAL });
        }
        questions
    }

    /// Whether this switch is to ask there: nobody with a lower address does (RFC 3376 section 6.6.2).
    fn asks(&self, vlan: Vlan, own: [Option<IpAddr>; 2], ipv4: bool) -> bool {
        let Some(own) = own[usize::from(!ipv4)] else { return false };
        self.queriers.get(&(vlan, ipv4)).is_none_or(|(other, _)| !own.is_unspecified() && own < *other)
    }

    /// Forgets a port that is gone.
    pub(super) fn forget(&mut self, port: PortId) {
        self.groups.retain(|_, members| {
            members.retain(|member| member.port != port);
            !members.is_empty()
        });
        self.routers.retain(|(_, one)| one.port != port);
    }

    /// The groups with their members and the seconds that are left of each membership.
    pub(super) fn groups(&self, now: Timestamp) -> impl Iterator<Item = (Vlan, IpAddr, PortId, u64)> {
        self.groups.iter().flat_map(move |(&(vlan, group), members)| {
            members.iter().map(move |member| (vlan, group, member.port, member.until.since(now).as_secs()))
        })
    }

    fn groups_of(&self, port: PortId) -> usize {
        self.groups.values().filter(|members| members.iter().any(|member| member.port == port)).count()
    }
}

/// Groups of the link itself, which nobody has to ask for (RFC 4541 section 2.1.2; section 3).
pub(super) fn is_link_local(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
        IpAddr::V6(group) => matches!(group.segments()[0] & 0x0f, 1 | 2),
    }
}

/// Between two questions (RFC 3376 section 8.2).
const INTERVAL: Duration = Duration::from_secs(125);
/// How long a membership lasts (RFC 3376 section 8.4).
const MEMBERSHIP: Duration = Duration::from_secs(260);
/// How long another querier is believed to be there (RFC 3376 section 8.5).
const OTHER_QUERIER: Duration = Duration::from_secs(255);
/// How long a group goes on after a leave, unless somebody still wants it: two answers' time and the ticker's second.
const LAST_MEMBER: Duration = Duration::from_secs(3);
/// How long after the start everything is flooded, since stations have not answered yet.
const SETTLING: Duration = Duration::from_secs(3);
/// Of one network; with more, what nobody asked for is flooded.
const MOST_GROUPS: usize = 1024;
const MOST_GROUPS_OF_PORT: usize = 256;
const MOST_ROUTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [Option<IpAddr>; 2] = [Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1))), None];
    const ANYONE: Manner = Manner { router: RouterPort::Auto, fast_leave: false };

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn port(number: u32) -> PortId {
        PortId::new(number)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn settled() -> Table {
        let mut table = Table::default();
        assert_eq!(table.tick(&[0], OWN, at(0)).len(), 1);
        table
    }

    fn wish(table: &mut Table, group: &str, by: u32, wish: Wish, manner: Manner, now: u64) {
        table.hear(&Message::Report(vec![(address(group), wish)]), 0, port(by), manner, at(now));
    }

    fn audience(table: &mut Table, group: &str, now: u64) -> Option<Vec<u32>> {
        let mut out = Vec::new();
        let known = table.audience(0, address(group), at(now), &mut out);
        known.then(|| out.into_iter().map(PortId::value).collect())
    }

    /// A group goes to who asked for it, until that is too long ago; nobody's group goes nowhere, but at first everywhere.
    #[test]
    fn memberships() {
        let mut table = settled();
        assert_eq!(audience(&mut table, "239.1.1.1", 1), None, "who is a member already could not say so yet");
        wish(&mut table, "239.1.1.1", 1, Wish::Join, ANYONE, 2);
        wish(&mut table, "239.1.1.1", 2, Wish::Join, ANYONE, 100);
        wish(&mut table, "ff15::1", 3, Wish::Join, ANYONE, 100);
        assert_eq!(audience(&mut table, "239.1.1.1", 101), Some(vec![1, 2]));
        assert_eq!(audience(&mut table, "239.1.1.2", 101), Some(vec![]));
        assert_eq!(audience(&mut table, "ff15::1", 101), Some(vec![3]));
        assert_eq!(audience(&mut table, "239.1.1.1", 262), Some(vec![2]));
        table.forget(port(2));
        assert_eq!(audience(&mut table, "239.1.1.1", 262), Some(vec![]));
        assert_eq!(table.groups(at(262)).count(), 2, "one of them is over, which the next tick sees");
        table.tick(&[0], OWN, at(262));
        assert_eq!(table.groups(at(262)).count(), 1);
    }

    /// Who leaves gets the group until others had time to say that they want it; with fast leave no more at once.
    #[test]
    fn leaving() {
        let mut table = settled();
        for one in [1, 2] {
            wish(&mut table, "239.1.1.1", one, Wish::Join, ANYONE, 4);
        }
        wish(&mut table, "239.1.1.1", 1, Wish::Leave, ANYONE, 5);
        let asked = table.tick(&[0], OWN, at(5));
        assert_eq!(asked, [Question { vlan: 0, group: Some(address("239.1.1.1")), ipv4: true, response: 10 }]);
        assert_eq!(audience(&mut table, "239.1.1.1", 6), Some(vec![1, 2]));
        wish(&mut table, "239.1.1.1", 2, Wish::Join, ANYONE, 6);
        assert_eq!(audience(&mut table, "239.1.1.1", 8), Some(vec![2]));
        wish(&mut table, "239.1.1.1", 2, Wish::Leave, Manner { fast_leave: true, ..ANYONE }, 9);
        assert_eq!(audience(&mut table, "239.1.1.1", 9), Some(vec![]));
    }

    /// Routers get every group while they are heard, unless the port may not have one; who asks with a lower address is let
    /// ask, and replaced when it falls silent.
    #[test]
    fn routers_and_queriers() {
        let mut table = settled();
        let query = |address: &str| Message::Query { querier: self::address(address), group: None };
        table.hear(&query("10.0.0.9"), 0, port(7), ANYONE, at(5));
        table.hear(&Message::Router, 0, port(8), Manner { router: RouterPort::Never, ..ANYONE }, at(5));
        assert_eq!(audience(&mut table, "239.1.1.1", 6), Some(vec![7]));
        assert_eq!(table.tick(&[0], OWN, at(32)).len(), 1, "a higher address gives way");
        table.hear(&query("10.0.0.0"), 0, port(7), ANYONE, at(33));
        assert_eq!(table.tick(&[0], OWN, at(160)), []);
        assert_eq!(audience(&mut table, "239.1.1.1", 288), Some(vec![]));
        assert_eq!(table.tick(&[0], OWN, at(290)).len(), 1);
        table.hear(&query("0.0.0.0"), 0, port(9), ANYONE, at(300));
        assert_eq!(audience(&mut table, "239.1.1.1", 301), Some(vec![]), "nobody's question");
    }

    /// One port fills its own share only; a full table floods what it does not know.
    #[test]
    fn bounds() {
        let mut table = settled();
        for number in 0..2000u32 {
            let group = IpAddr::V4(std::net::Ipv4Addr::from(0xef01_0000 + number));
            for one in 1..6 {
                table.hear(&Message::Report(vec![(group, Wish::Join)]), 0, port(one), ANYONE, at(5));
                if number % 5 + 1 == one {
                    break;
                }
            }
        }
        assert!(table.groups.len() <= MOST_GROUPS && table.groups_of(port(1)) <= MOST_GROUPS_OF_PORT);
        let mut table = settled();
        wish(&mut table, "239.1.1.1", 1, Wish::Join, ANYONE, 5);
        for number in 0..2000u32 {
            wish(
                &mut table,
                &format!("239.2.{}.{}", number / 250, number % 250),
                100 + number % 10,
                Wish::Join,
                ANYONE,
                5,
            );
        }
        assert_eq!((table.groups.len(), audience(&mut table, "239.7.7.7", 6)), (MOST_GROUPS, None));
        assert_eq!(audience(&mut table, "239.1.1.1", 6), Some(vec![1]));
        table.tick(&[0], OWN, at(400));
        assert_eq!(audience(&mut table, "239.7.7.7", 401), Some(vec![]));
    }
}
