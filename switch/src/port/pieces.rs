//! Super-frames for TCP stacks that know packets of 64 KiB.

use vswitch_frame::ipv4::MAX_PACKET_LEN;
use vswitch_frame::{FrameBuf, Headers, Offload, segment};

/// Hands a TCP frame to `take`: as it is if its packet has at most [`MAX_PACKET_LEN`] bytes, otherwise in pieces of that. A
/// longer one that cannot be cut up is handed over for the engine to count.
#[inline]
pub(super) fn in_packets(buffer: &mut FrameBuf, headers: &Headers, mut take: impl FnMut((&[u8], &Headers, &Offload))) {
    let offload = buffer.offload;
    if headers.l3_end() - headers.l3_offset() > MAX_PACKET_LEN {
        let cut = segment::shorten(buffer.frame_mut(), offload, MAX_PACKET_LEN, |piece, offload| {
            if let Ok(headers) = Headers::parse(piece) {
                take((piece, &headers, &offload));
            }
        });
        if cut.is_ok() {
            return;
        }
    }
    take((buffer.frame(), headers, &offload));
}
