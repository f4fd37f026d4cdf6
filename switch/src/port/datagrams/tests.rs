//! The shell with real sockets of the loopback; containers are frames.

use std::net::UdpSocket;
use std::time::Duration;

use mio::{Events, Poll};
use vswitch_frame::MacAddr;
use vswitch_frame::udp::Udp;
use wire::Meta;

use super::*;

const LINK: Link = Link { own: MacAddr::new([2, 0, 0, 0, 0, 1]), peer: MacAddr::new([2, 0, 0, 0, 0, 2]) };
/// Stands for the loopback.
const LOOPBACK: [u8; 4] = [10, 0, 2, 2];

struct World {
    shell: DatagramShell,
    poll: Poll,
    now: Timestamp,
    peer: UdpSocket,
}

impl World {
    fn new(limits: DatagramLimits) -> World {
        let destinations =
            Destinations { loopback_v4: Some(LOOPBACK.into()), loopback_v6: None, ..Destinations::default() };
        let (filter, spares) = (Filter::default(), SpareSockets::default());
        let setup = Setup { limits, destinations, filter, link: LINK, seed: 7, budget: None, spares };
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        World { shell: DatagramShell::new(setup), poll: Poll::new().unwrap(), now: Timestamp::ZERO, peer }
    }

    /// A socket of a container writes to the peer; the host's socket for it.
    fn asks(&mut self, from: &str) -> SocketAddr {
        let (mut frame, to) =
            (FrameBuf::new(), SocketAddr::new(LOOPBACK.into(), self.peer.local_addr().unwrap().port()));
        assert!(wire::write_udp(&mut frame, LINK, from.parse().unwrap(), to, 0, None, Meta::default()));
        self.shell.send(self.poll.registry(), &frame.packet(), self.now).unwrap();
        self.peer.recv_from(&mut [0; 9]).unwrap().1
    }

    /// Waits until `count` sockets have something to read.
    fn hears_events(&mut self, count: usize) {
        let (mut events, mut seen) = (Events::with_capacity(16), 0);
        while seen < count {
            self.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert!(!events.is_empty(), "no event");
            seen += events.iter().filter(|event| self.shell.event(event)).count();
        }
    }

    /// Destination and payload of what comes in.
    fn receives(&mut self, reads: &mut usize) -> Vec<(String, Vec<u8>)> {
        let mut buffers: Vec<_> = (0..8).map(|_| FrameBuf::new()).collect();
        let count = self.shell.receive(self.poll.registry(), &mut buffers, reads, self.now);
        let read = |buffer: &FrameBuf| {
            let packet = buffer.packet();
            let datagram = Udp::parse(packet.l4()).unwrap();
            let to = SocketAddr::new(packet.destination_v4().into(), datagram.destination_port());
            (to.to_string(), datagram.payload().to_vec())
        };
        buffers[..count].iter().map(read).collect()
    }
}

/// Answers that wait in the socket of a flow that had to make room reach nobody: not the client of another network's published
/// port, either, which has its place by now.
#[test]
fn evicted_flow_is_not_read() {
    let mut world = World::new(DatagramLimits { flows: 2, ..DatagramLimits::default() });
    let (published, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    client.send_to(b"for b", published.local_addr().unwrap()).unwrap();
    let shown = PublishedAs { gateway: [10, 0, 1, 1].into(), always_gateway: false };
    let target = "10.0.1.2:5353".parse().unwrap();
    world.shell.publish(world.poll.registry(), Listener(1), published.into(), target, shown).unwrap();
    let first = world.asks("10.0.0.2:4000");
    world.now = Timestamp::from_millis(2000);
    world.asks("10.0.0.2:4001");
    world.peer.send_to(b"secret of a", first).unwrap();
    world.hears_events(1);
    let heard = world.receives(&mut 100);
    assert_eq!(heard, [("10.0.1.2:5353".to_owned(), b"for b".to_vec())]);
    assert!(!world.shell.has_output());
    assert_eq!(world.shell.stats().flows.evicted, 1);
}

/// A flow that hears strangers only, one after the other, takes its turn like others: what one turn reads is bounded, and
/// another flow's answer is in it.
#[test]
fn flooded_flow_takes_turns() {
    let mut world = World::new(DatagramLimits::default());
    let (flooded, quiet) = (world.asks("10.0.0.2:4000"), world.asks("10.0.0.3:4000"));
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        stranger.send_to(b"x", flooded).unwrap();
    }
    world.hears_events(1);
    world.peer.send_to(b"answer", quiet).unwrap();
    world.hears_events(1);
    let mut reads = 50;
    let heard = world.receives(&mut reads);
    assert_eq!(heard, [("10.0.0.3:4000".to_owned(), b"answer".to_vec())]);
    assert!(reads == 0 && world.shell.has_output(), "{reads}");
    assert_eq!(world.receives(&mut 1000), []);
    assert!(!world.shell.has_output());
    let drops: Vec<_> = world.shell.stats().flows.drops().collect();
    assert_eq!(drops, [(DatagramDrop::Unsolicited, 100)]);
}
