//! Which segment moves a connection from which state to which: the tables of Linux 6.18 (`tcp_conntracks` in
//! net/netfilter/nf_conntrack_proto_tcp.c), in our own layout.

use serde::{Deserialize, Serialize};
use vswitch_frame::tcp::flag;

use super::Direction;

/// The states of a tracked connection, named as conntrack names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum TcpState {
    /// Nothing has been seen yet.
    None,
    /// A SYN from the opener.
    SynSent,
    /// A SYN-ACK from the other side.
    SynRecv,
    /// The handshake is complete.
    Established,
    /// A FIN from one side.
    FinWait,
    /// Its acknowledgment.
    CloseWait,
    /// A FIN from each side.
    LastAck,
    /// Both are acknowledged.
    TimeWait,
    /// A reset.
    Close,
    /// A SYN from both sides (simultaneous open).
    SynSent2,
}

impl TcpState {
    /// The name that flow listings print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// Whether the handshake is over: data may flow, or did.
    #[must_use]
    pub const fn is_past_handshake(self) -> bool {
        matches!(
            self,
            TcpState::Established | TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck | TcpState::TimeWait
        )
    }

    /// Whether one side at least is closing, or the connection is over.
    pub(super) const fn is_closing(self) -> bool {
        matches!(self, TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck) || self.is_over()
    }

    /// Whether the connection is over and only its entry lingers.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, TcpState::TimeWait | TcpState::Close)
    }
}

/// What a segment's control bits make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
}

impl Kind {
    /// Classes a segment; `None` for a set of control bits that no TCP sends. PSH, ECE and CWR do not count.
    pub(super) const fn of(flags: u8) -> Option<Kind> {
        const SYN_URG: u8 = flag::SYN | flag::URG;
        const SYN_ACK: u8 = flag::SYN | flag::ACK;
        const RST_ACK: u8 = flag::RST | flag::ACK;
        const FIN_ACK: u8 = flag::FIN | flag::ACK;
        const FIN_ACK_URG: u8 = FIN_ACK | flag::URG;
        const ACK_URG: u8 = flag::ACK | flag::URG;
        match flags & !(flag::PSH | flag::ECE | flag::CWR) {
            flag::SYN | SYN_URG => Some(Kind::Syn),
            SYN_ACK => Some(Kind::SynAck),
            flag::RST | RST_ACK => Some(Kind::Rst),
            FIN_ACK | FIN_ACK_URG => Some(Kind::Fin),
            flag::ACK | ACK_URG => Some(Kind::Ack),
            _ => None,
        }
    }
}

/// What a table cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection is in this state now.
    To(TcpState),
    /// The segment passes and changes nothing: what the other side answers will tell which of us is out of step.
    Ignore,
    /// No connection in this state sends that.
    Invalid,
}

/// The cell for a segment in a state.
#[inline]
pub(super) const fn step(direction: Direction, kind: Kind, state: TcpState) -> Step {
    let table = match direction {
        Direction::Original => &ORIGINAL,
        Direction::Reply => &REPLY,
    };
    table[kind as usize][state as usize]
}

const SS: Step = Step::To(TcpState::SynSent);
const S2: Step = Step::To(TcpState::SynSent2);
const SR: Step = Step::To(TcpState::SynRecv);
const ES: Step = Step::To(TcpState::Established);
const FW: Step = Step::To(TcpState::FinWait);
const CW: Step = Step::To(TcpState::CloseWait);
const LA: Step = Step::To(TcpState::LastAck);
const TW: Step = Step::To(TcpState::TimeWait);
const CL: Step = Step::To(TcpState::Close);
const IG: Step = Step::Ignore;
const IV: Step = Step::Invalid;

/// Rows: SYN, SYN-ACK, FIN, ACK, RST. Columns: none, SS, SR, ES, FW, CW, LA, TW, CL, S2.
const ORIGINAL: [[Step; 10]; 5] = [
    [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
    [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
];

/// As [`ORIGINAL`], for segments of the reply direction.
const REPLY: [[Step; 10]; 5] = [
    [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
    [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
];
