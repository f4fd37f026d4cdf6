//! What needs no state: headers, offloads, segmentation, checksums.

use vswitch_frame::arp::Arp;
use vswitch_frame::icmp::Icmp;
use vswitch_frame::ipv4::Ipv4;
use vswitch_frame::ipv6::Ipv6;
use vswitch_frame::ndp::Neighbor;
use vswitch_frame::tcp::{self, Tcp};
use vswitch_frame::train::Train;
use vswitch_frame::udp::Udp;
use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{EtherType, FrameBuf, Headers, L3, Offload, Packet, PacketMut, buffer, checksum, offload, segment};

use super::frames::{Frame, USUAL};
use super::input::Input;

/// Offsets lie within the frame, every view can be read to its end, a virtio-net header says the same when it is written
/// again.
pub(super) fn frame(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let made;
    let (bytes, given) = if input.one_in(2) {
        made = Frame::new(&mut input, &USUAL);
        (&made.bytes[..], made.offload)
    } else {
        (input.rest(), Offload::NONE)
    };
    views(bytes);
    let mut buffer = FrameBuf::new();
    let whole = [&given.encode()[..], bytes].concat();
    let area = buffer.vnet_receive_area();
    if whole.len() > area.len() {
        return;
    }
    area[..whole.len()].copy_from_slice(&whole);
    if buffer.vnet_received(whole.len()).is_err() {
        return;
    }
    assert_eq!(buffer.frame(), bytes);
    assert_eq!(Offload::decode(buffer.offload.encode(), buffer.len()), Ok(buffer.offload));
    if buffer.offload.gso.is_none() {
        let (mut finished, mut left) = (bytes.to_vec(), buffer.offload);
        offload::complete_checksum(&mut finished, &mut left);
        assert_eq!(left, Offload::NONE);
        let changed = finished.iter().zip(bytes).filter(|(one, other)| one != other).count();
        assert!(changed <= 2, "a checksum has two bytes");
    }
    assert_eq!(buffer.vnet_frame(), whole);
    let tag = VlanTag { tpid: EtherType(0x8100), tci: 5 };
    if bytes.len() >= 12 && buffer.insert_vlan(tag) {
        assert_eq!(buffer.len(), bytes.len() + 4);
        views(buffer.frame());
    }
}

fn views(bytes: &[u8]) {
    let Ok(headers) = Headers::parse(bytes) else {
        assert!(bytes.len() < 14);
        return;
    };
    let (l3, l4, end) = (headers.l3_offset(), headers.l4_offset(), headers.l3_end());
    assert!(l3 <= l4 && l4 <= end && end <= bytes.len(), "{l3} {l4} {end} of {}", bytes.len());
    let packet = headers.packet(bytes);
    match headers.l3() {
        L3::Ipv4 => {
            let packet = Ipv4::parse(packet).expect("it was parsed before");
            assert_eq!((packet.source(), packet.protocol()), (headers.source_v4(bytes), headers.protocol()));
            let _ = (packet.options(), packet.checksum_ok(), headers.destination_v4(bytes));
            assert_eq!(packet.payload(), headers.l4(bytes));
        }
        L3::Ipv6 => {
            let packet = Ipv6::parse(packet).expect("it was parsed before");
            assert_eq!(packet.source(), headers.source_v6(bytes));
            let _ = (packet.upper_layer(), packet.flow_label(), headers.destination_v6(bytes));
            assert!(packet.payload().ends_with(headers.l4(bytes)));
        }
        L3::Arp => {
            let _ = Arp::parse(packet).map(|message| (message.operation(), message.sender_mac(), message.target_ip()));
        }
        L3::Other | L3::Malformed => {}
    }
    let upper = headers.l4(bytes);
    if let Ok(segment) = Tcp::parse(upper) {
        assert!(tcp::options(segment.options()).count() <= 40);
        assert_eq!(segment.header_len() + segment.payload().len(), upper.len());
    }
    let _ = Udp::parse(upper).map(|datagram| datagram.payload().len());
    let _ = Icmp::parse(upper).map(|message| message.payload().len());
    let _ = Neighbor::parse(upper).map(|message| (message.target(), message.link_layer_address()));
    let _ = Ipv4::parse_quoted(upper).map(|quoted| (quoted.payload().len(), quoted.destination()));
    let _ = Ipv6::parse_quoted(upper).map(|quoted| (quoted.payload().len(), quoted.upper_layer()));
}

/// Segments hold all of a super-frame's payload, in order, and nothing else; a frame that was cut in place is as it was;
/// a train of datagrams says how long it is.
pub(super) fn segment(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut train: Option<(Train, Frame)> = None;
    while !input.is_empty() {
        let frame = Frame::new(&mut input, &USUAL);
        if frame.bytes.len() > buffer::MAX_FRAME_LEN {
            continue;
        }
        let mut bytes = frame.bytes.clone();
        let Ok(mut packet) = PacketMut::admit(&mut bytes, frame.offload) else { continue };
        let before = packet.view().frame().to_vec();
        cut(&packet.view());
        for longest in [0, 60, 576, 1500, 9000, 65_535] {
            let _ = segment::shorten(&mut packet, longest, |piece| {
                assert!(piece.frame().len() <= longest + 22, "longer than asked for, tags and Ethernet header aside");
                // A piece of one segment is no super-frame any more.
                assert!(piece.offload().gso.is_none() || segment::segment(piece).is_ok());
                let again =
                    FrameBuf::from_frame(piece.frame(), piece.offload()).admit().map(|packet| *packet.headers());
                assert_eq!(
                    again.map(|headers| headers.l3_end()),
                    Ok(piece.l3_end()),
                    "a piece is as good as what it was cut of"
                );
            });
            assert_eq!(packet.view().frame(), before);
        }
        let begun = Train::begin(&packet.view());
        if let Some((train, last)) = &mut train
            && train.add(&last.bytes, &frame.bytes, &frame.offload)
        {
            let mut headers = vec![0; train.header_len()];
            train.write_headers(&frame.bytes, &mut headers);
            assert!(train.count() > 1 && train.offload().gso.is_some());
            *last = frame;
        } else {
            train = begun.map(|train| (train, frame));
        }
    }
}

fn cut(packet: &Packet<'_>) {
    let Ok(segments) = segment::segment(packet) else { return };
    let payload = &packet.frame()[segments.header_len()..packet.l3_end()];
    let mut out = vec![0; segments.max_len()];
    let mut done = 0;
    // One byte a segment makes tens of thousands, which are alike.
    let all = segments.count() <= 100;
    for index in (0..segments.count()).filter(|&index| all || index < 3) {
        let length = segments.write(index, &mut out);
        let part = &out[segments.header_len()..length];
        assert_eq!(part, &payload[done..done + part.len()]);
        assert_eq!(Headers::parse(&out[..length]).map(|headers| headers.l3_end()), Ok(length));
        done += part.len();
    }
    assert!(done == payload.len() || !all);
}

/// The quick sum is the plain one, and an update gives what summing again would.
pub(super) fn checksum(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (at, new) = (usize::from(input.word()), input.word());
    let mut bytes = input.rest().to_vec();
    // 0 and 0xffff are the same number in one's complement.
    let same = |one: u16, other: u16| one % 0xffff == other % 0xffff;
    assert!(same(checksum::fold(checksum::sum(&bytes)), plain_sum(&bytes)));
    assert_eq!(checksum::checksum(&bytes), !checksum::fold(checksum::sum(&bytes)));
    let words = bytes.len() / 2;
    if words == 0 {
        return;
    }
    let at = 2 * (at % words);
    let before = checksum::checksum(&bytes);
    let old = [bytes[at], bytes[at + 1]];
    bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
    for update in [
        checksum::Update::new().word(u16::from_be_bytes(old), new),
        checksum::Update::new().bytes(&old, &new.to_be_bytes()),
    ] {
        assert!(same(update.finished(before), checksum::checksum(&bytes)));
        assert!(same(update.partial(!before), !checksum::checksum(&bytes)));
    }
}

/// RFC 1071 as it is written.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("it was folded")
}
