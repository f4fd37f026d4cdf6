//! What a reader of Docker's networking tutorials types: networks of one's own, isolation, connect and disconnect.

use vswitch_tests::{Vswitch, guard};

use crate::docker::{docker, shown};

/// A custom network with its subnet and gateway, an automatic and a static address on it, and everything shown where the
/// tutorial looks.
#[test]
fn a_network_of_ones_own() {
    guard(|| {
        let vs = Vswitch::start();
        let id = docker(&vs, "network create --driver bridge --subnet 192.168.0.0/16 --gateway 192.168.0.1 mynet").ok();
        let listed = docker(&vs, "network ls").ok();
        let line = listed.lines().find(|line| line.contains("mynet")).expect("the network is listed");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [&id[..12], "mynet", "bridge", "local"]);
        let first = vs.container("tomcat-net-01", "--network mynet");
        let second = vs.container("tomcat-net-02", "--network mynet");
        let fixed = vs.container("tomcat-net-03", "--network mynet --ip 192.168.100.100");
        let ipam = "network inspect -f {{range.IPAM.Config}}{{.Subnet}},{{.Gateway}}{{end}} mynet";
        assert_eq!(docker(&vs, ipam).ok().trim(), "192.168.0.0/16,192.168.0.1");
        let address = "inspect -f {{.NetworkSettings.Networks.mynet.IPAddress}} tomcat-net-02";
        assert_eq!(docker(&vs, address).ok().trim(), "192.168.0.3");
        let members =
            docker(&vs, "network inspect -f {{range.Containers}}{{.Name}}={{.IPv4Address}};{{end}} mynet").ok();
        for member in
            ["tomcat-net-01=192.168.0.2/16;", "tomcat-net-02=192.168.0.3/16;", "tomcat-net-03=192.168.100.100/16;"]
        {
            assert!(members.contains(member), "{members}");
        }
        assert!(first.ok("ip addr show eth0").contains("inet 192.168.0.2/16"));
        first.pings("192.168.0.3");
        first.pings("tomcat-net-02");
        second.pings("192.168.100.100");
        second.pings("tomcat-net-03");
        fixed.pings("192.168.0.1");
        assert_eq!(docker(&vs, "rm -f tomcat-net-01 tomcat-net-02 tomcat-net-03").ok().lines().count(), 3);
        assert_eq!(docker(&vs, "network rm mynet").ok(), "mynet\n");
    });
}

/// A static address on a network whose subnet was chosen automatically is refused, when running and when connecting, and
/// so are one that is taken and one of another subnet.
#[test]
fn static_addresses_that_are_refused() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create auto").ok();
        docker(&vs, "network create --subnet 172.25.0.0/16 given").ok();
        let only =
            "user specified IP address is supported only when connecting to networks with user configured subnets";
        vs.words("run -d --rm --name no --network auto --ip 172.18.0.5 -- sleep 9").exits(125).says(only);
        let _c = vs.container("c", "--network given --ip 172.25.3.3");
        docker(&vs, "network connect --ip 172.18.0.5 auto c").exits(1).says(only);
        vs.words("run -d --rm --name no --network given --ip 172.25.3.3 -- sleep 9")
            .exits(125)
            .says("Address already in use");
        vs.words("run -d --rm --name no --network given --ip 172.26.0.3 -- sleep 9")
            .exits(125)
            .says("no configured subnet contains IP address 172.26.0.3");
        let on_default = "user specified IP address is supported on user defined networks only";
        vs.words("run -d --rm --name no --ip 172.17.0.9 -- sleep 9").exits(125).says(on_default);
        assert_eq!(docker(&vs, "ps -a --format {{.Names}}").ok(), "c\n");
    });
}

/// Two networks do not reach each other; network connect joins them for one container, which then has an address on
/// each; network disconnect parts them again.
#[test]
fn isolated_joined_parted() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create --subnet 172.26.0.0/16 isolated").ok();
        let (one, two) = (vs.container("one", ""), vs.container("two", ""));
        let three = vs.container("three", "--network isolated");
        let (address_of_two, address_of_three) = (two.ipv4("bridge"), three.ipv4("isolated"));
        one.pings(address_of_two);
        one.cannot_ping(address_of_three);
        two.cannot_ping(address_of_three);
        docker(&vs, "network connect isolated two").ok();
        let interfaces = two.ok("ip -o -4 addr show scope global");
        assert!(interfaces.contains("eth0") && interfaces.contains("eth1") && interfaces.contains("172.26.0.3/16"));
        two.pings(address_of_three);
        three.pings("172.26.0.3");
        one.cannot_ping(address_of_three);
        let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}};{{end}}";
        assert_eq!(shown(&vs, "inspect two", networks), "bridge;isolated;");
        docker(&vs, "network rm isolated").exits(1).says("has active endpoints").says("two");
        docker(&vs, "network disconnect isolated two").ok();
        assert!(!two.ok("ip -o -4 addr").contains("172.26."));
        two.cannot_ping(address_of_three);
        one.pings(address_of_two);
        docker(&vs, "network disconnect isolated two").exits(1).says("is not connected to the network isolated");
    });
}

/// With inter-container communication off, containers of one network reach their gateway and not each other; an internal
/// network has its members and nothing else.
#[test]
fn without_icc() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create -o com.docker.network.bridge.enable_icc=false --subnet 10.31.0.0/24 closed").ok();
        let (a, b) = (vs.container("a", "--network closed"), vs.container("b", "--network closed"));
        a.cannot_ping(b.ipv4("closed"));
        a.pings("10.31.0.1");
        vs.expect_drops("a", "closed", "isolated", 1);
        docker(&vs, "network create --internal --subnet 10.32.0.0/24 inner").ok();
        let (c, d) = (vs.container("c", "--network inner"), vs.container("d", "--network inner"));
        c.pings(d.ipv4("inner"));
        assert_eq!(c.ok("ip route show default"), "");
        c.sh(&format!("ping -n -c 1 -W 1 {}", b.ipv4("closed"))).says("Network is unreachable");
    });
}
