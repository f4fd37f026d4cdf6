//! ICMP errors about packets of translated flows. Read first: RFC 5508 section 4.

use vswitch_frame::PacketMut;
use vswitch_frame::icmp;

use crate::quotation::{Quotation, rewrite_addresses};
use crate::rewrite::finish_icmp;
use crate::table::{Direction, Flow};
use crate::tuple::{Protocol, Tuple};

/// Rewrites an error that goes in `direction` of a flow. Neither the flow nor its timer changes (REQ-6).
///
/// The quoted packet went the other way; it becomes what its sender sent. The error's destination is translated as that
/// of the flow's packets is. Its source is, too, where the flow's is replaced, so that no inside address leaves; where
/// it is not, the error keeps its source, which may be any router on the way (REQ-4, U18).
pub(super) fn rewrite(packet: &mut PacketMut<'_>, flow: &Flow, direction: Direction, quotation: &Quotation) {
    let (arriving, leaving) = (flow.arriving(direction), flow.leaving(direction));
    let (source, destination) = packet.view().ip_addresses();
    let protocol = Protocol(packet.protocol());
    let is_replaced = arriving.source_key() != leaving.source_key();
    let new_source = if is_replaced { leaving.source() } else { source };
    let from = Tuple::addresses(protocol, source, destination);
    let to = Tuple::addresses(protocol, new_source, leaving.destination());
    rewrite_addresses(packet.ip_packet_mut(), &from, &to);
    quotation.rewrite(&mut packet.l4_mut()[icmp::HEADER_LEN..], flow.arriving(direction.opposite()));
    finish_icmp(packet);
}
