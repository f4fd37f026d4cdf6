//! Networks with the same subnet, and containers with the same addresses: nothing of one reaches another, whatever the way out.

use vswitch_tests::site::{Namespace, fetch};
use vswitch_tests::{Background, Container, Rootless, Site, Vswitch, guard};

/// The containers, each on a network of its own, and where their ports are published.
const TWINS: [(&str, &str, u16); 3] = [("a", "red", 8080), ("b", "blue", 8081), ("c", "green", 8082)];
const ADDRESS: &str = "10.88.0.9";

/// Says back what each connection says.
const ECHO: &str = "import socketserver\n\
    class Echo(socketserver.StreamRequestHandler):\n\
    \x20   def handle(self):\n\
    \x20       for line in self.rfile: self.wfile.write(line)\n\
    class Server(socketserver.ThreadingTCPServer):\n\
    \x20   allow_reuse_address = True\n\
    Server(('', 7000), Echo).serve_forever()\n";

/// Speaks to it, from a port that is everybody's, and hears nothing but its own words. A second round is from another port: a kernel may
/// keep the first one for a minute (TIME_WAIT).
const SPEAK: &str = "import socket, sys\n\
    word = (sys.argv[1] * 1000 + '\\n').encode()\n\
    out = socket.socket()\n\
    out.settimeout(60)\n\
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
    out.bind(('', int(sys.argv[2])))\n\
    out.connect(('10.99.0.2', 7000))\n\
    back = out.makefile('rb')\n\
    for turn in range(100):\n\
    \x20   out.sendall(word)\n\
    \x20   assert back.readline() == word\n\
    print('only', sys.argv[1])\n";

/// The networks: the first is like any other, the others may have what somebody has already.
fn create(vs: &Vswitch) {
    vs.ok("network create red --subnet 10.88.0.0/24");
    vs.words("network create blue --subnet 10.88.0.0/24").refused("Pool overlaps with other one on this address space");
    vs.words("network create blue --subnet 10.88.0.0/24 --opt overlap=true --opt masquerade=false")
        .refused("cannot be routed to");
    vs.words("network create blue --subnet 10.88.0.0/24 --opt overlap=true --opt host=true")
        .refused("leave host=true or overlap=true out");
    vs.ok("network create blue --subnet 10.88.0.0/24 --opt overlap=true");
    vs.ok("network create green --subnet 10.88.0.0/24 --opt overlap=true");
}

fn start(vs: &Vswitch) -> [Container<'_>; 3] {
    TWINS.map(|(name, network, port)| {
        let container = vs.container(name, &format!("--network {network} --ip {ADDRESS} -p {port}:80"));
        container.serves_page();
        container
    })
}

fn speak(containers: &[Container<'_>; 3], port: u16) {
    std::fs::write("/mnt/speak.py", SPEAK).unwrap();
    let all: Vec<(&str, Background)> = containers
        .iter()
        .map(|one| (one.name(), one.spawn(&format!("python3 /mnt/speak.py {} {port}", one.name()))))
        .collect();
    for (name, speaking) in all {
        let said = speaking.wait(std::time::Duration::from_secs(120)).ok();
        assert_eq!(said.trim(), format!("only {name}"));
    }
}

fn pages(outside: &Namespace) {
    for (name, _, port) in TWINS {
        let page = fetch(outside.sh(&format!("curl -sS -m 30 http://10.99.0.1:{port}/page")));
        assert_eq!(page, format!("page-of-{name}"));
    }
}

/// Asks the gateway for every container, of each at once: what has no answer may take as long as the host's resolvers do.
fn names(containers: &[Container<'_>; 3]) {
    let ask = |transport: &str, name: &str| {
        format!(
            "dig +short +tries=2 +time=10 {transport} @10.88.0.1 -q {name} A | sed -n 's/^[0-9]/{name} {transport} &/p' &"
        )
    };
    let asked = TWINS.iter().flat_map(|(name, ..)| ["+notcp", "+tcp"].map(|transport| ask(transport, name)));
    let script = asked.chain(["wait".to_owned()]).collect::<Vec<_>>().join("\n");
    let asking: Vec<Background> = containers.iter().map(|one| one.spawn(&script)).collect();
    for (asking, (name, ..)) in asking.into_iter().zip(TWINS) {
        let said = asking.wait(std::time::Duration::from_secs(120)).ok();
        let mut heard: Vec<&str> = said.lines().collect();
        heard.sort_unstable();
        assert_eq!(heard, [format!("{name} +notcp {ADDRESS}"), format!("{name} +tcp {ADDRESS}")]);
    }
}

fn exercise(vs: &Vswitch, outside: &Namespace) {
    create(vs);
    let containers = start(vs);
    std::fs::write("/mnt/echo.py", ECHO).unwrap();
    let _echo = outside.serve("python3 /mnt/echo.py", 7000);
    speak(&containers, 5000);
    pages(outside);
    names(&containers);
    // Published ports are for everybody.
    for (container, (_, _, port)) in containers.iter().zip([TWINS[1], TWINS[2], TWINS[0]]) {
        let page = fetch(container.sh(&format!("curl -sS -m 30 http://10.99.0.1:{port}/page")));
        let (name, ..) = TWINS.into_iter().find(|(_, _, of)| *of == port).unwrap();
        assert_eq!(page, format!("page-of-{name}"));
    }
    // Addresses of networks that share theirs are no more outside for one than for another.
    vs.ok("network create other --subnet 10.87.0.0/24");
    let other = vs.container("other", "--network other --ip 10.87.0.9");
    other.serves_page();
    for container in &containers {
        assert_ne!(container.sh("curl -sS -m 3 http://10.87.0.9/page").code, 0, "networks are apart");
    }
    vs.crash();
    vs.up();
    pages(outside);
    speak(&containers, 5001);
    vs.ok("rm -f b");
    vs.ok("network rm blue");
    assert_ne!(outside.sh("curl -sS -m 3 http://10.99.0.1:8081/page").code, 0, "its port is closed");
    vs.ok("network create blue --subnet 10.88.0.0/24 --opt overlap=true");
    let [_, (name, network, port), _] = TWINS;
    let again = vs.container(name, &format!("--network {network} --ip {ADDRESS} -p {port}:80"));
    again.serves_page();
    pages(outside);
}

/// Over sockets of the host, as an ordinary user.
#[test]
fn over_sockets() {
    guard(|| {
        let site = Rootless::start();
        exercise(&site.vs, &site.outside);
    });
}

/// By an interface, with packets translated.
#[test]
fn over_an_interface() {
    guard(|| {
        let site = Site::start();
        exercise(&site.vs, &site.outside);
        site.finish();
    });
}
