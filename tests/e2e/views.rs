//! Topology and traffic as people look at them. Graphviz is the judge of what is written for it.

use std::fs;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use vswitch_tests::{Site, Vswitch, eventually, frames, guard, run, sh, until};

/// Networks, containers on one and on two networks, an attached namespace, the host's network, and a published port.
fn shop(site: &Site) {
    let vs = &site.vs;
    vs.ok("network create --subnet 10.201.1.0/24 front");
    vs.ok("network create --internal --subnet 10.201.2.0/24 --subnet fd77::/64 --ipv6 back");
    vs.ok("run -d --name web --network front --ip 10.201.1.5 -p 10080:80 -- sleep 100000");
    vs.ok("network connect --ip 10.201.2.5 back web");
    vs.ok("run -d --name db --network back --ip 10.201.2.6 -- sleep 100000");
    vs.ok("run -d --name side --network container:web -- sleep 100000");
    vs.ok("run -d --name onhost --network host -- sleep 100000");
    vs.ok("run --name done --network front -- true");
}

/// What `dot` understands, as lines of its plain format.
fn graphviz(text: &str) -> Vec<String> {
    std::fs::write("/tmp/graph.dot", text).unwrap();
    let plain = run(Command::new("dot").args(["-Tplain", "/tmp/graph.dot"])).ok();
    plain.lines().map(str::to_owned).collect()
}

/// One graph in three languages: drawn, for Mermaid, and for Graphviz, which finds every node and link in it.
#[test]
fn graph() {
    guard(|| {
        let site = Site::start();
        shop(&site);
        let drawn = site.vs.ok("network graph");
        for line in [
            "outside",
            "│ uplink packet:up0 │",
            "┤ front ",
            "│ 10.201.1.0/24 ",
            "│ gateway 10.201.2.1 ",
            "│ no way out ",
            "┤ web ",
            "│ eth0 10.201.1.5 ",
            "│ 0.0.0.0:10080->80/tcp │",
            "│ also on back ",
            "│ with side ",
            "┤ onhost │",
        ] {
            assert!(drawn.contains(line), "{line:?} is missing:\n{drawn}");
        }
        assert!(!drawn.contains("done") && site.vs.ok("network graph --all").contains("┤ done "), "{drawn}");
        assert!(site.vs.ok("network graph --ascii").is_ascii());

        let plain = graphviz(&site.vs.ok("network graph --format dot"));
        let count = |kind: &str| plain.iter().filter(|line| line.starts_with(kind)).count();
        // outside, uplink, bridge, front, back, host; web, db, onhost.
        assert_eq!(count("node "), 9, "{plain:#?}");
        // outside and uplink; uplink and bridge, front; five memberships less `bridge`'s none; the published port.
        assert_eq!(count("edge "), 1 + 2 + 4 + 1, "{plain:#?}");

        let mermaid = site.vs.ok("network graph --format mermaid back");
        assert!(mermaid.starts_with("flowchart LR\n  network0[[\"back<br/>bridge<br/>10.201.2.0/24"), "{mermaid}");
        assert!(mermaid.contains("|\"eth1<br/>10.201.2.5") && !mermaid.contains("front"), "{mermaid}");

        let json = site.vs.json("network graph");
        assert_eq!(json["uplink"]["addresses"], serde_json::json!(["10.99.0.1/24", "fd99::1/64"]));
        let back = json["networks"].as_array().unwrap().iter().find(|one| one["name"] == "back").unwrap();
        assert_eq!((&back["outside"], &back["icc"]), (&false.into(), &true.into()));
        site.vs.refuses("network graph nope", "network nope not found");
        site.vs.words("network graph --format png").exits(2).says("[possible values: text, dot, mermaid]");
        site.finish();
    });
}

/// Bridges as brctl prints them: tabs, ids made of the gateway's MAC address, one interface a line.
#[test]
fn bridge_show() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 10.201.1.0/24 blue");
        let (a, _b) = (vs.container("a", "--network blue"), vs.container("b", "--network blue"));
        let shown = vs.ok("bridge show blue");
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "bridge name\tbridge id\t\tSTP enabled\tinterfaces");
        a.pings("10.201.1.1");
        let neighbour = a.ok("ip neigh show 10.201.1.1");
        let mac = neighbour.split_once("lladdr ").unwrap().1.split(' ').next().unwrap().replace(':', "");
        assert_eq!(lines[1], format!("blue\t\t8000.{mac}\tno\t\ta:eth0"));
        assert_eq!(lines[2..], ["\t\t\t\t\t\t\tb:eth0"]);
        let all = vs.ok("bridge show");
        assert!(all.lines().any(|line| line.starts_with("bridge\t\t8000.")) && !all.contains("host"), "{all}");
        assert_eq!(vs.json("bridge show blue")[0]["interfaces"], serde_json::json!(["a:eth0", "b:eth0"]));
        vs.ok("stop -t 0 a");
        assert!(!vs.ok("bridge show blue").contains("a:eth0"));
        vs.refuses("bridge show nope", "bridge nope does not exist");
    });
}

/// `vswitchctl top` on a terminal that `script` makes and records.
struct Top {
    script: Child,
    keys: ChildStdin,
}

/// What the terminal was sent.
const RECORD: &str = "/tmp/record";

impl Top {
    fn start(vs: &Vswitch, size: &str) -> Top {
        let line = format!(
            "stty {size}; tty > /tmp/tty; sh -c 'echo $$ > /tmp/pid; exec vswitchctl top --interval 0.2'; \
             echo ended-$?; stty -a; echo done"
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line, RECORD]);
        command.env("VSWITCH_SOCKET", vs.socket()).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let keys = script.stdin.take().unwrap();
        Top { script, keys }
    }

    fn record() -> String {
        String::from_utf8_lossy(&fs::read(RECORD).unwrap_or_default()).into_owned()
    }

    /// Waits until the terminal was sent all of `texts` after the first `from` bytes. Only what changes is sent, so later
    /// texts are single words.
    fn shows(from: usize, texts: &[&str]) {
        eventually(&format!("top draws {texts:?}"), 15, || {
            let record = Top::record();
            record.get(from..).is_some_and(|new| texts.iter().all(|text| new.contains(text)))
        });
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Ends with this status, and the terminal is as it was: ordinary screen, cursor, line by line, with echo.
    fn ended(mut self, status: i32) {
        until("script ends", 20, || self.script.try_wait().unwrap());
        let record = Top::record();
        let (_, after) = record.split_once(&format!("ended-{status}")).unwrap_or_else(|| panic!("{record}"));
        let last = |on: &str, off: &str| record.rfind(on) > record.rfind(off);
        assert!(last("\u{1b}[?1049l", "\u{1b}[?1049h") && last("\u{1b}[?25h", "\u{1b}[?25l"), "{record:?}");
        let words: Vec<_> = after.split_whitespace().collect();
        for word in ["icanon", "echo", "isig", "opost"] {
            assert!(words.contains(&word), "{word}: {after}");
        }
    }
}

/// Live: endpoints with rates, sorted anew by a key, the drops of a chosen one, a new size of the terminal, and q.
#[test]
fn top_is_live() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 10.201.1.0/24 blue");
        let (a, b) = (vs.container("anna", "--network blue"), vs.container("berta", "--network blue"));
        a.sends(3, &[&frames::ethernet([2; 6], [2, 9, 9, 9, 9, 9], 0x88b5, b"lie")]);
        vs.expect_drops("anna", "blue", "spoofed-mac", 3);
        let traffic = a.spawn(&format!("ping -q -n -i 0.01 -c 2000 {}", b.ipv4("blue")));
        let mut top = Top::start(&vs, "rows 30 cols 110");
        Top::shows(0, &["vswitch top", "endpoints", "ENDPOINT", "IN▼", "anna", "berta", "kbit/s", "end"]);
        let seen = Top::record().len();
        top.press("\u{1b}[D\u{1b}[D\u{1b}[H");
        Top::shows(seen, &["▲", "drops", "spoofed-mac"]);
        let seen = Top::record().len();
        sh("stty -F $(cat /tmp/tty) rows 12 cols 60").ok();
        // Its last line, where the keys are.
        Top::shows(seen, &["\u{1b}[12;1H"]);
        assert!(!Top::record()[seen..].contains("\u{1b}[30;"), "it draws below the end of the terminal");
        top.press("q");
        top.ended(0);
        drop(traffic);
    });
}

/// SIGTERM ends it in good order; while vswitchd is away it says so and goes on when it is back.
#[test]
fn top_survives() {
    guard(|| {
        let vs = Vswitch::with(&["--live-restore"]);
        let _a = vs.container("anna", "");
        let top = Top::start(&vs, "rows 24 cols 80");
        Top::shows(0, &["anna"]);
        let seen = Top::record().len();
        assert_eq!(vs.terminate(), 0);
        Top::shows(seen, &["vswitchd"]);
        let seen = Top::record().len();
        vs.up();
        Top::shows(seen, &["endpoint"]);
        let pid = fs::read_to_string("/tmp/pid").unwrap();
        sh(&format!("kill -TERM {pid}")).ok();
        top.ended(0);
    });
}

/// For scripts: one table, lines of JSON; without a terminal it says what to do instead.
#[test]
fn top_without_terminal() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create --subnet 10.201.1.0/24 blue");
        let (a, b) = (vs.container("a", "--network blue"), vs.container("b", "--network blue"));
        let traffic = a.spawn(&format!("ping -q -n -i 0.01 -c 2000 {}", b.ipv4("blue")));
        let table = vs.ok("top --once --interval 0.5 --sort endpoint");
        let rows: Vec<_> = table.lines().collect();
        assert!(rows[0].starts_with("ENDPOINT") && rows[1].starts_with("a ") && rows[2].starts_with("b "), "{table}");
        let lines = vs.ok("top --json --count 3 --interval 0.3");
        let samples: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(samples.len(), 3);
        for sample in &samples {
            let a = sample["endpoints"].as_array().unwrap().iter().find(|row| row["endpoint"] == "a").unwrap();
            assert!(a["in_frames_per_second"].as_u64().unwrap() > 10, "{sample}");
            assert!(sample["interval_ms"].as_u64().unwrap() >= 250, "{sample}");
        }
        vs.words("top").exits(2).says("top needs a terminal to draw on; use --once or --json");
        vs.words("top --sort speed").exits(2).says("[possible values: endpoint, network, in, out, drops, flows]");
        vs.words("top --interval 0 --once").exits(2);
        drop(traffic);
    });
}
