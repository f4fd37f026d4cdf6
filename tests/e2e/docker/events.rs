//! docker events.

use vswitch_tests::{Background, Vswitch, eventually, guard, spawn};

use super::{docker, docker_command};

fn watch(vs: &Vswitch, flags: &str) -> Background {
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    spawn(docker_command(vs).args(["events", "--format", format]).args(flags.split_whitespace()))
}

/// What happens is told while it happens and afterwards, with docker's own filters and times.
#[test]
fn events() {
    guard(|| {
        let vs = Vswitch::start();
        let (all, networks) = (watch(&vs, ""), watch(&vs, "--filter type=network --filter network=net"));
        // Both listen once they have been told of something.
        eventually("docker events listens", 20, || {
            docker(&vs, "network create probe").ok();
            docker(&vs, "network rm probe").ok();
            all.output().contains("network create probe")
        });
        docker(&vs, "network create net").ok();
        let _c = vs.container("c", "--network net");
        docker(&vs, "stop -t 0 c").ok();
        docker(&vs, "rm c").ok();
        docker(&vs, "network rm net").ok();
        let expected = [
            "network create net",
            "container create c",
            "network connect net",
            "container start c",
            "container kill c",
            "container die c",
            "network disconnect net",
            "container stop c",
            "container destroy c",
            "network destroy net",
        ];
        eventually("docker events tells everything", 20, || all.output().contains("network destroy net"));
        let said = all.output();
        let told: Vec<&str> = said.lines().filter(|line| !line.ends_with(" probe")).collect();
        assert_eq!(told, expected);
        let of_net: Vec<&str> = expected.into_iter().filter(|line| line.starts_with("network")).collect();
        eventually("and those of one network", 20, || networks.output().lines().count() >= of_net.len());
        assert_eq!(networks.output().lines().collect::<Vec<_>>(), of_net);
        // Two seconds from now: what comes until then is waited for.
        let past = docker(&vs, "events --since 1h --until=-2s --filter container=c --format {{.Action}}").ok();
        assert_eq!(past, "create\nstart\nkill\ndie\nstop\ndestroy\n");
        docker(&vs, "events --filter size=1").exits(1).says("invalid filter 'size'");
    });
}
