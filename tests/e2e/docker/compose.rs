//! docker-compose as a client, unmodified: services whose images are directories.

use std::process::Command;

use vswitch_tests::{Output, Vswitch, eventually, guard, run};

use super::docker;

const FILE: &str = r#"
version: "3.8"
services:
  db:
    image: busybox
    command: sleep 1000
    networks: {back: {aliases: [store], ipv4_address: 10.7.0.50}}
  web:
    image: nginx:1
    command: python3 -m http.server 80 --directory /usr/share/doc
    ports: ["8080:80"]
    depends_on: [db]
    environment: {GREETING: hello}
    labels: {tier: front}
    networks: [back]
networks:
  back: {ipam: {config: [{subnet: 10.7.0.0/24}]}}
"#;

fn compose(vs: &Vswitch, line: &str) -> Output {
    let mut command = Command::new("docker-compose");
    command.args(["-p", "shop", "-f", "/tmp/shop.yml"]).args(line.split_whitespace());
    run(command.env("DOCKER_HOST", format!("unix://{}", vs.socket().display())))
}

/// up, ps, logs, exec, port, top, pause, scale, recreate and down of two services on a network of their own.
#[test]
fn two_services() {
    guard(|| {
        std::fs::write("/tmp/shop.yml", FILE).unwrap();
        let vs = Vswitch::with(&["--image", "*=/"]);
        compose(&vs, "up -d").ok();
        let listed = compose(&vs, "ps").ok();
        assert!(listed.contains("shop_web_1") && listed.contains("0.0.0.0:8080->80/tcp"), "{listed}");
        assert_eq!(docker(&vs, "ps --filter label=tier=front --format {{.Image}}").ok().trim(), "nginx:1");
        compose(&vs, "exec -T web ping -c 1 -W 10 store").ok();
        assert_eq!(compose(&vs, "exec -T web printenv GREETING").ok().trim(), "hello");
        assert_eq!(compose(&vs, "port web 80").ok().trim(), "0.0.0.0:8080");
        eventually("the page is there", 20, || {
            let fetched = run(Command::new("curl").args(["-s", "http://127.0.0.1:8080/"]));
            fetched.stdout.contains("Directory listing")
        });
        assert!(compose(&vs, "logs --no-color web").ok().contains("GET / HTTP"));
        assert!(compose(&vs, "top").ok().contains("http.server"));
        compose(&vs, "pause db").ok();
        compose(&vs, "unpause db").ok();
        let before = docker(&vs, "ps -q").ok();
        compose(&vs, "up -d").ok();
        assert_eq!(docker(&vs, "ps -q").ok(), before, "what is up to date stays");
        compose(&vs, "up -d --force-recreate -t 0").ok();
        assert_ne!(docker(&vs, "ps -q").ok(), before);
        let fixed = docker(&vs, "inspect -f {{.NetworkSettings.Networks.shop_back.IPAddress}} shop_db_1").ok();
        assert_eq!(fixed.trim(), "10.7.0.50", "a fixed address goes from the old container to the new one");
        let once = compose(&vs, "run --rm -T web cat /etc/hostname").ok();
        assert_eq!(once.trim().len(), 12, "{once}");
        compose(&vs, "down -t 0").ok();
        assert_eq!(docker(&vs, "ps -aq").ok() + &docker(&vs, "network ls -q --filter name=shop").ok(), "");
    });
}
