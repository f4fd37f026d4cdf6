//! What chance does on a wire is what was asked for: exact bounds with fixed seeds, at the level where millions of frames are cheap.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test of numbers")]

mod common;

use common::{Bed, plain_frame, settings};
use vswitch_wire::WireDrop;

/// Losses one by one, as 0 and 1.
fn losses(words: &str, count: usize) -> Vec<u8> {
    let mut bed = Bed::new(words);
    let frame = plain_frame(1);
    (0..count).map(|_| u8::from(!bed.passes_at_once(&frame))).collect()
}

fn mean(values: &[u8]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

/// Autocorrelation at distance one.
fn lag_one(values: &[u8]) -> f64 {
    let mean = mean(values);
    let deviation = |value: &u8| f64::from(*value) - mean;
    let product: f64 = values.windows(2).map(|pair| deviation(&pair[0]) * deviation(&pair[1])).sum();
    product / values.iter().map(|value| deviation(value).powi(2)).sum::<f64>()
}

/// A rate is as often as asked, within five standard deviations.
#[track_caller]
fn near(found: f64, asked: f64, count: usize) {
    let deviation = (asked * (1.0 - asked) / count as f64).sqrt();
    assert!((found - asked).abs() < 5.0 * deviation, "{found} instead of {asked}, deviation {deviation}");
}

/// Independent losses have the asked share, runs as often as independence gives, and differ by direction.
#[test]
fn bernoulli() {
    const COUNT: usize = 300_000;
    for (text, share) in [("0.1%", 0.001), ("1%", 0.01), ("10%", 0.1), ("50%", 0.5)] {
        let lost = losses(&format!("loss {text}"), COUNT);
        near(mean(&lost), share, COUNT);
        // The number of changes is binomial, too.
        let changes = lost.windows(2).filter(|pair| pair[0] != pair[1]).count();
        near(changes as f64 / COUNT as f64, 2.0 * share * (1.0 - share), COUNT / 2);
        assert!(lag_one(&lost).abs() < 0.01, "{text}");
    }
    let mut down = Bed::with_seed("loss 50%", 1, 1);
    let frame = plain_frame(1);
    let up = losses("loss 50%", COUNT);
    let same = up.iter().filter(|lost| **lost == u8::from(!down.passes_at_once(&frame))).count();
    near(same as f64 / COUNT as f64, 0.5, COUNT);
}

/// Bursts: the share of losses, and lengths that are geometric with mean 1/r (chi-square over the first ten lengths).
#[test]
fn gilbert_elliott() {
    const COUNT: usize = 1_000_000;
    let lost = losses("loss burst p=1% r=25%", COUNT);
    let bad = 0.01 / 0.26;
    // Neighbours are alike, which widens the interval by the variance of a two-state chain.
    let widened = (1.0 + 0.74) / (1.0 - 0.74);
    near(mean(&lost), bad, (COUNT as f64 / widened) as usize);
    let mut lengths = [0u32; 11];
    let mut length = 0;
    for lost in lost {
        if lost == 1 {
            length += 1;
        } else if length > 0 {
            lengths[length.min(11) - 1] += 1;
            length = 0;
        }
    }
    let total: u32 = lengths.iter().sum();
    let chi: f64 = (0..11)
        .map(|index| {
            let share = if index < 10 { 0.25 * 0.75f64.powi(index) } else { 0.75f64.powi(10) };
            let expected = share * f64::from(total);
            (f64::from(lengths[index as usize]) - expected).powi(2) / expected
        })
        .sum();
    // Ten degrees of freedom: more happens once in ten thousand.
    assert!(chi < 35.6, "{chi} {lengths:?}");
    let shares = losses("loss burst p=5% r=20% bad=50% good=1%", COUNT);
    let expected = 0.8 * 0.01 + 0.2 * 0.5;
    assert!((mean(&shares) - expected).abs() < 0.002, "{}", mean(&shares));
}

/// Models that come to the same lose the same frames.
#[test]
fn special_cases() {
    let simple = losses("loss 10%", 100_000);
    assert_eq!(simple, losses("loss burst p=0% r=100% bad=100% good=10%", 100_000));
    assert_eq!(simple, losses("loss burst p=30% r=40% bad=10% good=10%", 100_000));
    assert_eq!(simple, losses("loss 10% correlation 0%", 100_000));
}

/// Four states are as often as the chain's stationary distribution says.
#[test]
fn four_states() {
    const COUNT: usize = 1_000_000;
    let mut bed = Bed::new("loss state p13=2% p31=30% p32=20% p23=40% p14=1%");
    let frame = plain_frame(1);
    for _ in 0..COUNT {
        bed.passes_at_once(&frame);
    }
    // Flows between states cancel: b p31 = a p13 (with 2 only reached from 3), c p23 = b p32, d = a p14.
    let (b, d) = (0.02 / 0.3, 0.01);
    let c = b * 0.2 / 0.4;
    let sum = 1.0 + b + c + d;
    let counters = bed.wire.counters();
    let burst = counters.lost(WireDrop::Burst) as f64 / COUNT as f64;
    let alone = counters.lost(WireDrop::Loss) as f64 / COUNT as f64;
    assert!((burst - b / sum).abs() < 0.002 && (alone - d / sum).abs() < 0.0006, "{burst} {alone}");
}

/// Correlated losses keep their share, and are as alike as asked.
#[test]
fn correlation() {
    for (correlation, text) in [(0.25, "25%"), (0.5, "50%"), (0.75, "75%")] {
        let lost = losses(&format!("loss 10% correlation {text}"), 1_000_000);
        assert!((mean(&lost) - 0.1).abs() < 0.004, "{}", mean(&lost));
        assert!((lag_one(&lost) - correlation).abs() < 0.02, "{}", lag_one(&lost));
    }
}

/// Copies, flipped bits and late frames that are correlated keep their share, too, and are as alike as asked; without a correlation each
/// draws as it always did.
#[test]
fn correlation_of_others() {
    const COUNT: usize = 400_000;
    let happens = |words: &str| -> Vec<u8> {
        let mut bed = Bed::new(words);
        let frame = plain_frame(1);
        (0..COUNT).map(|_| u8::from(!bed.passes_alone(&frame))).collect()
    };
    for words in [
        "duplicate 10% correlation 50%",
        "corrupt 10% correlation 50%",
        "netem 'duplicate 10% 50'",
        "netem 'corrupt 10% 50%'",
    ] {
        let found = happens(words);
        assert!((mean(&found) - 0.1).abs() < 0.005, "{words}: {}", mean(&found));
        assert!((lag_one(&found) - 0.5).abs() < 0.02, "{words}: {}", lag_one(&found));
    }
    assert_eq!(happens("duplicate 10%"), happens("duplicate 10% correlation 0%"));
}

/// What tc says of reordering happens as it says: those that are early are as alike as asked, and none is early before its gap is over.
#[test]
fn reordering_by_netem() {
    const COUNT: usize = 200_000;
    let early = |words: &str| -> Vec<u8> {
        let mut bed = Bed::new(words);
        (0..COUNT).map(|_| u8::from(bed.passes_alone(&plain_frame(1)))).collect()
    };
    let found = early("netem 'delay 10ms reorder 25% 50%'");
    assert!((mean(&found) - 0.25).abs() < 0.01, "{}", mean(&found));
    assert!((lag_one(&found) - 0.5).abs() < 0.02, "{}", lag_one(&found));
    let found = early("netem 'delay 10ms reorder 25% gap 5'");
    // Four that wait, and as many more as a chance of a quarter needs.
    assert!((mean(&found) - 1.0 / 8.0).abs() < 0.005, "{}", mean(&found));
    let gaps: Vec<usize> = found.split(|early| *early == 1).skip(1).map(<[u8]>::len).collect();
    assert!(gaps[..gaps.len() - 1].iter().all(|late| *late >= 4));
    let every_fifth = early("netem 'delay 10ms gap 5'");
    assert!(every_fifth.iter().enumerate().all(|(index, early)| (index % 5 == 4) == (*early == 1)));
}

/// Delays of frames that come far apart, sorted, in units of the jitter.
fn delays(words: &str, count: u64) -> Vec<f64> {
    let mut bed = Bed::new(&format!("delay 1s {words} order by-arrival"));
    let frame = plain_frame(1);
    let mut delays: Vec<f64> = (0..count)
        .map(|_| {
            let sent = bed.now;
            bed.offer(&frame);
            let due = bed.wire.next_due().unwrap();
            bed.now = due;
            assert_eq!(bed.due().len(), 1);
            (due as f64 - sent as f64 - 1e9) / 1e7
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    delays
}

/// Jitter is distributed as it says (Kolmogorov and Smirnov; more happens once in a million), also when it is correlated.
#[test]
fn jitter() {
    const COUNT: u64 = 50_000;
    let normal = |x: f64| {
        // By Simpson's rule, which shares nothing with what is tested.
        let steps = 400;
        let (from, to) = (-8.0f64, x.clamp(-8.0, 8.0));
        let width = (to - from) / f64::from(steps);
        let at = |index: i32| (-(from + width * f64::from(index)).powi(2) / 2.0).exp();
        let odd: f64 = (1..steps).step_by(2).map(at).sum();
        let even: f64 = (2..steps).step_by(2).map(at).sum();
        (at(0) + at(steps) + 4.0 * odd + 2.0 * even) * width / 3.0 / std::f64::consts::TAU.sqrt()
    };
    let kinds: [(&str, &dyn Fn(f64) -> f64); 5] = [
        ("uniform", &|x| f64::midpoint(x, 1.0).clamp(0.0, 1.0)),
        ("normal", &normal),
        ("lognormal", &|x| if x <= 0.0 { 0.0 } else { normal(x.ln()) }),
        ("exponential", &|x| if x <= 0.0 { 0.0 } else { 1.0 - (-x).exp() }),
        ("pareto", &|x| if x <= 0.0 { 0.0 } else { 1.0 - (1.0 + x).powi(-3) }),
    ];
    for (name, below) in kinds {
        for extra in ["", " correlation 0%"] {
            let delays = delays(&format!("jitter 10ms {name}{extra}"), COUNT);
            let count = delays.len() as f64;
            let distance = delays
                .iter()
                .enumerate()
                .map(|(index, delay)| {
                    let share = below(*delay);
                    (share - index as f64 / count).abs().max((share - (index + 1) as f64 / count).abs())
                })
                .fold(0.0, f64::max);
            assert!(distance < 2.7 / count.sqrt(), "{name}{extra}: {distance}");
        }
    }
}

/// Nothing overtakes while the order is kept, however much jitter there is.
#[test]
fn order_is_kept() {
    for (order, kept) in [("keep", true), ("by-arrival", false)] {
        let mut bed = Bed::new(&format!("delay 5ms jitter 5ms order {order}"));
        for number in 0..2000u16 {
            bed.offer(&plain_frame(number));
            bed.now += 100_000;
        }
        bed.now += 1_000_000_000;
        let numbers: Vec<u16> = bed.due().iter().map(|frame| common::number_of(frame)).collect();
        assert_eq!(numbers.len(), 2000);
        assert_eq!(numbers.is_sorted(), kept);
    }
}

/// Reordered frames come after just as many later ones as asked, as often as asked (RFC 4737: extent and ratio).
#[test]
fn reordering() {
    let mut bed = Bed::new("reorder 2% by 3");
    const COUNT: u16 = 50_000;
    let mut order = Vec::new();
    for number in 0..COUNT {
        if bed.passes_at_once(&plain_frame(number)) {
            order.push(number);
        }
        order.extend(bed.due().iter().map(|frame| common::number_of(frame)));
    }
    let mut late = 0;
    for (place, number) in order.iter().enumerate() {
        let after = order[..place].iter().rev().take(16).filter(|before| *before > number).count();
        if after > 0 {
            late += 1;
            // Another one that waits may stand between.
            assert!((3..=8).contains(&after), "{number} came after {after} later ones");
        }
    }
    near(f64::from(late) / f64::from(COUNT), 0.02, usize::from(COUNT));
}

/// Copies: one each, the same bytes, as often as asked, never of a copy.
#[test]
fn duplicates() {
    let mut bed = Bed::new("duplicate 10% after 1ms");
    let mut copies = 0;
    for number in 0..20_000 {
        let frame = plain_frame(number);
        if bed.passes_at_once(&frame) {
            continue;
        }
        let first = bed.due();
        assert_eq!(first, std::slice::from_ref(&frame));
        bed.now += 1_000_000;
        assert_eq!(bed.due(), [frame]);
        copies += 1;
    }
    near(f64::from(copies) / 20_000.0, 0.1, 20_000);
    assert_eq!(bed.wire.counters().duplicated, u64::from(copies as u32));
}

/// As many bits are flipped as asked, anywhere in the payload alike, and nowhere else.
#[test]
fn corruption() {
    let mut bed = Bed::new("corrupt 100% bits 3");
    let frame = plain_frame(1);
    let payload = 42..frame.len();
    let mut bins = [0u32; 64];
    for _ in 0..20_000 {
        bed.offer(&frame);
        let [got]: [Vec<u8>; 1] = bed.due().try_into().unwrap();
        let mut distance = 0;
        for (at, (new, old)) in got.iter().zip(&frame).enumerate() {
            let differ = (new ^ old).count_ones();
            assert!(differ == 0 || payload.contains(&at), "byte {at}");
            if differ > 0 {
                bins[(at - payload.start) * 64 / payload.len()] += differ;
            }
            distance += differ;
        }
        assert_eq!(distance, 3);
    }
    let expected = 60_000.0 / 64.0;
    let chi: f64 = bins.iter().map(|&bin| (f64::from(bin) - expected).powi(2) / expected).sum();
    // 63 degrees of freedom: more happens once in ten thousand.
    assert!(chi < 112.0, "{chi}");
}

/// What an M/D/1/K queue loses when frames come by chance: as its stationary equations say.
#[test]
fn queue_losses() {
    use vswitch_wire::distribution::Distribution;
    // One place in service and 4 that wait; 1000-byte frames take 1 ms.
    let mut bed = Bed::new("rate 8mbit queue 4p");
    let frame = common::udp_frame(&[0; 1000 - 42], 1);
    assert_eq!(frame.len(), 1000);
    let load = 0.9;
    let mut stream = common::stream();
    const COUNT: usize = 200_000;
    for _ in 0..COUNT {
        bed.now += (Distribution::Exponential.quantile(stream()) * 1e6 / load) as u64;
        bed.offer(&frame);
        bed.due();
    }
    let lost = bed.wire.counters().lost(WireDrop::Queue) as f64 / COUNT as f64;
    let expected = md1k(load, 5);
    assert!((lost - expected).abs() < 0.004, "{lost} instead of {expected}");
}

/// The share that is lost in M/D/1/K, from the chain of how many are left behind at departures.
fn md1k(load: f64, capacity: usize) -> f64 {
    // How many come within one service.
    let mut arrivals = vec![(-load).exp()];
    for k in 1..=capacity {
        arrivals.push(arrivals[k - 1] * load / k as f64);
    }
    let mut left = vec![1.0];
    for j in 0..capacity - 1 {
        // left[j+1] a0 = left[j] - left[0] a[j] - sum of left[i] a[j-i+1]
        let mut sum = left[j] - left[0] * arrivals[j];
        for i in 1..=j {
            sum -= left[i] * arrivals[j - i + 1];
        }
        left.push(sum / arrivals[0]);
    }
    let total: f64 = left.iter().sum();
    let empty = left[0] / total;
    1.0 - 1.0 / (empty + load)
}

/// Segments of a super-frame are lost each for itself, and the same ones whether a sender cuts its frames up itself or not.
#[test]
fn super_frames() {
    let (frame, offload) = common::super_frame(100);
    let (mut whole, mut cut) = (Bed::new("loss 1%"), Bed::new("loss 1%"));
    let (mut all, mut same) = (0, Vec::new());
    for _ in 0..200 {
        let got = whole.offer_super(&frame, offload);
        all += got.len();
        let mut single = Vec::new();
        for segment in common::segments(&frame, offload) {
            if cut.passes_at_once(&segment) {
                single.push(segment);
            }
        }
        same.push(got == single);
    }
    assert!(same.iter().all(|same| *same), "a segment that survives is as its sender would have sent it");
    near(1.0 - all as f64 / 20_000.0, 0.01, 20_000);
    assert_eq!(whole.wire.counters(), cut.wire.counters());
}

/// With per-flow loss, what happens to a flow does not depend on what else there is, nor on its ephemeral port.
#[test]
fn per_flow() {
    let pattern = |ephemeral: u16, others: u16| {
        let mut bed = Bed::new("loss 20% per-flow");
        let mut lost = Vec::new();
        for number in 0..500 {
            for other in 0..others {
                bed.passes_at_once(&common::udp_between(7000 + other, 99, number));
            }
            lost.push(!bed.passes_at_once(&common::udp_between(ephemeral, 53, number)));
        }
        lost
    };
    let alone = pattern(40_000, 0);
    assert_eq!(alone, pattern(41_234, 3));
    near(alone.iter().filter(|lost| **lost).count() as f64 / 500.0, 0.2, 500);
    let mut bed = Bed::new("loss 20% per-flow");
    let mut patterns = [Vec::new(), Vec::new()];
    for number in 0..200 {
        for (port, pattern) in (40_000..).zip(&mut patterns) {
            pattern.push(bed.passes_at_once(&common::udp_between(port, 53, number)));
        }
    }
    assert_ne!(patterns[0], patterns[1], "two flows have each their own");
}

/// Nothing is lost but for the words that say so.
#[test]
fn words_are_what_happens() {
    assert!(settings("delay 5ms").loss.is_none());
}
