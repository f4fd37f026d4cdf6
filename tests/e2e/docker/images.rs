//! Images are directories that vswitchd was given.

use vswitch_tests::{Vswitch, eventually, guard};

use super::{docker, shown};

/// With `--image '*=/'` every name is the host's root directory: containers are created and started by Docker's own commands,
/// and images are listed, inspected and pulled as far as that means anything.
#[test]
fn the_host_as_an_image() {
    guard(|| {
        let vs = Vswitch::with(&["--image", "*=/", "--image", "shell=/"]);
        docker(&vs, "network create --subnet 172.22.16.0/24 my_net2").ok();
        let id = docker(&vs, "run -d --name web --network my_net2 --ip 172.22.16.88 -e A=7 busybox sleep 1000").ok();
        assert_eq!(id.trim().len(), 64);
        assert_eq!(shown(&vs, "ps", "{{.Image}} {{.Names}} {{.Networks}}"), "busybox web my_net2");
        let address = "{{.NetworkSettings.Networks.my_net2.IPAddress}} {{.Config.Image}} {{.Config.Cmd}}";
        assert_eq!(shown(&vs, "inspect web", address), "172.22.16.88 busybox [sleep 1000]");
        assert_eq!(vs.ok("exec web printenv A").trim(), "7");
        let image = shown(&vs, "inspect web", "{{.Image}}");
        assert_eq!(shown(&vs, "image inspect busybox", "{{.Id}}"), image);
        assert_eq!(shown(&vs, &format!("image inspect {image}"), "{{.Id}}"), image);
        assert_eq!(shown(&vs, "image inspect docker.io/some/thing:1", "{{.RepoTags}}"), "[shell:latest]");
        assert_eq!(shown(&vs, "images", "{{.Repository}}:{{.Tag}}"), "shell:latest");
        let env = shown(&vs, "image inspect busybox", "{{json .Config.Env}}");
        assert_eq!(env, r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]"#);
        assert_eq!(shown(&vs, "ps --filter ancestor=busybox", "{{.Names}}"), "web");
        assert!(docker(&vs, "pull busybox").ok().contains("up to date"));
        docker(&vs, "tag shell other").ok();
        docker(&vs, "rmi shell").exits(1).says("start vswitchd without its --image");
        assert!(docker(&vs, "history shell").ok().contains("--image shell=/"));
        docker(&vs, "image prune -f").ok();
        // Without a command it is a shell, which ends when nobody talks to it.
        docker(&vs, "create --name box busybox").ok();
        docker(&vs, "start box").ok();
        eventually("the shell has ended", 10, || shown(&vs, "inspect box", "{{.State.Status}}") == "exited");
        docker(&vs, "run --user no-such-user busybox true").exits(125).says("unable to find user no-such-user");
        docker(&vs, "rm -f web box").ok();
    });
}

/// The images of a file of `--config`, and what makes no sense.
#[test]
fn images_by_configuration() {
    guard(|| {
        std::fs::write("/tmp/v.toml", "[images]\nhere = \"/\"\n").unwrap();
        let vs = Vswitch::with(&["--config", "/tmp/v.toml"]);
        assert_eq!(shown(&vs, "images", "{{.Repository}}"), "here");
        docker(&vs, "create nginx").exits(1).says("No such image: nginx:latest").says("--image nginx=DIR");
        let refused = |image: &str| vswitch_tests::run(vs.daemon_command().args(["--image", image]));
        refused("x=/nowhere").exits(2).says("is no directory");
        refused("x").exits(2).says("write NAME=DIR");
    });
}
