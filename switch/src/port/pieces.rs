//! Super-frames for TCP stacks that know packets of 64 KiB.

use vswitch_frame::ipv4::MAX_PACKET_LEN;
use vswitch_frame::{FrameBuf, Packet, segment};

/// Hands a TCP frame to `take`: as it is if its packet has at most [`MAX_PACKET_LEN`] bytes, otherwise in pieces of that. A
/// longer one that cannot be cut up is handed over for the engine to count.
///
/// # Errors
/// Why the last piece that was not taken was not.
#[inline]
pub(super) fn in_packets<R>(
    buffer: &mut FrameBuf,
    mut take: impl FnMut(&Packet<'_>) -> Result<(), R>,
) -> Result<(), R> {
    if buffer.packet().ip_packet().len() > MAX_PACKET_LEN {
        let mut taken = Ok(());
        let each = |packet: &Packet<'_>| {
            if let Err(reason) = take(packet) {
                taken = Err(reason);
            }
        };
        if segment::shorten(&mut buffer.packet_mut(), MAX_PACKET_LEN, each).is_ok() {
            return taken;
        }
    }
    take(&buffer.packet())
}
