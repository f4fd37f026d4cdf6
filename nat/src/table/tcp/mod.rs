//! The life of a TCP connection as a box in the middle sees it.
//!
//! Read first: RFC 9293 section 3.3.2, RFC 5961 (challenge ACKs), RFC 7857 section 2. The behaviour is that of Linux
//! conntrack (6.18), whose table of transitions and whose cases for a box that is out of step with both ends are proven;
//! each case is described where it is handled.

mod segment;
mod transitions;
mod window;

use serde::{Deserialize, Serialize};

pub use segment::Segment;
pub use transitions::TcpState;
use transitions::{Kind, Step, step};
use window::{Peer, Position, before};

use super::flow::Direction;
use super::timeouts::{Seconds, Timeouts};

/// Whether segments out of the window are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowCheck {
    /// They are.
    #[default]
    Strict,
    /// Only resets are (conntrack's `be_liberal`).
    Liberal,
}

/// What becomes of a segment of an unknown connection that does not open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pickup {
    /// A bare acknowledgment or data makes an entry (conntrack's `loose`), so that connections outlive a restart.
    #[default]
    Loose,
    /// It is dropped.
    SynOnly,
}

/// What becomes of an entry whose first answer is a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedConnection {
    /// It lingers in CLOSE, so that a retry keeps its port (RFC 7857 section 2).
    #[default]
    Keep,
    /// It goes at once, as in Linux.
    Forget,
}

/// How connections are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpSettings {
    /// Whether segments out of the window are dropped.
    pub window_check: WindowCheck,
    /// What becomes of a segment of an unknown connection.
    pub pickup: Pickup,
    /// What becomes of an entry whose first answer is a reset.
    pub refused: RefusedConnection,
}

/// What is remembered of the last segment, to come back into step with ends that know better.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    sequence: u32,
    acknowledgment: u32,
    end: u32,
    window: u16,
    kind: Option<Kind>,
    direction: Direction,
    scale: Option<u8>,
    sack: bool,
    /// A SYN passed in LAST_ACK; the ACK that answers it is a challenge, not the last acknowledgment.
    expects_challenge: bool,
}

/// One tracked connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    peers: [Peer; 2],
    last: Last,
    retransmissions: u8,
    state: TcpState,
    simultaneous: bool,
}

/// What tracking makes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// It belongs to the connection, which now lives this much longer, or no longer than before. `confirmed` says that
    /// the handshake is complete.
    Accepted { timeout: Option<Seconds>, confirmed: bool },
    /// It passes without a trace.
    Ignored,
    /// It passes, and the entry goes.
    Finished,
    /// It opens the connection anew: the entry is to be renewed by [`Connection::open`].
    Reopened,
    /// Not part of this connection.
    Invalid,
    /// A part of it, but out of the window. When each side has tried to end the connection so, it lives this long at
    /// most: the ends have gone on without us.
    OutOfWindow { at_most: Option<Seconds> },
}

/// What the flow knows beside its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) reply: bool,
    pub(crate) assured: bool,
}

impl Connection {
    /// The connection that `segment` opens, or `None` if it opens none.
    pub(crate) fn open(segment: &Segment, settings: TcpSettings) -> Option<Connection> {
        let kind = Kind::of(segment.flags)?;
        let Step::To(state) = step(Direction::Original, kind, TcpState::None) else { return None };
        let peers = match (state, settings.pickup) {
            (TcpState::SynSent, _) => [Peer::opened(segment), Peer::default()],
            (_, Pickup::Loose) => [Peer::picked_up(segment), Peer { sack: true, liberal: true, ..Peer::default() }],
            (_, Pickup::SynOnly) => return None,
        };
        let last = Last::default();
        Some(Connection { peers, last, retransmissions: 0, state: TcpState::None, simultaneous: false })
    }

    /// A connection in `state` of which nothing else is known: one that was kept over a restart.
    pub(crate) fn restored(state: TcpState) -> Connection {
        let peer = Peer { sack: true, liberal: true, closed_first: state.is_over(), ..Peer::default() };
        Connection { peers: [peer; 2], last: Last::default(), retransmissions: 0, state, simultaneous: false }
    }

    /// The sequence number that the opener expects next, and what it has sent; `None`: nobody knows, or it is over.
    pub(crate) fn expected_by_opener(&self) -> Option<(u32, u32)> {
        let [opener, other] = &self.peers;
        let known = !self.state.is_over() && other.max_window != 0 && opener.max_window != 0;
        known.then_some((other.end, opener.end))
    }

    /// The state it is in.
    pub(crate) const fn state(&self) -> TcpState {
        self.state
    }

    /// Whether a SYN with this sequence number lies beyond everything that the opener has sent, so that no old
    /// duplicate can be taken for part of the new connection.
    pub(crate) const fn is_outrun_by(&self, sequence: u32) -> bool {
        before(self.peers[0].end, sequence)
    }

    /// Whether a SYN from the side that was connected to opens a connection of its own: then this one is to be removed,
    /// and the SYN looked up as the first packet of another flow.
    pub(crate) fn is_reopened_by_reply(&self, segment: &Segment) -> bool {
        let opens = Kind::of(segment.flags) == Some(Kind::Syn)
            && step(Direction::Reply, Kind::Syn, self.state) == Step::To(TcpState::SynSent);
        opens && self.may_reopen(Direction::Reply)
    }

    /// Takes a segment.
    pub(crate) fn track(
        &mut self,
        direction: Direction,
        segment: &Segment,
        seen: Seen,
        settings: TcpSettings,
        timeouts: &Timeouts,
    ) -> Tracked {
        let Some(kind) = Kind::of(segment.flags) else { return Tracked::Invalid };
        let mut old = self.state;
        let mut new = match step(direction, kind, old) {
            Step::Invalid => return Tracked::Invalid,
            Step::Ignore => match self.out_of_step(direction, kind, segment) {
                Some(state) => {
                    old = TcpState::SynSent;
                    state
                }
                None => return Tracked::Ignored,
            },
            Step::To(state) => state,
        };
        if new == TcpState::SynSent && old.is_over() {
            if self.may_reopen(direction) {
                // From the reply direction it is not ours to open (see `is_reopened_by_reply`): another packet has ended the
                // connection since this one was looked up.
                return if direction == Direction::Original { Tracked::Reopened } else { Tracked::Invalid };
            }
            self.note_ignored(direction, kind, segment);
            return Tracked::Ignored;
        }
        if new == TcpState::TimeWait && old == TcpState::LastAck && self.is_challenge(direction, kind) {
            self.last.expects_challenge = false;
            return Tracked::Ignored;
        }
        if new == TcpState::SynSent2 {
            self.simultaneous = true;
        }
        if new == TcpState::SynRecv && direction == Direction::Reply && kind == Kind::Ack && self.simultaneous {
            new = TcpState::Established;
        }
        let mut reset = Reset::Plausible;
        if new == TcpState::Close && kind == Kind::Rst {
            reset = self.reset(direction, segment, seen, old);
            match reset {
                Reset::Invalid => return Tracked::OutOfWindow { at_most: None },
                Reset::Ignored => return Tracked::Ignored,
                Reset::Challenged => new = old,
                Reset::Certain | Reset::Plausible => {}
            }
        }
        let peers = self.peers;
        if reset != Reset::Certain {
            match self.position(direction, kind, segment, old, settings) {
                Position::Inside => {}
                Position::Beside => return Tracked::Ignored,
                Position::Outside => {
                    return Tracked::OutOfWindow { at_most: self.note_outside(direction, kind, seen, timeouts) };
                }
            }
        }
        if reset == Reset::Challenged {
            // It may be forged: nothing is learnt from its numbers.
            self.peers = peers;
        }
        self.note(direction, kind, segment);
        if new == TcpState::FinWait && old != new {
            self.peers[direction.index()].closed_first = true;
        }
        self.state = new;
        if !seen.reply
            && direction == Direction::Reply
            && kind == Kind::Rst
            && settings.refused == RefusedConnection::Forget
        {
            return Tracked::Finished;
        }
        // The first answer does not count yet: only what follows it shows that the opener got it.
        let confirmed = seen.reply
            && !seen.assured
            && matches!(old, TcpState::SynRecv | TcpState::Established)
            && new == TcpState::Established;
        // A SYN that is only repeated must not hold a port for ever.
        let repeats = !seen.reply && kind == Kind::Syn && old == TcpState::SynSent;
        let timeout = (!repeats).then(|| self.timeout(kind, seen.reply, timeouts));
        Tracked::Accepted { timeout, confirmed }
    }

    /// A segment that the table ignores. A SYN-ACK that acknowledges a SYN which we ignored shows that both ends are
    /// in step with each other and not with us: then we follow them, and the new state is returned.
    fn out_of_step(&mut self, direction: Direction, kind: Kind, segment: &Segment) -> Option<TcpState> {
        let last = self.last;
        if kind == Kind::SynAck
            && last.kind == Some(Kind::Syn)
            && last.direction != direction
            && segment.acknowledgment == last.end
        {
            self.peers[last.direction.index()] = Peer {
                end: last.end,
                max_end: last.end,
                max_window: u32::from(last.window).max(1),
                scale: last.scale.unwrap_or(0),
                has_scale: last.scale.is_some(),
                sack: last.sack,
                ..Peer::default()
            };
            self.peers[direction.index()] = Peer::default();
            self.last.expects_challenge = false;
            return Some(TcpState::SynRecv);
        }
        self.note_ignored(direction, kind, segment);
        None
    }

    fn note_ignored(&mut self, direction: Direction, kind: Kind, segment: &Segment) {
        self.last.kind = Some(kind);
        self.last.direction = direction;
        self.last.sequence = segment.sequence;
        self.last.end = segment.end();
        self.last.window = segment.window;
        if kind == Kind::Syn && direction == Direction::Original {
            self.last.scale = segment.window_scale;
            self.last.sack = segment.sack_permitted;
            self.last.expects_challenge = self.state == TcpState::LastAck;
        }
        if self.state == TcpState::SynSent && kind == Kind::Ack && direction == Direction::Reply {
            self.last.acknowledgment = segment.acknowledgment;
        }
    }

    /// Notes an end of the connection that was out of the window, and says how long the entry may live when it answers
    /// one from the other side.
    fn note_outside(&mut self, direction: Direction, kind: Kind, seen: Seen, timeouts: &Timeouts) -> Option<Seconds> {
        let ends = |kind| matches!(kind, Kind::Fin | Kind::Rst);
        if !seen.assured || !ends(kind) {
            return None;
        }
        if self.last.direction != direction && self.last.kind.is_some_and(ends) {
            return Some(timeouts.tcp_unacknowledged);
        }
        (self.last.kind, self.last.direction) = (Some(kind), direction);
        None
    }

    /// A SYN may reuse the ports of a connection that is over when we saw who closed it, or when its sender had just
    /// reset it (RFC 9293 section 3.6.1, RFC 6191).
    fn may_reopen(&self, direction: Direction) -> bool {
        self.peers.iter().any(|peer| peer.closed_first)
            || (self.last.direction == direction && self.last.kind == Some(Kind::Rst))
            || (direction == Direction::Original && self.state == TcpState::Close)
    }

    fn is_challenge(&self, direction: Direction, kind: Kind) -> bool {
        kind == Kind::Ack
            && self.last.direction != direction
            && self.last.kind == Some(Kind::Syn)
            && self.last.expects_challenge
    }

    /// Which of the things that a reset can mean this one means.
    fn reset(&self, direction: Direction, segment: &Segment, seen: Seen, old: TcpState) -> Reset {
        if old.is_closing() {
            // The ends may have used these ports again already, so that nothing we remember says what is exact.
            return Reset::Certain;
        }
        let established = old == TcpState::Established;
        // What was acknowledged is of no use once a SYN was let through that we could not judge.
        let max_ack = self.peers[direction.opposite().index()].max_ack.filter(|_| self.last.kind != Some(Kind::Syn));
        if let Some(max_ack) = max_ack
            && (segment.sequence != 0 || established)
        {
            if before(segment.sequence, max_ack) {
                return Reset::Invalid;
            }
            let continues_data = self.last.kind == Some(Kind::Ack)
                && self.last.direction == direction
                && segment.sequence == self.last.end;
            if established && segment.sequence != max_ack && !continues_data {
                // RFC 5961 section 3.2: the receiver answers this with a challenge and stays open.
                return Reset::Challenged;
            }
            return Reset::Plausible;
        }
        let answers_ignored =
            (seen.reply && self.last.kind == Some(Kind::Syn)) || (!seen.assured && self.last.kind == Some(Kind::Ack));
        if answers_ignored && segment.acknowledgment == self.last.end {
            return Reset::Certain;
        }
        let answers_challenge = old == TcpState::SynSent
            && self.last.kind == Some(Kind::Ack)
            && self.last.direction == Direction::Reply
            && segment.sequence == self.last.acknowledgment;
        if answers_challenge { Reset::Ignored } else { Reset::Plausible }
    }

    fn position(
        &mut self,
        direction: Direction,
        kind: Kind,
        segment: &Segment,
        old: TcpState,
        settings: TcpSettings,
    ) -> Position {
        let [original, reply] = &mut self.peers;
        let (sender, receiver) = match direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        let handshake = matches!(old, TcpState::None | TcpState::SynSent | TcpState::SynRecv);
        let restarts = segment.is_syn() && before(sender.end, segment.end()) && handshake;
        if segment.is_syn() && (sender.max_window == 0 || restarts) {
            *sender = Peer::opened(segment);
            if direction == Direction::Reply {
                window::agree_on_scale(sender, receiver);
                if kind == Kind::Syn {
                    // Simultaneous open: there is no acknowledgment to judge yet.
                    return Position::Inside;
                }
            }
        } else {
            window::learn(sender, receiver, segment);
        }
        let liberal = sender.liberal || (settings.window_check == WindowCheck::Liberal && kind != Kind::Rst);
        let quiet_reset = kind == Kind::Rst && segment.sequence == 0 && old == TcpState::SynSent;
        match window::judge(sender, receiver, segment, quiet_reset) {
            _ if liberal => Position::Inside,
            position => position,
        }
    }

    fn note(&mut self, direction: Direction, kind: Kind, segment: &Segment) {
        let end = segment.end();
        let last = &mut self.last;
        if kind == Kind::Ack {
            let same = last.direction == direction
                && (last.sequence, last.acknowledgment, last.end, last.window)
                    == (segment.sequence, segment.acknowledgment, end, segment.window);
            self.retransmissions = if same { self.retransmissions.saturating_add(1) } else { 0 };
            last.sequence = segment.sequence;
            last.acknowledgment = segment.acknowledgment;
            last.end = end;
            last.window = segment.window;
        }
        last.direction = direction;
        last.kind = Some(kind);
    }

    fn timeout(&self, kind: Kind, answered: bool, timeouts: &Timeouts) -> Seconds {
        let regular = timeouts.tcp(self.state);
        let unacknowledged = self.peers.iter().any(|peer| peer.unacknowledged);
        let timeout = if self.retransmissions >= MAX_RETRANSMISSIONS || self.last.window == 0 && kind == Kind::Ack {
            regular.min(timeouts.tcp_max_retrans)
        } else if kind == Kind::Rst {
            regular.min(timeouts.tcp_close)
        } else if unacknowledged {
            regular.min(timeouts.tcp_unacknowledged)
        } else {
            regular
        };
        if !answered && self.state == TcpState::Established {
            // Picked up mid-stream and not answered yet: no five days for a single forged acknowledgment.
            return timeout.min(timeouts.tcp_unacknowledged);
        }
        timeout
    }
}

/// What a reset can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// Neither end would act on it.
    Invalid,
    /// In the window but not exact: the connection stays open, on a short timer.
    Challenged,
    /// It answers a challenge that we let pass; it changes nothing.
    Ignored,
    /// It answers a segment that we let pass without judging it, so it is not judged either.
    Certain,
    /// To be judged by the window.
    Plausible,
}

/// After so many repeats the connection counts as stalled (Linux `nf_conntrack_tcp_max_retrans`).
const MAX_RETRANSMISSIONS: u8 = 3;
