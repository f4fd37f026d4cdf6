use super::*;

const NET: NetworkIndex = NetworkIndex::new(1);

fn fdb(capacity: usize) -> Fdb {
    Fdb::new(&Settings { fdb_capacity: capacity, loop_guard_moves: 3, ..Settings::default() })
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn key(number: u64) -> FdbKey {
    FdbKey::new(NET, MacAddr::from_u64(0x0242_0000_0000 + number))
}

fn port(number: u32) -> PortId {
    PortId::new(number)
}

/// What is learned is found, in its own network only, until it was not seen for the ageing time.
#[test]
fn learn_and_age() {
    let fdb = fdb(10);
    fdb.learn(key(1), port(1), at(0)).unwrap();
    assert_eq!(fdb.lookup(key(1), at(299)), Some(port(1)));
    assert_eq!(fdb.lookup(FdbKey::new(NetworkIndex::new(2), key(1).mac()), at(0)), None);
    fdb.learn(key(1), port(1), at(200)).unwrap();
    assert_eq!(fdb.lookup(key(1), at(499)), Some(port(1)));
    assert_eq!(fdb.lookup(key(1), at(500)), None);
    fdb.sweep(at(499));
    assert_eq!(fdb.stats().entries, 1);
    fdb.sweep(at(500));
    assert_eq!((fdb.stats().entries, fdb.stats().aged), (0, 1));
}

/// An address moves at once; more than the allowed moves in a second damp it for the guard's time.
#[test]
fn move_and_loop_guard() {
    let fdb = fdb(10);
    fdb.learn(key(1), port(1), at(0)).unwrap();
    fdb.learn(key(1), port(2), at(0)).unwrap();
    assert_eq!(fdb.lookup(key(1), at(0)), Some(port(2)));
    fdb.learn(key(1), port(1), at(0)).unwrap();
    fdb.learn(key(1), port(2), at(0)).unwrap();
    assert_eq!(fdb.learn(key(1), port(1), at(0)), Err(DropReason::LoopGuard));
    assert_eq!(fdb.learn(key(1), port(2), at(1)), Ok(()), "where it was last, it goes on");
    assert_eq!(fdb.learn(key(1), port(1), at(9)), Err(DropReason::LoopGuard));
    assert_eq!(fdb.learn(key(1), port(1), at(10)), Ok(()));
    assert_eq!((fdb.stats().moved, fdb.stats().damped), (4, 1));
    assert_eq!((fdb.count_of(port(1)), fdb.count_of(port(2))), (1, 0));
}

/// A full table takes room from the port that holds most, so a flooding port pushes out its own addresses.
#[test]
fn fair_eviction() {
    let fdb = fdb(100);
    for victim in 0..10 {
        fdb.learn(key(victim), port(1), at(0)).unwrap();
    }
    for random in 1000..100_000 {
        fdb.learn(key(random), port(2), at(1)).unwrap();
    }
    assert_eq!(fdb.stats().entries, 100);
    assert_eq!((fdb.count_of(port(1)), fdb.count_of(port(2))), (10, 90));
    assert!((0..10).all(|victim| fdb.lookup(key(victim), at(1)) == Some(port(1))));
    assert_eq!(fdb.stats().evicted, 99_000 - 90);
}

/// An entry seen since it was queued gets a second chance before one that was not.
#[test]
fn second_chance() {
    let fdb = fdb(3);
    for number in 0..3 {
        fdb.learn(key(number), port(1), at(0)).unwrap();
    }
    fdb.learn(key(0), port(1), at(5)).unwrap();
    fdb.learn(key(9), port(1), at(5)).unwrap();
    assert_eq!(fdb.lookup(key(0), at(5)), Some(port(1)));
    assert_eq!(fdb.lookup(key(1), at(5)), None);
}

/// A port at its limit learns nothing more; what it has goes on.
#[test]
fn port_limit() {
    let fdb = fdb(100);
    fdb.limit_port(port(1), Some(2));
    for number in 0..5 {
        fdb.learn(key(number), port(1), at(0)).unwrap();
    }
    assert_eq!((fdb.count_of(port(1)), fdb.stats().limited), (2, 3));
    fdb.learn(key(7), port(2), at(0)).unwrap();
    fdb.learn(key(7), port(1), at(0)).unwrap();
    assert_eq!(fdb.lookup(key(7), at(0)), Some(port(2)), "a move counts as well");
}

/// A static entry binds the address, never ages, is not evicted, and leaves only by remove or with its port.
#[test]
fn static_entries() {
    let fdb = fdb(2);
    assert!(fdb.add_static(NET, key(1).mac(), port(1)));
    assert_eq!(fdb.learn(key(1), port(2), at(0)), Err(DropReason::StaticEntry));
    for number in 5..20 {
        fdb.learn(key(number), port(2), at(1)).unwrap();
    }
    fdb.sweep(at(10_000));
    assert_eq!(fdb.flush_network(NET), 0);
    assert_eq!(fdb.lookup(key(1), at(10_000)), Some(port(1)));
    assert_eq!(fdb.entries(NET, at(10_000)).len(), 1);
    assert!(fdb.add_static(NET, key(2).mac(), port(1)));
    assert!(!fdb.add_static(NET, key(3).mac(), port(1)), "full of static entries");
    fdb.learn(key(4), port(2), at(10_000)).unwrap();
    assert_eq!(fdb.lookup(key(4), at(10_000)), None);
    assert!(fdb.remove(NET, key(1).mac()));
    assert!(!fdb.remove(NET, key(1).mac()));
    fdb.forget_port(port(1));
    assert_eq!(fdb.stats().entries, 0);
}

/// Removing a port removes its entries and nobody else's; flushing a network keeps the others.
#[test]
fn forget_and_flush() {
    let fdb = fdb(100);
    let other = |number| FdbKey::new(NetworkIndex::new(2), MacAddr::from_u64(0x0242_0000_0000 + number));
    for number in 0..10 {
        fdb.learn(key(number), port(1), at(0)).unwrap();
        fdb.learn(other(number), port(2), at(0)).unwrap();
    }
    fdb.learn(key(3), port(2), at(1)).unwrap();
    fdb.forget_port(port(1));
    assert_eq!((fdb.count_of(port(1)), fdb.count_of(port(2))), (0, 11));
    assert_eq!(fdb.flush_network(NET), 1);
    assert_eq!(fdb.stats().entries, 10);
}

/// Addresses that move to and fro leave a queue no longer than a few times the table.
#[test]
fn queues_stay_bounded() {
    let fdb = Fdb::new(&Settings { loop_guard_moves: u32::MAX, ..Settings::default() });
    fdb.learn(key(0), port(1), at(0)).unwrap();
    fdb.learn(key(1), port(2), at(0)).unwrap();
    for turn in 0..10_000u32 {
        fdb.learn(key(5), port(1 + turn % 2), at(0)).unwrap();
    }
    let keys: usize = (1..3).map(|p| fdb.ledger().keys_of(port(p)).len()).sum();
    assert!(keys < 200, "{keys} keys queued");
}

/// The cache answers as the table does after every kind of change, and keeps a busy station from ageing.
#[test]
fn cache_follows() {
    let fdb = fdb(100);
    let mut cache = Cache::new();
    cache.begin(&fdb, at(0));
    cache.learn(&fdb, key(1), port(1), at(0)).unwrap();
    assert_eq!(cache.lookup(&fdb, key(1), at(0)), Some(port(1)));
    for second in 1..1000 {
        cache.begin(&fdb, at(second));
        assert_eq!(cache.lookup(&fdb, key(1), at(second)), Some(port(1)), "lookup first, learn after");
        cache.learn(&fdb, key(1), port(1), at(second)).unwrap();
    }
    fdb.learn(key(1), port(2), at(999)).unwrap();
    cache.begin(&fdb, at(999));
    assert_eq!(cache.lookup(&fdb, key(1), at(999)), Some(port(2)));
    fdb.forget_port(port(2));
    cache.begin(&fdb, at(999));
    assert_eq!(cache.lookup(&fdb, key(1), at(999)), None);
}

/// Whatever several threads do at the same time, map and ledger say the same afterwards: as many entries in all and of each port,
/// none too many, and none of a port that was forgotten last.
#[test]
fn threads_leave_map_and_ledger_agreeing() {
    use rand::{Rng, SeedableRng};

    const CAPACITY: usize = 24;
    let fdb = fdb(CAPACITY);
    let work = |thread: u64| {
        let mut rng = rand::rngs::StdRng::seed_from_u64(thread);
        let mut cache = Cache::new();
        for round in 0..20_000u64 {
            let (key, port, now) = (key(rng.random_range(0..48)), port(rng.random_range(0..4)), at(round / 1000));
            match rng.random_range(0..20) {
                0 => fdb.forget_port(port),
                1 => fdb.sweep(now),
                2 => {
                    fdb.add_static(NET, key.mac(), port);
                }
                3..8 => {
                    let _ = fdb.lookup(key, now);
                }
                8..12 => {
                    cache.begin(&fdb, now);
                    let _ = cache.learn(&fdb, key, port, now);
                }
                _ => {
                    let _ = fdb.learn(key, port, now);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    let entries = fdb.entries(NET, at(20));
    assert_eq!((entries.len() as u64, entries.len() <= CAPACITY), (fdb.stats().entries, true));
    for number in 0..4 {
        let of_port = entries.iter().filter(|entry| entry.port == port(number)).count();
        assert_eq!(fdb.count_of(port(number)), of_port, "port {number}");
        fdb.forget_port(port(number));
        assert!(fdb.entries(NET, at(20)).iter().all(|entry| entry.port != port(number)));
        assert_eq!(fdb.count_of(port(number)), 0);
    }
    assert_eq!(fdb.stats().entries, 0);
}

/// While stations move between ports, are pushed out by others and forgotten with their port, the map and the ledger say the same,
/// no lookup finds a port that nobody learned, and a port that was forgotten last holds nothing. (Under Miri, too: `tests/threads`.)
#[test]
fn threads_change_it_together() {
    let (rounds, fdb) = (if cfg!(miri) { 6 } else { 300 }, fdb(4));
    let learners = [port(1), port(2)];
    std::thread::scope(|scope| {
        for learner in learners {
            let fdb = &fdb;
            scope.spawn(move || {
                let mut cache = Cache::new();
                for round in 0..rounds {
                    cache.begin(fdb, at(round));
                    for number in 0..6 {
                        let _ = cache.learn(fdb, key(number), learner, at(round));
                    }
                }
            });
        }
        scope.spawn(|| {
            for round in 0..rounds {
                fdb.forget_port(learners[0]);
                fdb.sweep(at(round));
                assert!(fdb.flush_network(NET) <= 4);
            }
        });
        let mut cache = Cache::new();
        for round in 0..rounds {
            cache.begin(&fdb, at(round));
            for number in 0..6 {
                let found = cache.lookup(&fdb, key(number), at(round));
                assert!(found.is_none_or(|port| learners.contains(&port)), "{found:?}");
            }
            assert!(fdb.stats().entries <= 4);
        }
    });
    let last = at(rounds - 1);
    let held = |port| fdb.entries(NET, last).iter().filter(|entry| entry.port == port).count();
    for learner in learners {
        assert_eq!(held(learner), fdb.count_of(learner));
    }
    fdb.forget_port(learners[0]);
    assert_eq!((held(learners[0]), fdb.count_of(learners[0])), (0, 0));
    assert_eq!(usize::try_from(fdb.stats().entries).unwrap(), fdb.count_of(learners[1]));
}
