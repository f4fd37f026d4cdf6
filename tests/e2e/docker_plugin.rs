//! dockerd's networks of the driver `vswitch`: Debian's dockerd, unmodified, without a bridge and without netfilter.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use vswitch_tests::{Background, Output, Vswitch, eventually, guard, guard::is_root, http, run, sh, spawn};

const PLUGIN: &str = "/run/docker/plugins/vswitch.sock";

/// A dockerd of this test's own, and the plug-in.
struct Dockerd {
    daemon: Option<Background>,
    _plugin: Background,
}

/// Starts the plug-in, as systemd does once it is installed.
fn plugin(vs: &Vswitch, socket: &str) -> Background {
    symlink("/mnt/programs/vswitch-engine", "/tmp/vswitch-docker").unwrap();
    let mut command = Command::new("/tmp/vswitch-docker");
    let plugin = spawn(command.args(["--plugin-socket", socket]).env("VSWITCH_SOCKET", vs.socket()));
    eventually("the plug-in serves", 20, || Path::new(socket).exists());
    plugin
}

impl Dockerd {
    /// With the image `box` of busybox.
    fn start(vs: &Vswitch) -> Dockerd {
        let mut dockerd = Dockerd { daemon: None, _plugin: plugin(vs, PLUGIN) };
        dockerd.up();
        let script = "mkdir -p /tmp/root/bin /tmp/root/etc /tmp/root/tmp && cd /tmp/root && cp /bin/busybox bin/busybox && \
             for name in sh ip wget httpd cat sleep ping; do ln -s busybox bin/$name; done && echo page > tmp/page && tar -c .";
        sh(&format!("set -e; ({script}) > /tmp/box.tar; docker import /tmp/box.tar box")).ok();
        dockerd
    }

    fn up(&mut self) {
        let mut command = Command::new("dockerd");
        command.args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--storage-driver=vfs",
        ]);
        command.args(["--data-root=/tmp/docker", "--exec-root=/run/docker/exec", "--host=unix:///var/run/docker.sock"]);
        self.daemon = Some(spawn(&mut command));
        eventually("dockerd serves", 60, || sh("docker version").code == 0);
    }

    /// As kill -9 would, with the containerd that is its own.
    fn crash(&mut self) {
        let daemon = self.daemon.take().unwrap();
        sh(&format!("kill -9 {0} $(pgrep -P {0})", daemon.pid())).ok();
        eventually("dockerd is gone", 20, || sh("docker version").code != 0);
        fs::remove_file("/var/run/docker.pid").unwrap();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        sh("docker rm -f $(docker ps -aq)");
        if let Some(daemon) = &self.daemon {
            sh(&format!("kill {}", daemon.pid()));
        }
    }
}

fn docker(line: &str) -> Output {
    sh(&format!("docker {line}"))
}

/// What vswitchd knows of dockerd's containers.
fn endpoints(vs: &Vswitch) -> usize {
    let all = vs.json("endpoint ls");
    all.as_array().unwrap().iter().filter(|one| one["engine"]["engine"] == "docker").count()
}

/// Containers of dockerd on networks of vswitch: addresses, names, aliases, published ports, other networks while they run, internal
/// ones and IPv6; and nothing of them is left when they go. (An ordinary user has no dockerd.)
#[test]
fn containers_of_dockerd() {
    guard(|| {
        if !is_root() {
            return by_hand();
        }
        let vs = Vswitch::start();
        let dockerd = Dockerd::start(&vs);
        docker("network create -d vswitch --subnet 10.50.0.0/24 shop").ok();
        docker("run -d --name web --network shop --ip 10.50.0.9 --network-alias www -p 127.0.0.1:18080:80 box httpd -f -h /tmp").ok();
        assert_eq!(sh("curl -s http://127.0.0.1:18080/page").ok(), "page\n");
        for name in ["web", "www", "10.50.0.9", "10.50.0.1"] {
            docker(&format!("run --rm --network shop box ping -c 1 -W 10 {name}")).ok();
        }
        assert!(docker("exec web ip route").ok().contains("default via 10.50.0.1 dev eth0"));
        let mac = docker("inspect -f '{{.NetworkSettings.Networks.shop.MacAddress}}' web").ok();
        assert!(docker("exec web ip link show eth0").ok().contains(mac.trim()));
        docker("run --rm --network shop --ip 10.50.0.9 box true").exits(125).says("Address already in use");
        docker("run --rm --network shop -p 127.0.0.1:18080:80 box true").exits(125).says("already");
        assert_eq!(endpoints(&vs), 1, "what failed has left nothing");
        vs.ok("engine docker status");
        // A subnet that vswitchd chooses; a network more, and one less.
        docker("network create -d vswitch --ipam-driver vswitch more").ok();
        docker("network connect more web").ok();
        let second = docker("inspect -f '{{.NetworkSettings.Networks.more.IPAddress}}' web").ok();
        docker(&format!("run --rm --network more box ping -c 1 -W 10 {second}")).ok();
        docker("network disconnect more web").ok();
        assert_eq!(endpoints(&vs), 1);
        docker("network create -d vswitch --internal --ipv6 --subnet 10.51.0.0/24 --subnet fd00:51::/64 inner").ok();
        docker("run -d --name db --network inner --ip6 fd00:51::9 box sleep 1000").ok();
        docker("run --rm --network inner box ping -6 -c 1 -W 10 fd00:51::9").ok();
        assert!(!docker("exec db ip route").ok().contains("default"));
        docker("network rm shop").exits(1).says("has active endpoints");
        docker("rm -f web db").ok();
        assert_eq!(sh("curl -s http://127.0.0.1:18080/page").code, 7, "the port is closed");
        docker("network rm shop more inner").ok();
        assert_eq!((endpoints(&vs), vs.json("network ls").as_array().unwrap().len()), (0, 3));
        drop(dockerd);
        assert_eq!(sh("ip -o link | grep -c vs").stdout.trim(), "0");
    });
}

/// vswitchd killed while dockerd lives, dockerd killed while containers run, dockerd started while there is no vswitchd.
#[test]
fn ends_of_either() {
    guard(|| {
        if !is_root() {
            return by_hand();
        }
        let vs = Vswitch::start();
        let mut dockerd = Dockerd::start(&vs);
        docker("network create -d vswitch --subnet 10.50.0.0/24 shop").ok();
        docker("run -d --name web --network shop --ip 10.50.0.9 --stop-timeout 1 --restart always box sleep 1000").ok();
        vs.crash();
        // It is said at once; dockerd would ask for a quarter of a minute where nobody answers.
        sh("timeout 10 docker run --rm --network shop box true").exits(125).says("cannot reach vswitchd");
        vs.up();
        docker("run --rm --network shop box ping -c 1 -W 10 10.50.0.9").ok();
        dockerd.crash();
        vs.crash();
        dockerd.up();
        vs.up();
        docker("restart -t 0 web").ok();
        docker("run --rm --network shop box ping -c 1 -W 10 10.50.0.9").ok();
        docker("rm -f web").ok();
        docker("network rm shop").ok();
        eventually("nothing is left", 20, || endpoints(&vs) == 0);
    });
}

/// The protocol without dockerd: what is unknown, empty or of nobody; and without root a sentence that says what to do.
#[test]
fn the_protocol() {
    guard(|| {
        by_hand();
    });
}

fn by_hand() {
    let vs = Vswitch::start();
    let socket = "/tmp/plugin.sock";
    let plugin = plugin(&vs, socket);
    let ask = |method: &str, body: &str| http::request(Path::new(socket), "POST", &format!("/{method}"), Some(body));
    let said = |method: &str, body: &Value| -> Value {
        let answer = ask(method, &body.to_string());
        assert!(answer.status == 200 && answer.head.contains("docker.plugins"), "{}", answer.head);
        answer.json()
    };
    assert_eq!(ask("Plugin.Activate", "").json(), json!({"Implements": ["NetworkDriver", "IpamDriver"]}));
    assert_eq!(ask("NetworkDriver.GetCapabilities", "").json()["Scope"], "local");
    assert_eq!(ask("NetworkDriver.AllocateNetwork", "{}").status, 404);
    assert_eq!(ask("Nonsense", "{}").status, 404);
    for body in ["", "[]", "{\"NetworkID\": 7}", "{\"NetworkID\": \"../../x\"}"] {
        assert!(ask("NetworkDriver.CreateNetwork", body).json()["Err"].is_string(), "{body}");
    }
    let (network, endpoint) = ("4".repeat(64), "5".repeat(64));
    let named = json!({"NetworkID": network, "EndpointID": endpoint});
    // Of an earlier life.
    for method in ["Leave", "DeleteEndpoint", "RevokeExternalConnectivity", "DeleteNetwork"] {
        assert_eq!(said(&format!("NetworkDriver.{method}"), &named), json!({}), "{method}");
    }
    let pool = json!({"Pool": "10.60.0.0/24", "Gateway": "10.60.0.1/24", "AddressSpace": "L"});
    let create = json!({"NetworkID": network, "Options": {"com.docker.network.generic": {"mtu": "1400"}}, "IPv4Data": [pool], "IPv6Data": []});
    assert_eq!(said("NetworkDriver.CreateNetwork", &create), json!({}));
    assert_eq!(said("NetworkDriver.CreateNetwork", &create), json!({}), "asked again");
    assert_eq!(vs.json("network inspect docker-444444444444")[0]["Options"]["mtu"], "1400");
    let other = json!({"NetworkID": "6".repeat(64), "IPv4Data": [pool]});
    assert!(said("NetworkDriver.CreateNetwork", &other)["Err"].as_str().unwrap().contains("--ipam-driver vswitch"));
    let wish = json!({"NetworkID": network, "EndpointID": endpoint, "Interface": {"Address": "10.60.0.9/24"}});
    let made = said("NetworkDriver.CreateEndpoint", &wish);
    if is_root() {
        assert!(made["Interface"]["MacAddress"].is_string() && made["Interface"].get("Address").is_none(), "{made}");
        let joined = said("NetworkDriver.Join", &named);
        assert_eq!(
            (&joined["Gateway"], &joined["InterfaceName"]["SrcName"]),
            (&"10.60.0.1".into(), &"vs555555555555".into())
        );
        let link = sh("ip addr show vs555555555555").ok();
        assert!(link.contains("state DOWN") && !link.contains("inet") && link.contains("mtu 1400"), "{link}");
        assert_eq!(said("NetworkDriver.DeleteEndpoint", &named), json!({}));
        assert_ne!(sh("ip link show vs555555555555").code, 0);
    } else {
        assert!(made["Err"].as_str().unwrap().contains("start vswitchd as root"), "{made}");
    }
    // Addresses: what is in use is given to nobody else, and comes back.
    let chosen = said("IpamDriver.RequestPool", &json!({"AddressSpace": "vswitch"}));
    let another = said("IpamDriver.RequestPool", &json!({"AddressSpace": "vswitch"}));
    assert_ne!(chosen["Pool"], another["Pool"]);
    let request = json!({"PoolID": chosen["PoolID"], "Address": "", "Options": {}});
    let first = said("IpamDriver.RequestAddress", &request);
    assert_ne!(first, said("IpamDriver.RequestAddress", &request));
    let same = json!({"PoolID": chosen["PoolID"], "Address": first["Address"]});
    assert_eq!(said("IpamDriver.RequestAddress", &same)["Error"], "Address already in use");
    assert_eq!(said("IpamDriver.ReleaseAddress", &same), json!({}));
    assert_eq!(said("IpamDriver.RequestAddress", &request), first);
    for body in [json!({"Pool": "10.60.0.0/16"}), json!({"Pool": "nonsense"}), json!({"V6": true})] {
        assert!(said("IpamDriver.RequestPool", &body)["Error"].is_string(), "{body}");
    }
    assert_eq!(said("NetworkDriver.DeleteNetwork", &named), json!({}));
    vs.terminate();
    assert!(said("NetworkDriver.CreateNetwork", &create)["Err"].as_str().unwrap().contains("cannot reach vswitchd"));
    assert_eq!(said("NetworkDriver.DeleteEndpoint", &named), json!({}));
    plugin.terminate();
    assert!(!Path::new(socket).exists());
    run(Command::new("/tmp/vswitch-docker").args(["--plugin-socket", "/proc/x/y"])).exits(1);
}

/// What is installed is what systemd starts, and goes again; an ordinary user is told whose it is.
#[test]
fn installation() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("engine docker status");
        if !is_root() {
            vs.refuses("engine docker install", "run this as root");
            return;
        }
        for folder in ["/usr/local/libexec", "/etc/systemd/system"] {
            sh(&format!("mkdir -p {folder} && mount -t tmpfs tmpfs {folder}")).ok();
        }
        vs.ok("engine docker install");
        let unit = fs::read_to_string("/etc/systemd/system/vswitch-docker.service").unwrap();
        assert!(unit.contains("ExecStart=\"/usr/local/libexec/vswitch/docker/vswitch-docker\""), "{unit}");
        sh("/usr/local/libexec/vswitch/docker/vswitch-docker --version").ok();
        vs.ok("engine docker uninstall");
        assert!(!fs::exists("/etc/systemd/system/vswitch-docker.service").unwrap());
        fs::write("/etc/systemd/system/vswitch-docker.service", "[Service]\n").unwrap();
        vs.refuses("engine docker install", "is not of vswitch");
    });
}
