//! What happens on a wire that is not left to chance: times, order, queues, limits, changes while frames wait.

#![allow(clippy::unwrap_used, reason = "a test that cannot build its world has failed")]

mod common;

use std::sync::Arc;

use common::{Bed, number_of, plain_frame, settings, udp_frame};
use proptest::prelude::*;
use vswitch_frame::{MacAddr, Offload, PacketMut};
use vswitch_wire::{Offered, Sender, WireDrop, WireSeed};

const MS: u64 = 1_000_000;

/// Lets frames come at their times and says which are out when.
fn departures(bed: &mut Bed, frames: &[(u64, Vec<u8>)]) -> Vec<(u64, u16)> {
    let start = bed.now;
    let mut out = Vec::new();
    let mut left = frames.iter().peekable();
    loop {
        let arrival = left.peek().map(|(at, _)| start + at);
        let due = bed.wire.next_due();
        let Some(next) = [arrival, due].into_iter().flatten().min() else { return out };
        bed.now = next.max(bed.now);
        if arrival == Some(next) && due.is_none_or(|due| due > next) {
            let (_, frame) = left.next().unwrap();
            if bed.offer(frame) == Offered::Whole {
                out.push((bed.now - start, number_of(frame)));
            }
        }
        out.extend(bed.due().iter().map(|frame| (bed.now - start, number_of(frame))));
    }
}

/// A delay is kept to the nanosecond, never shorter; a super-frame stays whole.
#[test]
fn delay() {
    let mut bed = Bed::new("delay 50ms");
    let frames: Vec<_> = (0..5).map(|n| (u64::from(n) * MS, plain_frame(n))).collect();
    let out = departures(&mut bed, &frames);
    assert_eq!(out, (0..5).map(|n| (u64::from(n) * MS + 50 * MS, n)).collect::<Vec<_>>());
    let (frame, offload) = common::super_frame(10);
    assert_eq!(bed.offer_with(&frame, offload), Offered::Taken);
    let held = bed.wire.take_due(bed.now + 50 * MS).unwrap();
    assert_eq!((&held.frame[..], held.offload), (&frame[..], offload));
}

/// A rate spaces frames by the time that their bits take, without a burst at the start; the mean is exact.
#[test]
fn rate() {
    let mut bed = Bed::new("rate 10mbit queue 10000p");
    let frame = |n: u16| udp_frame(&[&n.to_be_bytes()[..], &[0; 1500 - 44]].concat(), 53);
    assert_eq!(frame(0).len(), 1500);
    let frames: Vec<_> = (0..1000).map(|n| (0, frame(n))).collect();
    let out = departures(&mut bed, &frames);
    assert_eq!(out.len(), 1000);
    for (index, (at, _)) in (1u64..).zip(&out) {
        assert_eq!(*at, index * 1_200_000);
    }
    let mut bed = Bed::new("rate 1mbit overhead 28 cell 53");
    let out = departures(&mut bed, &[(0, frame(0))]);
    assert_eq!(out[0].0, (1528u64.next_multiple_of(53)) * 8 * 1000);
    let (frame, offload) = common::super_frame(10);
    let mut bed = Bed::new("rate 1mbit");
    bed.offer_with(&frame, offload);
    bed.now += 154 * 8 * 1000 * 10;
    assert_eq!(bed.due().len(), 10, "segments leave one by one");
}

/// A trace lets 1500 bytes of packets go at each of its moments, again from its beginning; a chance that nobody uses is gone.
#[test]
fn traces() {
    let mut bed = Bed::new("rate trace 2,5,5,10");
    let frame = |n: u16, packet: usize| udp_frame(&[&n.to_be_bytes()[..], &vec![0; packet - 30]].concat(), 53);
    let frames = vec![
        (0, frame(0, 1500)),
        (0, frame(1, 700)),
        (0, frame(2, 700)),
        (0, frame(3, 1400)),
        (0, frame(4, 100)),
        (31 * MS, frame(5, 3000)),
    ];
    let out = departures(&mut bed, &frames);
    // Number 3 takes the rest of one chance and most of the next; what is left at 5 ms goes to number 4.
    assert_eq!(out, [(2 * MS, 0), (5 * MS, 1), (5 * MS, 2), (5 * MS, 3), (5 * MS, 4), (35 * MS, 5)]);
}

/// A full queue loses what comes last or waits longest, named; what is in transmission does not count.
#[test]
fn queues() {
    for (overflow, left) in [("tail", [0, 1, 2]), ("head", [0, 4, 5])] {
        let mut bed = Bed::new(&format!("rate 1mbit queue 2p {overflow}"));
        let frames: Vec<_> = (0..6).map(|n| (0, plain_frame(n))).collect();
        let out: Vec<u16> = departures(&mut bed, &frames).into_iter().map(|(_, number)| number).collect();
        assert_eq!(out, left, "{overflow}");
        assert_eq!(bed.wire.counters().lost(WireDrop::Queue), 3);
    }
    let mut bed = Bed::new("rate 1mbit");
    let frames: Vec<_> = (0..200).map(|n| (0, plain_frame(n))).collect();
    let length = plain_frame(0).len() as u64 * 8 * 1000;
    let out = departures(&mut bed, &frames).len() as u64;
    assert_eq!(out, 200 * MS / length + 1, "200 ms of the rate wait, and one is on its way");
    let mut bed = Bed::new("delay 1s queue 10p");
    (0..12).for_each(|n| _ = bed.offer(&plain_frame(n)));
    assert_eq!((bed.wire.counters().held, bed.wire.counters().lost(WireDrop::Queue)), (10, 2));
}

/// With priorities a higher class goes first, by its DSCP or the priority of its tag; within one nobody is overtaken, and what is on its
/// way is not held up. A full queue loses the lowest.
#[test]
fn priorities() {
    let with = |n: u16, dscp: u8| {
        let mut frame = plain_frame(n);
        frame[15] = dscp << 2;
        frame[24..26].fill(0);
        let sum = vswitch_frame::checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let (effort, background, less, flash, expedited) = (0, 8, 1, 34, 46);
    let pass = |words: &str, classes: &[u8]| {
        let frames: Vec<_> = (0..).zip(classes).map(|(n, class)| (0, with(n, *class))).collect();
        departures(&mut Bed::new(words), &frames).into_iter().map(|(_, number)| number).collect::<Vec<u16>>()
    };
    let classes = [effort, background, effort, expedited, less, effort, flash, expedited];
    assert_eq!(pass("rate 1mbit queue 100p priority", &classes), [0, 3, 7, 6, 2, 5, 1, 4]);
    assert_eq!(pass("rate 1mbit queue 100p", &classes), [0, 1, 2, 3, 4, 5, 6, 7]);
    let classes = [effort, effort, background, expedited, effort, background];
    assert_eq!(pass("rate 1mbit queue 2p priority", &classes), [0, 3, 1]);
    assert_eq!(pass("rate 1mbit queue 2p head priority", &classes), [0, 3, 4]);
    // The first is half through, and is not overtaken any more.
    let long = udp_frame(&[&0u16.to_be_bytes()[..], &[0; 2970]].concat(), 53);
    let frames = [(0, long), (3 * MS / 2, with(1, expedited))];
    let out = departures(&mut Bed::new("rate trace 1,2 queue 9p priority"), &frames);
    assert_eq!(out.into_iter().map(|(_, number)| number).collect::<Vec<_>>(), [0, 1]);

    let mut bed = Bed::new("rate 1mbit queue 100p priority");
    let tagged = |n: u16, priority: u8| {
        let frame = plain_frame(n);
        [&frame[..12], &[0x81, 0, priority << 5, 10], &frame[12..]].concat()
    };
    let frames = [tagged(0, 0), tagged(1, 0), tagged(2, 1), tagged(3, 6)];
    frames.iter().for_each(|frame| _ = bed.offer(frame));
    bed.now += 1000 * MS;
    assert_eq!(bed.due(), [0, 3, 1, 2].map(|at: usize| frames[at].clone()));
}

/// Congestion is marked on packets whose sender takes marks, and their checksum stays right; others are left alone.
#[test]
fn marks() {
    let mut bed = Bed::new("rate 1mbit queue 100p ecn-above 2p");
    let mut capable = plain_frame(1);
    capable[15] |= 2;
    capable[24..26].fill(0);
    let sum = vswitch_frame::checksum::checksum(&capable[14..34]);
    capable[24..26].copy_from_slice(&sum.to_be_bytes());
    for _ in 0..6 {
        bed.offer(&capable);
        bed.offer(&plain_frame(2));
    }
    bed.now += 1000 * MS;
    let out = bed.due();
    let marked = |frame: &&Vec<u8>| frame[15] & 3 == 3;
    assert_eq!(out.iter().filter(marked).count(), 4, "the queue was longer than two for all but the first two");
    assert!(out.iter().all(|frame| vswitch_frame::checksum::checksum(&frame[14..34]) == 0 && frame[15] & 3 != 1));
    assert_eq!((out.len(), bed.wire.counters().marked), (12, 4));
    let mut bed = Bed::new("loss 100% ecn");
    assert_eq!((bed.offer(&capable), bed.due().len()), (Offered::Taken, 1));
    assert_eq!((bed.offer(&plain_frame(1)), bed.due().len()), (Offered::Taken, 0));
}

/// Lists count what matches, from when they were set.
#[test]
fn lists() {
    let lost = |words: &str| -> Vec<u16> {
        let mut bed = Bed::new(words);
        (1..=20).filter(|n| !bed.passes_at_once(&plain_frame(*n))).collect()
    };
    assert_eq!(lost("drop 1,3,5-7"), [1, 3, 5, 6, 7]);
    assert_eq!(lost("every 5"), [5, 10, 15, 20]);
    assert_eq!(lost("first 2"), [1, 2]);
    assert_eq!(lost("drop 2 of 80"), [0; 0]);
    let mut bed = Bed::new("first 1 of 80");
    let (web, other) = (udp_frame(b"", 80), udp_frame(b"", 81));
    assert_eq!([&other, &web, &web].map(|frame| bed.passes_at_once(frame)), [true, false, true]);
    bed.wire.set(settings("first 2 of 80"), bed.now);
    assert_eq!([&web, &web, &web].map(|frame| bed.passes_at_once(frame)), [false, false, true]);
}

/// A black hole begins when it is set, and again as often as it is asked to.
#[test]
fn blackholes() {
    let mut bed = Bed::new("blackhole 2ms every 10ms");
    let passed: Vec<bool> = (0..25)
        .map(|_| {
            let passed = bed.passes_at_once(&plain_frame(0));
            bed.now += MS;
            passed
        })
        .collect();
    let closed: Vec<usize> = (0..25).filter(|at| !passed[*at]).collect();
    assert_eq!(closed, [0, 1, 10, 11, 20, 21]);
    assert_eq!(bed.wire.counters().lost(WireDrop::Blackhole), 6);
    let mut always = Bed::new("blackhole");
    always.now += 1 << 60;
    assert!(!always.passes_at_once(&plain_frame(0)));
}

/// Whom a receiver does not hear is told by its MAC address or, behind a router, its IP address.
#[test]
fn cuts() {
    let mut bed = Bed::new("none");
    let sender = |mac, address: [u8; 4]| Sender { mac, addresses: vec![address.into()] };
    let other = MacAddr::new([2, 0, 0, 0, 0, 9]);
    for (cut, passes) in [
        (sender(MacAddr::new([2, 0, 0, 0, 0, 2]), [10, 0, 0, 9]), false),
        (sender(other, [10, 0, 0, 2]), false),
        (sender(other, [10, 0, 0, 3]), true),
    ] {
        bed.wire.set_cuts(Arc::new([cut]));
        assert_eq!(bed.passes_at_once(&plain_frame(0)), passes);
    }
    assert_eq!(bed.wire.counters().lost(WireDrop::Cut), 2);
}

/// Longer packets than the wire takes are lost, and their sender is told if that was asked for and they may not be cut up.
#[test]
fn mtu() {
    let mut long = udp_frame(&[0; 1400 - 27], 53);
    let fits = udp_frame(&[0; 1400 - 28], 53);
    let whole = long.clone();
    assert_eq!(whole[20], 0x40, "it must not be cut up");
    long[20] = 0;
    let mut bed = Bed::new("mtu 1400");
    assert_eq!([&fits, &long, &whole].map(|frame| bed.offer(frame)), [Offered::Whole, Offered::Taken, Offered::Taken]);
    let mut bed = Bed::new("mtu 1400 icmp");
    assert_eq!(
        [&fits, &long, &whole].map(|frame| bed.offer(frame)),
        [Offered::Whole, Offered::Taken, Offered::TooLong(1400)]
    );
    assert_eq!(bed.wire.counters().lost(WireDrop::TooLong), 2);
    let (frame, offload) = common::super_frame(3);
    let mut bed = Bed::new("mtu 140");
    assert_eq!(bed.offer_with(&frame, offload), Offered::Whole, "each segment fits");
}

/// A repaired checksum is right over the wrong bytes; without repair it is wrong.
#[test]
fn repaired_checksums() {
    for (fix, right) in [("", false), (" fix-checksum", true)] {
        let mut bed = Bed::new(&format!("corrupt 100% bits 5{fix}"));
        let (frame, offload) = common::super_frame(4);
        bed.offer_with(&frame, offload);
        let out = bed.due();
        assert_eq!(out.len(), 4);
        for segment in out {
            let pseudo = vswitch_frame::checksum::pseudo_header_v4(
                [10, 0, 0, 2].into(),
                [10, 0, 0, 3].into(),
                6,
                segment.len() - 34,
            );
            let sum = vswitch_frame::checksum::fold(pseudo + vswitch_frame::checksum::sum(&segment[34..]));
            assert_eq!(sum == 0xffff, right);
        }
    }
}

/// A change loses nothing: what waits goes on as decided, or at once when nothing happens any more.
#[test]
fn changes() {
    let mut bed = Bed::new("delay 50ms");
    bed.offer(&plain_frame(1));
    bed.wire.set(settings("delay 10ms"), bed.now);
    bed.offer(&plain_frame(2));
    bed.now += 49 * MS;
    assert!(bed.due().is_empty(), "who came later does not overtake");
    bed.now += MS;
    assert_eq!(bed.due().len(), 2);
    bed.wire.set(settings("rate 8kbit queue 10p"), bed.now);
    (3..6).for_each(|n| _ = bed.offer(&plain_frame(n)));
    bed.wire.set(settings("none"), bed.now);
    assert_eq!(bed.due().iter().map(|frame| number_of(frame)).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(bed.wire.is_idle());
    assert_eq!(bed.wire.counters().lost_all(), 0);
}

/// What all wires hold is bounded, and given back.
#[test]
fn memory() {
    let mut bed = Bed::with_memory("delay 1s", WireSeed::new(1, "a", 0), 1000);
    (0..5).for_each(|n| _ = bed.offer(&plain_frame(n)));
    assert_eq!((bed.wire.counters().held, bed.wire.counters().lost(WireDrop::Memory)), (3, 2));
    bed.now += 1000 * MS;
    assert_eq!(bed.due().len(), 3);
    (0..3).for_each(|n| _ = bed.offer(&plain_frame(n)));
    assert_eq!(bed.wire.counters().held, 3);
}

/// While frames are on their way out, nothing passes them.
#[test]
fn no_overtaking_at_the_exit() {
    let mut bed = Bed::new("delay 1ms");
    bed.offer(&plain_frame(1));
    bed.wire.set(settings("none"), bed.now);
    assert_eq!(bed.offer(&plain_frame(2)), Offered::Taken);
    let held: Vec<_> = std::iter::from_fn(|| bed.wire.take_due(bed.now)).collect();
    assert_eq!((held.len(), bed.offer(&plain_frame(3))), (2, Offered::Taken));
    bed.wire.delivered(2);
    assert_eq!(bed.due().len(), 1);
    assert_eq!(bed.offer(&plain_frame(4)), Offered::Whole);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is set and sent, every segment is passed, lost with a reason or held, copies are counted, and nothing is early.
    #[test]
    fn nothing_is_forgotten(
        kinds in proptest::sample::subsequence(vec![
            "delay 3ms", "jitter 2ms normal", "loss 20%", "duplicate 20%", "corrupt 20% any", "reorder 20% by 2",
            "rate 5mbit", "queue 20p head", "mtu 1200", "drop 3,9", "order by-arrival", "blackhole 1ms every 9ms",
        ], 0..12),
        seed in any::<u64>(),
        frames in proptest::collection::vec((0u64..3_000_000, 0usize..1600, any::<bool>()), 1..80),
    ) {
        let text = if kinds.is_empty() { "none".to_owned() } else { kinds.join(" ") };
        let mut bed = Bed::with_seed(&text, seed, 0);
        let mut out = 0;
        for (gap, length, super_frame) in frames {
            bed.now += gap;
            if super_frame {
                let (frame, offload) = common::super_frame(length / 100 + 2);
                out += bed.offer_super(&frame, offload).len();
            } else {
                out += usize::from(bed.offer(&udp_frame(&vec![7; length], 53)) == Offered::Whole);
            }
            out += bed.due().len();
            let counters = bed.wire.counters();
            prop_assert_eq!(counters.offered + counters.duplicated, counters.passed + counters.lost_all() + counters.held);
            prop_assert_eq!(counters.passed, out as u64);
            if let Some(due) = bed.wire.next_due() {
                prop_assert!(due > bed.now);
            }
        }
        bed.now += 100_000 * MS;
        out += bed.due().len();
        let counters = bed.wire.counters();
        prop_assert_eq!((counters.held, counters.passed), (0, out as u64));
    }

    /// The same seed does the same.
    #[test]
    fn repeatable(seed in any::<u64>()) {
        let run = || {
            let mut bed = Bed::with_seed("loss 10% duplicate 10% corrupt 10% jitter 3ms reorder 5% by 2", seed, 1);
            let frames: Vec<_> = (0..100).map(|n| (u64::from(n) * 100_000, plain_frame(n))).collect();
            departures(&mut bed, &frames)
        };
        prop_assert_eq!(run(), run());
    }

    /// No frame, however odd, stops a wire.
    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 14..200)) {
        let mut bed = Bed::new("loss 10% per-flow ecn corrupt 50% any fix-checksum rate 1mbit queue 10p ecn-above 1p mtu 100 icmp");
        let mut bytes = bytes;
        if let Ok(packet) = PacketMut::admit(&mut bytes, Offload::NONE) {
            (0..5).for_each(|_| _ = bed.wire.offer(bed.now, &packet.view(), 1));
        }
        bed.now += 1 << 50;
        bed.due();
    }
}
