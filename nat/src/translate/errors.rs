//! ICMP errors about packets of translated flows. Read first: RFC 5508 section 4.

use vswitch_frame::checksum::Update;
use vswitch_frame::icmp::{self, Icmp};
use vswitch_frame::{Headers, L3, Offload};

use crate::classify::is_partial;
use crate::quotation::{Quotation, rewrite_addresses};
use crate::rewrite::finish_icmp;
use crate::table::{Direction, Flow};
use crate::tuple::{Protocol, Tuple};

/// Rewrites an error that goes in `direction` of a flow. Neither the flow nor its timer changes (REQ-6).
///
/// The quoted packet went the other way; it becomes what its sender sent. The error's destination is translated as that
/// of the flow's packets is. Its source is, too, where the flow's is replaced, so that no inside address leaves; where
/// it is not, the error keeps its source, which may be any router on the way (REQ-4, U18).
pub(super) fn rewrite(
    frame: &mut [u8],
    headers: &Headers,
    offload: &Offload,
    flow: &Flow,
    direction: Direction,
    quotation: &Quotation,
) {
    let (arriving, leaving) = (flow.arriving(direction), flow.leaving(direction));
    let (source, destination) = headers.ip_addresses(frame);
    let protocol = Protocol(headers.protocol());
    let is_replaced = arriving.source_key() != leaving.source_key();
    let new_source = if is_replaced { leaving.source() } else { source };
    let from = Tuple::addresses(protocol, source, destination);
    let to = Tuple::addresses(protocol, new_source, leaving.destination());
    let update = rewrite_addresses(&mut frame[headers.l3_offset()..headers.l3_end()], &from, &to);
    let quoted = &mut frame[headers.l4_offset() + icmp::HEADER_LEN..headers.l3_end()];
    quotation.rewrite(quoted, flow.arriving(direction.opposite()));
    if is_partial(offload) {
        finish_partial(frame, headers, update);
    } else {
        finish_icmp(frame, headers);
    }
}

/// A partial ICMPv6 checksum covers the addresses only; a partial ICMPv4 one nothing.
fn finish_partial(frame: &mut [u8], headers: &Headers, update: Update) {
    if headers.l3() != L3::Ipv6 {
        return;
    }
    if let Ok(mut message) = Icmp::parse(&mut frame[headers.l4_offset()..headers.l3_end()]) {
        message.set_checksum(update.partial(message.checksum()));
    }
}
