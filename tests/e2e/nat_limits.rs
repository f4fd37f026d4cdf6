//! How connections end, and what happens when there are too many. A tap on the uplink watches every test for inside
//! addresses.

use vswitch_tests::{Background, Container, Site, eventually, guard, site::UPLINK, site::fetch};

/// A daemon whose configuration file has these tables.
fn configured(tables: &str) -> Site {
    std::fs::write("/tmp/config.toml", tables).unwrap();
    Site::with(&["--uplink", UPLINK, "--config", "/tmp/config.toml"], &[])
}

fn states(site: &Site, filter: &str) -> Vec<String> {
    let flows = site.vs.json(&format!("flows ls --protocol tcp {filter}"));
    let state = |flow: &serde_json::Value| flow["state"].as_str().unwrap().to_owned();
    flows.as_array().unwrap().iter().map(state).collect()
}

/// A Python script in a container, which must end well.
fn python(container: &Container<'_>, script: &str) -> String {
    container.ok(&format!("python3 -c '{script}'"))
}

/// A connection that is half closed still carries data the other way; its end and a reset are seen by the tracker.
#[test]
fn half_closed_and_reset() {
    guard(|| {
        let site = Site::start();
        let server = "python3 -c 'import socket,time,struct\ns=socket.create_server((\"\",7));c,_=s.accept()\n\
             while c.recv(99): pass\nfor i in range(20): c.sendall(b\"x\"*50000); time.sleep(0.05)\nc.close()\n\
             c,_=s.accept();c.recv(1)\nc.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack(\"ii\",1,0));c.close()'";
        let _server = site.outside.serve(server, 7);
        let a = site.vs.container("a", "");
        let got = python(
            &a,
            "import socket\nx=socket.create_connection((\"10.99.0.2\",7),5);x.sendall(b\"hi\");x.shutdown(1);n=0\n\
             while True:\n  d=x.recv(65536)\n  if not d: break\n  n+=len(d)\nprint(n)",
        );
        assert_eq!(got.trim(), "1000000", "all of it arrived through the half-closed connection");
        eventually("its end is tracked", 5, || states(&site, "--dport 7") == ["TIME_WAIT"]);
        site.vs.ok("flows flush");
        let got = python(
            &a,
            "import socket\nx=socket.create_connection((\"10.99.0.2\",7),5);x.sendall(b\"h\")\n\
             try: print(x.recv(1))\nexcept ConnectionResetError: print(\"reset\")",
        );
        assert_eq!(got.trim(), "reset");
        eventually("the reset is tracked", 5, || states(&site, "--dport 7") == ["CLOSE"]);
        site.finish();
    });
}

/// Both sides call each other at once, from and to the same ports (T2).
#[test]
fn simultaneous_open() {
    guard(|| {
        let site = Site::start();
        let a = site.vs.container("a", "-p 4000:4000");
        // At random times, or two equally fast sides never meet.
        let script = |to: &str| {
            format!(
                "python3 -c 'import random,socket,time\nfor i in range(5000):\n s=socket.socket();s.setsockopt(1,2,1);s.bind((\"\",4000))\n \
                 s.settimeout(5)\n try:\n  s.connect((\"{to}\",4000));s.sendall(b\"hello\");print(s.recv(9));break\n \
                 except ConnectionRefusedError: s.close();time.sleep(random.random()/500)'"
            )
        };
        let outside = site.outside.spawn(&script("10.99.0.1"));
        let inside = a.ok(&script("10.99.0.2"));
        assert!(inside.contains("hello"), "{inside}");
        eventually("the outside hears it, too", 10, || outside.output().contains("hello"));
        site.finish();
    });
}

/// One container's flood of flows pushes out nothing but itself: another's connection lives, and the refusals are counted
/// (U20, X1).
#[test]
fn flood() {
    guard(|| {
        let site = configured("[flows]\nflows = 3000\nflows_per_endpoint = 2000\n");
        let server = "python3 -c 'import socketserver as s\n\
             class H(s.StreamRequestHandler):\n  def handle(self):\n    for l in self.rfile: self.wfile.write(l)\n\
             s.ThreadingTCPServer((\"\",7),H).serve_forever()'";
        let _server = site.outside.serve(server, 7);
        let (victim, flooder) = (site.vs.container("victim", ""), site.vs.container("flooder", ""));
        let talking: Background = victim.spawn(
            "exec python3 -u -c 'import socket,time\nx=socket.create_connection((\"10.99.0.2\",7),5);x.settimeout(5);n=0\n\
             while True:\n x.sendall(b\"hi\\n\");n+=len(x.recv(9));print(n);time.sleep(0.05)'",
        );
        eventually("the victim talks", 10, || talking.output().lines().count() > 3);
        python(
            &flooder,
            "import socket\nfor i in range(20000):\n  \
             if i%5000==0: x=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n  \
             x.sendto(b\"x\",(\"10.99.0.2\",1024+i%60000))",
        );
        let router = site.router();
        assert!(router.flows <= 3000 && router.created > 2000, "{router:?}");
        assert!(router.refused_endpoint + router.early_dropped > 0, "{router:?}");
        let before = talking.output().lines().count();
        eventually("the victim goes on", 10, || talking.output().lines().count() > before + 10);
        assert_eq!(states(&site, "--endpoint victim"), ["ESTABLISHED"]);
        let _web = site.outside_web();
        assert_eq!(fetch(victim.sh("curl -sS -m 10 http://10.99.0.2:8000/page")), "page-of-outside");
        let text = site.vs.ok("stats");
        assert!(text.contains("refused: endpoint's limit") || text.contains("dropped early"), "{text}");
        site.finish();
    });
}

/// With few external ports, connections to one place beyond their number are refused at once, and those to other places
/// go on (U21, I17).
#[test]
fn port_exhaustion() {
    guard(|| {
        let site = configured("[nat.ports]\nrange = \"40000-40009\"\n");
        let web = "python3 -c 'import socket,time\ns=socket.create_server((\"\",7),backlog=100);k=[]\n\
                   while True: k.append(s.accept())'";
        let _servers = [site.outside.serve(web, 7), site.far.serve(web, 7)];
        let a = site.vs.container("a", "");
        let got = python(
            &a,
            "import socket\nk=[];bad=0\nfor i in range(15):\n  \
             try: k.append(socket.create_connection((\"10.99.0.2\",7),1))\n  except OSError: bad+=1\n\
             k.append(socket.create_connection((\"10.98.0.2\",7),2))\nprint(len(k),bad)",
        );
        assert_eq!(got.trim(), "11 5");
        let flows = site.vs.json("flows ls --protocol tcp --destination 10.99.0.2");
        let ports = flows.as_array().unwrap().iter().map(|flow| flow["reply"]["destination_port"].as_u64().unwrap());
        assert!(ports.clone().all(|port| (40_000..=40_009).contains(&port)) && ports.count() == 10, "{flows}");
        let drops = site.router().nat_drops;
        assert!(drops.values().sum::<u64>() >= 5, "{drops:?}");
        site.finish();
    });
}

/// Endpoint-independent mapping, by configuration: one external port for a source, whomever it speaks to (U1).
#[test]
fn endpoint_independent() {
    guard(|| {
        let site = configured("[nat]\nmapping = { endpoint-independent = \"endpoint-independent\" }\n");
        let echo = "python3 -c 'import socket as s\nx=s.socket(s.AF_INET,s.SOCK_DGRAM);x.bind((\"0.0.0.0\",53))\n\
                    while True:\n d,a=x.recvfrom(9000);x.sendto(repr(a).encode(),a)'";
        let _servers = [site.outside.spawn(echo), site.far.spawn(echo)];
        for namespace in [&site.outside, &site.far] {
            eventually("the server listens", 15, || namespace.sh("ss -lun").stdout.contains(":53 "));
        }
        let a = site.vs.container("a", "");
        let said = python(
            &a,
            "import socket as s\nx=s.socket(s.AF_INET,s.SOCK_DGRAM);x.settimeout(5)\n\
             for to in (\"10.99.0.2\",\"10.98.0.2\"):\n  x.sendto(b\"hello\",(to,53));print(x.recvfrom(9000)[0].decode())",
        );
        let lines: Vec<_> = said.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1] && lines[0].contains("10.99.0.1"), "{said}");
        site.finish();
    });
}
