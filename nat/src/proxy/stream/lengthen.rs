//! Packets for the inside of more than 64 KiB (docs/decisions/0012).
//!
//! smoltcp makes packets of 64 KiB at most. Where it has more to send at once over IPv4, its next packet is put where its bytes belong
//! in the one before: its headers lie over the end of that for a moment, which then comes back. So a frame three times as long costs no
//! copy, and whoever forwards and takes it pays for one.
//!
//! A long frame that is lost is three of smoltcp's packets, and to send again more than one of a window costs it a timeout. So a connection
//! that once had to repeat anything makes no more of them.

use smoltcp::iface::Interface;
use vswitch_frame::ipv4::{self, Ipv4};
use vswitch_frame::tcp::{self, Tcp, flag};
use vswitch_frame::{FrameBuf, Timestamp};

use super::device::{Emitted, MAX_PACKET};
use super::open::{Open, packet_area};
use super::wire::advanced;

/// Bytes of the longest packet.
pub(super) const LONGEST: usize = vswitch_frame::buffer::MAX_SUPER_PACKET as usize;

/// Bytes of the headers of those that are lengthened: the stack puts no options into segments with payload.
const HEADERS: usize = ipv4::MIN_HEADER_LEN + tcp::MIN_HEADER_LEN;

/// The first byte of a header of IPv4 without options, and where the control bits of TCP lie behind one.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;
const FLAGS: usize = ipv4::MIN_HEADER_LEN + 13;

/// A packet that is shorter than this was all that there was to send.
const FULL: usize = MAX_PACKET / 2;

impl Open {
    /// Lets what the stack sends next follow in the packet that lies in `out`. A packet that cannot follow is put into `spare`.
    pub(super) fn lengthen(
        &mut self,
        interface: &mut Interface,
        (out, emitted): (&mut FrameBuf, &mut Emitted),
        spare: &mut FrameBuf,
        now: Timestamp,
    ) -> Option<Emitted> {
        let area = packet_area(out);
        let alone = emitted.length;
        let mut full = alone >= FULL && is_plain(&area[..alone]);
        let mut left = None;
        while full && !self.loses && emitted.length - HEADERS + MAX_PACKET <= LONGEST {
            let start = emitted.length - HEADERS;
            let (before, behind) = area.split_at_mut(start);
            let mut covered = [0; HEADERS];
            covered.copy_from_slice(&behind[..HEADERS]);
            let Some(next) = self.emit(interface, behind, now) else { break };
            let piece = &mut behind[..next.length];
            if follows(before, piece) {
                before[FLAGS] |= piece[FLAGS];
                full = next.length >= FULL;
                emitted.length = start + next.length;
            } else {
                packet_area(spare)[..next.length].copy_from_slice(piece);
                left = Some(next);
                full = false;
            }
            behind[..HEADERS].copy_from_slice(&covered);
        }
        if emitted.length > alone
            && let Ok(mut packet) = Ipv4::parse(&mut area[..emitted.length])
        {
            // A length that the field cannot say is that of the buffer.
            packet.set_total_len(u16::try_from(emitted.length).unwrap_or(0));
            packet.fill_checksum();
        }
        left
    }
}

/// Whether a packet is a segment of bytes, without options and control bits that are its own.
fn is_plain(packet: &[u8]) -> bool {
    packet[0] == IPV4_WITHOUT_OPTIONS
        && Tcp::parse(&packet[ipv4::MIN_HEADER_LEN..]).is_ok_and(|segment| {
            segment.header_len() == tcp::MIN_HEADER_LEN && segment.flags() & !flag::PSH == flag::ACK
        })
}

/// Whether a packet goes on where one ends that has as many bytes behind its headers as `before` has with them, and says nothing else.
fn follows(before: &[u8], piece: &[u8]) -> bool {
    let (Ok(first), Ok(next)) =
        (Tcp::parse(&before[ipv4::MIN_HEADER_LEN..]), Tcp::parse(&piece[ipv4::MIN_HEADER_LEN..]))
    else {
        return false;
    };
    is_plain(piece)
        && next.sequence() == advanced(first.sequence(), before.len())
        && next.acknowledgment() == first.acknowledgment()
        && next.window() == first.window()
}
