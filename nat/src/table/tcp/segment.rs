//! What tracking reads of a TCP segment.

use vswitch_frame::Malformed;
use vswitch_frame::tcp::{Tcp, flag, option, options};

/// The fields of a segment that tracking needs, parsed once.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; without meaning unless ACK is set.
    pub acknowledgment: u32,
    /// Bytes behind the header.
    pub data_len: u32,
    /// The window field, unscaled.
    pub window: u16,
    /// Control bits.
    pub flags: u8,
    /// The shift in a window scale option.
    pub window_scale: Option<u8>,
    /// Whether there is a SACK-permitted option.
    pub sack_permitted: bool,
    /// The highest right edge in a SACK option.
    pub sack_edge: Option<u32>,
}

impl Segment {
    /// Reads the header at the start of `l4`, the segment with its data.
    ///
    /// # Errors
    /// When there is no whole TCP header.
    #[inline]
    pub fn parse(l4: &[u8]) -> Result<Segment, Malformed> {
        let tcp = Tcp::parse(l4)?;
        let mut segment = Segment {
            sequence: tcp.sequence(),
            acknowledgment: tcp.acknowledgment(),
            data_len: u32::try_from(tcp.payload().len()).unwrap_or(u32::MAX),
            window: tcp.window(),
            flags: tcp.flags(),
            window_scale: None,
            sack_permitted: false,
            sack_edge: None,
        };
        let all = tcp.options();
        // By far the most frequent options: two no-operations and a timestamp (RFC 7323 appendix A).
        let only_timestamp = all.len() == 12 && all[..4] == [1, 1, 8, 10];
        if !(all.is_empty() || only_timestamp) {
            segment.read_options(all);
        }
        Ok(segment)
    }

    fn read_options(&mut self, all: &[u8]) {
        for found in options(all) {
            match found.kind {
                option::WINDOW_SCALE => self.window_scale = found.data.first().copied(),
                option::SACK_PERMITTED => self.sack_permitted = true,
                option::SACK => {
                    for block in found.data.chunks_exact(8) {
                        let edge = u32::from_be_bytes([block[4], block[5], block[6], block[7]]);
                        let higher = |known| super::before(known, edge);
                        if self.sack_edge.is_none_or(higher) {
                            self.sack_edge = Some(edge);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether it opens a connection, or is one to be picked up.
    pub(crate) fn opens(&self, settings: super::TcpSettings) -> bool {
        super::Connection::open(self, settings).is_some()
    }

    /// The sequence number behind the segment: SYN and FIN count one each (RFC 9293 section 3.4).
    #[inline]
    #[must_use]
    pub const fn end(&self) -> u32 {
        let flags = (self.flags & flag::SYN != 0) as u32 + (self.flags & flag::FIN != 0) as u32;
        self.sequence.wrapping_add(self.data_len).wrapping_add(flags)
    }

    /// Whether ACK is set.
    #[inline]
    #[must_use]
    pub const fn is_ack(&self) -> bool {
        self.flags & flag::ACK != 0
    }

    /// Whether SYN is set.
    #[inline]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags & flag::SYN != 0
    }

    /// Whether RST is set.
    #[inline]
    #[must_use]
    pub const fn is_rst(&self) -> bool {
        self.flags & flag::RST != 0
    }

    /// The highest sequence number of the other side that this segment says it has, in order or beyond a gap.
    pub(super) fn right_edge(&self, sack_agreed: bool) -> u32 {
        match self.sack_edge {
            Some(edge) if sack_agreed && super::before(self.acknowledgment, edge) => edge,
            _ => self.acknowledgment,
        }
    }
}
