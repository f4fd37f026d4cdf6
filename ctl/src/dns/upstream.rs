//! Asking others. A question goes to one resolver after the other until one answers; questions that are the same wait for
//! one answer, so that forwarders that ask each other in a circle end with the patience for one question.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::negative;
use super::outlet::{Outlet, zone_number};
use super::query::{Question, Transport};
use super::reply::{Verdict, fit, judge, with_number};
use super::scope::Servers;
use super::server::framed;
use super::service::{Client, Shared};
use super::{ADDRESS, PORT};
use crate::ipam::host::Resolver;

/// How long one resolver is waited for alone. Then the next is asked, too, and the answer of either is taken.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long all together may take: less than the 5 s after which a client's resolver asks again.
const PATIENCE_WITH_ALL: Duration = Duration::from_millis(4800);

/// How many resolvers are asked, as resolv.conf(5) has it.
const MOST_SERVERS: usize = 3;

/// How often each is asked.
const ROUNDS: usize = 2;

/// Replies with a wrong number or question that are passed over: somebody who guesses gets no more tries at one port.
const MOST_FOREIGN: usize = 16;

type Bytes = Arc<[u8]>;

/// Questions that are being asked, and where their answer will be.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<Key, watch::Receiver<Option<Bytes>>>>);

/// What makes two questions the same: everything but the number, and options that concern the connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    flags_and_question: Vec<u8>,
    edns: Option<(u16, bool)>,
    transport: Transport,
}

impl Key {
    fn new(question: &Question, bytes: &[u8], transport: Transport) -> Key {
        let flags = bytes.get(2..4).unwrap_or_default();
        let section = bytes.get(12..question.end).unwrap_or_default();
        let edns = question.edns.as_ref().map(|edns| (edns.max_payload(), edns.flags().dnssec_ok));
        Key { flags_and_question: [flags, section].concat(), edns, transport }
    }
}

impl Shared {
    /// The reply to a question that no network can answer; there is one, unless it is a question too many.
    pub(super) async fn forward(
        &self,
        client: &Client,
        question: &Question,
        bytes: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let (Ok(_all), Ok(_own)) = (self.waiting.try_acquire(), client.waiting.try_acquire()) else {
            return self.limit(question, transport);
        };
        match self.ask_once(client, question, bytes, transport).await {
            Some(reply) => {
                self.counters.forwarded.add();
                Some(fit(&reply, question))
            }
            None => {
                self.counters.unanswered.add();
                Some(negative(question, ResponseCode::ServFail))
            }
        }
    }

    /// The reply to a question too many: none to a datagram, which is sent again then, as programs take a refusal for the last
    /// word.
    pub(super) fn limit(&self, question: &Question, transport: Transport) -> Option<Vec<u8>> {
        self.counters.limited.add();
        (transport == Transport::Tcp).then(|| negative(question, ResponseCode::Refused))
    }

    /// Waits for the answer to the same question if it is being asked already, else asks it.
    async fn ask_once(
        &self,
        client: &Client,
        question: &Question,
        bytes: &[u8],
        transport: Transport,
    ) -> Option<Bytes> {
        let key = Key::new(question, bytes, transport);
        let (sender, asking) = {
            let mut pending = client.pending.0.lock().unwrap_or_else(PoisonError::into_inner);
            match pending.get(&key) {
                Some(asking) => (None, asking.clone()),
                None => {
                    let (sender, asking) = watch::channel(None);
                    pending.insert(key.clone(), asking.clone());
                    (Some(sender), asking)
                }
            }
        };
        let Some(sender) = sender else { return self.join(asking).await };
        // Also when this task is dropped with its client.
        let _forget = Forget { pending: &client.pending, key };
        let asked = self.ask_all(client, question, bytes, transport);
        let reply: Option<Bytes> = tokio::time::timeout(PATIENCE_WITH_ALL, asked).await.unwrap_or(None).map(Into::into);
        sender.send_replace(reply.clone());
        reply
    }

    async fn join(&self, mut asking: watch::Receiver<Option<Bytes>>) -> Option<Bytes> {
        // The sender ends without an answer when there is none.
        let _ = asking.wait_for(Option::is_some).await;
        let reply = asking.borrow().clone();
        if reply.is_some() {
            self.counters.joined.add();
        }
        reply
    }

    /// Asks one resolver after the other, and each once more, and takes the first answer, also that of one that is slow. Those
    /// that failed lately come last; one that is unwilling is not asked again, and its reply is the answer if nobody has a
    /// better one.
    async fn ask_all(
        &self,
        client: &Client,
        question: &Question,
        bytes: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let mut servers = self.servers(client);
        servers.sort_by_key(|(server, _)| client.is_lame(server.ip(), self.now()));
        servers.truncate(MOST_SERVERS);
        let asking: Arc<(Question, Vec<u8>)> = Arc::new((question.clone(), bytes.to_vec()));
        let mut asked = JoinSet::new();
        let mut unwilling = Unwilling::default();
        for (server, outlet) in servers.iter().cycle().take(ROUNDS * servers.len()) {
            if unwilling.servers.contains(server) {
                continue;
            }
            let (server, outlet, asking) = (*server, (*outlet).clone(), Arc::clone(&asking));
            asked.spawn(async move { (server, exchange(&outlet, server, &asking.0, &asking.1, transport).await) });
            let until = Instant::now() + PATIENCE;
            loop {
                match tokio::time::timeout_at(until, asked.join_next()).await {
                    Ok(Some(Ok((whose, outcome)))) => {
                        if let Some(reply) = self.heard(client, whose, outcome, &mut unwilling) {
                            return Some(reply);
                        }
                        if whose == server {
                            break;
                        }
                    }
                    Ok(Some(Err(_)) | None) => break,
                    Err(_) => {
                        self.failed(client, server, "no answer in time");
                        break;
                    }
                }
            }
        }
        while let Some(outcome) = asked.join_next().await {
            if let Ok((whose, outcome)) = outcome
                && let Some(reply) = self.heard(client, whose, outcome, &mut unwilling)
            {
                return Some(reply);
            }
        }
        unwilling.reply
    }

    /// Takes what came of asking a resolver; the reply if it is an answer.
    fn heard(
        &self,
        client: &Client,
        server: SocketAddr,
        outcome: io::Result<(Verdict, Vec<u8>)>,
        unwilling: &mut Unwilling,
    ) -> Option<Vec<u8>> {
        match outcome {
            Ok((Verdict::Unwilling, reply)) => {
                unwilling.servers.push(server);
                unwilling.reply = Some(reply);
                None
            }
            Ok((_, reply)) => {
                client.note(server.ip(), true, self.now());
                Some(reply)
            }
            Err(error) => {
                self.failed(client, server, &error.to_string());
                None
            }
        }
    }

    fn failed(&self, client: &Client, server: SocketAddr, why: &str) {
        tracing::debug!(%server, "a resolver failed: {why}");
        self.counters.upstream_failures.add();
        client.note(server.ip(), false, self.now());
    }

    /// Who may be asked, and where from.
    fn servers<'c>(&self, client: &'c Client) -> Vec<(SocketAddr, &'c Outlet)> {
        let scope = client.scope();
        let inside = matches!(client.outlet, Outlet::Sandbox { .. });
        match &scope.upstreams.servers {
            Servers::Given(servers) => {
                // Inside a sandbox this address is the server itself.
                let own = |server: IpAddr| inside && server == IpAddr::V4(ADDRESS);
                // Its own loopback is a sandbox's own affair, the host's is not.
                let possible = |server: IpAddr| (inside && server.is_loopback()) || scope.upstreams.reaches(server);
                let servers = servers.iter().copied().filter(|&server| !own(server) && possible(server));
                servers.map(|server| (SocketAddr::new(server, PORT), &client.outlet)).collect()
            }
            Servers::Host => {
                let outlet = |server: &Resolver| match server.is_the_hosts_own() {
                    true => scope.upstreams.leaves.then_some(&Outlet::Host),
                    false => scope.upstreams.reaches(server.address).then_some(&client.outlet),
                };
                let servers = self.host.servers();
                servers.iter().filter_map(|server| Some((place(server)?, outlet(server)?))).collect()
            }
        }
    }
}

/// Resolvers that do not want to answer a question, and what the last of them said.
#[derive(Debug, Default)]
struct Unwilling {
    servers: Vec<SocketAddr>,
    reply: Option<Vec<u8>>,
}

/// Where a resolver of the host's is asked; nowhere as long as its interface is not there.
fn place(server: &Resolver) -> Option<SocketAddr> {
    match (server.address, &server.zone) {
        (IpAddr::V6(address), Some(zone)) => Some(SocketAddrV6::new(address, PORT, 0, zone_number(zone)?).into()),
        (address, _) => Some(SocketAddr::new(address, PORT)),
    }
}

struct Forget<'a> {
    pending: &'a Pending,
    key: Key,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Asks one resolver, over TCP if the client did or if the answer does not fit a datagram.
async fn exchange(
    outlet: &Outlet,
    server: SocketAddr,
    question: &Question,
    bytes: &[u8],
    transport: Transport,
) -> io::Result<(Verdict, Vec<u8>)> {
    if transport == Transport::Tcp
        && let Ok(answered) = over_stream(outlet, server, question, bytes).await
    {
        return Ok(answered);
    }
    let (verdict, reply) = over_datagram(outlet, server, question, bytes).await?;
    if verdict == Verdict::Truncated
        && transport == Transport::Udp
        && let Ok(whole) = over_stream(outlet, server, question, bytes).await
    {
        return Ok(whole);
    }
    Ok((verdict, reply))
}

async fn over_datagram(
    outlet: &Outlet,
    server: SocketAddr,
    question: &Question,
    bytes: &[u8],
) -> io::Result<(Verdict, Vec<u8>)> {
    let id = rand::rng().random();
    let socket = outlet.datagram(server).await?;
    socket.send(&with_number(bytes, id)).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    for _ in 0..=MOST_FOREIGN {
        let length = socket.recv(&mut buffer).await?;
        let reply = &buffer[..length];
        match judge(reply, id, question) {
            // Somebody guesses, or an answer that comes late; the true one may still come.
            Verdict::Foreign => {}
            verdict => return Ok((verdict, reply.to_vec())),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "somebody guesses at its answer"))
}

async fn over_stream(
    outlet: &Outlet,
    server: SocketAddr,
    question: &Question,
    bytes: &[u8],
) -> io::Result<(Verdict, Vec<u8>)> {
    let id = rand::rng().random();
    let mut stream = outlet.stream(server).await?;
    stream.write_all(&framed(&with_number(bytes, id))).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await?;
    match judge(&reply, id, question) {
        Verdict::Foreign => Err(io::ErrorKind::InvalidData.into()),
        verdict => Ok((verdict, reply)),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    use super::super::query::read;
    use super::*;

    fn message(id: u16, response: bool) -> Vec<u8> {
        let mut message = if response { Message::response(id, OpCode::Query) } else { Message::query() };
        message.add_query(Query::query(Name::from_ascii("example.org.").unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    /// A few replies with wrong numbers are passed over; after many the port is given up, and the question fails.
    #[tokio::test]
    async fn guesses_are_bounded() {
        let bytes = message(0, false);
        let question = read(&bytes, Transport::Udp).unwrap_or_else(|_| panic!("a question"));
        for (guesses, answered) in [(MOST_FOREIGN, true), (MOST_FOREIGN + 1, false)] {
            let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            let replying = async {
                let mut asked = [0; 512];
                let (_, client) = server.recv_from(&mut asked).await.unwrap();
                let id = u16::from_be_bytes([asked[0], asked[1]]);
                for _ in 0..guesses {
                    server.send_to(&message(id.wrapping_add(1), true), client).await.unwrap();
                }
                server.send_to(&message(id, true), client).await.unwrap();
            };
            let asked = over_datagram(&Outlet::Host, address, &question, &bytes);
            let (reply, ()) = tokio::join!(asked, replying);
            assert_eq!(reply.is_ok(), answered, "{guesses} guesses");
        }
    }
}
