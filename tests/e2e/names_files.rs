//! /etc/hosts and /etc/resolv.conf: links, extra hosts, resolver settings, and what users write there themselves.

use std::process::Command;

use vswitch_tests::{Vswitch, eventually, guard, sh, spawn};

/// On the default network a link is a line of /etc/hosts for its owner alone, and follows the other's address.
#[test]
fn links_on_the_default_network() {
    guard(|| {
        let vs = Vswitch::start();
        let db = vs.container("db", "--hostname store");
        let web = vs.container("web", "--link db:data --link db");
        let line = |alias: &str| format!("{}\t{alias}", db.ipv4("bridge"));
        let hosts = web.ok("cat /etc/hosts");
        assert!(
            hosts.contains(&(line("data") + " store db\n")) && hosts.contains(&(line("db") + " store\n")),
            "{hosts}"
        );
        web.pings("data");
        assert!(!db.ok("cat /etc/hosts").contains("web"), "one direction only");
        // Whoever shares the namespace, and further processes, see the same.
        let guest = vs.container("guest", "--network container:web");
        assert!(guest.ok("getent hosts data").starts_with(&db.ipv4("bridge").to_string()));
        // What the user writes stays; what vswitch wrote follows.
        web.ok("echo 192.0.2.1 mine >> /etc/hosts");
        let before = db.ipv4("bridge").to_string();
        vs.ok("network disconnect bridge db");
        assert!(!web.ok("cat /etc/hosts").contains(&before));
        let taken = vs.container("taken", "");
        assert_eq!(taken.ipv4("bridge").to_string(), before);
        vs.ok("network connect bridge db");
        let hosts = web.ok("cat /etc/hosts");
        assert!(hosts.contains("192.0.2.1 mine\n") && hosts.contains(&line("data")), "{hosts}");
        assert!(guest.ok("getent hosts data").starts_with(&db.ipv4("bridge").to_string()));
        vs.ok("stop -t 0 db");
        vs.ok("start db");
        web.pings("data");
        vs.ok("rename db store2");
        assert!(web.ok("getent hosts data").contains("store2"));
        assert_eq!(web.endpoint("bridge").links, ["store2:data", "store2:db"]);
    });
}

/// host-gateway is the address by which containers reach the host's loopback, and services there answer by that name.
#[test]
fn the_host_by_name() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "sockets", "--host-loopback", "10.0.2.2"]);
        std::fs::create_dir_all("/tmp/www").unwrap();
        std::fs::write("/tmp/www/page", "page-of-the-host\n").unwrap();
        let _server =
            spawn(Command::new("python3").args("-m http.server 8099 --bind 127.0.0.1 -d /tmp/www".split(' ')));
        let a = vs.container("a", "--add-host host.docker.internal:host-gateway");
        assert_eq!(a.ok("getent hosts host.docker.internal").split_whitespace().next(), Some("10.0.2.2"));
        eventually("the host's server answers", 20, || {
            a.sh("curl -sS -m 5 http://host.docker.internal:8099/page").stdout == "page-of-the-host\n"
        });
    });
}

/// Links that cannot be are refused with a sentence, and leave nothing behind.
#[test]
fn refused_links() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        let db = vs.container("db", "");
        for (flags, says) in [
            ("--link nobody:x", "could not get container for nobody: No such container: nobody"),
            ("--link a:b:c", "bad format for links"),
            ("--link db:a/b", "invalid alias"),
            ("--network host --link db", "host type networking can't be used with links"),
            ("--network container:db --link db", "container type network can't be used with links"),
            ("--network container:db --dns 9.9.9.9", "conflicting options: dns and the network mode"),
            ("--network container:db --add-host a:10.0.0.1", "custom host-to-IP mapping and the network mode"),
            ("--dns-option a --dns resolver", "not an ip address"),
        ] {
            let said = vs.words(&format!("run {flags} -- true")).exits(125);
            assert!(said.stderr.contains(says), "{says}: {said}");
        }
        vs.ok("stop -t 0 db");
        vs.words("run --link db:d -- true").exits(125).says("Cannot link to a non running container: /db AS /");
        vs.ok("start db");
        vs.ok("network connect red db");
        vs.ok("network disconnect bridge db");
        vs.words("run --link db:d -- true").exits(125).says("Cannot link to /db, as it does not belong to the default");
        vs.refuses("network connect --link a:b:c red db", "bad format for links");
        assert_eq!(vs.json("ps -a").as_array().unwrap().iter().filter(|one| one["state"] == "running").count(), 1);
        db.ok("true");
    });
}

/// On a custom network a link is a name for its owner alone, also for one that does not exist yet.
#[test]
fn links_on_a_custom_network() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create red");
        vs.ok("network create blue");
        let web = vs.container("web", "--network red --link later:data");
        let other = vs.container("other", "--network red");
        assert_eq!(web.sh("getent hosts data").code, 2);
        let later = vs.container("later", "--network red");
        web.pings("data");
        assert_eq!(other.sh("getent hosts data").code, 2);
        assert!(!web.ok("cat /etc/hosts").contains("data"));
        vs.ok("network connect --link later:l blue web");
        assert_eq!(web.sh("getent hosts l").code, 2, "it is not on blue");
        vs.ok("network connect blue later");
        assert!(web.ok("getent hosts l").starts_with(&later.ipv4("blue").to_string()));
        assert_eq!(web.endpoint("blue").links, ["later:l"]);
    });
}

/// --dns, --dns-search, --dns-option and --add-host, on both kinds of network; a resolv.conf that its user changed stays.
#[test]
fn resolver_settings() {
    guard(|| {
        let vs = Vswitch::with(&["--dns", "9.9.9.9", "--dns-search", "set.example", "--dns-opt", "rotate"]);
        vs.ok("network create red");
        let file = |text: String| text.lines().skip(1).collect::<Vec<_>>().join("|");
        let set = vs.container("set", "");
        let wanted = "nameserver 9.9.9.9|search set.example|options rotate";
        assert_eq!(file(set.ok("cat /etc/resolv.conf")), wanted);
        let flags = "--dns 8.8.8.8 --dns fd00::53 --dns-search . --dns-option timeout:1 --add-host db:10.0.0.5";
        let own = vs.container("own", flags);
        assert_eq!(file(own.ok("cat /etc/resolv.conf")), "nameserver 8.8.8.8|nameserver fd00::53|options timeout:1");
        assert!(own.ok("getent hosts db").contains("10.0.0.5"));
        let red = vs.container("red", "--network red --dns-search red");
        assert_eq!(file(red.ok("cat /etc/resolv.conf")), "nameserver 127.0.0.11|search red|options rotate ndots:0");
        let dotted = vs.container("dotted", "--network red --dns-option ndots:1 --dns-search red");
        assert_eq!(file(dotted.ok("cat /etc/resolv.conf")), "nameserver 127.0.0.11|search red|options ndots:1");
        assert!(dotted.ok("getent hosts red").starts_with(&red.ipv4("red").to_string()));
        set.ok("echo nameserver 192.0.2.9 > /etc/resolv.conf");
        vs.ok("network connect red set");
        assert_eq!(set.ok("cat /etc/resolv.conf"), "nameserver 192.0.2.9\n");
        let shown = own.details();
        assert_eq!((shown.dns_search, shown.dns_options), (vec![".".to_owned()], vec!["timeout:1".to_owned()]));
    });
}

/// The host replaces its files by new ones, as NetworkManager, dhclient and editors do: a container's own stay, and follow
/// what happens to it.
#[test]
fn host_files_are_replaced() {
    guard(|| {
        // This /etc is a copy (see guard.sh).
        sh("for file in hosts resolv.conf hostname; do rm -f /etc/$file; echo '# of the host' > /etc/$file; done").ok();
        let vs = Vswitch::start();
        vs.ok("network create red");
        vs.ok("network create blue");
        let (a, plain) = (vs.container("a", "--network red --add-host db:10.0.0.5"), vs.container("plain", ""));
        let before = [&a, &plain].map(|one| one.ok("cat /etc/hosts /etc/resolv.conf /etc/hostname"));
        sh("for file in hosts resolv.conf hostname; do echo '# replaced' > /etc/new; mv /etc/new /etc/$file; done")
            .ok();
        let after = [&a, &plain].map(|one| one.ok("cat /etc/hosts /etc/resolv.conf /etc/hostname"));
        assert_eq!(before, after);
        assert!(after[0].contains("nameserver 127.0.0.11\n") && after[0].contains("10.0.0.5\tdb\n"), "{}", after[0]);
        vs.ok("network connect blue a");
        let address = a.ipv4("blue").to_string();
        assert!(a.ok("cat /etc/hosts").contains(&address), "it follows what happens");
        assert_eq!(a.ok("getent hosts db").split_whitespace().next(), Some("10.0.0.5"));
        assert_eq!(sh("cat /etc/hosts").ok(), "# replaced\n", "and the host has its own");
    });
}
