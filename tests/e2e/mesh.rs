//! A service of an overlay network that each of its hosts publishes: whichever is asked, backends of all hosts answer.

use std::collections::BTreeSet;

use vswitch_tests::hosts::Hosts;
use vswitch_tests::{Output, eventually, guard};

/// Who answered when one was asked some times in a row.
fn answers(ask: impl Fn(&str) -> Output, address: &str) -> BTreeSet<String> {
    let said = ask(&format!("for i in 1 2 3 4; do curl -sS -m 5 http://{address}:8080/page; done")).stdout;
    said.lines().map(str::to_owned).collect()
}

/// Clients outside, on either host, and in the network, on either host, get pages of both backends; a backend of the other host
/// is shown the service as its client. It goes on after a restart, and without the other host's.
#[test]
fn whichever_host_is_asked() {
    guard(|| {
        let (hosts, one, two) = Hosts::pair("");
        let (a, b) = (one.container("a", "--network n"), two.container("b", "--network n"));
        a.serves_page();
        b.serves_page();
        let mut addresses = Vec::new();
        for (vs, own, other) in [(&one, "a", &b), (&two, "b", &a)] {
            let line = format!("service create web --network n -p 8080:80 --backend {own},{}", other.ipv4("n"));
            addresses.push(vs.ok(&line).trim().to_owned());
        }
        let both: BTreeSet<String> = ["page-of-a", "page-of-b"].map(str::to_owned).into();
        for number in [1, 2] {
            let from = hosts.host(3 - number);
            let published = format!("10.77.0.{number}");
            eventually("both answer", 20, || answers(|line| from.sh(line), &published) == both);
        }
        let (c, d) = (one.container("c", "--network n"), two.container("d", "--network n"));
        for client in [&c, &d] {
            assert_eq!(answers(|line| client.sh(line), "web"), both, "by its name, at home");
            for address in &addresses {
                assert_eq!(answers(|line| client.sh(line), address), both, "at {address}");
            }
        }
        let log = b.ok("cat /mnt/b.log");
        assert!(log.contains(&addresses[0]), "{log}");
        assert!(log.contains(&d.ipv4("n").to_string()), "clients of its own host are themselves: {log}");
        let shown = one.json("service inspect web");
        let states: Vec<_> = shown[0]["backends"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
        assert!(states.contains(&"up".into()) && states.contains(&"elsewhere".into()), "{shown}");
        assert!(one.ok("network graph").contains(&b.ipv4("n").to_string()));

        one.crash();
        one.up();
        eventually("both answer again", 20, || answers(|line| c.sh(line), "web") == both);
        one.ok(&format!("service drain web {}", b.ipv4("n")));
        assert_eq!(answers(|line| c.sh(line), "web"), ["page-of-a".to_owned()].into());

        one.ok("network create --subnet 10.202.0.0/24 flat");
        for (network, backend, says) in [
            ("flat", "10.202.0.9", "network flat has one host"),
            ("n", "10.9.0.9", "is in no subnet of network n"),
            ("n", "10.201.0.1", "is the switch's own"),
            ("n", &addresses[0], "is the switch's own"),
            ("n", &a.ipv4("n").to_string(), "is a, which is on this host"),
        ] {
            one.refuses(&format!("service create other --network {network} --port 80 --backend {backend}"), says);
        }
    });
}
