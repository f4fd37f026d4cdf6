//! Published ports, as users of `-p` know them. A tap on the uplink watches every test for inside addresses.

use std::time::Duration;

use vswitch_tests::{Site, eventually, guard, site::fetch};

const LIMIT: Duration = Duration::from_secs(60);

fn page(site: &Site, url: &str) -> String {
    fetch(site.outside.sh(&format!("curl -sS -m 10 {url}")))
}

/// A published port is reached from outside over both families, the server sees the client's address, and `port`, `ps` and
/// `inspect` say where it is (D2).
#[test]
fn from_outside() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create n --subnet 10.201.1.0/24 --ipv6 --subnet fd77::/64");
        let web = site.web("web", "--network n -p 10080:80");
        assert_eq!(page(&site, "http://10.99.0.1:10080/page"), "page-of-web");
        assert_eq!(page(&site, "http://[fd99::1]:10080/page"), "page-of-web");
        assert_eq!(fetch(site.far.sh("curl -sS -m 10 http://10.99.0.1:10080/page")), "page-of-web");
        let log = web.ok("cat /mnt/web.log");
        assert!(log.contains("10.99.0.2") && log.contains("fd99::2") && log.contains("10.98.0.2"), "{log}");
        assert_eq!(site.vs.ok("port web"), "80/tcp -> 0.0.0.0:10080\n80/tcp -> [::]:10080\n");
        assert_eq!(site.vs.ok("port web 80"), "0.0.0.0:10080\n[::]:10080\n");
        site.vs.refuses("port web 81", "no public port '81/tcp' published for web");
        assert!(site.vs.ok("ps").contains("0.0.0.0:10080->80/tcp, [::]:10080->80/tcp"));
        let shown = site.vs.json("inspect web");
        assert_eq!((&shown[0]["publish"][0], &shown[0]["ports"][0]["host_port"]), (&"10080:80".into(), &10080.into()));
        site.vs.ok("stop -t 0 web");
        assert_eq!(site.vs.ok("port web"), "");
        site.finish();
    });
}

/// UDP, an address of its own, ranges and automatic ports, all in one container.
#[test]
fn every_form() {
    guard(|| {
        let uplink = "packet:up0,address=10.99.0.1/24,address=10.99.0.3/24,gateway=10.99.0.2";
        let site = Site::with(&["--uplink", uplink], &[]);
        let flags = "-p 10.99.0.3:8080:80 -p 8000-8001:80-81 -p 9000-9005:80 -p 80 -p 5353:53/udp -p [::]:7:7/sctp";
        site.vs.words(&format!("run -d --name v6 {flags} -- sleep 1")).exits(125).says("no IPv6 address");
        site.vs.ok("rm v6");
        let flags = flags.strip_suffix(" -p [::]:7:7/sctp").unwrap();
        let web = site.web("web", flags);
        web.ok("python3 -m http.server 81 --directory /mnt/web >/dev/null 2>&1 &");
        let echo = "python3 -c 'import socket as s\nx=s.socket(s.AF_INET,s.SOCK_DGRAM);x.bind((\"0.0.0.0\",53))\n\
                    while True:\n d,a=x.recvfrom(9000);x.sendto(repr(a).encode()+d,a)' > /mnt/web/udp 2>&1 &";
        web.ok(echo);
        eventually("all serve", 15, || {
            web.sh("ss -ltn").stdout.contains(":81 ") && web.sh("ss -lun").stdout.contains(":53 ")
        });
        let automatic = site.vs.ok("port web 80");
        let automatic = automatic.lines().find_map(|line| {
            let port: u16 = line.strip_prefix("0.0.0.0:")?.parse().ok()?;
            (port >= 49_153).then_some(port)
        });
        let automatic = automatic.expect("a port from 49153 on");
        for url in ["10.99.0.3:8080", "10.99.0.1:8000", "10.99.0.3:8001", "10.99.0.1:9000"] {
            assert_eq!(page(&site, &format!("http://{url}/page")), "page-of-web", "{url}");
        }
        assert_eq!(page(&site, &format!("http://10.99.0.1:{automatic}/page")), "page-of-web");
        assert_ne!(site.outside.sh("curl -sS -m 2 http://10.99.0.1:8080/page").code, 0, "only on the other address");
        let ask = "python3 -c 'import socket as s\nx=s.socket(s.AF_INET,s.SOCK_DGRAM);x.settimeout(5)\n\
                   x.sendto(b\"hello\",(\"10.99.0.1\",5353));print(x.recvfrom(9000))'";
        let said = site.outside.ok(ask);
        assert!(said.contains("10.99.0.2") && said.contains("hello") && said.contains("('10.99.0.1', 5353)"), "{said}");
        // The next container gets the next port of the range, and the next automatic one.
        let _other = site.web("other", "-p 9000-9005:80 -p 80");
        assert_eq!(page(&site, "http://10.99.0.1:9001/page"), "page-of-other");
        assert!(site.vs.ok("port other 80").contains(&format!(":{}", automatic + 1)));
        site.finish();
    });
}

/// A second container that asks for a used port is refused in Docker's words and does not run; when the first one ends, the
/// port is free.
#[test]
fn used_ports() {
    guard(|| {
        let site = Site::start();
        let _one = site.web("one", "-p 8080:80");
        let refused = site.vs.words("run -d --name two -p 8080:80 -- sleep 1000").exits(125);
        let says = "driver failed programming external connectivity on endpoint two (";
        refused.says(says).says("Bind for 0.0.0.0:8080 failed: port is already allocated");
        assert_eq!(site.vs.json("inspect two")[0]["state"], "created");
        site.vs.words("run --rm --name three -p 10.99.0.1:8080:80 -- true").exits(125).says("already allocated");
        site.vs.words("run --rm --name four -p 80:80 -p 80:81 -- true").exits(125).says("already allocated");
        assert_eq!(site.vs.json("ps -a").as_array().unwrap().len(), 2, "what was to be removed is not kept");
        assert!(site.vs.stats().ports.iter().all(|port| port.endpoint != "two"), "nothing of it is left");
        site.vs.ok("run --rm -p 8080:80/udp -p 80 -- true");
        assert_eq!(page(&site, "http://10.99.0.1:8080/page"), "page-of-one");
        site.vs.ok("stop -t 0 one");
        site.vs.ok("start two");
        site.vs.words("start one").refused("already allocated");
        site.vs.ok("rm -f two");
        site.vs.ok("start one");
        site.finish();
    });
}

/// A container reaches a published port through the external address: another's, its own, and from another network (U14, D5, D6).
#[test]
fn hairpin() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create n --subnet 10.201.1.0/24 --ipv6 --subnet fd77::/64");
        site.vs.ok("network create m --subnet 10.201.2.0/24");
        let web = site.web("web", "--network n -p 10080:80");
        let (neighbour, stranger) = (site.vs.container("a", "--network n"), site.vs.container("b", "--network m"));
        for client in [&web, &neighbour, &stranger] {
            assert_eq!(fetch(client.sh("curl -sS -m 10 http://10.99.0.1:10080/page")), "page-of-web");
        }
        for client in [&web, &neighbour] {
            assert_eq!(fetch(client.sh("curl -sS -m 10 http://[fd99::1]:10080/page")), "page-of-web");
        }
        let flows = site.vs.json("flows ls --dport 10080");
        assert!(flows.as_array().unwrap().iter().all(|flow| flow["kind"] == "hairpin"), "{flows}");
        assert_eq!(page(&site, "http://10.99.0.1:10080/page"), "page-of-web");
        site.finish();
    });
}

/// iperf3 into a published port, both ways.
#[test]
fn iperf_in() {
    guard(|| {
        let site = Site::start();
        let server = site.vs.container("server", "-p 5201:5201");
        for flags in ["-t 1", "-t 1 -R"] {
            let running = server.spawn("exec iperf3 -s -1 --forceflush");
            eventually("iperf3 listens", 10, || running.output().contains("Server listening"));
            let probe = site.outside.spawn("vswitch-probe out0 verify 3");
            let report = site.outside.ok(&format!("iperf3 -J -c 10.99.0.1 {flags}"));
            running.wait(LIMIT).ok();
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert!(report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 1e8, "{flags}");
            let counts: serde_json::Value = serde_json::from_str(&probe.wait(LIMIT).ok()).unwrap();
            assert_eq!(counts["wrong"], 0, "{flags}: {counts}");
        }
        site.finish();
    });
}

/// When a publish goes away its connections end and others go on, while traffic runs.
#[test]
fn removal_of_one() {
    guard(|| {
        let site = Site::start();
        let (one, two) = (site.vs.container("one", "-p 7001:7"), site.vs.container("two", "-p 7002:7"));
        let cat = "python3 -c 'import socketserver as s\n\
                   class H(s.StreamRequestHandler):\n  def handle(self):\n    for l in self.rfile: self.wfile.write(l)\n\
                   s.ThreadingTCPServer((\"0.0.0.0\",7),H).serve_forever()' > /dev/null 2>&1 &";
        for container in [&one, &two] {
            container.ok(cat);
            container.listens(7);
        }
        let talk = |port: u16, name: &str| {
            site.outside.spawn(&format!(
                "python3 -u -c 'import socket,time\nx=socket.create_connection((\"10.99.0.1\",{port}),5);x.settimeout(3);n=0\n\
                 while True:\n x.sendall(b\"hi\\n\");n+=len(x.recv(9));print(\"{name}\",n);time.sleep(0.1)'"
            ))
        };
        let (mut first, mut second) = (talk(7001, "first"), talk(7002, "second"));
        let lines = |output: String| output.lines().count();
        eventually("both talk", 10, || lines(first.output()) > 3 && lines(second.output()) > 3);
        assert_eq!(site.vs.json("flows ls --protocol tcp").as_array().unwrap().len(), 2);
        site.vs.ok("rm -f one");
        assert_eq!(site.vs.json("flows ls --protocol tcp").as_array().unwrap().len(), 1);
        eventually("the removed one's connection ends", 10, || !first.running());
        let so_far = lines(second.output());
        eventually("the other one's goes on", 10, || lines(second.output()) > so_far + 5);
        assert!(second.running());
        // A new container at the old one's port and address is nobody's leftover.
        let _three = site.web("three", "-p 7001:80");
        assert_eq!(page(&site, "http://10.99.0.1:7001/page"), "page-of-three");
        site.finish();
    });
}

/// A published port follows the container's default route when networks are connected and disconnected.
#[test]
fn follows_the_default_route() {
    guard(|| {
        let site = Site::start();
        site.vs.ok("network create b --subnet 10.201.2.0/24");
        site.vs.ok("network create a --subnet 10.201.1.0/24");
        let _web = site.web("web", "--network b -p 8080:80");
        assert_eq!(page(&site, "http://10.99.0.1:8080/page"), "page-of-web");
        site.vs.ok("network connect a web");
        assert_eq!(page(&site, "http://10.99.0.1:8080/page"), "page-of-web");
        let flows = site.vs.ok("flows ls --dport 8080");
        assert!(flows.contains("src=10.201.1.2"), "by name, a comes first: {flows}");
        site.vs.ok("network disconnect a web");
        assert_eq!(page(&site, "http://10.99.0.1:8080/page"), "page-of-web");
        site.finish();
    });
}

/// Connections are watched as they come and go, and flushed on demand.
#[test]
fn watch_and_flush() {
    guard(|| {
        let site = Site::start();
        let _web = site.web("web", "-p 8080:80");
        let watch = site.vs.spawn(&["flows", "watch", "--dport", "8080"]);
        let json = site.vs.spawn(&["flows", "watch", "--json", "--endpoint", "web"]);
        // Who watches sees what begins from then on.
        eventually("new and updated flows are told", 20, || {
            page(&site, "http://10.99.0.1:8080/page");
            let said = watch.output();
            said.contains("[NEW] tcp ") && said.contains("[UPDATE] tcp ") && said.contains("dport=8080")
        });
        assert_eq!(site.vs.ok("flows flush --dport 9999"), "0 flows ended\n");
        // One for each page that was asked for until then.
        let flushed = site.vs.ok("flows flush --source 10.99.0.2 --protocol tcp");
        assert!(flushed != "0 flows ended\n" && flushed.contains("ended"), "{flushed}");
        eventually("the end is told", 10, || watch.output().contains("[DESTROY] tcp "));
        let first = json.output();
        let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        assert_eq!((&first["event"], &first["flow"]["kind"]), (&"new".into(), &"publish".into()));
        assert_eq!(watch.terminate().code, 0);
        site.vs.refuses("flows ls --protocol xyz", "is no protocol");
        site.vs.refuses("flows ls --source nonsense", "neither an address nor a subnet");
        site.vs.refuses("flows ls --endpoint nobody", "No such container: nobody");
        site.vs.refuses("flows flush --dport 70000", "is no port");
        site.finish();
    });
}

/// With an uplink of IPv6 alone, ports are published there alone, and IPv4 stays inside.
#[test]
fn ipv6_only() {
    guard(|| {
        let site = Site::with(&["--uplink", "packet:up0,address=fd99::1/64,gateway=fd99::2"], &[]);
        let outside = site.outside_web();
        site.vs.ok("network create n --subnet 10.201.1.0/24 --ipv6 --subnet fd77::/64");
        let web = site.web("web", "--network n -p 10080:80");
        assert_eq!(site.vs.ok("port web"), "80/tcp -> [::]:10080\n");
        assert_eq!(page(&site, "http://[fd99::1]:10080/page"), "page-of-web");
        assert_eq!(fetch(web.sh("curl -sS -m 10 http://[fd99::2]:8000/page")), "page-of-outside");
        assert!(outside.output().contains("fd99::1"));
        assert_ne!(web.sh("curl -sS -m 2 http://10.99.0.2:8000/page").code, 0);
        site.vs.words("run --rm -p 80:80 -- true").exits(125).says("no address of a family that the uplink has");
        site.finish();
    });
}

/// A namespace that somebody else made has the way out, too, once it is attached.
#[test]
fn attached_namespace() {
    guard(|| {
        let site = Site::start();
        let outside = site.outside_web();
        site.vs.ok("network create n --subnet 10.201.1.0/24");
        site.vs.ok(&format!("attach --pid {} --network n --name held", site.spare.pid()));
        assert_eq!(fetch(site.spare.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        assert!(outside.output().contains("10.99.0.1"));
        let flows = site.vs.json("flows ls --endpoint held --protocol tcp");
        assert_eq!(flows.as_array().unwrap().len(), 1);
        site.vs.ok("detach held");
        assert_eq!(site.vs.json("flows ls --protocol tcp").as_array().unwrap().len(), 0);
        site.finish();
    });
}
