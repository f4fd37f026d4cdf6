//! The Redis Cluster of the tutorials: six servers on one custom network with published ports, three masters with a
//! replica each. A master is stopped, its replica takes over, and the old one comes back as a replica.

use vswitch_tests::rootless::Rootless;
use vswitch_tests::{Output, Vswitch, eventually, guard, until};

use crate::docker::docker;

const SERVERS: u32 = 6;

/// Slot of the key `a`, by which the tutorials show who answers.
const SLOT: u32 = 15_495;

fn start_server(vs: &Vswitch, index: u32) {
    let dir = format!("/mnt/redis-{index}");
    std::fs::create_dir_all(&dir).unwrap();
    vs.ok(&format!(
        "run -d --name redis-{index} --network redis --ip 172.38.0.1{index} -p 637{index}:6379 -p 1637{index}:16379 -- \
         redis-server --port 6379 --bind 0.0.0.0 --dir {dir} --appendonly yes --protected-mode no --cluster-enabled yes \
         --cluster-config-file nodes.conf --cluster-node-timeout 5000 --cluster-announce-ip 172.38.0.1{index}"
    ));
}

/// redis-cli inside a container.
fn redis(vs: &Vswitch, index: u32, words: &str) -> Output {
    vs.words(&format!("exec redis-{index} redis-cli {words}"))
}

/// The master of [`SLOT`], as a server sees it.
fn master_of_slot(vs: &Vswitch, seen_by: u32) -> Option<u32> {
    redis(vs, seen_by, "cluster nodes").stdout.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let holds = |range: &&str| match range.split_once('-') {
            Some((first, last)) => (first.parse().ok()..=last.parse().ok()).contains(&Some(SLOT)),
            None => false,
        };
        let master = fields.get(2)?.contains("master") && fields[8..].iter().any(holds);
        fields.get(1)?.strip_prefix("172.38.0.1")?.split(':').next()?.parse().ok().filter(|_| master)
    })
}

/// The whole tutorial.
#[test]
fn a_cluster() {
    guard(|| {
        let site = Rootless::start();
        let vs = &site.vs;
        docker(vs, "network create redis --subnet 172.38.0.0/16").ok();
        for index in 1..=SERVERS {
            start_server(vs, index);
        }
        for index in 1..=SERVERS {
            eventually("a server answers at its published port", 30, || {
                site.outside.sh(&format!("redis-cli -h 10.99.0.1 -p 637{index} ping")).stdout.trim() == "PONG"
            });
        }
        let all: Vec<String> = (1..=SERVERS).map(|index| format!("172.38.0.1{index}:6379")).collect();
        let create = format!("--cluster create {} --cluster-replicas 1 --cluster-yes", all.join(" "));
        let said = redis(vs, 1, &create).ok();
        assert!(said.contains("[OK] All 16384 slots covered."), "{said}");
        for index in 1..=SERVERS {
            eventually("a server knows the whole cluster", 60, || {
                let info = redis(vs, index, "cluster info").stdout;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
            });
        }
        redis(vs, 1, "-c set a b").ok();
        assert_eq!(redis(vs, 2, "-c get a").ok().trim(), "b");
        let master = master_of_slot(vs, 1).expect("somebody has the slot");
        let witness = if master == 1 { 2 } else { 1 };
        // From outside, a client is sent on to an address of the network: it is a redirection, not an answer.
        let moved = site.outside.sh(&format!("redis-cli -h 10.99.0.1 -p 637{witness} get a")).stdout;
        assert_eq!(moved.trim(), format!("MOVED {SLOT} 172.38.0.1{master}:6379"));
        eventually("the replica has the key", 30, || {
            redis(vs, master, "info replication").stdout.contains("state=online")
        });
        docker(vs, &format!("stop -t 5 redis-{master}")).ok();
        let heir = until("the replica takes over", 90, || master_of_slot(vs, witness).filter(|heir| *heir != master));
        eventually("the cluster answers again", 60, || redis(vs, witness, "-c get a").stdout.trim() == "b");
        assert_eq!(redis(vs, heir, "get a").ok().trim(), "b");
        docker(vs, &format!("start redis-{master}")).ok();
        eventually("the old master is a replica", 60, || {
            let info = redis(vs, master, "info replication").stdout;
            info.contains("role:slave")
                && info.contains(&format!("master_host:172.38.0.1{heir}"))
                && info.contains("master_link_status:up")
        });
        assert_eq!(docker(vs, "ps -q --filter network=redis").ok().lines().count(), 6);
    });
}
