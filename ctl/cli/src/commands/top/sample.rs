//! Rates: what happened between two looks.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;
use vswitch_api::stats::{Counters, PortStats, Stats};

use super::Column;
use crate::natural;

/// What happened between two looks, and what there is at the second.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Between the looks.
    pub(super) interval_ms: u64,
    /// Since the switch started.
    pub(super) uptime_ms: u64,
    pub(super) workers: usize,
    /// Flows tracked.
    pub(super) flows: u64,
    pub(super) fdb_entries: u64,
    pub(super) fdb_capacity: u64,
    /// Of all endpoints together.
    pub(super) total: Rates,
    /// One for each endpoint and network.
    pub(super) endpoints: Vec<Row>,
}

/// An endpoint on a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) endpoint: String,
    pub(super) network: String,
    pub(super) port: u32,
    /// Flows that the router tracks for it.
    pub(super) flows: u64,
    #[serde(flatten)]
    pub(super) rates: Rates,
    /// Frames dropped since the switch started, by reason.
    pub(super) drops_total: BTreeMap<String, u64>,
}

/// A second's worth of each, rounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    pub(super) in_frames_per_second: u64,
    pub(super) in_bits_per_second: u64,
    pub(super) out_frames_per_second: u64,
    pub(super) out_bits_per_second: u64,
    pub(super) drops_per_second: u64,
    /// By reason; those that did not happen are absent.
    pub(super) drops: BTreeMap<String, u64>,
}

impl Sample {
    /// The difference of two looks. A switch that was started in between begins at zero; so does a new port.
    pub(super) fn between(before: &Stats, now: &Stats) -> Sample {
        let restarted = now.uptime_ms < before.uptime_ms;
        let interval_ms = if restarted { now.uptime_ms } else { now.uptime_ms - before.uptime_ms };
        let none = Counters::default();
        let rates = |before: Option<&Counters>, now: &Counters| {
            Rates::between(before.filter(|_| !restarted).unwrap_or(&none), now, interval_ms)
        };
        let row = |port: &PortStats| {
            let same = |other: &&PortStats| {
                (other.port, &other.endpoint, &other.network) == (port.port, &port.endpoint, &port.network)
            };
            Row {
                endpoint: port.endpoint.clone(),
                network: port.network.clone(),
                port: port.port,
                flows: port.flows,
                rates: rates(before.ports.iter().find(same).map(|port| &port.counters), &port.counters),
                drops_total: port.counters.drops.clone(),
            }
        };
        Sample {
            interval_ms,
            uptime_ms: now.uptime_ms,
            workers: now.workers,
            flows: now.router.as_ref().map_or(0, |router| router.flows),
            fdb_entries: now.fdb.entries,
            fdb_capacity: now.fdb.capacity,
            total: rates(Some(&before.total), &now.total),
            endpoints: now.ports.iter().map(row).collect(),
        }
    }

    /// Puts the rows in order: numbers from the largest, names from the first, or the other way round. Equal ones are
    /// ordered by name, so that rows do not jump.
    pub(super) fn sort(&mut self, column: Column, reverse: bool) {
        let names = |a: &Row, b: &Row| {
            natural::compare(&a.endpoint, &b.endpoint)
                .then_with(|| natural::compare(&a.network, &b.network))
                .then(a.port.cmp(&b.port))
        };
        let by = |a: &Row, b: &Row| match column {
            Column::Endpoint => Ordering::Equal,
            Column::Network => natural::compare(&a.network, &b.network),
            Column::In => b.rates.in_bits_per_second.cmp(&a.rates.in_bits_per_second),
            Column::Out => b.rates.out_bits_per_second.cmp(&a.rates.out_bits_per_second),
            Column::Drops => b.rates.drops_per_second.cmp(&a.rates.drops_per_second),
            Column::Flows => b.flows.cmp(&a.flows),
        };
        self.endpoints.sort_by(|a, b| {
            let order = by(a, b).then_with(|| names(a, b));
            if reverse { order.reverse() } else { order }
        });
    }
}

impl Rates {
    fn between(before: &Counters, now: &Counters, interval_ms: u64) -> Rates {
        let rate = |before: u64, now: u64, factor: u64| {
            let more = u128::from(now.saturating_sub(before)) * u128::from(factor) * 1000;
            let half = u128::from(interval_ms / 2);
            u64::try_from((more + half).checked_div(u128::from(interval_ms)).unwrap_or_default()).unwrap_or(u64::MAX)
        };
        let of = |counters: &Counters, reason: &String| counters.drops.get(reason).copied().unwrap_or_default();
        let drops = now.drops.keys().map(|reason| (reason.clone(), rate(of(before, reason), of(now, reason), 1)));
        let sum = |counters: &Counters| counters.drops.values().sum();
        Rates {
            in_frames_per_second: rate(before.in_frames, now.in_frames, 1),
            in_bits_per_second: rate(before.in_bytes, now.in_bytes, 8),
            out_frames_per_second: rate(before.out_frames, now.out_frames, 1),
            out_bits_per_second: rate(before.out_bytes, now.out_bytes, 8),
            drops_per_second: rate(sum(before), sum(now), 1),
            drops: drops.filter(|(_, rate)| *rate > 0).collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use vswitch_api::stats::{FdbStats, RouterStats};

    use super::*;

    /// A look at `uptime_ms` in which every port has counted `frames` of 1000 bytes in, half as many out.
    pub(in super::super) fn look(uptime_ms: u64, ports: &[(&str, u64)]) -> Stats {
        let counters = |frames: u64| Counters {
            in_frames: frames,
            in_bytes: frames * 1000,
            out_frames: frames / 2,
            out_bytes: frames * 500,
            drops: BTreeMap::from([("spoofed-mac".into(), frames / 10), ("runt".into(), 7)]),
            ..Counters::default()
        };
        let port = |(place, (name, frames)): (usize, &(&str, u64))| PortStats {
            port: u32::try_from(place).unwrap(),
            endpoint: (*name).into(),
            network: if place % 2 == 0 { "blue" } else { "red" }.into(),
            flows: *frames / 100,
            counters: counters(*frames),
            ..PortStats::default()
        };
        Stats {
            uptime_ms,
            workers: 2,
            total: counters(ports.iter().map(|(_, frames)| frames).sum()),
            ports: ports.iter().enumerate().map(port).collect(),
            fdb: FdbStats { entries: 2, capacity: 65_536, ..FdbStats::default() },
            router: Some(RouterStats { flows: 42, ..RouterStats::default() }),
            ..Stats::default()
        }
    }

    fn names(sample: &Sample) -> Vec<&str> {
        sample.endpoints.iter().map(|row| row.endpoint.as_str()).collect()
    }

    /// Differences over time, to the second; reasons that did not occur are absent; a new port begins at zero.
    #[test]
    fn rates() {
        let sample = Sample::between(&look(1000, &[("a", 100)]), &look(3000, &[("a", 2100), ("b", 10)]));
        let a = &sample.endpoints[0];
        assert_eq!((a.rates.in_frames_per_second, a.rates.in_bits_per_second), (1000, 8_000_000));
        assert_eq!((a.rates.out_frames_per_second, a.rates.out_bits_per_second), (500, 4_000_000));
        assert_eq!((a.rates.drops_per_second, a.rates.drops.len(), a.rates.drops["spoofed-mac"]), (100, 1, 100));
        assert_eq!((a.drops_total["runt"], a.flows, sample.flows, sample.interval_ms), (7, 21, 42, 2000));
        assert_eq!(sample.endpoints[1].rates.in_frames_per_second, 5);
        assert_eq!(sample.total.in_frames_per_second, 1005);
    }

    /// After a restart of the switch nothing is compared with its former life, and two looks at one moment divide by nothing.
    #[test]
    fn restart() {
        let sample = Sample::between(&look(90_000, &[("a", 500_000)]), &look(1000, &[("a", 10)]));
        assert_eq!((sample.interval_ms, sample.endpoints[0].rates.in_frames_per_second), (1000, 10));
        let still = Sample::between(&look(1000, &[("a", 1)]), &look(1000, &[("a", 9)]));
        assert_eq!(still.endpoints[0].rates.in_frames_per_second, 0);
    }

    /// Numbers from the largest, names in natural order, equal ones by name, and all of it the other way round.
    #[test]
    fn order() {
        let now = look(1000, &[("web10", 50), ("web9", 50), ("db", 900)]);
        let mut sample = Sample::between(&look(0, &[]), &now);
        for (column, reverse, expected) in [
            (Column::In, false, ["db", "web9", "web10"]),
            (Column::In, true, ["web10", "web9", "db"]),
            (Column::Endpoint, false, ["db", "web9", "web10"]),
            (Column::Network, false, ["db", "web10", "web9"]),
            (Column::Flows, false, ["db", "web9", "web10"]),
            (Column::Drops, false, ["db", "web9", "web10"]),
            (Column::Out, true, ["web10", "web9", "db"]),
        ] {
            sample.sort(column, reverse);
            assert_eq!(names(&sample), expected, "{column:?} {reverse}");
        }
    }
}
