//! Whoever asks at a network's gateway: hosts on it that have no server inside, such as attached namespaces.
//!
//! The switch hands over what comes to port 53 of a gateway's own address ([`Service`]), with the network that it came from;
//! that and the gateway's address say whose names are meant, and the switch lets nobody ask at another network's.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use vswitch_frame::NetworkIndex;
use vswitch_switch::{Service, ServiceDatagram, ServicePort, ServiceStream};

use super::limits::Limits;
use super::outlet::Outlet;
use super::query::Transport;
use super::scope::Scope;
use super::server::converse;
use super::service::{Client, Shared, Todo};

/// Questions and connections that may wait for the server.
const BACKLOG: usize = 4096;

/// Clients of one gateway that are told apart.
const MOST_CLIENTS: usize = 1024;

/// The gateways that are served, by network and address, which may be those of several. Clones are the same.
#[derive(Debug, Clone)]
pub struct Gateways {
    table: Arc<ArcSwap<HashMap<Place, Arc<Gateway>>>>,
    asked: mpsc::Sender<Asked>,
}

/// Where a gateway is.
type Place = (NetworkIndex, IpAddr);

/// What came to gateways and waits.
#[derive(Debug)]
pub struct Backlog(mpsc::Receiver<Asked>);

#[derive(Debug)]
enum Asked {
    Datagram(ServiceDatagram),
    Stream(ServiceStream),
}

/// What is served at a gateway.
#[derive(Debug, Default)]
pub struct Served {
    /// What everybody there may see.
    pub scope: Scope,
    /// What those may see who have more than that: by the address that they ask from.
    pub members: Vec<(IpAddr, Scope)>,
}

/// A gateway: what all who ask there may see. Each is limited by itself.
#[derive(Debug, Default)]
struct Gateway {
    scope: Arc<ArcSwap<Scope>>,
    members: ArcSwap<HashMap<IpAddr, Arc<ArcSwap<Scope>>>>,
    clients: Mutex<HashMap<IpAddr, Known>>,
}

/// A client, and when it asked last.
#[derive(Debug)]
struct Known {
    client: Arc<Client>,
    asked: Duration,
}

impl Gateways {
    /// None yet, and what will come to them.
    #[must_use]
    pub fn new() -> (Gateways, Backlog) {
        Gateways::with_room(BACKLOG)
    }

    fn with_room(room: usize) -> (Gateways, Backlog) {
        let (asked, backlog) = mpsc::channel(room);
        (Gateways { table: Arc::default(), asked }, Backlog(backlog))
    }

    /// Serves these from now on, and no others. Who was served before at the same place keeps its clients.
    pub fn publish(&self, served: impl Iterator<Item = (Place, Served)>) {
        let before = self.table.load();
        let table = served.map(|(place, served)| {
            let gateway = before.get(&place).cloned().unwrap_or_default();
            gateway.scope.store(Arc::new(served.scope));
            let known = gateway.members.load();
            let members = served.members.into_iter().map(|(member, scope)| {
                let cell = known.get(&member).cloned().unwrap_or_default();
                cell.store(Arc::new(scope));
                (member, cell)
            });
            gateway.members.store(Arc::new(members.collect()));
            (place, gateway)
        });
        self.table.store(Arc::new(table.collect()));
    }

    /// Hands something to the server, or back when there is no room.
    fn hand<T>(&self, what: T, asked: fn(T) -> Asked) -> Result<(), T> {
        match self.asked.try_reserve() {
            Ok(room) => {
                room.send(asked(what));
                Ok(())
            }
            Err(_) => Err(what),
        }
    }
}

impl Service for Gateways {
    fn datagram(&self, datagram: ServiceDatagram) -> Result<(), ServiceDatagram> {
        self.hand(datagram, Asked::Datagram)
    }

    fn stream(&self, stream: ServiceStream) -> Result<(), ServiceStream> {
        self.hand(stream, Asked::Stream)
    }
}

impl Gateway {
    /// Who asks from this address. When there are too many, the one that has been silent for longest is forgotten: whoever
    /// has used up what it may ask is not.
    fn client(&self, source: IpAddr, now: Duration) -> Arc<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST_CLIENTS && !clients.contains_key(&source) {
            let silent = clients.iter().min_by_key(|(_, known)| known.asked).map(|(address, _)| *address);
            silent.and_then(|address| clients.remove(&address));
        }
        let members = self.members.load();
        let scope = members.get(&source).unwrap_or(&self.scope);
        let fresh = || Client::seeing(Arc::clone(scope), Outlet::Host, Limits::default());
        let known = clients.entry(source).or_insert_with(|| Known { client: fresh(), asked: now });
        if !known.client.sees(scope) {
            known.client = fresh();
        }
        known.asked = now;
        Arc::clone(&known.client)
    }
}

/// Answers what comes to the gateways, through the switch's port, for as long as there is one.
pub(super) async fn serve(shared: Arc<Shared>, gateways: Gateways, mut backlog: Backlog, port: ServicePort) {
    while let Some(asked) = backlog.0.recv().await {
        let (network, source, local) = match &asked {
            Asked::Datagram(datagram) => (datagram.network, datagram.source, datagram.local),
            Asked::Stream(stream) => (stream.network, stream.source, stream.local),
        };
        let gateway = gateways.table.load().get(&(network.index, local.ip())).cloned();
        // The network is just being removed.
        let Some(gateway) = gateway else { continue };
        let client = gateway.client(source.ip(), shared.now());
        match asked {
            Asked::Datagram(datagram) => answer(&shared, client, datagram, &port),
            Asked::Stream(stream) => {
                if let Err(error) = connect(&shared, client, stream) {
                    tracing::warn!("the name server cannot take a connection: {error}");
                }
            }
        }
    }
}

fn answer(shared: &Arc<Shared>, client: Arc<Client>, datagram: ServiceDatagram, port: &ServicePort) {
    match shared.take(&client, &datagram.payload, Transport::Udp) {
        Todo::Send(reply) => port.answer(datagram.answered(reply)),
        Todo::Ask(question) => {
            let (shared, port) = (Arc::clone(shared), port.clone());
            tokio::spawn(async move {
                let reply = shared.forward(&client, &question, &datagram.payload, Transport::Udp).await;
                if let Some(reply) = reply {
                    port.answer(datagram.answered(reply));
                }
            });
        }
        Todo::Nothing => {}
    }
}

fn connect(shared: &Arc<Shared>, client: Arc<Client>, stream: ServiceStream) -> io::Result<()> {
    let Ok(permit) = Arc::clone(&client.connections).try_acquire_owned() else {
        shared.counters.connections_refused.add();
        return Ok(());
    };
    let stream = tokio::net::UnixStream::from_std(UnixStream::from(stream.stream))?;
    tokio::spawn(converse(Arc::clone(shared), client, stream, permit));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn place(number: u32) -> Place {
        (NetworkIndex::new(1), address(number))
    }

    fn published(gateways: &Gateways, place: Place) -> Option<Arc<Gateway>> {
        gateways.table.load().get(&place).cloned()
    }

    /// What is published later is seen by clients that there are already; a gateway that is no longer published is gone.
    #[test]
    fn scopes_change_under_clients() {
        let (gateways, _backlog) = Gateways::new();
        let elsewhere = (NetworkIndex::new(2), address(1));
        let scope = |leaves| {
            let upstreams = super::super::scope::Upstreams { leaves, ..Default::default() };
            Served { scope: Scope { upstreams, ..Scope::default() }, members: Vec::new() }
        };
        gateways.publish([(place(1), scope(false)), (place(2), scope(false))].into_iter());
        let client = published(&gateways, place(1)).unwrap().client(address(9), Duration::ZERO);
        assert!(!client.scope().upstreams.leaves);
        gateways.publish([(place(1), scope(true)), (elsewhere, scope(false))].into_iter());
        assert!(client.scope().upstreams.leaves);
        let again = published(&gateways, place(1)).unwrap().client(address(9), Duration::ZERO);
        assert!(Arc::ptr_eq(&client, &again), "its limits are the same, too");
        assert!(published(&gateways, place(2)).is_none());
        let other = published(&gateways, elsewhere).unwrap().client(address(9), Duration::ZERO);
        assert!(
            !Arc::ptr_eq(&client, &other) && !other.scope().upstreams.leaves,
            "another network's has the same address"
        );
    }

    /// Who is on more networks than this one sees more, from the moment that it is.
    #[test]
    fn members_with_scopes_of_their_own() {
        let (gateways, _backlog) = Gateways::new();
        let served = |members: &[u32]| Served {
            members: members
                .iter()
                .map(|member| (address(*member), Scope { domain: Some("d".into()), ..Scope::default() }))
                .collect(),
            ..Served::default()
        };
        let sees = |member| {
            let client = published(&gateways, place(1)).unwrap().client(address(member), Duration::ZERO);
            client.scope().domain.is_some()
        };
        gateways.publish([(place(1), served(&[]))].into_iter());
        assert!(!sees(8) && !sees(9));
        gateways.publish([(place(1), served(&[9]))].into_iter());
        assert!(!sees(8) && sees(9));
        gateways.publish([(place(1), served(&[]))].into_iter());
        assert!(!sees(9));
    }

    /// Clients are told apart, and there are never more of them than there may be. However many come, who goes on asking is
    /// remembered, with what it has used up.
    #[test]
    fn clients_are_bounded() {
        let gateway = Gateway::default();
        let first = gateway.client(address(0), Duration::ZERO);
        assert!(!Arc::ptr_eq(&first, &gateway.client(address(1), Duration::ZERO)));
        for number in 0..10 * u32::try_from(MOST_CLIENTS).unwrap() {
            let now = Duration::from_millis(number.into());
            gateway.client(address(number), now);
            assert!(gateway.clients.lock().unwrap().len() <= MOST_CLIENTS);
            assert!(Arc::ptr_eq(&first, &gateway.client(address(0), now)), "forgotten by {number}");
        }
    }

    /// Connections that nobody takes are given back, beyond a bound.
    #[test]
    fn backlog_is_bounded() {
        let (gateways, backlog) = Gateways::with_room(2);
        let ends = "10.0.0.2:4000".parse().unwrap();
        let index = vswitch_frame::NetworkIndex::new(0);
        let network = vswitch_frame::NetworkRef { index, since: vswitch_frame::Generation::default() };
        let connection = || {
            let stream = std::fs::File::open("/dev/null").unwrap().into();
            ServiceStream { network, source: ends, local: ends, stream }
        };
        assert!(gateways.stream(connection()).is_ok() && gateways.stream(connection()).is_ok());
        assert_eq!(gateways.stream(connection()).unwrap_err().source, ends);
        drop(backlog);
        assert!(gateways.stream(connection()).is_err(), "without a server there is no room");
    }
}
