//! ARP and Neighbor Discovery without floods: a question for an address that control named is answered here. Read first:
//! RFC 826; RFC 4861 section 7.2; RFC 7432 section 10 for the idea.
//!
//! Not answered are announcements (sender and target are the same), and questions from the very station that the address
//! is bound to: it may have come here, and then must not hear that somebody else has its address. A probe for a duplicate
//! (RFC 5227, RFC 4862) is answered like any other question, so the duplicate is found.

use std::net::{IpAddr, Ipv6Addr};

use vswitch_frame::arp::{self, Arp};
use vswitch_frame::ethernet::{self, Ethernet};
use vswitch_frame::ipv4::protocol;
use vswitch_frame::ndp::{self, Neighbor};
use vswitch_frame::{EtherType, Fragment, FrameBuf, L3, MacAddr, Offload, ipv6};

use crate::overlay::{Overlay, Rebound};

/// Bytes of a frame with a neighbor advertisement.
const ADVERTISEMENT: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + ndp::LEN_WITH_OPTION;

impl Overlay {
    /// Turns a question for an address that is bound into its answer, for the port that asked; `false`: it is no such
    /// question, and the buffer is as it was.
    pub fn answer(&self, buffer: &mut FrameBuf) -> bool {
        let answered = self.answer_here(buffer).is_some();
        if answered {
            self.count_suppressed();
        }
        answered
    }

    fn answer_here(&self, buffer: &mut FrameBuf) -> Option<()> {
        let packet = buffer.packet();
        let (_, asker) = packet.addresses();
        if packet.vlan_tci().is_some() {
            return None;
        }
        match packet.l3() {
            L3::Arp => {
                let question = Arp::parse(packet.ip_packet()).ok()?;
                let target = question.target_ip();
                let mac = self.binding(target.into()).filter(|&mac| mac != asker)?;
                if question.operation() != arp::REQUEST || question.sender_ip() == target {
                    return None;
                }
                Arp::parse(buffer.packet_mut().ip_packet_mut()).ok()?.answer(mac);
                address(buffer.frame_mut(), asker, mac);
            }
            L3::Ipv6 if packet.protocol() == protocol::ICMPV6 && packet.fragment() == Fragment::None => {
                let question = Neighbor::parse(packet.l4()).ok()?;
                let target = question.target();
                let from = packet.source_v6();
                let mac = self.binding(target.into()).filter(|&mac| mac != asker)?;
                if !question.is_solicitation() || from == target {
                    return None;
                }
                advertise(buffer, mac, target, (!from.is_unspecified()).then_some((asker, from)));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Makes the frame that tells all local stations whose an address is now: a gratuitous ARP request, as RFC 5227 section 3
/// prefers it, or an unsolicited advertisement (RFC 4861 section 7.2.6).
pub fn announce(rebound: Rebound, buffer: &mut FrameBuf) {
    match rebound.address {
        IpAddr::V4(ip) => {
            let mut frame = [0; ethernet::HEADER_LEN + arp::LEN];
            address(&mut frame, MacAddr::BROADCAST, rebound.mac);
            frame[12..14].copy_from_slice(&EtherType::ARP.0.to_be_bytes());
            arp::write(&mut frame[ethernet::HEADER_LEN..], arp::REQUEST, (rebound.mac, ip), (MacAddr::ZERO, ip));
            buffer.fill(&frame, Offload::NONE);
        }
        IpAddr::V6(ip) => advertise(buffer, rebound.mac, ip, None),
    }
}

/// Makes an advertisement: `ip` is at `mac`, told to the asker or to all nodes.
fn advertise(buffer: &mut FrameBuf, mac: MacAddr, ip: Ipv6Addr, asker: Option<(MacAddr, Ipv6Addr)>) {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (to, destination) = asker.unwrap_or_else(|| (MacAddr::ipv6_multicast(all_nodes), all_nodes));
    let mut frame = [0; ADVERTISEMENT];
    address(&mut frame, to, mac);
    frame[12..14].copy_from_slice(&EtherType::IPV6.0.to_be_bytes());
    ndp::write_host_advertisement(&mut frame[ethernet::HEADER_LEN..], mac, ip, destination, asker.is_some());
    buffer.fill(&frame, Offload::NONE);
}

fn address(frame: &mut [u8], to: MacAddr, from: MacAddr) {
    if let Ok(mut header) = Ethernet::parse(frame) {
        header.set_destination(to);
        header.set_source(from);
    }
}
