//! The host on a network, `network create --opt host=true`: as root by an interface that vswitchd makes, as an ordinary
//! user by one that root has made. The test's namespace plays the host.

use std::{fs, process::Command};

use vswitch_tests::{Background, Container, Holder, Vswitch, eventually, guard, guard::is_root, sh, spawn};

/// A page at a port of the host, which says `host`.
fn host_serves() -> Background {
    fs::create_dir_all("/tmp/www").unwrap();
    fs::write("/tmp/www/index.html", "host\n").unwrap();
    let server = spawn(Command::new("python3").args(["-m", "http.server", "-d", "/tmp/www", "8000"]));
    eventually("the host serves", 20, || sh("ss -Hltn sport = :8000").stdout.contains(":8000"));
    server
}

/// A page at port 80 of a container, which says `container`.
fn container_serves(container: &Container<'_>) -> Background {
    let script = "mkdir -p /tmp/page && cd /tmp/page && echo container > index.html && exec python3 -m http.server 80";
    let server = container.spawn(script);
    eventually("the container serves", 20, || container.sh("ss -Hltn sport = :80").stdout.contains(":80"));
    server
}

/// What the host hears of the container, and the container of the host, by their addresses.
#[track_caller]
fn both_ways(container: &Container<'_>, address: &str) {
    let fetched = || sh(&format!("curl -s -m 5 http://{address}/")).stdout == "container\n";
    eventually("the host fetches the container's page", 20, fetched);
    sh(&format!("ping -c 1 -W 5 {address}")).ok();
    assert_eq!(container.sh("curl -s -m 5 http://10.5.0.2:8000/").ok(), "host\n");
    assert_eq!(container.sh("curl -s -m 5 http://host:8000/").ok(), "host\n", "by its name");
}

/// The host and a container reach each other with Linux's own stack, also after vswitchd was killed and after it was
/// stopped; nobody else is on the network by that, and the network's end is the interface's.
#[test]
fn host_reaches_containers() {
    guard(|| {
        let vs = Vswitch::start();
        if !is_root() {
            refused_without_root(&vs);
        }
        if is_root() {
            sh("sysctl -qw net/ipv4/ip_forward=1").ok();
        }
        vs.ok("network create --subnet 10.5.0.0/24 --opt host=true shop");
        let forwards = sh("cat /proc/sys/net/ipv4/conf/vs-shop/forwarding").ok();
        assert_eq!(forwards.trim(), "0", "a host that is a router is none for the network");
        assert!(sh("ip -o addr show dev vs-shop").ok().contains("10.5.0.2/24"));
        assert_eq!(sh("ip route show default").ok(), "", "the host's way out stays what it was");
        let web = vs.container("web", "--network shop --ip 10.5.0.9");
        let _pages = (host_serves(), container_serves(&web));
        both_ways(&web, "10.5.0.9");
        vs.ok("network create --subnet 10.6.0.0/24 other");
        let stranger = vs.container("stranger", "--network other");
        assert_ne!(stranger.sh("curl -s -m 2 http://10.5.0.2:8000/").code, 0, "another network is none of the host's");
        vs.refuses("detach host", "network rm shop");
        vs.ok("network policy add shop --deny --from host --to web");
        assert_ne!(sh("curl -s -m 2 http://10.5.0.9/").code, 0, "rules hold for the host, too");
        vs.ok("network policy rm shop 1");
        vs.crash();
        vs.up();
        // What exec had started went with its client's connection.
        let _page = container_serves(&web);
        both_ways(&web, "10.5.0.9");
        assert_eq!(vs.terminate(), 0);
        assert_eq!(
            sh("ip link show dev vs-shop").code != 0,
            is_root(),
            "what vswitchd made is gone, what root made stays"
        );
        vs.up();
        vs.ok("start web");
        let _page = container_serves(&web);
        both_ways(&web, "10.5.0.9");
        vs.ok("rm -f web");
        vs.ok("network rm shop");
        assert_eq!(sh("ip link show dev vs-shop").code != 0, is_root());
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 1, "only the stranger is left");
        vs.ok("network create --subnet 10.5.0.0/24 --opt host=true --internal shop");
        let web = vs.container("web", "--network shop --ip 10.5.0.9");
        let _page = container_serves(&web);
        both_ways(&web, "10.5.0.9");
        let two_words =
            ["network", "create", "--subnet", "10.7.0.0/24", "--opt", "host=true", "--opt", "icc=false", "x"];
        vs.ctl(&two_words).refused("by the host neither");
    });
}

/// An ordinary user is told what root is to type, to the letter, and no network is left that is not whole.
fn refused_without_root(vs: &Vswitch) {
    let command = fs::read_to_string("/run/tap.command").unwrap();
    let command = command.trim().replace("vs-shop", "vs-other").replace("10.5.0.", "10.6.0.").replace(":05:", ":06:");
    vs.refuses("network create --subnet 10.6.0.0/24 --opt host=true other", &command);
    vs.refuses("network create --opt host=true other", "name the network's subnets");
    vs.refuses("network create --subnet 10.8.0.0/24 --opt host=true shop", "ip link del vs-shop && ip tuntap add");
    let networks = vs.ok("network ls");
    assert!(!networks.contains("other") && !networks.contains("shop"), "{networks}");
}

/// Networks of engines may have the host, too; their last container's end is the interface's.
#[test]
fn host_on_an_engine_s_network() {
    guard(|| {
        // What an ordinary user needs root for is seen above.
        let vs = Vswitch::start();
        let one = Holder::usual();
        fs::create_dir_all("/tmp/cni").unwrap();
        std::os::unix::fs::symlink("/mnt/programs/vswitch-engine", "/tmp/cni/vswitch").unwrap();
        let config =
            r#"{"cniVersion":"1.0.0","name":"pods","type":"vswitch","subnet":"10.5.0.0/24","options":{"host":"true"}}"#;
        fs::write("/tmp/config.json", config).unwrap();
        let call = |command: &str| {
            let enter = match is_root() {
                true => String::new(),
                false => format!("nsenter -t {} -U --preserve-credentials ", one.pid()),
            };
            let variables = format!(
                "CNI_COMMAND={command} CNI_CONTAINERID=pod CNI_IFNAME=eth0 CNI_PATH=/tmp/cni CNI_NETNS=/proc/{}/ns/net \
                 VSWITCH_SOCKET={}",
                one.pid(),
                vs.socket().display()
            );
            sh(&format!("{variables} {enter}/tmp/cni/vswitch </tmp/config.json"))
        };
        let added = call("ADD");
        if is_root() {
            added.ok();
            sh("ping -c 1 -W 5 10.5.0.3").ok();
            call("DEL").ok();
            assert_ne!(sh("ip link show dev vs-pods").code, 0, "it goes with its network");
        } else {
            assert!(added.code == 1 && added.stdout.contains("ip tuntap add dev vs-pods"), "{added}");
        }
        assert!(!vs.ok("network ls").contains("pods"));
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
    });
}

/// With --ephemeral nothing of the host's interface outlives vswitchd, however that ends.
#[test]
fn nothing_of_the_host_is_left() {
    guard(|| {
        let vs = Vswitch::with(&["--ephemeral"]);
        let made = vs.words("network create --subnet 10.5.0.0/24 --opt host=true shop");
        if is_root() {
            made.ok();
            sh("ip link show dev vs-shop").ok();
        } else {
            made.refused("ip tuntap add dev vs-shop");
        }
        vs.crash();
        eventually("the interface is gone", 20, || sh("ip link show dev vs-shop").code != 0);
    });
}

/// Names of containers in the host's /etc/hosts, where that file agrees: they come and go with containers, what else is in
/// the file stays, and nothing is left when the network, or vswitchd, is gone.
#[test]
fn names_on_the_host() {
    guard(|| {
        let vs = Vswitch::start();
        let line = "network create --subnet 10.5.0.0/24 --opt host=true --opt host-names=true shop";
        if !is_root() {
            return vs.refuses(line, "only root's vswitchd");
        }
        let before = fs::read_to_string("/etc/hosts").unwrap();
        vs.refuses(line, "printf '# vswitch begin\\n# vswitch end\\n' >>/etc/hosts");
        assert!(!vs.ok("network ls").contains("shop") && sh("ip link show dev vs-shop").code != 0);
        assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), before);
        sh("printf '# vswitch begin\\n# vswitch end\\n' >>/etc/hosts").ok();
        let agreed = fs::read_to_string("/etc/hosts").unwrap();
        vs.ok(line);
        let web = vs.container("web", "--network shop --network-alias www --ip 10.5.0.9");
        let names = || fs::read_to_string("/etc/hosts").unwrap();
        eventually("the name is there", 20, || names().contains("10.5.0.9\tweb www\n"));
        let _page = container_serves(&web);
        assert_eq!(sh("curl -s -m 5 http://www/").ok(), "container\n");
        vs.crash();
        vs.up();
        assert!(names().contains("10.5.0.9\tweb www\n"));
        let _other = vs.container("other", "--network shop --ip 10.5.0.8");
        eventually("the other name is there", 20, || names().contains("10.5.0.8\tother\n"));
        vs.ok("rm -f other");
        eventually("the other name is gone", 20, || !names().contains("other"));
        assert_eq!(vs.terminate(), 0);
        assert_eq!(names(), agreed, "the end of vswitchd is that of its names");
        vs.up();
        vs.ok("start web");
        eventually("the name is there again", 20, || names().contains("10.5.0.9\tweb www\n"));
        vs.ok("rm -f web");
        vs.ok("network rm shop");
        assert_eq!(names(), agreed);
    });
}
