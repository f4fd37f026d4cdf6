//! Ports of programs that send and receive frames by a socket: streams, messages and datagrams, and what strangers do to them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use lab::{network, plain, station};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vswitch_frame::offload::{Gso, GsoKind, PartialChecksum};
use vswitch_frame::{DropReason, NetworkIndex, Offload, PortId};
use vswitch_switch::{
    Counters, MachineDevice, MachineEnd, MemoryPeer, Offloads, Parting, PortConfig, PortDevice, Settings, Switch,
    memory_link,
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Bed {
    switch: Switch,
    net: NetworkIndex,
    neighbour: MemoryPeer,
}

impl Bed {
    /// A network on which station 3 is.
    fn new() -> Bed {
        let switch = Switch::start(Settings { workers: Some(2), ..Settings::default() }).unwrap();
        let net = switch.add_network(network("net")).unwrap();
        let (device, neighbour) = memory_link(4096, Offloads::Carried).unwrap();
        switch.add_port(PortConfig::new("neighbour", net), PortDevice::Memory(device)).unwrap();
        Bed { switch, net, neighbour }
    }

    fn plug(&self, socket: impl Into<OwnedFd>) -> (PortId, MachineEnd) {
        let (device, end) = MachineDevice::new(socket.into()).unwrap();
        (self.switch.add_port(PortConfig::new("machine", self.net), PortDevice::Machine(device)).unwrap(), end)
    }

    fn counters(&self, port: PortId) -> Counters {
        self.switch.stats().ports.into_iter().find(|one| one.port == port).unwrap().counters
    }

    /// The neighbour knows where station 2 is, and everybody where station 3 is.
    fn meet(&self, mut say: impl FnMut(&[u8])) {
        say(&plain(station(3).mac, station(2).mac));
        assert!(self.neighbour.receive(PATIENCE).is_some());
    }
}

/// A frame from station 3 to station 2 of so many bytes that says its number.
fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut frame = plain(station(2).mac, station(3).mac);
    frame.resize(length, 0);
    frame[20..24].copy_from_slice(&number.to_be_bytes());
    frame
}

fn say(stream: &mut impl Write, frame: &[u8]) {
    let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], frame].concat()).unwrap();
}

fn hear(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).unwrap();
    frame
}

fn parted(end: &MachineEnd) -> Option<Parting> {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    poll(&mut [PollFd::new(&end.as_fd(), PollFlags::IN)], Some(&patience)).unwrap();
    end.parting()
}

fn stream() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs)
}

/// Frames cross a stream both ways, in order, however they are cut up; its end is told, and its port counted every one.
#[test]
fn a_stream() {
    let bed = Bed::new();
    let (ours, mut machine) = stream();
    let (port, end) = bed.plug(ours);
    bed.meet(|frame| say(&mut machine, frame));
    for number in 0..300 {
        let frame = numbered(number, 60 + usize::try_from(number).unwrap() * 4);
        let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(&frame);
        // From the machine it is for the neighbour.
        bytes[4..16].rotate_left(6);
        for piece in bytes.chunks(1 + usize::try_from(number).unwrap() * 7) {
            machine.write_all(piece).unwrap();
        }
        let (came, _) = bed.neighbour.receive(PATIENCE).expect("a frame from the machine");
        assert_eq!((&came[20..24], came.len()), (&number.to_be_bytes()[..], frame.len()));
        assert!(bed.neighbour.send(&frame, Offload::NONE));
        assert_eq!(hear(&mut machine), frame);
    }
    let counted = bed.counters(port);
    assert_eq!((counted.in_frames, counted.out_frames, counted.total_dropped()), (301, 300, 0));
    assert_eq!(end.parting(), None);
    drop(machine);
    assert_eq!(parted(&end), Some(Parting::Closed));
}

/// A super-frame with an unfinished checksum reaches a machine as finished segments, and whoever else gets it as it was.
#[test]
fn work_is_finished() {
    let bed = Bed::new();
    let ((ours, mut machine), (messages, datagrams)) = (stream(), UnixDatagram::pair().unwrap());
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_, _) = (bed.plug(ours), bed.plug(messages));
    let mut frame = Vec::new();
    let (from, to) = (station(3), station(9));
    etherparse::PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv4(from.ipv4.unwrap().octets(), to.ipv4.unwrap().octets(), 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[7; 14_000])
        .unwrap();
    let gso = Gso { kind: GsoKind::TcpV4, size: 1400, header_len: 54, ecn: false };
    let checksum = Some(PartialChecksum { start: 34, offset: 16 });
    let pseudo = vswitch_frame::checksum::pseudo_header_v4(from.ipv4.unwrap(), to.ipv4.unwrap(), 6, 14_020);
    frame[50..52].copy_from_slice(&vswitch_frame::checksum::fold(pseudo).to_be_bytes());
    assert!(bed.neighbour.send(&frame, Offload { checksum, gso: Some(gso) }));
    let mut buffer = vec![0; 2000];
    for _ in 0..10 {
        let segment = hear(&mut machine);
        let length = datagrams.recv(&mut buffer).unwrap();
        assert_eq!((segment.len(), &segment[..]), (1454, &buffer[..length]));
        let sliced = etherparse::SlicedPacket::from_ethernet(&segment).unwrap();
        let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
            (sliced.net, sliced.transport)
        else {
            panic!("a TCP segment");
        };
        assert_eq!(tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap(), tcp.checksum());
    }
}

/// A machine that does not read loses frames, which are counted; those that it then reads are whole and in order, and what waited comes
/// without anything else happening. Nobody else loses any.
#[test]
fn a_machine_that_does_not_read() {
    let bed = Bed::new();
    let (ours, mut machine) = stream();
    let (port, _end) = bed.plug(ours);
    bed.meet(|frame| say(&mut machine, frame));
    const COUNT: u32 = 1000;
    for number in 0..COUNT {
        while !bed.neighbour.send(&numbered(number, 1500), Offload::NONE) {
            std::thread::yield_now();
        }
    }
    let over = |counted: &Counters| counted.out_frames + counted.dropped(DropReason::EgressFull) == u64::from(COUNT);
    let mut counted = bed.counters(port);
    while !over(&counted) {
        std::thread::yield_now();
        counted = bed.counters(port);
    }
    assert!(counted.dropped(DropReason::EgressFull) > 0 && counted.out_frames > 200, "{counted:?}");
    let mut last = None;
    for _ in 0..counted.out_frames {
        let frame = hear(&mut machine);
        let number = u32::from_be_bytes(frame[20..24].try_into().unwrap());
        assert!(frame.len() == 1500 && last < Some(number));
        last = Some(number);
    }
    assert!(bed.neighbour.send(&numbered(COUNT, 60), Offload::NONE));
    assert_eq!(hear(&mut machine), numbered(COUNT, 60));
}

/// A length that is no frame's ends a connection, which the machine sees; the frames before it count, and other machines stay.
#[test]
fn nonsense() {
    let bed = Bed::new();
    let (other_ours, mut other) = stream();
    let (_, other_end) = bed.plug(other_ours);
    for length in [0u32, 13, 69_633, u32::MAX] {
        let (ours, mut machine) = stream();
        let (port, end) = bed.plug(ours);
        bed.meet(|frame| say(&mut machine, frame));
        machine.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(parted(&end), Some(Parting::Nonsense));
        assert_eq!(machine.read(&mut [0; 1]).unwrap_or_default(), 0);
        assert_eq!(bed.counters(port).in_frames, 1);
        bed.switch.remove_port(port).unwrap();
    }
    bed.meet(|frame| say(&mut other, frame));
    assert_eq!(other_end.parting(), None);
}

/// Datagrams and messages carry a frame each; empty, short and endless ones harm nobody; the end of either is told.
#[test]
fn datagrams() {
    let bed = Bed::new();
    let (ours, machine) = UnixDatagram::pair().unwrap();
    machine.set_read_timeout(Some(PATIENCE)).unwrap();
    let (port, end) = bed.plug(ours);
    bed.meet(|frame| assert_eq!(machine.send(frame).unwrap(), frame.len()));
    for nonsense in [&[][..], &[1], &[0; 13], &vec![0xff; 150_000]] {
        machine.send(nonsense).unwrap();
    }
    let mut buffer = vec![0; 2000];
    for number in 0..300 {
        assert!(bed.neighbour.send(&numbered(number, 1400), Offload::NONE));
        let length = machine.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number, 1400));
        machine.send(&plain(station(3).mac, station(2).mac)).unwrap();
        assert!(bed.neighbour.receive(PATIENCE).is_some());
    }
    let counted = bed.counters(port);
    assert_eq!((counted.in_frames, counted.out_frames), (305, 300));
    assert_eq!(counted.total_dropped(), 4, "{counted:?}");
    drop(machine);
    // Nobody tells the end of who sends datagrams but a datagram that it does not get.
    assert!(bed.neighbour.send(&numbered(0, 60), Offload::NONE));
    assert_eq!(parted(&end), Some(Parting::Closed));
}

/// The other end of a UDP pair may come later, go and come back.
#[test]
fn a_pair() {
    let bed = Bed::new();
    let (ours, machine) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let theirs = machine.local_addr().unwrap();
    ours.connect(theirs).unwrap();
    machine.connect(ours.local_addr().unwrap()).unwrap();
    let (_, end) = bed.plug(ours.try_clone().unwrap());
    bed.meet(|frame| assert_eq!(machine.send(frame).unwrap(), frame.len()));
    drop(machine);
    for number in 0..10 {
        assert!(bed.neighbour.send(&numbered(number, 60), Offload::NONE));
    }
    let machine = UdpSocket::bind(theirs).unwrap();
    machine.connect(ours.local_addr().unwrap()).unwrap();
    machine.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    bed.meet(|frame| assert_eq!(machine.send(frame).unwrap(), frame.len()));
    let mut buffer = [0; 100];
    // An error about a datagram that nobody got may be told to one that is sent after it.
    while machine.recv(&mut buffer).is_err() {
        assert!(bed.neighbour.send(&numbered(99, 60), Offload::NONE));
    }
    assert_eq!(end.parting(), None);
}

/// What is no connected socket is refused.
#[test]
fn other_descriptors() {
    let refused = |descriptor: OwnedFd| MachineDevice::new(descriptor).unwrap_err().kind();
    let invalid = std::io::ErrorKind::InvalidInput;
    assert_eq!(refused(UnixDatagram::unbound().unwrap().into()), invalid);
    assert_eq!(refused(UdpSocket::bind("127.0.0.1:0").unwrap().into()), invalid);
    assert_eq!(refused(std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()), invalid);
    assert_eq!(refused(std::fs::File::open("/dev/null").unwrap().into()), invalid);
}
