//! The API socket: ports of the host that lead to the guest. One request for each connection, a JSON object; an answer; the end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use vswitch_api::Client;
use vswitch_api::client::EngineLease;
use vswitch_api::engine::EnginePorts;

use super::{GUEST, NAME};
use crate::leases;

/// The longest request, as slirp4netns has it.
const LONGEST: usize = 4095;

/// How long the rest of a request may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections at a time.
const CLIENTS: usize = 32;

/// Time between attempts to have what was just given back.
const PAUSE: Duration = Duration::from_millis(25);

/// The ports.
#[derive(Debug, Clone)]
pub(super) struct Forwards(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    guest: Ipv4Addr,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    next: u64,
    forwards: BTreeMap<u64, (Forward, EngineLease)>,
    /// One was given back, of which vswitchd hears a moment later.
    given_back: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Forward {
    protocol: &'static str,
    host: (IpAddr, u16),
    guest: (IpAddr, u16),
}

impl Forwards {
    pub(super) fn new(client: Client, guest: Ipv4Addr) -> Forwards {
        let table = Table { next: 1, forwards: BTreeMap::new(), given_back: false };
        Forwards(Arc::new(Shared { client, guest, table: Mutex::new(table) }))
    }

    /// Serves for ever.
    pub(super) async fn serve(self, listener: UnixListener) -> anyhow::Result<()> {
        let room = Arc::new(Semaphore::new(CLIENTS));
        loop {
            let place = Arc::clone(&room).acquire_owned().await?;
            match listener.accept().await {
                Ok((client, _)) => {
                    let forwards = self.clone();
                    tokio::spawn(async move {
                        forwards.serve_client(client).await;
                        drop(place);
                    });
                }
                // No descriptor is left: some come back.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn serve_client(&self, mut client: UnixStream) {
        let answer = match read(&mut client).await {
            Ok(request) => self.answer(&request).await,
            Err(refusal) => Err(refusal),
        };
        let answer = answer.unwrap_or_else(|refusal| json!({"error": {"desc": format!("bad request: {refusal}")}}));
        let _ = client.write_all(answer.to_string().as_bytes()).await;
        let _ = client.shutdown().await;
    }

    async fn answer(&self, request: &Value) -> Result<Value, String> {
        let request = request.as_object().ok_or("json_object() failed")?;
        let execute = request.get("execute").and_then(Value::as_str).ok_or("no execute found")?;
        let arguments = request.get("arguments").unwrap_or(&Value::Null);
        match execute {
            "add_hostfwd" => self.add(arguments).await.map_err(|refusal| format!("{execute}: {refusal}")),
            "list_hostfwd" => Ok(self.list().await),
            "remove_hostfwd" => self.remove(arguments).await.map_err(|refusal| format!("{execute}: {refusal}")),
            _ => Err("unknown execute".to_owned()),
        }
    }

    async fn add(&self, arguments: &Value) -> Result<Value, String> {
        let forward = Forward::parse(arguments, self.0.guest)?;
        let wish = EnginePorts {
            engine: NAME.to_owned(),
            container: GUEST.to_owned(),
            address: None,
            publish: vec![forward.spec()],
        };
        let mut table = self.0.table.lock().await;
        let lease = match table.given_back {
            true => leases::lease_anew(&self.0.client, &wish, PAUSE).await,
            false => self.0.client.lease_for_engine(&wish).await,
        };
        let lease = lease.map_err(|error| format!("slirp_add_hostfwd failed: {error}"))?;
        table.given_back = false;
        let id = table.next;
        table.next += 1;
        table.forwards.insert(id, (forward, lease));
        Ok(json!({"return": {"id": id}}))
    }

    async fn list(&self) -> Value {
        let table = self.0.table.lock().await;
        let entries: Vec<Value> = table.forwards.iter().map(|(id, (forward, _))| forward.show(*id)).collect();
        // slirp4netns answers the one, its manual says the other.
        json!({"entries": entries, "return": {"entries": entries}})
    }

    async fn remove(&self, arguments: &Value) -> Result<Value, String> {
        let id = arguments.get("id").and_then(Value::as_u64).ok_or("bad arguments.id")?;
        let mut table = self.0.table.lock().await;
        table.forwards.remove(&id).ok_or("bad arguments.id")?;
        table.given_back = true;
        Ok(json!({"return": {}}))
    }
}

/// Reads a request, which may come in pieces.
async fn read(client: &mut UnixStream) -> Result<Value, String> {
    let mut text = Vec::with_capacity(LONGEST + 1);
    let whole = async {
        loop {
            match client.read_buf(&mut text).await {
                Ok(0) | Err(_) => return None,
                Ok(_) if text.len() > LONGEST => return Some(Err("too large message".to_owned())),
                Ok(_) => {}
            }
            if let Ok(request) = serde_json::from_slice(&text) {
                return Some(Ok(request));
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, whole).await;
    read.ok().flatten().unwrap_or_else(|| Err("cannot parse JSON".to_owned()))
}

impl Forward {
    fn parse(arguments: &Value, guest: Ipv4Addr) -> Result<Forward, String> {
        let protocol = match arguments.get("proto").and_then(Value::as_str) {
            Some("tcp") => "tcp",
            Some("udp") => "udp",
            _ => return Err("bad arguments.proto".to_owned()),
        };
        let address = |name: &str, otherwise: Ipv4Addr| match arguments.get(name) {
            None | Some(Value::Null) => Ok(IpAddr::V4(otherwise)),
            Some(Value::String(text)) if text.is_empty() => Ok(IpAddr::V4(otherwise)),
            Some(Value::String(text)) => text.parse().map_err(|_| format!("bad arguments.{name}")),
            Some(_) => Err(format!("bad arguments.{name}")),
        };
        let port = |name: &str| {
            let number = arguments.get(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
            number.filter(|port| *port > 0).ok_or_else(|| format!("bad arguments.{name}"))
        };
        let host = (address("host_addr", Ipv4Addr::UNSPECIFIED)?, port("host_port")?);
        let to = (address("guest_addr", guest)?, port("guest_port")?);
        if to.0 != IpAddr::V4(guest) {
            return Err(format!("bad arguments.guest_addr: ports lead to {guest}"));
        }
        Ok(Forward { protocol, host, guest: to })
    }

    /// As vswitchd takes it.
    fn spec(&self) -> String {
        let Forward { protocol, host: (address, port), guest: (_, to) } = self;
        match address {
            IpAddr::V4(address) => format!("{address}:{port}:{to}/{protocol}"),
            IpAddr::V6(address) => format!("[{address}]:{port}:{to}/{protocol}"),
        }
    }

    fn show(&self, id: u64) -> Value {
        json!({
            "id": id,
            "proto": self.protocol,
            "host_addr": self.host.0,
            "host_port": self.host.1,
            "guest_addr": self.guest.0,
            "guest_port": self.guest.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let arguments = serde_json::from_str(text).unwrap();
        Forward::parse(&arguments, Ipv4Addr::new(10, 0, 2, 100)).map(|forward| forward.spec())
    }

    /// What callers send, and what makes no sense, in slirp4netns' words.
    #[test]
    fn requests() {
        let whole =
            r#"{"proto":"tcp","host_addr":"127.0.0.1","host_port":8080,"guest_addr":"10.0.2.100","guest_port":80}"#;
        assert_eq!(parse(whole).unwrap(), "127.0.0.1:8080:80/tcp");
        let short = r#"{"proto":"udp","host_addr":"","host_port":53,"guest_addr":"","guest_port":5353}"#;
        assert_eq!(parse(short).unwrap(), "0.0.0.0:53:5353/udp");
        assert_eq!(parse(r#"{"proto":"tcp","host_addr":"::","host_port":1,"guest_port":2}"#).unwrap(), "[::]:1:2/tcp");
        for (text, why) in [
            ("null", "bad arguments.proto"),
            ("[]", "bad arguments.proto"),
            (r#"{"proto":"sctp"}"#, "bad arguments.proto"),
            (r#"{"proto":"tcp","host_addr":"x","host_port":1,"guest_port":2}"#, "bad arguments.host_addr"),
            (r#"{"proto":"tcp","host_addr":7,"host_port":1,"guest_port":2}"#, "bad arguments.host_addr"),
            (r#"{"proto":"tcp","host_port":0,"guest_port":2}"#, "bad arguments.host_port"),
            (r#"{"proto":"tcp","host_port":65536,"guest_port":2}"#, "bad arguments.host_port"),
            (r#"{"proto":"tcp","host_port":-1,"guest_port":2}"#, "bad arguments.host_port"),
            (r#"{"proto":"tcp","host_port":1.5,"guest_port":2}"#, "bad arguments.host_port"),
            (r#"{"proto":"tcp","host_port":1}"#, "bad arguments.guest_port"),
            (r#"{"proto":"tcp","host_port":1,"guest_addr":"10.9.9.9","guest_port":2}"#, "bad arguments.guest_addr"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with(why), "{text}: {said}");
        }
    }
}
