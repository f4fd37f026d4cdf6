//! Segments by hand, for what a whole stack does too seldom: faults of smoltcp 0.14 that the engine works round.

use std::time::Duration;

use etherparse::{PacketBuilder, TcpOptionElement};
use vswitch_frame::tcp::{Tcp, flag};
use vswitch_frame::{Headers, Offload};

use super::super::{Ending, StreamLimits};
use super::world::{Peer, Wire, World};

/// An endpoint without a stack, and the gateway.
struct Hand {
    world: World,
    /// The gateway's first sequence number behind its SYN.
    theirs: u32,
}

/// A segment of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    flags: u8,
    /// Bytes from the start of its stream.
    at: u32,
    length: usize,
    /// What it acknowledges, from the start of the endpoint's stream.
    acknowledged: u32,
}

/// The endpoint's first sequence number behind its SYN; near the end of the circle, so that numbers wrap.
const OURS: u32 = u32::MAX - 50;
/// A window that holds everything.
const WIDE: u16 = u16::MAX;

impl Hand {
    /// A connection that is open. `window` is the endpoint's.
    fn open(limits: StreamLimits, room: usize, window: u16) -> Hand {
        let mut hand = Hand::asks(limits, room, window);
        hand.send(flag::ACK, 0, 0, window, &[]);
        hand
    }

    /// A connection whose SYN was answered.
    fn asks(limits: StreamLimits, room: usize, window: u16) -> Hand {
        // The stack of the world is not to hear anything.
        let mut world = World::new(limits, Wire { loses: 100, ..Wire::default() }, 11);
        (world.keeps, world.host.room) = (true, room);
        let mut hand = Hand { world, theirs: 0 };
        hand.inject(flag::SYN, OURS.wrapping_sub(1), 0, window, &[]);
        // The host's connect is made.
        hand.world.step(Duration::from_millis(1));
        hand.world.step(Duration::from_millis(1));
        let answer = hand.world.sent.first().expect("an answer to the SYN");
        let headers = Headers::parse(&answer.0).expect("a frame");
        hand.theirs = Tcp::parse(headers.l4(&answer.0)).expect("a segment").sequence().wrapping_add(1);
        hand.world.sent.clear();
        hand
    }

    /// The endpoint sends a segment that lies `at` bytes into its stream and acknowledges so many of the gateway's.
    fn send(&mut self, flags: u8, at: u32, acknowledged: u32, window: u16, payload: &[u8]) {
        self.inject(flags, OURS.wrapping_add(at), self.theirs.wrapping_add(acknowledged), window, payload);
    }

    fn inject(&mut self, flags: u8, sequence: u32, acknowledged: u32, window: u16, payload: &[u8]) {
        let builder = PacketBuilder::ipv4([10, 0, 0, 2], [192, 0, 2, 7], 64).tcp(40_000, 80, sequence, window);
        let set = |set: bool, with: fn(Step) -> Step, step: Step| if set { with(step) } else { step };
        let builder = set(flags & flag::SYN != 0, Step::syn, builder);
        let builder = set(flags & flag::FIN != 0, Step::fin, builder);
        let builder = set(flags & flag::RST != 0, Step::rst, builder);
        let builder = if flags & flag::ACK != 0 { builder.ack(acknowledged) } else { builder };
        let options: &[_] = match flags & flag::SYN {
            0 => &[],
            _ => &[TcpOptionElement::MaximumSegmentSize(1460), TcpOptionElement::WindowScale(0)],
        };
        let mut packet = Vec::new();
        builder.options(options).expect("room for options").write(&mut packet, payload).expect("a packet");
        self.world.inject(&packet, Offload::NONE);
    }

    /// What the gateway sends in so many milliseconds.
    fn sees(&mut self, millis: u32) -> Vec<Seen> {
        for _ in 0..millis {
            self.world.step(Duration::from_millis(1));
        }
        let frames = std::mem::take(&mut self.world.sent);
        let read = |(frame, _): &(Vec<u8>, Offload)| {
            let headers = Headers::parse(frame).expect("a frame");
            let segment = Tcp::parse(headers.l4(frame)).expect("a segment");
            Seen {
                flags: segment.flags() & !flag::PSH,
                at: segment.sequence().wrapping_sub(self.theirs),
                length: segment.payload().len(),
                acknowledged: segment.acknowledgment().wrapping_sub(OURS),
            }
        };
        frames.iter().map(read).collect()
    }

    fn peer(&mut self) -> &mut Peer {
        self.world.peer()
    }

    /// The peer sends these bytes, and no more.
    fn peer_ends(&mut self, bytes: &[u8]) {
        self.peer().sends.extend(bytes);
        self.peer().ended = true;
    }
}

type Step = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

/// The bytes and the end of a host's peer reach an endpoint that has ended first, and opens its window late by a segment that
/// acknowledges nothing new.
#[test]
fn window_opens_after_the_end() {
    let mut hand = Hand::open(StreamLimits::default(), usize::MAX, 1000);
    hand.send(flag::FIN | flag::ACK, 0, 0, 1000, &[]);
    hand.peer_ends(&super::pattern(5000));
    let sent = hand.sees(5);
    assert_eq!(sent.iter().map(|seen| seen.length).sum::<usize>(), 1000, "{sent:?}");
    hand.send(flag::ACK, 1, 1000, 0, &[]);
    assert_eq!(hand.sees(5), []);
    hand.send(flag::ACK, 1, 1000, WIDE, &[]);
    let rest = Seen { flags: flag::ACK, at: 1000, length: 4000, acknowledged: 1 };
    assert_eq!(hand.sees(5), [rest]);
    hand.send(flag::ACK, 1, 5000, WIDE, &[]);
    assert_eq!(hand.sees(5), [Seen { flags: flag::ACK | flag::FIN, at: 5000, length: 0, acknowledged: 1 }]);
    hand.send(flag::ACK, 1, 5001, WIDE, &[]);
    hand.sees(5);
    assert_eq!(hand.world.host.closed.iter().map(|(_, ending)| *ending).collect::<Vec<_>>(), [Ending::Orderly]);
}

/// An endpoint that goes on sending is told of the peer's end with its last bytes, not a round trip later.
#[test]
fn the_end_follows_at_once() {
    let mut hand = Hand::open(StreamLimits::default(), usize::MAX, WIDE);
    hand.peer_ends(&super::pattern(500));
    let told = hand.sees(5);
    assert!(told.iter().any(|seen| seen.flags & flag::FIN != 0), "{told:?}");
}

/// Bytes that find no room are not lost, though a FIN comes with them: neither counts until both are sent again.
#[test]
fn end_behind_a_full_ring() {
    let (ring, bytes) = (4096, super::pattern(4200));
    let limits = StreamLimits { ring, ..StreamLimits::default() };
    let mut hand = Hand::open(limits, 0, WIDE);
    hand.send(flag::ACK, 0, 0, WIDE, &bytes[..4000]);
    hand.sees(5);
    hand.send(flag::ACK | flag::FIN, 4000, 0, WIDE, &bytes[4000..]);
    let acknowledged = hand.sees(5).iter().map(|seen| seen.acknowledged).max();
    assert_eq!(acknowledged, u32::try_from(ring).ok(), "what found room, and not the FIN");
    hand.peer().room = usize::MAX;
    hand.sees(5);
    assert!(hand.peer().got == bytes[..ring] && !hand.peer().finished);
    hand.send(flag::ACK | flag::FIN, 4000, 0, WIDE, &bytes[4000..]);
    assert_eq!(hand.sees(5).iter().map(|seen| seen.acknowledged).max(), Some(4201));
    assert!(hand.peer().got == bytes && hand.peer().finished, "{} bytes", hand.peer().got.len());
}

/// A FIN with bytes that come before those in front of them ends nothing; sent again behind them, it does.
#[test]
fn end_before_its_time() {
    let bytes = super::pattern(300);
    let mut hand = Hand::open(StreamLimits::default(), usize::MAX, WIDE);
    hand.send(flag::ACK | flag::FIN, 200, 0, WIDE, &bytes[200..]);
    assert_eq!(hand.sees(5).iter().map(|seen| seen.acknowledged).max(), Some(0));
    hand.send(flag::ACK, 0, 0, WIDE, &bytes[..200]);
    assert_eq!(hand.sees(5).iter().map(|seen| seen.acknowledged).max(), Some(300));
    assert!(hand.peer().got == bytes && !hand.peer().finished);
    hand.send(flag::ACK | flag::FIN, 200, 0, WIDE, &bytes[200..]);
    assert_eq!(hand.sees(5).iter().map(|seen| seen.acknowledged).max(), Some(301));
    assert!(hand.peer().got == bytes && hand.peer().finished);
}

/// A FIN that was lost is sent again, however many acknowledgments of what lies before it come, late ones among them.
#[test]
fn late_acknowledgments_of_all_but_the_end() {
    let mut hand = Hand::open(StreamLimits::default(), usize::MAX, WIDE);
    hand.peer().sends.extend(super::pattern(1000));
    hand.sees(5);
    hand.send(flag::ACK, 0, 500, WIDE, &[]);
    hand.send(flag::ACK, 0, 1000, WIDE, &[]);
    hand.peer().ended = true;
    let end = Seen { flags: flag::ACK | flag::FIN, at: 1000, length: 0, acknowledged: 0 };
    assert_eq!(hand.sees(5), [end]);
    for _ in 0..5 {
        hand.send(flag::ACK, 0, 500, WIDE, &[]);
        hand.send(flag::ACK, 0, 1000, WIDE, &[]);
    }
    assert!(hand.sees(3000).contains(&end));
}

/// Bytes that an endpoint drops as it shuts its window on them are sent again when it opens.
#[test]
fn window_shut_on_what_is_under_way() {
    let mut hand = Hand::open(StreamLimits::default(), usize::MAX, 2000);
    hand.peer().sends.extend(super::pattern(2000));
    hand.sees(5);
    hand.send(flag::ACK, 0, 500, 0, &[]);
    hand.sees(5);
    hand.send(flag::ACK, 0, 500, WIDE, &[]);
    let again = hand.sees(2000);
    assert_eq!(again, [Seen { flags: flag::ACK, at: 500, length: 1500, acknowledged: 0 }]);
}

/// A shut window is probed also when the bytes that it keeps back came later, as what opens it may be lost.
#[test]
fn probes() {
    let mut hand = Hand::open(StreamLimits::default(), usize::MAX, 1000);
    hand.peer().sends.extend(super::pattern(1000));
    hand.sees(5);
    hand.send(flag::ACK, 0, 1000, 0, &[]);
    hand.sees(5);
    hand.peer().sends.extend(super::pattern(100));
    let probe = Seen { flags: flag::ACK, at: 1000, length: 1, acknowledged: 0 };
    let probes = hand.sees(8000);
    assert!(probes.len() > 1 && probes.iter().all(|seen| *seen == probe), "{probes:?}");
    hand.send(flag::ACK, 0, 1000, 0, &[]);
    hand.send(flag::ACK, 0, 1000, WIDE, &[]);
    assert_eq!(hand.sees(5), [Seen { length: 100, ..probe }]);
}

/// An endpoint that resets instead of opening, as one that scans ports does, leaves nothing behind.
#[test]
fn reset_before_open() {
    let mut hand = Hand::asks(StreamLimits::default(), usize::MAX, WIDE);
    hand.send(flag::RST, 0, 0, 0, &[]);
    hand.sees(5);
    assert_eq!((hand.world.engine.counters().flows, hand.world.engine.counters().reset), (0, 1));
    assert_eq!(hand.world.host.closed[0].1, Ending::Reset);
}
