//! How long flows live without a packet. Read first: RFC 4787 section 4.3, RFC 5382 section 5, RFC 5508 section 3.2.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tcp::TcpState;

/// Whole seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl From<Seconds> for Duration {
    #[inline]
    fn from(seconds: Seconds) -> Duration {
        Duration::from_secs(u64::from(seconds.0))
    }
}

/// The timers, in seconds. The names are those of Linux's sysctls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// A SYN has been seen.
    pub tcp_syn_sent: Seconds,
    /// A SYN-ACK has been seen.
    pub tcp_syn_recv: Seconds,
    /// The connection is open.
    pub tcp_established: Seconds,
    /// One side has sent its FIN.
    pub tcp_fin_wait: Seconds,
    /// That FIN is acknowledged.
    pub tcp_close_wait: Seconds,
    /// Both sides have sent their FIN.
    pub tcp_last_ack: Seconds,
    /// Both FINs are acknowledged.
    pub tcp_time_wait: Seconds,
    /// The connection was reset.
    pub tcp_close: Seconds,
    /// The same segment was seen over and over.
    pub tcp_max_retrans: Seconds,
    /// Data waits for its acknowledgment, or a picked-up connection for its first answer.
    pub tcp_unacknowledged: Seconds,
    /// A UDP flow, until it is a stream.
    pub udp: Seconds,
    /// A UDP flow with packets both ways for longer than two seconds.
    pub udp_stream: Seconds,
    /// An ICMP or ICMPv6 query.
    pub icmp: Seconds,
    /// SCTP, which is tracked by its ports only.
    pub sctp: Seconds,
    /// Any other protocol.
    pub generic: Seconds,
}

impl Timeouts {
    /// The default: Linux's timers, raised where an RFC's MUST asks for more.
    ///
    /// RFC 5382 REQ-5: half-open and closing connections 240 s. RFC 4787 REQ-5: UDP 120 s, and the 300 s that it
    /// recommends once there was an answer. RFC 5508 REQ-2: queries 60 s.
    pub const RFC: Timeouts = Timeouts {
        tcp_syn_sent: Seconds(240),
        tcp_syn_recv: Seconds(240),
        tcp_established: Seconds(432_000),
        tcp_fin_wait: Seconds(240),
        tcp_close_wait: Seconds(240),
        tcp_last_ack: Seconds(240),
        tcp_time_wait: Seconds(240),
        tcp_close: Seconds(240),
        tcp_max_retrans: Seconds(300),
        tcp_unacknowledged: Seconds(300),
        udp: Seconds(120),
        udp_stream: Seconds(300),
        icmp: Seconds(60),
        sctp: Seconds(210),
        generic: Seconds(600),
    };

    /// Linux's own timers (kernel 6.18), shorter than the RFCs allow.
    pub const LINUX: Timeouts = Timeouts {
        tcp_syn_sent: Seconds(120),
        tcp_syn_recv: Seconds(60),
        tcp_established: Seconds(432_000),
        tcp_fin_wait: Seconds(120),
        tcp_close_wait: Seconds(60),
        tcp_last_ack: Seconds(30),
        tcp_time_wait: Seconds(120),
        tcp_close: Seconds(10),
        tcp_max_retrans: Seconds(300),
        tcp_unacknowledged: Seconds(300),
        udp: Seconds(30),
        udp_stream: Seconds(120),
        icmp: Seconds(30),
        sctp: Seconds(210),
        generic: Seconds(600),
    };

    /// The same where what is behind the uplink ends connections itself: it knows when one is over, and no peer's late segments
    /// come this far. RFC 5382's four minutes are for a translator that does not know.
    #[must_use]
    pub fn behind_which_connections_end(&self) -> Timeouts {
        let ended = |seconds: Seconds| seconds.min(ENDED);
        let (tcp_time_wait, tcp_close) = (ended(self.tcp_time_wait), ended(self.tcp_close));
        Timeouts { tcp_time_wait, tcp_close, ..self.clone() }
    }

    /// The timer of a TCP state.
    #[inline]
    #[must_use]
    pub const fn tcp(&self, state: TcpState) -> Seconds {
        match state {
            TcpState::None | TcpState::SynSent | TcpState::SynSent2 => self.tcp_syn_sent,
            TcpState::SynRecv => self.tcp_syn_recv,
            TcpState::Established => self.tcp_established,
            TcpState::FinWait => self.tcp_fin_wait,
            TcpState::CloseWait => self.tcp_close_wait,
            TcpState::LastAck => self.tcp_last_ack,
            TcpState::TimeWait => self.tcp_time_wait,
            TcpState::Close => self.tcp_close,
        }
    }
}

/// How long a connection that is over is remembered where it ended for sure: for what its endpoint repeats.
const ENDED: Seconds = Seconds(10);

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts::RFC
    }
}
