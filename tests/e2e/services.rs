//! Load-balanced services: nginx and redis behind one address, asked by curl and others.

use std::collections::BTreeMap;
use std::time::Duration;

use vswitch_tests::guard::guard_for;
use vswitch_tests::rootless::Rootless;
use vswitch_tests::{Container, Vswitch, eventually, guard, http};

/// Starts nginx, which says who it is and who asks; `/ok` is well unless /mnt/sick is there.
fn nginx(one: &Container<'_>) {
    let name = one.name();
    let at = format!("/mnt/{name}");
    let config = format!(
        "user root; master_process off; pid {at}/pid; error_log {at}/log; events {{}}\n\
         http {{ access_log off; keepalive_timeout 300; client_body_temp_path {at}/1; proxy_temp_path {at}/2;\n\
         fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5; default_type text/plain;\n\
         server {{ listen 80; listen [::]:80;\n\
         location /page {{ return 200 \"{name} $remote_addr\\n\"; }}\n\
         location /ok {{ if (-f {at}/sick) {{ return 503; }} return 200 ok; }} }} }}\n"
    );
    one.ok(&format!("mkdir -p {at}; cat > {at}/conf <<'EOF'\n{config}EOF"));
    one.ok(&format!("nginx -e {at}/log -c {at}/conf > {at}/said 2>&1"));
    one.listens(80);
}

/// How often each backend answered, of `count` requests.
fn pages(client: &Container<'_>, url: &str, count: usize) -> BTreeMap<String, usize> {
    let said = client.sh(&format!("for i in $(seq {count}); do curl -sS -m 5 {url} || echo failed; done")).stdout;
    let mut pages = BTreeMap::new();
    for line in said.lines() {
        *pages.entry(line.to_owned()).or_insert(0) += 1;
    }
    pages
}

fn state(vs: &Vswitch, backend: &str) -> String {
    let shown = vs.json("service inspect web");
    let backends = shown[0]["backends"].as_array().unwrap();
    let found = backends.iter().find(|one| one["name"] == backend);
    found.map_or("none", |one| one["state"].as_str().unwrap()).to_owned()
}

/// Servers take turns behind a name, see their clients' addresses, come and go, are drained, fail and come back; the host
/// publishes the port; all of it outlives vswitchd.
#[test]
fn a_tier_behind_a_name() {
    guard(|| {
        let site = Rootless::start();
        let vs = &site.vs;
        vs.ok("network create --subnet 10.201.1.0/24 --ipv6 --subnet fd71::/64 shop");
        let one = vs.container("one", "--network shop --label tier=web");
        let client = vs.container("client", "--network shop");
        nginx(&one);
        let made = vs
            .ok("service create web --network shop --ip 10.201.1.100 --ip fd71::100 -p 8080:80 --selector tier=web \
             --health http:/ok --health-interval 0.5");
        assert_eq!(made, "10.201.1.100 fd71::100\n");
        let two = vs.container("two", "--network shop --label tier=web");
        nginx(&two);
        eventually("both are up", 20, || state(vs, "one") == "up" && state(vs, "two") == "up");
        for (url, address) in [
            ("http://web:8080/page", client.ipv4("shop").to_string()),
            ("http://10.201.1.100:8080/page", client.ipv4("shop").to_string()),
            ("'http://[fd71::100]:8080/page'", client.ipv6("shop").to_string()),
        ] {
            let by = if url.contains("web") { "-4 http://web:8080/page" } else { url };
            let half = BTreeMap::from([(format!("one {address}"), 3), (format!("two {address}"), 3)]);
            assert_eq!(pages(&client, by, 6), half, "{url}");
        }
        assert!(one.sh("curl -sS -m 5 -4 http://web:8080/page").stdout.contains(' '), "backends ask, too");
        assert!(one.sh("curl -sS -m 5 -4 http://web:8080/page").stdout.contains(' '), "also themselves");
        eventually("the host publishes it", 15, || {
            site.outside.sh("curl -sS -m 2 http://10.99.0.1:8080/page").stdout.contains(" 10.99.0.2")
        });
        client.pings("10.201.1.100");
        let graph = vs.ok("network graph");
        assert!(graph.contains("8080:80/tcp to one, two"), "{graph}");
        assert!(vs.ok("stats").contains("Service web: one is up"), "{}", vs.ok("stats"));

        let of = |name: &str| BTreeMap::from([(format!("{name} {}", client.ipv4("shop")), 4)]);
        vs.ok("service drain web two");
        assert_eq!(pages(&client, "http://10.201.1.100:8080/page", 4), of("one"));
        vs.ok("service drain --undo web two");
        assert_eq!(pages(&client, "http://10.201.1.100:8080/page", 4).len(), 2);

        // One fails: a client that waits for it is told, new connections go elsewhere.
        let waits = "exec python3 -uc 'import socket\nwhile True:\n \
             c=socket.create_connection((\"10.201.1.100\",8080),5);c.settimeout(60)\n \
             c.sendall(b\"GET /page HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n\");said=c.recv(999)\n \
             if b\"one \" in said: break\nprint(\"waits\")\n\
             try: print(\"got\",c.recv(9))\nexcept ConnectionResetError: print(\"cut\")'";
        let waiting = client.spawn(waits);
        eventually("somebody waits for one", 20, || waiting.output().contains("waits"));
        one.ok("touch /mnt/one/sick");
        eventually("it is found out", 20, || state(vs, "one") == "down");
        assert_eq!(pages(&client, "http://10.201.1.100:8080/page", 4), of("two"));
        eventually("who waited is told", 20, || waiting.output().contains("cut"));
        one.ok("rm /mnt/one/sick");
        eventually("it is well again", 20, || state(vs, "one") == "up");
        // Its program ends, and comes back.
        one.ok("kill $(cat /mnt/one/pid)");
        eventually("that is found out", 20, || state(vs, "one") == "down");
        assert_eq!(pages(&client, "http://10.201.1.100:8080/page", 4), of("two"));
        nginx(&one);
        eventually("it is back", 20, || state(vs, "one") == "up");
        // A container ends: nobody is sent there from then on.
        vs.ok("rm -f two");
        assert_eq!(pages(&client, "http://10.201.1.100:8080/page", 4), of("one"));

        vs.crash();
        vs.up();
        eventually("it is up again", 20, || state(vs, "one") == "up");
        assert_eq!(pages(&client, "http://10.201.1.100:8080/page", 4), of("one"));
        assert!(vs.ok("service ls").contains("10.201.1.100, fd71::100   8080:80/tcp"), "{}", vs.ok("service ls"));
        assert!(vs.json("flows ls --network shop").as_array().unwrap().iter().any(|flow| flow["kind"] == "service"));
        let taken = "web is the name of a service on network shop";
        vs.words("run -d --name web --network shop -- sleep 9").exits(125).says(taken);
        vs.ok("service rm web");
        assert_eq!(vs.json("service ls"), serde_json::json!([]));
        assert!(client.sh("curl -sS -m 2 http://10.201.1.100:8080/page").code != 0);
        assert!(client.sh("getent hosts web").code != 0);
        vs.container("web", "--network shop --ip 10.201.1.100").ok("true");
    });
}

/// A backend that serves at one of its addresses only is led to there, and nobody is led to where it does not.
#[test]
fn health_of_each_address() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.ok("network create --subnet 10.201.1.0/24 --ipv6 --subnet fd71::/64 shop");
        let servers = [vs.container("four", "--network shop"), vs.container("both", "--network shop")];
        let client = vs.container("client", "--network shop");
        let _running: Vec<_> = servers
            .iter()
            .zip(["AF_INET", "AF_INET6"])
            .map(|(one, family)| {
                let name = one.name();
                one.spawn(&format!(
                    "exec python3 -c 'import socket\ns=socket.socket(socket.{family});s.bind((\"\",80));s.listen(99)\n\
                     while True:\n c,_=s.accept();c.sendall(b\"{name}\\n\");c.close()'"
                ))
            })
            .collect();
        servers.iter().for_each(|one| one.listens(80));
        vs.ok("service create web --network shop --ip 10.201.1.100 --ip fd71::100 --port 80 --backend four,both \
             --health tcp --health-interval 0.5");
        eventually("each is known", 20, || state(&vs, "both") == "up" && state(&vs, "four") == "partly");
        let asked = |address: &str| {
            let ask = format!(
                "for i in 1 2 3 4; do python3 -c 'import socket\n\
                 print(socket.create_connection((\"{address}\",80),5).recv(9).decode(),end=\"\")'; done"
            );
            let mut said: Vec<String> = client.ok(&ask).lines().map(str::to_owned).collect();
            said.sort();
            said
        };
        assert_eq!(asked("10.201.1.100"), ["both", "both", "four", "four"]);
        assert_eq!(asked("fd71::100"), ["both"; 4]);
        assert!(vs.ok("service inspect web").contains("\"partly\""));
    });
}

/// A connection stays with its backend while backends are exchanged; redis is asked at an address of each family, and a server of
/// datagrams by a client that hears the service alone.
#[test]
fn connections_stay() {
    guard(|| {
        let vs = Vswitch::with(&["--uplink", "none"]);
        vs.ok("network create --subnet 10.201.1.0/24 --ipv6 --subnet fd71::/64 shop");
        let servers = [vs.container("r1", "--network shop"), vs.container("r2", "--network shop")];
        let udp = |name: &str| {
            format!(
                "exec python3 -c 'import socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);s.bind((\"::\",6379))\n\
                 while True:\n d,a=s.recvfrom(99);s.sendto((\"{name} \"+a[0]).encode(),a)'"
            )
        };
        let _running: Vec<_> = servers
            .iter()
            .flat_map(|one| {
                [
                    one.spawn("exec redis-server --bind '*' -::* --protected-mode no --save ''"),
                    one.spawn(&udp(one.name())),
                ]
            })
            .collect();
        for (number, one) in (1..).zip(&servers) {
            one.listens(6379);
            eventually("it hears datagrams", 15, || one.sh("ss -Hlun sport = :6379").stdout.contains("6379"));
            one.ok(&format!("redis-cli set who r{number}"));
        }
        let client = vs.container("client", "--network shop");
        let made =
            vs.ok("service create db --network shop --port 6379 --port 53000:6379/udp --backend r1 --algorithm hash");
        let addresses: Vec<_> = made.split_whitespace().collect();
        assert_eq!(addresses.len(), 2, "{made}");
        for address in &addresses {
            assert_eq!(client.ok(&format!("redis-cli -h {address} get who")).trim(), "r1");
        }
        let talk = format!(
            "exec python3 -uc 'import os,socket,time\nc=socket.create_connection((\"{0}\",6379),5)\n\
             u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);u.connect((\"{0}\",53000));u.settimeout(10)\n\
             v=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);v.connect((\"{1}\",53000));v.settimeout(10)\n\
             def who():\n c.sendall(b\"GET who\\r\\n\");u.send(b\"x\");v.send(b\"x\")\n \
             return [c.recv(99).split()[1].decode(),u.recv(99).decode(),v.recv(99).decode()]\n\
             first=who()\nprint(\"first\", *first)\n\
             while not os.path.exists(\"/mnt/done\"): assert who()==first; time.sleep(.01)\n\
             print(\"last\", *who())'",
            addresses[0], addresses[1]
        );
        let talking = client.spawn(&talk);
        let told = format!("r1 r1 ::ffff:{} r1 {}", client.ipv4("shop"), client.ipv6("shop"));
        eventually("it talks", 15, || talking.output().contains(&format!("first {told}")));
        for _ in 0..10 {
            vs.ok("service update db --backend-add r2 --backend-rm r1");
            vs.ok("service update db --backend-add r1 --backend-rm r2");
        }
        vs.ok("service update db --backend-add r2 --backend-rm r1 --algorithm least");
        assert_eq!(client.ok(&format!("redis-cli -h {} get who", addresses[0])).trim(), "r2");
        client.ok("touch /mnt/done");
        eventually("it has talked to the end", 15, || talking.output().contains(&format!("last {told}")));
        let shown = vs.json("service inspect db");
        assert_eq!(shown[0]["backends"][0]["name"], "r2", "{shown}");
        assert_eq!(shown[0]["backends"][0]["connections"], 1, "{shown}");
    });
}

/// Backends come and go under clients that hold connections, and open new ones all the time.
#[test]
fn changes_of_backends() {
    guard(|| changed(100));
}

/// As often as somebody would complain of.
#[test]
#[ignore = "it takes minutes: tests/run all has it"]
fn ten_thousand_changes() {
    guard_for(Duration::from_secs(1800), || changed(10_000));
}

/// Changes backends so often; no connection is lost by that, and none refused.
fn changed(times: usize) {
    let vs = Vswitch::with(&["--uplink", "none"]);
    vs.ok("network create --subnet 10.201.1.0/24 shop");
    let servers = ["r1", "r2", "r3"].map(|name| vs.container(name, "--network shop"));
    let redis = "exec redis-server --bind '*' --protected-mode no --save ''";
    let _running = servers.each_ref().map(|one| one.spawn(redis));
    servers.iter().for_each(|one| one.listens(6379));
    let client = vs.container("client", "--network shop");
    let address = vs.ok("service create db --network shop --port 6379 --backend r1,r2").trim().to_owned();
    let talk = format!(
        "exec python3 -uc 'import os,socket,struct,time\n\
         def ask(c):\n c.sendall(b\"PING\\r\\n\");assert c.recv(9)==b\"+PONG\\r\\n\"\n\
         def new():\n c=socket.create_connection((\"{address}\",6379),20);ask(c)\n return c\n\
         def end(c):\n c.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack(\"ii\",1,0));c.close()\n\
         held=[new() for _ in range(32)];opened=32\nprint(\"holds\")\n\
         while not os.path.exists(\"/mnt/done\"):\n time.sleep(.005)\n for c in held: ask(c)\n \
         for _ in range(8): end(new());opened+=1\n\
         print(\"all well\", opened)'"
    );
    let talking = client.spawn(&talk);
    eventually("connections are held", 20, || talking.output().contains("holds"));
    for number in 0..times {
        let (comes, goes) = if number % 2 == 0 { ("r3", "r2") } else { ("r2", "r3") };
        let body = format!("{{\"backend_add\":[\"{comes}\"],\"backend_remove\":[\"{goes}\"]}}");
        let answer = http::request(&vs.socket(), "POST", "/vswitch/v1/services/db/update", Some(&body));
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(!talking.output().contains("Error"), "{}", talking.output());
    }
    client.ok("touch /mnt/done");
    eventually("the client is content", 60, || talking.output().contains("all well"));
    let opened = talking.output().split("all well ").nth(1).unwrap().trim().parse::<u64>().unwrap();
    assert!(opened > 32, "{opened} were opened");
}

/// One sentence for each service that cannot be.
#[test]
fn services_that_make_no_sense() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 10.201.1.0/24 shop");
        vs.ok("network create --subnet 10.201.2.0/24 other");
        let web = vs.container("web1", "--network shop --ip 10.201.1.9");
        let _else = vs.container("elsewhere", "--network other");
        let create = |words: &str, said: &str| vs.refuses(&format!("service create {words}"), said);
        create(
            "s --network shop --port 80 --backend elsewhere",
            "elsewhere is not on network shop, so it cannot be a backend there",
        );
        create("s --network shop --port 80 --backend nobody", "No such container: nobody");
        create("s --network nope --port 80 --backend web1", "network nope not found");
        create("s --network host --port 80 --backend web1", "network host has no services");
        create("s --network shop --port 80 --backend web1 --ip 10.201.1.9", "Address already in use: 10.201.1.9");
        create("s --network shop --port 80 --backend web1 --ip 10.201.1.1", "10.201.1.1");
        create(
            "s --network shop --port 80 --backend web1 --ip 10.201.2.9",
            "10.201.2.9 is in no subnet of network shop",
        );
        create("s --network shop --port 80 --backend web1 --algorithm best", "\"best\" is no algorithm; write rr");
        create("s --network shop --port 80 --backend web1 --health ping", "\"ping\" says not how to look at a backend");
        create("s --network shop --port http --backend web1", "\"http\" is no port of a service");
        create("s --network shop --port 80", "a service needs backends");
        create("web1 --network shop --port 80 --backend web1", "web1 is the name of a container");
        vs.ok("service create s --network shop --port 80 --backend web1 --ip 10.201.1.50");
        create("s --network other --port 80 --backend elsewhere", "service s exists already, on network shop");
        create("t --network shop --port 80 --backend web1 --ip 10.201.1.50", "Address already in use: 10.201.1.50");
        vs.words("run -d --name x --network shop --ip 10.201.1.50 -- sleep 9")
            .exits(125)
            .says("Address already in use");
        vs.refuses("service drain s nobody", "service s has no backend nobody");
        vs.refuses("service update s --backend-add elsewhere", "elsewhere is not on network shop");
        vs.refuses("service rm nope", "service nope not found");
        vs.words("service create s --network shop --backend web1").exits(2).says("--port");
        create(
            "u --network shop --port 80 --backend web1 --health tcp --health-interval 0.01",
            "health interval of 10 ms",
        );
        create("u --network shop --port 80/udp --backend web1 --health tcp", "this service has no port of it");
        create("u --network shop --port 80 --backend web1 --ip fd00::1", "fd00::1 is in no subnet of network shop");
        create(
            "u --network shop --port 80 --backend web1 --ip 10.201.1.8 --ip 10.201.1.7",
            "one address of each family",
        );
        create("u --network shop --port 80 --port 80:81 --backend web1", "port 80/tcp is given twice");
        create(
            "u --network shop --port 53/udp --backend web1",
            "port 53 of the switch's own addresses is the name server's",
        );
        create("u --network shop --port 80 --backend web1 --health http:nope", "says not how to look at a backend");
        vs.refuses("service update s --backend-add web1 --backend-rm web1", "to be added and removed");
        vs.refuses("service update s", "nothing is to be changed");
        vs.refuses("service update s --health-interval 1", "nobody looks at the backends of service s");
        vs.refuses("service update s --backend-rm elsewhere", "service s has no backend elsewhere");
        vs.refuses("network rm shop", "has active endpoints");
        vs.ok("service rm s");
        assert!(web.sh("true").code == 0);
    });
}
