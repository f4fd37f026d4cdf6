//! Packets of more than 64 KiB.

use std::time::Duration;

use smoltcp::socket::tcp::State;
use vswitch_frame::L3;

use super::world::{SERVER, World};
use super::{CLEAN, pattern, segments_are_right};
use crate::proxy::stream::StreamLimits;

/// A connection that is to get these bytes.
fn receiving(server: &str, bytes: &[u8]) -> World {
    let mut world = World::with_buffer(1 << 20, StreamLimits::default(), CLEAN, 7).long();
    world.connect(server.parse().unwrap(), 40_000);
    world.until("established", |world| world.state() == State::Established);
    world.keeps = true;
    world.peer().sends.extend(bytes);
    world
}

/// What the endpoint gets.
fn received(world: &mut World, length: usize) -> Vec<u8> {
    let mut got = Vec::new();
    world.until("all came", |world| {
        let mut piece = vec![0; 1 << 20];
        let length_of_piece = world.socket().recv_slice(&mut piece).unwrap();
        got.extend_from_slice(&piece[..length_of_piece]);
        got.len() == length
    });
    got
}

/// Bulk comes over IPv4 in packets of up to 192 KiB, over IPv6 of 64 KiB: the bytes are right, the segments fit the endpoint's MSS, and each
/// one's checksum is right when the offload is done.
#[test]
fn bulk() {
    for (server, family, longest) in
        [(SERVER, L3::Ipv4, 150_000..196_623), ("[2001:db8::7]:80", L3::Ipv6, 60_000..65_536)]
    {
        let sent = pattern(900_000);
        let mut world = receiving(server, &sent);
        assert!(received(&mut world, sent.len()) == sent);
        let largest = world.sent.iter().max_by_key(|(frame, _)| frame.len()).unwrap();
        assert!(longest.contains(&largest.0.len()), "{} bytes", largest.0.len());
        segments_are_right(largest, family);
    }
}

/// The end comes behind the last bytes: a FIN is never lengthened, whatever lies before it.
#[test]
fn the_end() {
    for length in [1, 65_000, 66_000, 131_100, 180_000, 400_000] {
        let sent = pattern(length);
        let mut world = receiving(SERVER, &sent);
        world.peer().ended = true;
        assert!(received(&mut world, length) == sent);
        world.until("told of the end", |world| !world.socket().may_recv());
    }
}

/// One that is lost is sent again, and from then on no packet of the connection is longer than 64 KiB.
#[test]
fn a_loss() {
    let sent = pattern(3_000_000);
    let mut world = receiving(SERVER, &sent);
    world.loses_long = Some(2);
    let began = world.now;
    assert!(received(&mut world, sent.len()) == sent);
    assert!(world.now.since(began) < Duration::from_secs(5));
    let long: Vec<usize> = (0..world.sent.len()).filter(|&index| world.sent[index].0.len() > 65_549).collect();
    let last = long.last().copied().unwrap();
    assert!(last + 10 < world.sent.len(), "{last} of {}", world.sent.len());
}
