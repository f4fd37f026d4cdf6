//! Counters and rates as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vswitch_api::stats::{Counters, DnsStats, FdbStats, PortStats, RouterStats, SocketsStats, Stats, VtepStats};

use crate::table::Table;
use crate::{natural, units};

/// Everything since the switch started.
pub(crate) fn totals(stats: &Stats) -> String {
    let mut blocks = vec![ports(&stats.ports), networks(stats)];
    blocks.extend(drops(stats));
    blocks.push(fdb(&stats.fdb));
    blocks.extend(stats.router.as_ref().map(router));
    blocks.extend(dns(&stats.dns));
    blocks.extend(vteps(&stats.vteps));
    blocks.join("\n")
}

/// The ports' counters.
pub(crate) fn ports(ports: &[PortStats]) -> String {
    let mut table = Table::new([
        "PORT",
        "ENDPOINT",
        "NETWORK",
        "KIND",
        "FRAMES IN",
        "BYTES IN",
        "FRAMES OUT",
        "BYTES OUT",
        "FLOODED",
        "DROPPED",
        "FDB",
    ])
    .numbers([0, 4, 5, 6, 7, 8, 9, 10]);
    for port in sorted(ports) {
        let counters = &port.counters;
        table.row([
            &port.port.to_string(),
            &port.endpoint,
            &port.network,
            &port.kind,
            &units::count(counters.in_frames),
            &units::bytes(counters.in_bytes),
            &units::count(counters.out_frames),
            &units::bytes(counters.out_bytes),
            &units::count(counters.flooded),
            &units::count(dropped(counters)),
            &units::count(port.fdb_entries),
        ]);
    }
    table.render()
}

/// What happened in `time` between two looks, as rates.
pub(crate) fn rates(before: &Stats, now: &Stats, time: Duration) -> String {
    let mut ports = Table::new(["PORT", "ENDPOINT", "NETWORK", "FRAMES IN", "IN", "FRAMES OUT", "OUT", "DROPPED"])
        .numbers([0, 3, 4, 5, 6, 7]);
    let none = Counters::default();
    for port in sorted(&now.ports) {
        let same = |other: &&PortStats| other.port == port.port && other.endpoint == port.endpoint;
        let earlier = before.ports.iter().find(same).map_or(&none, |port| &port.counters);
        let rates = rate_cells(earlier, &port.counters, time);
        let names = [port.port.to_string(), port.endpoint.clone(), port.network.clone()];
        ports.row(names.iter().chain(&rates));
    }
    let mut networks = Table::new(["NETWORK", "FRAMES IN", "IN", "FRAMES OUT", "OUT", "DROPPED"]).numbers(1..=5);
    let mut named: Vec<_> = now.networks.iter().collect();
    named.sort_by(|a, b| natural::compare(&a.network, &b.network));
    for network in named {
        let same = before.networks.iter().find(|other| other.network == network.network);
        let earlier = same.map_or(&none, |network| &network.counters);
        networks.row([&network.network].into_iter().chain(&rate_cells(earlier, &network.counters, time)));
    }
    let mut blocks = vec![ports.render(), networks.render()];
    let drops = difference(&before.total.drops, &now.total.drops);
    if !drops.is_empty() {
        let mut table = Table::new(["DROP REASON", "RATE", "TOTAL"]).numbers([1, 2]);
        for (reason, count) in drops {
            let total = now.total.drops.get(reason).copied().unwrap_or_default();
            table.row([reason, &units::rate(count, time), &units::count(total)]);
        }
        blocks.push(table.render());
    }
    blocks.push(fdb(&now.fdb));
    blocks.extend(now.router.as_ref().map(router));
    blocks.extend(dns(&now.dns));
    blocks.extend(vteps(&now.vteps));
    blocks.join("\n")
}

fn rate_cells(before: &Counters, now: &Counters, time: Duration) -> [String; 5] {
    let frames = |before: u64, now: u64| units::rate(now.saturating_sub(before), time);
    let bits = |before: u64, now: u64| units::bit_rate(now.saturating_sub(before), time);
    [
        frames(before.in_frames, now.in_frames),
        bits(before.in_bytes, now.in_bytes),
        frames(before.out_frames, now.out_frames),
        bits(before.out_bytes, now.out_bytes),
        frames(dropped(before), dropped(now)),
    ]
}

fn networks(stats: &Stats) -> String {
    let mut table = Table::new([
        "NETWORK",
        "FRAMES IN",
        "BYTES IN",
        "FRAMES OUT",
        "BYTES OUT",
        "FORWARDED",
        "FLOODED",
        "CONSUMED",
        "DROPPED",
    ])
    .numbers(1..=8);
    let total = [("(all)", &stats.total)];
    let mut networks: Vec<_> = stats.networks.iter().map(|network| (&*network.network, &network.counters)).collect();
    networks.sort_by(|a, b| natural::compare(a.0, b.0));
    for (name, counters) in networks.into_iter().chain(total) {
        table.row([
            name,
            &units::count(counters.in_frames),
            &units::bytes(counters.in_bytes),
            &units::count(counters.out_frames),
            &units::bytes(counters.out_bytes),
            &units::count(counters.forwarded),
            &units::count(counters.flooded),
            &units::count(counters.consumed),
            &units::count(dropped(counters)),
        ]);
    }
    table.render()
}

/// By reason, with the ports that it happened at.
pub(crate) fn drops(stats: &Stats) -> Option<String> {
    if stats.total.drops.is_empty() && stats.wires.is_empty() {
        return None;
    }
    let mut table = Table::new(["DROP REASON", "FRAMES", "FROM"]).numbers([1]);
    for (reason, count) in &stats.total.drops {
        let ports = sorted(&stats.ports).into_iter().filter_map(|port| {
            let count = port.counters.drops.get(reason).copied().filter(|count| *count > 0)?;
            Some(format!("{} {}", port.endpoint, units::count(count)))
        });
        table.row([reason, &units::count(*count), &ports.collect::<Vec<_>>().join(", ")]);
    }
    // What wires lose the switch does not count.
    let reasons: BTreeSet<&String> = stats.wires.iter().flat_map(|wire| wire.lost.keys()).collect();
    for reason in reasons {
        let lost = stats.wires.iter().filter_map(|wire| Some((wire, wire.lost.get(reason)?)));
        let total: u64 = lost.clone().map(|(_, count)| count).sum();
        let wires = lost.map(|(wire, count)| format!("{}/{} {}", wire.endpoint, wire.direction, units::count(*count)));
        table.row([reason, &units::count(total), &wires.collect::<Vec<_>>().join(", ")]);
    }
    Some(table.render())
}

fn fdb(fdb: &FdbStats) -> String {
    let mut text = format!("FDB: {} of {} entries", units::count(fdb.entries), units::count(fdb.capacity));
    let events = [
        (fdb.learned, "learned"),
        (fdb.moved, "moved"),
        (fdb.aged, "aged"),
        (fdb.evicted, "evicted"),
        (fdb.limited, "limited"),
        (fdb.damped, "damped"),
    ];
    for (count, event) in events.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {} {event}", units::count(count));
    }
    text + "\n"
}

/// One line of what it holds, and a table of what it dropped.
fn router(router: &RouterStats) -> String {
    let mut text = String::new();
    let several = router.uplinks.len() > 1;
    for uplink in if several { router.uplinks.as_slice() } else { router.uplink.as_slice() } {
        let word = match uplink {
            one if one.up => "up",
            one if one.down => "down",
            one if one.silent => "up, a next router does not answer",
            _ => "lost",
        };
        let named = !uplink.name.is_empty() && uplink.name != uplink.interface;
        let name = if named { format!("{} ({})", uplink.name, uplink.interface) } else { uplink.interface.clone() };
        text += &format!("Uplink: {name} {word}");
        if uplink.lost > 0 {
            let (lost, recovered) = (units::count(uplink.lost), units::count(uplink.recovered));
            text += &format!(", vanished {lost} times, back {recovered} times");
        }
        if several && !uplink.networks.is_empty() {
            text += &format!(", for {}", uplink.networks.join(", "));
        }
        text.push('\n');
    }
    text += &format!("Flows: {}", units::count(router.flows));
    let events = [
        (router.created, "created"),
        (router.expired, "expired"),
        (router.early_dropped, "dropped early"),
        (router.refused_full, "refused: table full"),
        (router.refused_endpoint, "refused: endpoint's limit"),
        (router.errors_held_back, "ICMP errors held back"),
    ];
    for (count, event) in events.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {} {event}", units::count(count));
    }
    text.push('\n');
    for way in &router.peerings {
        let (packets, bytes) = (units::count(way.packets), units::bytes(way.bytes));
        text += &format!("Joined: {} to {}, {packets} packets, {bytes}\n", way.from, way.to);
    }
    for one in &router.services {
        let (connections, flows) = (units::count(one.connections), units::count(one.flows));
        text += &format!(
            "Service {}: {} is {}, {connections} connections, {flows} flows now\n",
            one.service, one.backend, one.state
        );
    }
    if let Some(sockets) = &router.sockets {
        text += &over_sockets(sockets);
    }
    let none = BTreeMap::new();
    let (tcp, udp) = router.sockets.as_ref().map_or((&none, &none), |one| (&one.streams.drops, &one.datagrams.drops));
    let by = |drops, who| std::iter::zip(drops, std::iter::repeat(who));
    let drops = by(&router.route_drops, "router").chain(by(&router.nat_drops, "translator"));
    let mut drops = drops.chain(by(tcp, "TCP")).chain(by(udp, "UDP and ping")).peekable();
    if drops.peek().is_none() {
        return text;
    }
    let mut table = Table::new(["DROP REASON", "PACKETS", "BY"]).numbers([1]);
    for ((reason, count), who) in drops {
        table.row([reason, &units::count(*count), who]);
    }
    text + "\n" + &table.render()
}

/// One line, once somebody has asked.
fn dns(dns: &DnsStats) -> Option<String> {
    if dns.questions == 0 {
        return None;
    }
    let events = [
        (dns.answered, "answered"),
        (dns.missing, "not known"),
        (dns.forwarded, "forwarded"),
        (dns.unanswered, "unanswered"),
        (dns.refused, "refused"),
        (dns.ignored, "ignored"),
        (dns.limited, "too many"),
        (dns.connections_refused, "connections refused"),
        (dns.upstream_failures, "failures of resolvers"),
        (dns.gateways.malformed, "malformed at gateways"),
        (dns.gateways.busy, "without room at gateways"),
    ];
    let mut text = format!("Names: {} questions", units::count(dns.questions));
    let at_gateways = dns.gateways.datagrams + dns.gateways.connections;
    if at_gateways > 0 {
        text += &format!(" ({} datagrams and connections at gateways)", units::count(at_gateways));
    }
    for (count, event) in events.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {} {event}", units::count(count));
    }
    Some(text + "\n")
}

/// This host's ends of tunnels, and what they dropped.
fn vteps(vteps: &[VtepStats]) -> Option<String> {
    if vteps.is_empty() {
        return None;
    }
    let headers =
        ["VTEP", "PORT", "STATE", "NETWORKS", "PACKETS IN", "TRAINS IN", "PACKETS OUT", "TRAINS OUT", "DROPPED"];
    let mut table = Table::new(headers).numbers([1, 3, 4, 5, 6, 7]);
    for vtep in vteps {
        let drops = vtep.drops.iter().map(|(reason, count)| format!("{reason} {}", units::count(*count)));
        table.row([
            vtep.address.as_str(),
            &vtep.port.to_string(),
            if vtep.up { "up" } else { "lost" },
            &vtep.networks.to_string(),
            &units::count(vtep.in_packets),
            &units::count(vtep.in_trains),
            &units::count(vtep.out_packets),
            &units::count(vtep.out_trains),
            &drops.collect::<Vec<_>>().join(", "),
        ]);
    }
    Some(table.render())
}

/// A line for TCP, one for the rest, and one for each thing that the host should allow.
fn over_sockets(sockets: &SocketsStats) -> String {
    let SocketsStats { streams, datagrams } = sockets;
    let line = |name: &str, flows: u64, (sent, received): (u64, u64), events: &[(u64, &str)]| {
        let mut text =
            format!("{name}: {} flows, {} out, {} in", units::count(flows), units::bytes(sent), units::bytes(received));
        for (count, event) in events.iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {} {event}", units::count(*count));
        }
        text + "\n"
    };
    let tcp = [
        (streams.opened, "opened"),
        (streams.accepted, "accepted"),
        (streams.reset, "reset"),
        (streams.expired, "idle too long"),
        (streams.evicted, "ended for room"),
        (streams.refused_clients, "clients not let in"),
    ];
    let udp = [
        (datagrams.opened, "opened"),
        (datagrams.expired, "expired"),
        (datagrams.evicted, "ended for room"),
        (datagrams.reassembled, "put together"),
        (datagrams.errors, "ICMP errors passed on"),
    ];
    let mut text = line("TCP", streams.flows, (streams.sent_bytes, streams.received_bytes), &tcp);
    text += &line("UDP and ping", datagrams.flows, (datagrams.sent_bytes, datagrams.received_bytes), &udp);
    let no_descriptor = datagrams.no_descriptor + streams.refused;
    if no_descriptor > 0 {
        let count = units::count(no_descriptor);
        text += &format!("{count} flows found no socket: let vswitchd have more descriptors (ulimit -Hn)\n");
    }
    if datagrams.no_ping > 0 {
        let count = units::count(datagrams.no_ping);
        text +=
            &format!("{count} pings were refused by the host: put vswitchd's group into net.ipv4.ping_group_range\n");
    }
    text
}

fn dropped(counters: &Counters) -> u64 {
    counters.drops.values().sum()
}

/// What is more now, by reason.
fn difference<'a>(before: &BTreeMap<String, u64>, now: &'a BTreeMap<String, u64>) -> Vec<(&'a str, u64)> {
    let more = now.iter().map(|(reason, count)| {
        (reason.as_str(), count.saturating_sub(before.get(reason).copied().unwrap_or_default()))
    });
    more.filter(|(_, count)| *count > 0).collect()
}

fn sorted(ports: &[PortStats]) -> Vec<&PortStats> {
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by(|a, b| natural::compare(&a.network, &b.network).then(natural::compare(&a.endpoint, &b.endpoint)));
    ports
}

#[cfg(test)]
mod tests {
    use vswitch_api::stats::NetworkStats;

    use super::*;

    fn look(frames: u64) -> Stats {
        let counters = Counters {
            in_frames: frames,
            in_bytes: frames * 1000,
            drops: BTreeMap::from([("runt".into(), frames / 10), ("reflection".into(), 7)]),
            ..Counters::default()
        };
        let port = |port, endpoint: &str| PortStats {
            port,
            endpoint: endpoint.into(),
            network: "blue".into(),
            kind: "packet".into(),
            counters: counters.clone(),
            ..PortStats::default()
        };
        Stats {
            uptime_ms: frames,
            total: counters.clone(),
            networks: vec![NetworkStats { network: "blue".into(), counters: counters.clone() }],
            ports: vec![port(2, "web10"), port(1, "web9")],
            fdb: FdbStats { entries: 2, capacity: 65_536, learned: 2, ..FdbStats::default() },
            ..Stats::default()
        }
    }

    /// Ports come in natural order, drops by reason with their ports, and the database in one line.
    #[test]
    fn since_start() {
        let text = totals(&look(1000));
        assert!(text.contains("\n   1   web9 ") && text.find("web9") < text.find("web10"), "{text}");
        assert!(text.contains("\nrunt             100   web9 100, web10 100\n"), "{text}");
        assert!(text.ends_with("FDB: 2 of 65,536 entries, 2 learned\n"), "{text}");
    }

    /// VTEPs come last, with what they dropped; without any there is no table.
    #[test]
    fn tunnels() {
        assert!(!totals(&look(1)).contains("VTEP"));
        let drops = BTreeMap::from([("unknown-vni".to_owned(), 3)]);
        let vtep = VtepStats { address: "192.0.2.1".into(), port: 4789, up: true, drops, ..VtepStats::default() };
        let text = totals(&Stats { vteps: vec![vtep], ..look(1) });
        assert!(text.contains("192.0.2.1   4789   up ") && text.ends_with("unknown-vni 3\n"), "{text}");
    }

    /// Rates are differences over time; reasons that did not occur in between are not shown.
    #[test]
    fn in_between() {
        let text = rates(&look(1000), &look(3000), Duration::from_secs(2));
        assert!(text.contains("1.00 k/s   8.00 Mbit/s"), "{text}");
        assert!(text.contains("\nrunt          100/s     300\n") && !text.contains("reflection"), "{text}");
        let restarted = rates(&look(3000), &look(0), Duration::from_secs(1));
        assert!(restarted.contains("0/s") && !restarted.contains("runt"), "{restarted}");
    }
}
