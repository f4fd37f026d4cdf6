//! Ports for machines (`port open`): programs that send and receive frames by a socket, with Linux's own stack behind them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use vswitch_tests::{Background, Holder, Vswitch, eventually, guard, guard::guard_for, run, sh, spawn};

const SCRIPT: &str = "/mnt/machine.py";

/// A machine: a namespace whose interface leads to a port by a socket.
struct Machine {
    inside: Holder,
    relay: Option<Background>,
}

impl Machine {
    #[track_caller]
    fn new(mac: &str, addresses: &[&str]) -> Machine {
        fs::write(SCRIPT, include_str!("machine.py")).unwrap();
        let inside = Holder::usual();
        let mut script =
            "ip link add eth0 type veth peer name m0 && ethtool -K eth0 tx off tso off gso off >/dev/null".to_owned();
        script += &format!(" && ip link set eth0 address {mac} && ip link set m0 up && ip link set eth0 up");
        for address in addresses {
            script += &format!(" && ip addr add {address} dev eth0 nodad");
        }
        inside.sh(&script).ok();
        Machine { inside, relay: None }
    }

    #[track_caller]
    fn plug(&mut self, words: &str) {
        let relay = self.inside.spawn(&format!("exec python3 {SCRIPT} m0 {words}"));
        eventually("the machine is connected", 30, || relay.output().contains("connected"));
        self.relay = Some(relay);
    }

    fn unplug(&mut self) {
        drop(self.relay.take());
    }

    #[track_caller]
    fn reaches(&self, address: &str) {
        self.inside.pings(address);
    }
}

/// A program that says what it is told to a port, in hexadecimal, and prints what comes.
fn raw(words: &str, said: &str) -> vswitch_tests::Output {
    fs::write(SCRIPT, include_str!("machine.py")).unwrap();
    let script = format!("printf '{said}' | timeout 20 python3 {SCRIPT} - {words}");
    run(Command::new("sh").args(["-c", &script]))
}

#[track_caller]
fn open(vs: &Vswitch, words: &str) {
    vs.ok(&format!("port open -d {words}"));
}

fn machines(vs: &Vswitch, port: &str) -> Vec<serde_json::Value> {
    let ports = vs.json("port ls");
    let found = ports.as_array().unwrap().iter().find(|one| one["name"] == port);
    found.map(|one| one["machines"].as_array().unwrap().clone()).unwrap_or_default()
}

#[track_caller]
fn until_machines(vs: &Vswitch, port: &str, count: usize) {
    eventually(&format!("port {port} has {count} machines"), 30, || machines(vs, port).len() == count);
}

/// Two machines by one stream socket are ports of the network with their own counters, reach a container and each other, and move data;
/// one that goes is gone from the list, and 'port close' ends both connections, the socket and the command that kept it.
#[test]
fn streams() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create blue --subnet 10.9.0.0/24");
        let web = vs.container("web", "--network blue --ip 10.9.0.2");
        let mut keeper =
            vs.spawn(&["port", "open", "blue", "--listen", "stream:/mnt/vm.sock", "--name", "vms", "--learn"]);
        eventually("the port is open", 30, || keeper.output().contains("vms on blue at stream:/mnt/vm.sock"));
        let mut one = Machine::new("52:54:00:00:00:01", &["10.9.0.101/24"]);
        let mut two = Machine::new("52:54:00:00:00:02", &["10.9.0.102/24"]);
        one.plug("stream /mnt/vm.sock");
        two.plug("stream /mnt/vm.sock");
        until_machines(&vs, "vms", 2);
        one.reaches("10.9.0.2");
        one.reaches("10.9.0.102");
        one.reaches("10.9.0.1");
        web.pings("10.9.0.102");
        web.serves_page();
        one.inside
            .sh("python3 -c 'import urllib.request as u; u.urlopen(\"http://10.9.0.2/page\", timeout=20).read()'")
            .ok();
        web.ok("head -c 3000000 /dev/urandom > /tmp/big && sha256sum < /tmp/big > /tmp/sum");
        let server = web.spawn("cd /tmp && exec python3 -m http.server 8001");
        web.listens(8001);
        let got = "python3 -c 'import hashlib, urllib.request as u; print(hashlib.sha256(u.urlopen(\"http://10.9.0.2:8001/big\", timeout=60).read()).hexdigest())'";
        assert_eq!(two.inside.sh(got).ok().trim(), web.ok("cut -d' ' -f1 /tmp/sum").trim());
        drop(server);
        let shown = machines(&vs, "vms");
        assert_eq!((&shown[0]["name"], &shown[1]["name"]), (&"vms.1".into(), &"vms.2".into()));
        assert!(
            shown.iter().all(|one| one["in_frames"].as_u64() > Some(3) && one["out_frames"].as_u64() > Some(3)),
            "{shown:?}"
        );
        assert!(vs.ok("fdb show blue").contains("52:54:00:00:00:02"));
        assert!(vs.ok("stats").contains("vms.2"));
        vs.refuses("network rm blue", "port vms for machines");
        one.unplug();
        until_machines(&vs, "vms", 1);
        vs.ok("port close vms");
        eventually("the command that kept the port ends", 30, || !keeper.running());
        eventually("the other machine is sent away", 30, || two.relay.as_ref().unwrap().output().contains("closed"));
        assert_eq!((vs.ok("port ls -q"), Path::new("/mnt/vm.sock").exists()), (String::new(), false));
        vs.refuses("port close vms", "there is no port vms for machines; see 'port ls'");
        web.cannot_ping("10.9.0.102");
    });
}

/// With an address there is one machine at a time, found by its name, that can be nobody else; without the address it has none, and
/// the next one gets its place. Frames of others' are counted as spoofed.
#[test]
fn an_identity() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create blue --ipv6 --subnet 10.9.0.0/24 --subnet fd09::/64");
        let web = vs.container("web", "--network blue --ip 10.9.0.2");
        open(
            &vs,
            "blue --listen stream:/mnt/vm.sock --name vm --ip 10.9.0.7 --mac-address 52:54:00:00:00:07 --network-alias db",
        );
        let mut vm = Machine::new("52:54:00:00:00:07", &["10.9.0.7/24", "10.9.0.8/24", "fd09::99/64"]);
        vm.plug("stream /mnt/vm.sock");
        until_machines(&vs, "vm", 1);
        vm.reaches("10.9.0.2");
        assert!(web.ok("getent ahostsv4 vm").contains("10.9.0.7") && web.ok("getent ahostsv4 db").contains("10.9.0.7"));
        web.pings("10.9.0.7");
        vm.inside.sh("ping -c1 -W1 -I 10.9.0.8 10.9.0.2").exits(1);
        assert!(vs.drops("vm", "blue", "spoofed-ip") + vs.drops("vm", "blue", "spoofed-arp") > 0, "{}", vs.ok("stats"));
        assert!(vs.ok("endpoint ls").contains("10.9.0.7/24"));
        let second = raw("stream /mnt/vm.sock", "");
        assert!(second.stdout.contains("closed"), "{second}");
        vs.refuses("detach vm", "belongs to a port for machines; use 'port close vm'");
        vs.refuses("port open blue --listen stream:/mnt/other.sock --ip 10.9.0.7", "10.9.0.7");
        vm.unplug();
        until_machines(&vs, "vm", 0);
        assert!(web.sh("getent ahostsv4 vm").code != 0);
        vm.plug("stream /mnt/vm.sock");
        vm.reaches("10.9.0.2");
        vs.ok("port close vm");
        // Its address and its name are free again.
        vs.ok("run -d --name vm --network blue --ip 10.9.0.7 -- sleep 1000");
    });
}

/// Nonsense from a stream's client costs that client its connection, whatever it is; others go on, and so does the daemon.
#[test]
fn nonsense() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create blue --subnet 10.9.0.0/24");
        let _web = vs.container("web", "--network blue --ip 10.9.0.2");
        open(&vs, "blue --listen stream:/mnt/vm.sock --name vms --learn");
        let mut vm = Machine::new("52:54:00:00:00:01", &["10.9.0.101/24"]);
        vm.plug("stream /mnt/vm.sock");
        vm.reaches("10.9.0.2");
        for said in ["00000000", "0000000d00", "00011001", "ffffffff", "474554202f20485454502f312e310d0a"] {
            let ended = raw("stream /mnt/vm.sock", &format!("{said}\\n"));
            assert!(ended.stdout.contains("closed"), "{said}: {ended}");
        }
        until_machines(&vs, "vms", 1);
        vm.reaches("10.9.0.2");
        for words in [
            "blue --listen stream:",
            "blue --listen tap",
            "blue --listen fd:77",
            "blue --listen udp:127.0.0.1:1",
            "blue --listen stream:/nowhere/x",
            "nowhere --listen stream:/mnt/x",
            "none --listen stream:/mnt/x",
            "blue --listen stream:/mnt/vm.sock",
            "blue --listen stream:/mnt/x --ip 10.10.0.1",
            "blue --listen stream:/mnt/x --name vms",
            "blue --listen stream:/mnt/x --name web",
        ] {
            let refused = vs.words(&format!("port open {words}"));
            assert!(refused.code != 0 && refused.stderr.starts_with("error: "), "{refused}");
        }
        assert!(!Path::new("/mnt/x").exists() && Path::new("/mnt/vm.sock").exists());
        // By the API itself: no descriptor, and one that is no machine's.
        let socket = vs.socket();
        vswitch_tests::http::request(&socket, "POST", "/vswitch/v1/ports/vms/machines", None)
            .refused(400, "send one descriptor");
        vswitch_tests::http::request(&socket, "POST", "/vswitch/v1/ports", Some("{\"network\":\"\"}"))
            .refused(400, "network");
        vm.reaches("10.9.0.2");
    });
}

/// By datagrams: the machine that sends is the one that is there; when it is gone another one gets its place, also at the same path.
#[test]
fn datagrams() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create blue --subnet 10.9.0.0/24");
        let _web = vs.container("web", "--network blue --ip 10.9.0.2");
        open(&vs, "blue --listen dgram:/mnt/vm.dgram --name vm --learn");
        let mut one = Machine::new("52:54:00:00:00:01", &["10.9.0.101/24"]);
        one.plug("dgram /mnt/one /mnt/vm.dgram");
        one.reaches("10.9.0.2");
        assert_eq!(machines(&vs, "vm").len(), 1);
        one.unplug();
        until_machines(&vs, "vm", 0);
        one.plug("dgram /mnt/one /mnt/vm.dgram");
        one.reaches("10.9.0.2");
        // A port is where the command that opens it is: here in the machine's own namespace.
        let mut two = Machine::new("52:54:00:00:00:02", &["10.9.0.102/24"]);
        let pair = "port open -d blue --listen udp:127.0.0.1:10000,127.0.0.1:10001 --name pair --learn";
        let socket = vs.socket();
        two.inside
            .sh(&format!("ip link set lo up && /mnt/programs/vswitchctl --socket {} {pair}", socket.display()))
            .ok();
        two.plug("udp 10001 10000");
        two.reaches("10.9.0.101");
        vs.ok("port close vm pair");
        eventually("its command takes the socket away", 20, || !Path::new("/mnt/vm.dgram").exists());
    });
}

/// A vde_switch's clients find a port at its directory: two of them, joined by the network.
#[test]
fn vde() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create blue --subnet 10.9.0.0/24");
        let web = vs.container("web", "--network blue --ip 10.9.0.2");
        open(&vs, "blue --listen vde:/mnt/vde --name vde --learn");
        let said = raw("stream /mnt/vde/ctl", &("00".repeat(122) + "\\n"));
        assert!(said.stdout.contains("closed"), "{said}");
        // vde_plug carries frames behind a length of two bytes.
        let question = vswitch_tests::frames::arp(
            [0x52, 0x54, 0, 0, 0, 1],
            1,
            ([0x52, 0x54, 0, 0, 0, 1], "10.9.0.101".parse().unwrap()),
            "10.9.0.2".parse().unwrap(),
        );
        let length = u16::try_from(question.len()).unwrap().to_be_bytes();
        let mut plug =
            Command::new("vde_plug").arg("/mnt/vde").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = plug.stdin.take().unwrap();
        until_machines(&vs, "vde", 1);
        stdin.write_all(&[&length[..], &question].concat()).unwrap();
        let mut answer = [0; 2 + 42];
        std::io::Read::read_exact(&mut plug.stdout.take().unwrap(), &mut answer).unwrap();
        assert_eq!(answer[2..8], [0x52, 0x54, 0, 0, 0, 1]);
        assert_eq!(answer[2 + 28..2 + 32], [10, 9, 0, 2]);
        plug.kill().unwrap();
        plug.wait().unwrap();
        until_machines(&vs, "vde", 0);
        // The client was killed and has left its own socket.
        let ours = || {
            fs::read_dir("/mnt/vde")
                .unwrap()
                .filter(|file| file.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'0')
                .count()
        };
        eventually("the port's own socket is gone", 20, || ours() == 0);
        web.pings("10.9.0.1");
    });
}

/// A machine goes on after vswitchd was killed and started again: its port comes back by itself, with its name and its address.
#[test]
fn a_restart() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create blue --subnet 10.9.0.0/24");
        open(&vs, "blue --listen dgram:/mnt/vm.dgram --name vm --mac-address 52:54:00:00:00:07");
        let address = vs.json("port ls")[0]["ipv4_address"].as_str().unwrap().to_owned();
        let mut vm = Machine::new("52:54:00:00:00:07", &[&address]);
        vm.plug("dgram /mnt/one /mnt/vm.dgram");
        vm.reaches("10.9.0.1");
        vs.crash();
        vs.up();
        eventually("the port is open again", 30, || vs.ok("port ls -q").contains("vm"));
        assert_eq!(vs.json("port ls")[0]["ipv4_address"], address);
        vm.reaches("10.9.0.1");
        vs.ok("port close vm");
    });
}

/// A virtual machine with QEMU's own stream and datagram sockets, and Debian's kernel inside, reaches a container by either.
#[test]
#[ignore = "it needs QEMU and a kernel: tests/run all has them"]
fn qemu() {
    guard_for(Duration::from_secs(240), || {
        let vs = Vswitch::start();
        for (name, subnet) in [("blue", "10.9.0"), ("red", "10.8.0")] {
            vs.ok(&format!("network create {name} --subnet {subnet}.0/24"));
            vs.container(&format!("web-{name}"), &format!("--network {name} --ip {subnet}.2")).serves_page();
        }
        open(&vs, "blue --listen stream:/mnt/stream --name vm --ip 10.9.0.7 --mac-address 52:54:00:00:00:07");
        open(&vs, "red --listen dgram:/mnt/dgram --name any --learn");
        fs::write("/mnt/init", include_str!("machine_init.sh")).unwrap();
        let kernel = "/mnt/programs/tools/kernel";
        sh(&format!(
            "mkdir -p /mnt/root/bin && cp -r {kernel}/modules /mnt/root/ && cp /bin/busybox /mnt/root/bin/ && install -m 755 /mnt/init /mnt/root/ \
             && cd /mnt/root && find . | busybox cpio -o -H newc > /mnt/initramfs"
        ))
        .ok();
        let machine = format!(
            "exec timeout 180 qemu-system-x86_64 -accel tcg -m 256 -nographic -no-reboot -kernel {kernel}/vmlinuz -initrd /mnt/initramfs \
             -append 'console=ttyS0 quiet panic=-1 eth0=10.9.0.7/24,10.9.0.2 eth1=10.8.0.7/24,10.8.0.2' \
             -netdev stream,id=a,addr.type=unix,addr.path=/mnt/stream -device virtio-net-pci,netdev=a,romfile=,mac=52:54:00:00:00:07 \
             -netdev dgram,id=b,local.type=unix,local.path=/mnt/qemu,remote.type=unix,remote.path=/mnt/dgram \
             -device virtio-net-pci,netdev=b,romfile=,mac=52:54:00:00:00:08 < /dev/null"
        );
        let said = spawn(Command::new("sh").args(["-c", &machine])).wait(Duration::from_secs(200));
        for what in ["eth0 reaches 10.9.0.2", "page-of-web-blue", "eth1 reaches 10.8.0.2", "page-of-web-red"] {
            assert!(said.stdout.contains(what), "{what}: {said}");
        }
        until_machines(&vs, "vm", 0);
    });
}
