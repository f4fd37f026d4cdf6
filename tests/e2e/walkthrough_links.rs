//! What a reader of Docker's tutorials types about names: a web server that finds its database by the name of a link on the
//! default network, and by its own name on a custom one.

use vswitch_tests::{Vswitch, eventually, guard};

use crate::docker::docker;

/// A counter of visits: each request asks the database, by the name in its argument, for one more.
const WEB: &str = "
import http.server, socket, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with socket.create_connection((sys.argv[1], 6379), 10) as db:
            db.sendall(b'INCR visits\\r\\n')
            count = db.recv(100).decode().strip().lstrip(':')
        self.send_response(200)
        self.end_headers()
        self.wfile.write(('visit ' + count).encode())
    def log_message(self, *what): pass
http.server.ThreadingHTTPServer(('', 80), Page).serve_forever()
";

fn start_database(vs: &Vswitch, name: &str, flags: &str) {
    vs.ok(&format!(
        "run -d --name {name} {flags} -- redis-server --bind 0.0.0.0 --protected-mode no --dir /tmp --save ''"
    ));
    eventually("the database answers", 30, || vs.words(&format!("exec {name} redis-cli ping")).stdout.trim() == "PONG");
}

/// A web server that uses the database of this name, and a client beside it.
fn visit(vs: &Vswitch, flags: &str, database: &str) -> [String; 2] {
    std::fs::write("/mnt/web.py", WEB).unwrap();
    vs.ok(&format!("run -d --name web {flags} -- python3 /mnt/web.py {database}"));
    let fetch = || vs.words("exec web curl -sS -m 20 http://127.0.0.1/").stdout;
    eventually("the web server serves", 30, || fetch().starts_with("visit "));
    let pages = [fetch(), fetch()];
    docker(vs, "rm -f web").ok();
    pages
}

/// On the default network --link gives the database a name, which follows it when it is restarted with another address.
#[test]
fn by_link() {
    guard(|| {
        let vs = Vswitch::start();
        start_database(&vs, "db", "");
        vs.words("run --rm -- getent hosts db").exits(2);
        assert_eq!(visit(&vs, "--link db:database", "database"), ["visit 2", "visit 3"]);
        let linked = vs.container("linked", "--link db:database");
        let hosts = linked.ok("getent hosts database db");
        assert_eq!(hosts.lines().count(), 2, "{hosts}");
        assert!(hosts.lines().all(|line| line.starts_with("172.17.0.2 ")), "{hosts}");
    });
}

/// On a custom network the database is found by its name and by an alias, without a link.
#[test]
fn by_name() {
    guard(|| {
        let vs = Vswitch::start();
        docker(&vs, "network create app").ok();
        start_database(&vs, "db", "--network app --network-alias store");
        assert_eq!(visit(&vs, "--network app", "db"), ["visit 2", "visit 3"]);
        assert_eq!(visit(&vs, "--network app", "store"), ["visit 5", "visit 6"]);
    });
}
