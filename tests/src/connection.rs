//! A TCP connection between two containers that somebody may cut.

use crate::{Background, Container, eventually};

/// A connection from one container to another, over which something was heard.
#[derive(Debug)]
pub struct OpenConnection {
    client: Background,
    _server: Background,
}

impl OpenConnection {
    /// Opens one to port 7000 of the server's address on a network.
    ///
    /// # Panics
    /// When nothing is heard.
    #[must_use]
    #[track_caller]
    pub fn between(client: &Container<'_>, server: &Container<'_>, network: &str) -> Self {
        let serve = "exec python3 -uc 'import socket\ns=socket.create_server((\"\",7000));c=s.accept()[0]\n\
                     while True: c.sendall(c.recv(100))'";
        let serving = server.spawn(serve);
        server.listens(7000);
        let ask = format!(
            "exec python3 -uc 'import os,socket,time\nc=socket.create_connection((\"{}\",7000),5)\n\
             c.sendall(b\"one\");print(c.recv(9).decode())\n\
             while not os.path.exists(\"/mnt/again\"): time.sleep(.05)\n\
             c.settimeout(2);c.sendall(b\"two\")\n\
             try: print(\"alive\", c.recv(9))\nexcept OSError: print(\"cut\")'",
            server.ipv4(network)
        );
        let asking = client.spawn(&ask);
        eventually("the connection is open", 15, || asking.output().contains("one"));
        OpenConnection { client: asking, _server: serving }
    }

    /// Expects that nothing is heard any more when the client speaks again.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn is_cut(&self, client: &Container<'_>) {
        let said = self.tried(client);
        assert!(said.contains("cut"), "{said}");
    }

    /// Expects that the client, when it speaks again, is heard and answered.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn goes_on(&self, client: &Container<'_>) {
        let said = self.tried(client);
        assert!(said.contains("alive"), "{said}");
    }

    #[track_caller]
    fn tried(&self, client: &Container<'_>) -> String {
        client.ok("touch /mnt/again");
        let said = || self.client.output();
        eventually("the client has tried", 15, || said().contains("cut") || said().contains("alive"));
        said()
    }
}
