//! Super-frames for TCP stacks that know packets of 64 KiB.

use vswitch_frame::ipv4::MAX_PACKET_LEN;
use vswitch_frame::{FrameBuf, Packet, segment};

/// Hands a TCP frame to `take`: as it is if its packet has at most [`MAX_PACKET_LEN`] bytes, otherwise in pieces of that. A
/// longer one that cannot be cut up is handed over for the engine to count.
#[inline]
pub(super) fn in_packets(buffer: &mut FrameBuf, mut take: impl FnMut(&Packet<'_>)) {
    let long = buffer.packet().ip_packet().len() > MAX_PACKET_LEN;
    if long && segment::shorten(&mut buffer.packet_mut(), MAX_PACKET_LEN, &mut take).is_ok() {
        return;
    }
    take(&buffer.packet());
}
