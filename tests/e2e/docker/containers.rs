//! docker ps, inspect, port, stop, start, wait and rm on containers of vswitch.

use serde_json::Value;
use vswitch_tests::{Vswitch, eventually, guard, run};

use super::{docker, docker_command, shown};
use crate::mounts::root_directory;

/// docker ps shows our containers with its own filters, formats and short forms.
#[test]
fn listing() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create --subnet 10.8.0.0/24 net").ok();
        let _a = vs.container("a", "--network net --label tier=front");
        let _b = vs.container("b", "");
        vs.ok("stop -t 0 b");
        let names = |line: &str| docker(&vs, line).ok().lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names("ps --format {{.Names}}"), ["a"]);
        assert_eq!(names("ps -a --format {{.Names}}"), ["b", "a"]);
        assert_eq!(names("ps -l --format {{.Names}}/{{.State}}"), ["b/exited"]);
        assert_eq!(names("ps -n 1 --format {{.Names}}"), ["b"]);
        assert_eq!(names("ps --filter network=net --format {{.Names}}:{{.Networks}}"), ["a:net"]);
        assert_eq!(names("ps -a --filter label=tier=front --filter status=running --format {{.Names}}"), ["a"]);
        assert_eq!(names("ps -aq --no-trunc").len(), 2);
        assert_eq!(names("ps -s --format {{.Names}}").len(), 1);
        let table = docker(&vs, "ps").ok();
        assert!(
            table.contains("CONTAINER ID") && table.contains("\"sleep 100000\"") && table.contains("Up "),
            "{table}"
        );
        let json: Value = serde_json::from_str(&docker(&vs, "ps --format json").ok()).unwrap();
        assert_eq!((&json["Names"], &json["State"]), (&"a".into(), &"running".into()));
        docker(&vs, "ps --filter size=1").exits(1).says("invalid filter 'size'");
    });
}

/// docker inspect finds containers and networks by name and by id, with and without a type, and says what is not there.
#[test]
fn inspection() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create --subnet 10.8.0.0/24 net").ok();
        let a = vs.container("a", "--network net --ip 10.8.0.7 --network-alias www --hostname box");
        let address = "inspect -f {{.NetworkSettings.Networks.net.IPAddress}}/{{.Config.Hostname}} a";
        assert_eq!(docker(&vs, address).ok().trim(), "10.8.0.7/box");
        assert_eq!(docker(&vs, "inspect -f {{.State.Pid}} a").ok().trim(), a.pid().to_string());
        assert_eq!(docker(&vs, "inspect -f {{.Driver}} net").ok().trim(), "bridge");
        assert_eq!(docker(&vs, "inspect --type network -f {{.Name}} bridge").ok().trim(), "bridge");
        let id = docker(&vs, "ps -q").ok();
        let shown: Value = serde_json::from_str(&docker(&vs, &format!("inspect {} net", id.trim())).ok()).unwrap();
        assert_eq!((&shown[0]["Name"], &shown[1]["Name"]), (&"/a".into(), &"net".into()));
        assert_eq!(shown[1]["Containers"][shown[0]["Id"].as_str().unwrap()]["IPv4Address"], "10.8.0.7/24");
        assert_eq!(shown[0]["NetworkSettings"]["Networks"]["net"]["Aliases"][0], "www");
        docker(&vs, "inspect nothing").exits(1).says("no such object: nothing");
        docker(&vs, "container inspect nothing").exits(1).says("no such container: nothing");
    });
}

/// vswitchctl inspect -f shows by Go's templates, on Docker's fields, what docker inspect -f shows.
#[test]
fn templates() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create --subnet 10.8.0.0/24 net").ok();
        let _a = vs.container("a", "--network net --ip 10.8.0.7 -p 8080:80 --label tier=front --label com.x=y");
        for format in [
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
            "{{range $name, $on := .NetworkSettings.Networks}}{{$name}}={{$on.IPAddress}}/{{$on.IPPrefixLen}}{{end}}",
            "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}",
            "{{range $port, $at := .NetworkSettings.Ports}}{{$port}} -> {{(index $at 0).HostPort}}{{end}}",
            "{{if .State.Running}}up{{else}}down{{end}} {{len .NetworkSettings.Networks}}",
            "{{json .Config.Labels}} {{index .Config.Labels \"com.x\"}}",
            "{{join .Config.Cmd \",\"}} {{.State.Pid}} {{.Name}}",
        ] {
            let ours = vs.ctl(&["inspect", "-f", format, "a"]).ok();
            let dockers = vswitch_tests::run(super::docker_command(&vs).args(["inspect", "-f", format, "a"])).ok();
            assert_eq!(ours, dockers, "{format}");
        }
        let network = "network inspect -f {{range.IPAM.Config}}{{.Subnet}},{{.Gateway}}{{end}} net";
        assert_eq!(vs.ok(network), docker(&vs, network).ok());
    });
}

/// Containers are stopped, started, killed, waited for and removed by docker's own commands.
#[test]
fn lives() {
    guard(|| {
        let vs = Vswitch::start();
        let (a, b) = (vs.container("a", ""), vs.container("b", ""));
        let target = a.ipv4("bridge");
        b.pings(target);
        assert_eq!(docker(&vs, "stop -t 0 a").ok().trim(), "a");
        assert_eq!(docker(&vs, "wait a").ok().trim(), "137");
        b.cannot_ping(target);
        assert_eq!(docker(&vs, "start a").ok().trim(), "a");
        b.pings(target);
        docker(&vs, "restart -t 0 a").ok();
        docker(&vs, "kill -s TERM b").ok();
        assert_eq!(docker(&vs, "wait b").ok().trim(), "143");
        docker(&vs, "rm a").exits(1).says("container is running");
        docker(&vs, "rename b c").ok();
        docker(&vs, "rename c a").exits(1).says("already in use");
        assert_eq!(docker(&vs, "rm -f a c").ok(), "a\nc\n");
        assert_eq!(docker(&vs, "ps -aq").ok(), "");
    });
}

/// What volumes hold and what containers changed of root directories of their own is counted.
#[test]
fn disk_usage() {
    guard(|| {
        root_directory("/mnt/root");
        let vs = Vswitch::with(&["--image", "own=/mnt/root"]);
        docker(&vs, "volume create empty").ok();
        let script = "head -c 20000 /dev/zero > /data/file; head -c 3000000 /dev/zero > /big; exec sleep 1000";
        let line = "run -d --name a -v data:/data own sh -c";
        run(docker_command(&vs).args(line.split(' ')).arg(script)).ok();
        let counted = || shown(&vs, "system df", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}");
        eventually("it is written", 20, || counted().contains("Containers 1 1 3"));
        assert!(counted().contains("Local Volumes 2 1 20kB"), "{}", counted());
        let sizes = shown(&vs, "ps -s", "{{.Size}}");
        assert!(sizes.starts_with('3') && sizes.contains("MB"), "{sizes}");
        assert!(docker(&vs, "system df -v").ok().contains("20kB"));
    });
}

/// What belongs to Docker and not to vswitch is refused in words that say so.
#[test]
fn what_is_not_offered() {
    guard(|| {
        let vs = Vswitch::start();
        let _a = vs.container("a", "");
        docker(&vs, "swarm init").exits(1).says("not a swarm manager");
        for line in ["plugin ls", "commit a x", "diff a", "save x"] {
            docker(&vs, line).exits(1).says("of the Docker Engine API; ");
        }
        for line in ["pull busybox", "image inspect busybox", "create busybox"] {
            docker(&vs, line).exits(1).says("No such image: busybox").says("--image busybox=DIR");
        }
        docker(&vs, "volume inspect data").exits(1).says("get data: no such volume");
    });
}
