//! Single frames: injected, traced, expected, and files of them that are sent again. `/vswitch/v1/inject`, `/vswitch/v1/trace`, `/vswitch/v1/expect` and
//! `/vswitch/v1/replay`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A frame to inject, or to be foreseen. Either `hex` or `packet` says what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FrameRequest {
    /// A container, `container@network` or an attached endpoint.
    pub endpoint: String,
    /// Towards the endpoint; otherwise as if it had sent it.
    pub towards: bool,
    /// All its bytes from the Ethernet header on, hexadecimal; spaces and colons do not count.
    pub hex: Option<String>,
    /// What it is like.
    pub packet: Option<PacketSpec>,
    /// How long its way is followed, such as `2s`; 2 s without it.
    pub within: Option<String>,
    /// Only say what would become of it: nothing is changed and nothing sent.
    pub dry_run: bool,
}

/// A packet in a few words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PacketSpec {
    /// `udp`, `tcp`, `icmp` (an echo request) or `arp` (a question).
    pub kind: String,
    /// Where to: `ADDRESS:PORT` (`[ADDRESS]:PORT`) for `udp` and `tcp`, an address for the others.
    pub to: String,
    /// From where, likewise; without it the endpoint's own address and port 40000.
    pub from: Option<String>,
    /// What it carries.
    pub data: Option<String>,
    /// Flags of TCP, with commas, such as `syn,ack`; `syn` without it.
    pub flags: Option<String>,
    /// Time to live; 64 without it.
    pub ttl: Option<u8>,
}

/// What became of a frame, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Story {
    /// What it is known as, also in captures; 0 for a dry run.
    pub number: u64,
    /// The endpoint's port.
    pub port: String,
    /// `up` (from the endpoint) or `down` (towards it).
    pub direction: String,
    /// Nothing was changed and nothing sent.
    pub dry_run: bool,
    /// What it met, in order.
    pub steps: Vec<TraceStep>,
    /// Where it was seen since: where it left, and where it ended.
    pub ends: Vec<TraceEnd>,
    /// Nothing more is to come; otherwise it waits, for a wire or a neighbour.
    pub complete: bool,
}

/// Something that a frame met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceStep {
    /// `parse`, `wire-up`, `anti-spoof`, `learn`, `destination`, `isolation`, `policy`, `features`, `service`, `router`, `nat`,
    /// `route`, `hops`, `translate`, `neighbour`, `egress` or `verdict`.
    pub step: String,
    /// What was found.
    pub text: String,
}

/// Where a frame left, or ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceEnd {
    /// `down` or `drop`.
    pub place: String,
    /// Of which port.
    pub port: String,
    /// What it was then.
    pub frame: String,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whose steps are shown as they happen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TraceQuery {
    /// A container, `container@network`, an attached endpoint or a network; `all` or nothing: every port.
    pub on: Option<String>,
    /// A filter in tcpdump's language.
    pub filter: Option<String>,
}

/// What is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExpectQuery {
    /// A container, `container@network`, an attached endpoint or a network; `all` or nothing: every port.
    pub on: Option<String>,
    /// A filter in tcpdump's language.
    pub filter: Option<String>,
    /// Where: `up`, `drop`, `down`, several with commas; `down` without it.
    pub at: Option<String>,
    /// For how long, such as `1s`, which it is without it.
    pub within: Option<String>,
    /// How many of them; 0: none may come. 1 without it.
    pub count: Option<u64>,
}

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expected {
    /// Whether it is what was expected.
    pub met: bool,
    /// How many frames matched.
    pub count: u64,
    /// The first of them.
    pub matched: Vec<SeenFrame>,
    /// How many others were seen.
    pub others: u64,
    /// The nearest of those.
    pub nearest: Vec<SeenFrame>,
    /// What became of frames that were injected meanwhile, when it was not met.
    pub injected: Vec<Story>,
    /// The seed of what happens by chance.
    pub seed: u64,
}

/// A frame at a place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeenFrame {
    /// What it is known as.
    pub number: u64,
    /// `up`, `drop` or `down`.
    pub place: String,
    /// At which port.
    pub port: String,
    /// In one line.
    pub frame: String,
    /// All its bytes, hexadecimal.
    pub hex: String,
    /// Why it ended there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The parts of the filter that it does not match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs_in: Vec<String>,
}

/// What is done with the frames of a pcap or pcapng file, which is the request's body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReplayQuery {
    /// The container, `container@network` or attached endpoint that sends them.
    pub endpoint: String,
    /// They are sent towards it instead.
    pub towards: Option<bool>,
    /// How fast: `2x` is twice as fast as they came; as fast without it.
    pub speed: Option<String>,
    /// One behind the other, whatever their times.
    pub at_once: Option<bool>,
    /// Only those that this address sent, by IP (and ARP) or Ethernet.
    pub side: Option<String>,
    /// `OLD=NEW`, several with commas: OLD is an IP or MAC address of the file; NEW another one, an endpoint, or `gateway`.
    pub map: Option<String>,
    /// Checksums are made anew: of what was captured where it was sent, they may be unfinished.
    pub fix_checksums: Option<bool>,
}

/// What came of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Frames that were sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From when the first was due to when the last was sent, in nanoseconds.
    pub time_ns: u64,
    /// How late half of them were at most, in nanoseconds.
    pub late_median_ns: u64,
    /// How late 99 % were at most.
    pub late_p99_ns: u64,
    /// How late 99.9 % were at most.
    pub late_p999_ns: u64,
    /// How late the latest was.
    pub late_max_ns: u64,
    /// Frames of the other side, which were left out.
    pub other_side: u64,
    /// Frames of which the file has only the beginning, which were left out.
    pub cut: u64,
    /// Frames that are too short or too long to be sent, which were left out.
    pub unfit: u64,
}
