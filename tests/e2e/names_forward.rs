//! Names that no network has: resolvers of the host, of the operator and of the container, dead ones, and circles.

use vswitch_tests::{Background, Container, Site, Vswitch, eventually, guard, site::Namespace};

const SERVER: &str = "/mnt/dns_server.py";

fn script(address: &str, answer: &str) -> String {
    std::fs::write(SERVER, include_str!("dns_server.py")).unwrap();
    format!("python3 {SERVER} {address} {answer}")
}

fn ready(server: &Background) {
    eventually("the name server is ready", 20, || server.output().contains("ready"));
}

fn serve(place: &Namespace, address: &str, answer: &str) -> Background {
    let server = place.spawn(&script(address, answer));
    ready(&server);
    server
}

fn host_resolvers(text: &str) {
    std::fs::write("/run/resolv.conf", text).unwrap();
}

fn dig(container: &Container<'_>, question: &str) -> String {
    container.sh(&format!("dig +short +tries=1 +time=6 {question}")).stdout.lines().collect::<Vec<_>>().join(" ")
}

fn asked(server: &Background, line: &str) -> usize {
    server.output().lines().filter(|said| *said == line).count()
}

/// The host's resolvers answer over UDP and TCP; what does not fit a datagram is fetched over TCP; a forged reply is not
/// believed; the questions leave as everything else of the container does; a change of the host's file holds at once.
#[test]
fn the_hosts_resolvers() {
    guard(|| {
        host_resolvers("nameserver 10.99.0.2\n");
        let site = Site::start();
        let first = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        let second = serve(&site.far, "10.98.0.2", "192.0.2.2");
        site.vs.ok("network create red");
        let a = site.vs.container("a", "--network red");
        assert_eq!(dig(&a, "example.test A"), "192.0.2.1");
        assert_eq!(dig(&a, "+tcp other.test A"), "192.0.2.1");
        assert_eq!((asked(&first, "udp example.test"), asked(&first, "tcp other.test")), (1, 1));
        assert_eq!(a.ok("getent ahostsv4 example.test").split_whitespace().next(), Some("192.0.2.1"));
        assert_eq!(dig(&a, "forged.test A"), "192.0.2.1");
        // 200 addresses: dig asks again over TCP by itself, and gets them all; one that does not is told.
        assert_eq!(dig(&a, "big.test A").split(' ').count(), 200);
        let cut = a.ok("dig +ignore +tries=1 big2.test A");
        assert!(cut.contains(" tc ") && cut.contains("ANSWER: 0"), "{cut}");
        assert_eq!(asked(&first, "tcp big2.test"), 1, "the whole answer was fetched");
        host_resolvers("nameserver 10.98.0.2\n");
        eventually("the other resolver is asked", 10, || dig(&a, "example.test A") == "192.0.2.2");
        assert_eq!(asked(&second, "udp example.test"), 1);
        // Names of containers are never asked for outside.
        assert_eq!(dig(&a, "-q a A"), a.ipv4("red").to_string());
        dig(&a, "-q a.red AAAA");
        assert_eq!(asked(&second, "udp a") + asked(&second, "udp a.red"), 0);
        site.finish();
    });
}

/// A resolver that is dead or unwilling is passed over, and asked last from then on; the client hears in time.
#[test]
fn failing_resolvers() {
    guard(|| {
        host_resolvers("nameserver 10.99.0.77\nnameserver 10.99.0.2\nnameserver 10.98.0.2\n");
        let site = Site::start();
        let first = serve(&site.outside, "10.99.0.2", "192.0.2.1");
        let second = serve(&site.far, "10.98.0.2", "192.0.2.2");
        site.vs.ok("network create red");
        let a = site.vs.container("a", "--network red");
        assert_eq!(dig(&a, "example.test A"), "192.0.2.1", "the dead one is passed over");
        let failures = site.vs.stats().dns.upstream_failures;
        assert!(failures > 0);
        for name in ["b", "c", "d"] {
            assert_eq!(dig(&a, &format!("{name}.test A")), "192.0.2.1");
        }
        assert_eq!(site.vs.stats().dns.upstream_failures, failures, "and asked last from then on");
        let said = a.ok("dig +tries=1 +time=6 fail.test A");
        assert!(said.contains("status: SERVFAIL"), "{said}");
        assert_eq!((asked(&first, "udp fail.test"), asked(&second, "udp fail.test")), (1, 1));
        // Nobody answers: the client is told before it gives up by itself.
        let said = a.ok("dig +tries=1 +time=6 silent.test A");
        assert!(said.contains("status: SERVFAIL"), "{said}");
        assert!(site.vs.stats().dns.unanswered >= 1);
        site.finish();
    });
}

/// A resolver on the host's own loopback serves containers of both kinds of network that have a way out, and no others.
#[test]
fn a_resolver_on_the_hosts_loopback() {
    guard(|| {
        host_resolvers("nameserver 127.0.0.53\n");
        let site = Site::start();
        let server = serve(&site.host, "127.0.0.53", "192.0.2.53");
        site.vs.ok("network create red");
        site.vs.ok("network create --internal inner");
        let (a, b) = (site.vs.container("a", "--network red"), site.vs.container("b", ""));
        assert_eq!(dig(&a, "example.test A"), "192.0.2.53");
        assert!(b.ok("cat /etc/resolv.conf").contains("nameserver 127.0.0.11"));
        assert_eq!(dig(&b, "example.test A"), "192.0.2.53");
        assert_eq!(dig(&b, "-q a A"), "192.0.2.53", "the default network has no names of its own");
        let before = server.output();
        let inner = site.vs.container("inner", "--network inner");
        assert_eq!(dig(&inner, "secret.test A"), "");
        assert_eq!(dig(&inner, "inner A"), inner.ipv4("inner").to_string());
        assert!(!server.output()[before.len()..].contains("secret"), "nothing leaves an internal network");
        site.vs.ok("network connect red inner");
        assert_eq!(dig(&inner, "public.test A"), "192.0.2.53", "now it has a way out");
    });
}

/// An answer is taken also when it comes after others were asked, and hundreds of questions may wait at the same time.
#[test]
fn slow_answers() {
    guard(|| {
        host_resolvers("nameserver 127.0.0.53\n");
        let site = Site::start();
        let _server = serve(&site.host, "127.0.0.53", "192.0.2.53");
        site.vs.ok("network create red");
        let a = site.vs.container("a", "--network red");
        assert_eq!(dig(&a, "slow.test A"), "192.0.2.53");
        let ask = "import socket, struct, time\n\
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            out.connect(('127.0.0.11', 53))\n\
            out.settimeout(20)\n\
            out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)\n\
            for number in range(400):\n\
            \x20   name = b'held%03d' % number\n\
            \x20   question = bytes([len(name)]) + name + b'\\4test\\0\\0\\1\\0\\1'\n\
            \x20   out.send(struct.pack('!6H', number, 0x100, 1, 0, 0, 0) + question)\n\
            \x20   time.sleep(0.001)\n\
            codes = [out.recv(512)[3] & 15 for number in range(400)]\n\
            print(codes.count(0), 'of', len(codes))\n";
        std::fs::write("/mnt/ask.py", ask).unwrap();
        assert_eq!(a.ok("python3 /mnt/ask.py").trim(), "400 of 400");
        site.finish();
    });
}

/// A resolver on a link of the host's, named with its interface, is asked from the host.
#[test]
fn a_link_local_resolver() {
    guard(|| {
        let site = Site::start();
        site.host.ok("ip link add link0 type veth peer name link1 && ip addr add fe80::53/64 dev link0 nodad");
        site.host.ok("ip link set link0 up && ip link set link1 up");
        let server = site.host.spawn(&script("fe80::53%link0", "192.0.2.80"));
        ready(&server);
        host_resolvers("nameserver fe80::53%link0\n");
        site.vs.ok("network create red");
        let (a, b) = (site.vs.container("a", "--network red"), site.vs.container("b", ""));
        eventually("the host's file is read", 10, || dig(&a, "example.test A") == "192.0.2.80");
        assert_eq!(dig(&b, "example.test A"), "192.0.2.80", "on the default network, too");
        site.finish();
    });
}

/// --dns of a container comes before the operator's, that before the host's; a resolver on the container's own network is
/// reached without any way out.
#[test]
fn own_resolvers() {
    guard(|| {
        let vs = Vswitch::with(&["--dns", "172.18.0.2", "--uplink", "none"]);
        vs.ok("network create --subnet 172.18.0.0/24 red");
        vs.ok("network create --subnet 172.28.0.0/24 blue");
        let (one, two) = (vs.container("one", "--network red"), vs.container("two", "--network red"));
        let first = one.spawn(&format!("exec {}", script("172.18.0.2", "192.0.2.1")));
        let second = two.spawn(&format!("exec {}", script("172.18.0.3", "192.0.2.2")));
        ready(&first);
        ready(&second);
        let set = vs.container("set", "--network red");
        assert_eq!(dig(&set, "example.test A"), "192.0.2.1");
        let own = vs.container("own", "--network red --dns 172.18.0.3");
        assert_eq!(dig(&own, "example.test A"), "192.0.2.2");
        assert_eq!(dig(&own, "one A"), "172.18.0.2", "names of containers come first");
        let away = vs.container("away", "--network blue");
        let before = vs.stats().dns;
        assert_eq!(dig(&away, "example.test A"), "");
        let after = vs.stats().dns;
        assert!(after.unanswered > before.unanswered);
        assert_eq!(after.upstream_failures, before.upstream_failures, "what cannot be reached is not asked");
    });
}

/// A server that is told to ask itself does not, and two that ask each other end with an answer that says so.
#[test]
fn circles() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 172.18.0.0/24 red");
        let own = vs.container("own", "--network red --dns 127.0.0.11");
        assert!(own.ok("dig +tries=1 +time=3 example.test").contains("status: SERVFAIL"));
        // This one's resolver is a program beside it that asks 127.0.0.11 in turn.
        let circle = vs.container("circle", "--network red --ip 172.18.0.9 --dns 172.18.0.9");
        let forward = "import socket\n\
            inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            inside.bind(('172.18.0.9', 53))\n\
            print('ready', flush=True)\n\
            while True:\n\
            \x20   question, client = inside.recvfrom(4096)\n\
            \x20   print('asked', flush=True)\n\
            \x20   inside.sendto(question, ('127.0.0.11', 53)) if client[0] != '127.0.0.11' else None\n";
        std::fs::write("/mnt/circle.py", forward).unwrap();
        let program = circle.spawn("exec python3 /mnt/circle.py");
        ready(&program);
        let said = circle.ok("dig +tries=1 +time=8 example.test");
        assert!(said.contains("status: SERVFAIL"), "{said}");
        let rounds = program.output().lines().filter(|line| *line == "asked").count();
        assert!((1..20).contains(&rounds), "{rounds} rounds");
        assert_eq!(dig(&circle, "own A"), own.ipv4("red").to_string(), "and goes on answering");
    });
}
