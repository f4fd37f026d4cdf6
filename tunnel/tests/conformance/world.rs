//! Frames and an overlay to try them on.

use std::net::IpAddr;

use vswitch_frame::{MacAddr, Timestamp, Vni};
use vswitch_tunnel::decap::Intake;
use vswitch_tunnel::{EntrySpec, Origin, Overlay, OverlaySpec, TunnelDrop};

/// The VTEP's own address, and those of three others.
pub const LOCAL: [u8; 4] = [192, 0, 2, 1];
pub const REMOTES: [[u8; 4]; 3] = [[192, 0, 2, 2], [192, 0, 2, 3], [192, 0, 2, 4]];

pub fn vni() -> Vni {
    Vni::new(4097).unwrap()
}

pub fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0x42, 10, 0, 0, number])
}

/// An overlay with the first two remotes on its flood list.
pub fn overlay(spec: OverlaySpec) -> Overlay {
    let overlay = Overlay::new(spec, LOCAL.into()).unwrap();
    for remote in &REMOTES[..2] {
        assert_eq!(overlay.add_remote((*remote).into(), LOCAL.into()), Ok(true));
    }
    overlay
}

pub fn entry(number: u8, remote: [u8; 4], origin: Origin) -> EntrySpec {
    EntrySpec { mac: mac(number), addresses: vec![[10, 0, 0, number].into()], remote: remote.into(), origin }
}

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A UDP frame between two stations, IPv4 or IPv6, with this TOS.
pub fn udp(v6: bool, tos: u8, (from, to): (u8, u8), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder};
    let ethernet = PacketBuilder::ethernet2(mac(from).octets(), mac(to).octets());
    let length = u16::try_from(payload.len() + 8).unwrap();
    let ip = if v6 {
        let address = |number: u8| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).octets();
        let header = Ipv6Header {
            traffic_class: tos,
            payload_length: length,
            next_header: 17.into(),
            hop_limit: 64,
            source: address(from),
            destination: address(to),
            ..Ipv6Header::default()
        };
        IpHeaders::Ipv6(header, Default::default())
    } else {
        let mut header = Ipv4Header::new(length, 64, 17.into(), [10, 0, 0, from], [10, 0, 0, to]).unwrap();
        header.dscp = (tos >> 2).try_into().unwrap();
        header.ecn = (tos & 3).try_into().unwrap();
        IpHeaders::Ipv4(header, Default::default())
    };
    let mut frame = Vec::new();
    ethernet.ip(ip).udp(ports.0, ports.1).write(&mut frame, payload).unwrap();
    frame
}

/// What becomes of an inner frame from `source` with this outer TOS.
pub fn take(overlay: &Overlay, source: [u8; 4], tos: u8, inner: &mut [u8], seconds: u64) -> Result<(), TunnelDrop> {
    Intake::new(overlay, source.into(), tos, at(seconds))?.accept(inner).map(|_| ())
}

/// The remotes that a frame to `destination` goes to.
pub fn towards(overlay: &Overlay, destination: MacAddr) -> Vec<IpAddr> {
    overlay.view().towards(destination).iter().map(|remote| remote.address).collect()
}
