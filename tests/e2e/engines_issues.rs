//! What users of podman's own network complain of, tried on vswitch below podman's helpers.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use vswitch_tests::{eventually, guard, guard::guard_for, site::Namespace};

use super::engines::{CONTAINER, request};
use super::engines_place::{Place, mapping, serve_names};

/// The id of another container.
fn id(digit: char) -> String {
    CONTAINER.replace('7', &digit.to_string())
}

/// Whether a page is served at an address.
fn is_served(from: &Namespace, address: &str) -> bool {
    from.sh(&format!("curl -gsS -m 20 -o /dev/null http://{address}/")).code == 0
}

/// A container on network 1 that serves a page.
fn web(place: &Place, name: &str, digit: char, host: u8) -> (Namespace, vswitch_tests::Background, Value) {
    let container = place.site.spare();
    let wish = request(name, &id(digit), &[1], host);
    place.set_up(&container, &wish);
    let server = container.serve("python3 -m http.server 80", 80);
    (container, server, wish)
}

/// A server sees who asks, of TCP and UDP, IPv4 and IPv6, from the host and from elsewhere, whether rootlessport publishes or
/// netavark.
#[test]
fn servers_see_their_clients() {
    guard(|| {
        let place = Place::new();
        let ports = json!([mapping(8080, 80, "tcp"), mapping(9000, 9000, "udp")]);
        for by_netavark in [false, true] {
            let container = place.site.spare();
            let mut wish = request("web", CONTAINER, &[1], 5);
            let info = &mut wish["network_info"]["n1"];
            info["subnets"].as_array_mut().unwrap().push(json!({"subnet": "fd89:1::/64", "gateway": "fd89:1::1"}));
            info["ipv6_enabled"] = json!(true);
            wish["networks"]["n1"]["static_ips"] = json!(["10.89.1.5", "fd89:1::5"]);
            if by_netavark {
                wish["port_mappings"] = ports.clone();
            }
            place.set_up(&container, &wish);
            let _ports = (!by_netavark).then(|| place.publish(CONTAINER, "10.89.1.5", &ports));
            let web = container.serve("python3 -u -m http.server 80 --bind ::", 80);
            let echo = place.site.play(&container, "udp_echo 9000");
            let site = &place.site;
            for (from, address, client) in [
                (&site.outside, "10.99.0.1", "10.99.0.2"),
                (&site.outside, "fd99::1", "fd99::2"),
                (&site.far, "10.99.0.1", "10.98.0.2"),
                (&site.host, "10.99.0.1", "10.99.0.1"),
            ] {
                let (written, shown) = match address.contains(':') {
                    true => (format!("[{address}]:8080"), client.to_owned()),
                    false => (format!("{address}:8080"), format!("::ffff:{client}")),
                };
                assert!(is_served(from, &written), "{written}, by netavark: {by_netavark}");
                eventually("the server has said who asked", 10, || web.output().contains(&format!("{shown} - - ")));
                assert_eq!(site.says_at(from, &format!("udp {address} 9000 100")), format!("same {address} 9000"));
                assert!(echo.output().contains(&format!("100 {client} ")), "{}", echo.output());
            }
            place.netavark(&format!("teardown /proc/{}/ns/net", container.pid()), &wish);
        }
    });
}

/// A client of a published UDP port that has said nothing for three minutes is reached by the server, and is the same client when it says
/// more: nobody on the way has forgotten it.
#[test]
#[ignore = "it takes minutes: tests/run all has it"]
fn three_silent_minutes() {
    guard_for(Duration::from_secs(300), || {
        let place = Place::new();
        let container = place.site.spare();
        place.set_up(&container, &request("web", CONTAINER, &[1], 5));
        let _port = place.publish(CONTAINER, "10.89.1.5", &json!([mapping(9000, 9000, "udp")]));
        fs::write("/mnt/server.py", SILENT_SERVER).unwrap();
        fs::write("/mnt/client.py", SILENT_CLIENT).unwrap();
        let server = container.spawn("python3 /mnt/server.py");
        eventually("the server is there", 10, || server.output().contains("ready"));
        let client = place.site.outside.spawn("python3 /mnt/client.py 10.99.0.1");
        eventually("the client was heard again", 240, || server.output().contains("again"));
        assert!(server.output().contains("again the same"), "{}", server.output());
        assert!(client.output().contains("hello\nstill there\n"), "{}", client.output());
    });
}

/// Answers, is silent, and speaks first.
const SILENT_SERVER: &str = "import socket, time\n\
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
server.bind(('', 9000))\n\
print('ready', flush=True)\n\
_, client = server.recvfrom(99)\n\
server.sendto(b'hello', client)\n\
time.sleep(180)\n\
server.sendto(b'still there', client)\n\
print('again', 'the same' if server.recvfrom(99)[1] == client else 'another', flush=True)\n\
time.sleep(1000)\n";

/// Asks, waits for what comes, and answers that.
const SILENT_CLIENT: &str = "import socket, sys\n\
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
client.connect((sys.argv[1], 9000))\n\
client.send(b'x')\n\
for _ in range(2): print(client.recv(99).decode(), flush=True)\n\
client.send(b'x')\n";

/// vswitchd and containers start before the host has a network: they have a way out, and their ports one in, once there is one,
/// and again when the host has another address and another route.
#[test]
fn the_host_s_network_comes_and_changes() {
    guard(|| {
        let place = Place::new();
        let site = &place.site;
        let _nginx = site.nginx(&[]);
        site.vs.crash();
        site.host.ok("ip addr flush dev up0; ip link set up0 down");
        site.vs.up();
        let (container, _server, _) = web(&place, "web", '7', 5);
        let _ports = place.publish(CONTAINER, "10.89.1.5", &json!([mapping(8080, 80, "tcp")]));
        assert!(!is_served(&container, "10.99.0.2:8000"));
        for address in ["10.99.0.1", "10.99.0.7"] {
            let line = format!(
                "ip addr flush dev up0; ip link set up0 up; ip addr add {address}/24 dev up0; \
                 ip route add default via 10.99.0.2"
            );
            site.host.ok(&line);
            eventually("the world is reached", 30, || is_served(&container, "10.99.0.2:8000"));
            eventually("and reaches the container", 30, || is_served(&site.outside, &format!("{address}:8080")));
        }
    });
}

/// However a container ends, by teardown, killed with its namespace, or its helper killed, the others keep their way out, their
/// ports and their names.
#[test]
fn one_s_end_is_not_that_of_others() {
    guard(|| {
        let place = Place::new();
        let site = &place.site;
        let _nginx = site.nginx(&[]);
        let stays = web(&place, "stays", 'a', 5);
        let _ports = place.publish(&id('a'), "10.89.1.5", &json!([mapping(8080, 80, "tcp")]));
        let told = web(&place, "told", 'b', 6);
        let killed = web(&place, "killed", 'c', 7);
        let ports = [('b', 8081), ('c', 8082)].map(|(digit, port)| {
            let address = if digit == 'b' { "10.89.1.6" } else { "10.89.1.7" };
            place.publish(&id(digit), address, &json!([mapping(port, 80, "tcp")]))
        });
        let well = || {
            is_served(&stays.0, "10.99.0.2:8000")
                && is_served(&site.outside, "10.99.0.1:8080")
                && Place::dig(&stays.0, "stays", 1) == "10.89.1.5"
        };
        assert!(well() && is_served(&site.outside, "10.99.0.1:8081") && is_served(&site.outside, "10.99.0.1:8082"));
        drop(ports);
        eventually("a killed helper's ports are closed", 20, || !is_served(&site.outside, "10.99.0.1:8081"));
        assert!(well());
        place.netavark(&format!("teardown /proc/{}/ns/net", told.0.pid()), &told.2);
        assert!(well());
        // The agent holds the namespace for minutes; the interface goes as it would with it.
        killed.0.ok("ip link del eth0");
        drop(killed);
        eventually("what was killed is gone", 20, || site.vs.json("endpoint ls").as_array().unwrap().len() == 1);
        assert!(well());
    });
}

/// Names need no port of the host: they work where somebody else has port 53, and where a container publishes it on all
/// addresses.
#[test]
fn port_53_is_anybody_s() {
    guard(|| {
        let place = Place::new();
        let _upstream = serve_names(&place.site.outside, "10.99.0.2", "192.0.2.1");
        let (client, server) = (place.site.spare(), place.site.spare());
        let others = serve_names(&place.site.host, "0.0.0.0", "192.0.2.9");
        place.set_up(&client, &request("client", &id('a'), &[1, 2], 5));
        assert_eq!(Place::dig(&client, "client", 1), "10.89.1.5 10.89.2.5");
        drop(others);
        place.set_up(&server, &request("server", &id('b'), &[1], 6));
        let ports = json!([mapping(53, 53, "tcp,udp")]);
        let _ports = place.publish(&id('b'), "10.89.1.6", &ports);
        let _server = serve_names(&server, "0.0.0.0", "192.0.2.5");
        for transport in ["+notcp", "+tcp"] {
            let said = place.site.outside.ok(&format!("dig +short {transport} +tries=3 x.test @10.99.0.1"));
            assert_eq!(said.trim(), "192.0.2.5", "{transport}");
        }
        for number in [1, 2] {
            for (name, wanted) in [("server", "10.89.1.6"), ("server.dns.podman", "10.89.1.6"), ("x.test", "192.0.2.1")]
            {
                assert_eq!(Place::dig(&client, name, number), wanted, "{name} at network {number}");
            }
        }
    });
}

/// Two users of a host, each with a vswitchd, the same subnet, the same names and the same addresses: each sees their own, and one's
/// containers reach what the other's publish, by the host's address.
#[test]
fn two_users() {
    guard(|| {
        let place = Place::new();
        let site = &place.site;
        let other = site.another_daemon("/tmp/vs2");
        let (one, two, third) = (site.spare(), site.spare(), site.spare());
        let socket = other.socket().display().to_string();
        place.set_up(&one, &request("web", &id('a'), &[1], 5));
        let theirs = |namespace: &Namespace, wish: &Value| {
            let words = format!("setup /proc/{}/ns/net", namespace.pid());
            Place::netavark_at(&site.host, &socket, &words, wish)
        };
        theirs(&two, &request("web", &id('a'), &[1], 5));
        theirs(&third, &request("db", &id('b'), &[1], 6));
        let _servers = [&one, &two].map(|namespace| namespace.serve("python3 -m http.server 80", 80));
        let _ports = [
            place.publish(&id('a'), "10.89.1.5", &json!([mapping(8080, 80, "tcp")])),
            Place::publish_at(&site.host, &socket, &id('a'), "10.89.1.5", &json!([mapping(8081, 80, "tcp")])),
        ];
        assert!(is_served(&one, "10.99.0.1:8081") && is_served(&two, "10.99.0.1:8080"));
        assert_eq!((Place::dig(&two, "db", 1).as_str(), Place::dig(&one, "db", 1).as_str()), ("10.89.1.6", ""));
        assert!(is_served(&third, "10.89.1.5") && !is_served(&one, "10.89.1.6"));
        assert_eq!(site.vs.json("endpoint ls").as_array().unwrap().len(), 1);
        assert_eq!(other.json("endpoint ls").as_array().unwrap().len(), 2);
    });
}

/// A container reaches the host by the host's own name: what the host serves, and what another container publishes there.
#[test]
fn the_host_by_its_name() {
    guard(|| {
        let place = Place::new();
        let site = &place.site;
        let _resolver = serve_names(&site.outside, "10.99.0.2", "10.99.0.1");
        let client = site.spare();
        place.set_up(&client, &request("client", &id('a'), &[1], 6));
        let _web = web(&place, "web", 'b', 5);
        let _ports = place.publish(&id('b'), "10.89.1.5", &json!([mapping(8080, 80, "tcp")]));
        let _service = site.host.serve("python3 -m http.server 8001", 8001);
        assert_eq!(Place::dig(&client, "thishost.example", 1), "10.99.0.1");
        for port in [8001, 8080] {
            assert!(is_served(&client, &format!("10.99.0.1:{port}")), "port {port} of the host");
        }
    });
}

/// Where /proc/sys cannot be written to, containers have networks and published ports all the same; and helpers may be called
/// in a network namespace of podman's own.
#[test]
fn nothing_of_sysctl_is_needed() {
    guard(|| {
        let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
        let place = Place::after(&["unshare", "--mount", "sh", "-c", read_only, "sh"]);
        let site = &place.site;
        let (container, elsewhere) = (site.spare(), site.spare());
        let mut wish = request("web", CONTAINER, &[1], 5);
        wish["port_mappings"] = json!([mapping(8080, 80, "tcp")]);
        let socket = site.vs.socket().display().to_string();
        Place::netavark_at(&elsewhere, &socket, &format!("setup /proc/{}/ns/net", container.pid()), &wish);
        let _server = container.serve("python3 -m http.server 80", 80);
        assert!(is_served(&site.outside, "10.99.0.1:8080"));
    });
}
