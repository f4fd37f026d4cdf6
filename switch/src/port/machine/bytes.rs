//! What waits on either side of a machine's socket.

use std::collections::VecDeque;

use vswitch_frame::{FrameBuf, Malformed, buffer, offload, segment};

/// Bytes of a length, in network order.
const HEADER: usize = 4;

/// The shortest frame: an Ethernet header.
const SHORTEST: usize = vswitch_frame::ethernet::HEADER_LEN;

/// The longest that comes from a machine: as QEMU's own buffer.
const LONGEST: usize = 69_632;

/// What is asked of the kernel at once.
const CHUNK: usize = 2 * (HEADER + LONGEST);

/// Room that is kept while nothing waits.
const KEPT: usize = 1 << 16;

const _: () = assert!(LONGEST <= buffer::MAX_FRAME_LEN, "what comes fits a buffer");

/// Bytes of a stream that have come, and of which no frame was made yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Empty before the first bytes come.
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
}

/// A length that is no frame's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Finished frames that the kernel has not taken yet, behind their lengths if the socket is a stream.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// So many of them are gone.
    gone: usize,
    /// The lengths of the messages among the rest.
    lengths: VecDeque<usize>,
}

impl Incoming {
    /// The next frame that is whole.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Nonsense> {
        let Some((header, rest)) = self.bytes[self.begin..self.end].split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*header)).map_err(|_| Nonsense)?;
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(Nonsense);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let begin = self.begin + HEADER;
        self.begin = begin + length;
        Ok(Some(&self.bytes[begin..self.begin]))
    }

    /// Where the next bytes go. There is room: what is left is less than one frame.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; CHUNK].into_boxed_slice();
        }
        self.bytes.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        &mut self.bytes[self.end..]
    }

    /// So many have come there.
    pub(super) fn came(&mut self, bytes: usize) {
        self.end += bytes;
    }
}

impl Outgoing {
    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Adds a frame, finished, or the segments of a super-frame. The buffer may go to other ports as well, which get it as it was.
    pub(super) fn append(&mut self, buffer: &FrameBuf, stream: bool) -> Result<(), Malformed> {
        if buffer.offload.gso.is_none() {
            let frame = self.room(buffer.len(), stream);
            frame.copy_from_slice(buffer.frame());
            offload::complete_checksum(frame, &mut buffer.offload.clone());
            return Ok(());
        }
        let segments = segment::segment(&buffer.packet())?;
        for index in 0..segments.count() {
            let length = segments.header_len() + segments.payload_len(index);
            segments.write(index, self.room(length, stream));
        }
        Ok(())
    }

    /// Room for one more frame.
    fn room(&mut self, length: usize, stream: bool) -> &mut [u8] {
        if stream {
            // A frame is not as long as that.
            self.bytes.extend(u32::try_from(length).unwrap_or_default().to_be_bytes());
        } else {
            self.lengths.push_back(length);
        }
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        &mut self.bytes[start..]
    }

    /// What waits of a stream.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// So many bytes are gone.
    pub(super) fn went(&mut self, bytes: usize) {
        self.gone += bytes;
        if self.is_empty() {
            self.clear();
        } else if self.gone > self.bytes.len() / 2 {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }

    /// The messages that wait.
    pub(super) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes();
        self.lengths.iter().map(move |&length| {
            let (message, behind) = rest.split_at(length);
            rest = behind;
            message
        })
    }

    /// So many messages are gone.
    pub(super) fn messages_went(&mut self, messages: usize) {
        let bytes = self.lengths.drain(..messages.min(self.lengths.len())).sum();
        self.went(bytes);
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.gone = 0;
        self.lengths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vswitch_frame::Offload;

    /// What `incoming` makes of bytes that come in these pieces, up to nonsense.
    fn frames(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
        let (mut incoming, mut frames) = (Incoming::default(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let room = incoming.room();
                let taken = room.len().min(rest.len());
                room[..taken].copy_from_slice(&rest[..taken]);
                incoming.came(taken);
                rest = &rest[taken..];
                loop {
                    match incoming.next() {
                        Ok(Some(frame)) => frames.push(frame.to_vec()),
                        Ok(None) => break,
                        Err(Nonsense) => return (frames, true),
                    }
                }
            }
        }
        (frames, false)
    }

    proptest! {
        /// What is put into a stream comes out of it, wherever it is cut up on the way.
        #[test]
        fn streams_carry_frames(
            lengths in proptest::collection::vec(SHORTEST..3000, 1..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let sent: Vec<Vec<u8>> = lengths.iter().zip(0u8..).map(|(&length, tag)| vec![tag; length]).collect();
            let mut outgoing = Outgoing::default();
            for frame in &sent {
                outgoing.append(&FrameBuf::from_frame(frame, Offload::NONE), true).unwrap();
            }
            let bytes = outgoing.bytes().to_vec();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            prop_assert_eq!(frames(&pieces), (sent, false));
        }

        /// Noise makes no frame that is shorter or longer than frames are, and nothing worse.
        #[test]
        fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..2000), zeros in 0usize..3) {
            let bytes = [vec![0; zeros], bytes].concat();
            let (frames, _) = frames(&[&bytes]);
            prop_assert!(frames.iter().all(|frame| (SHORTEST..=LONGEST).contains(&frame.len())));
        }
    }

    /// The longest frame comes whole, and a length beyond the bounds is nonsense at once, before what it announces comes.
    #[test]
    fn lengths() {
        let behind = |length: usize, bytes: usize| {
            let header = u32::try_from(length).unwrap().to_be_bytes();
            [header.to_vec(), vec![7; bytes]].concat()
        };
        let longest = behind(LONGEST, LONGEST);
        assert_eq!(frames(&[&longest, &longest]).0, vec![vec![7; LONGEST]; 2]);
        for nonsense in [0, SHORTEST - 1, LONGEST + 1, 0xffff_ffff] {
            assert_eq!(frames(&[&behind(60, 60), &behind(nonsense, 1)]), (vec![vec![7; 60]], true), "{nonsense}");
        }
    }

    /// Messages go one by one, and what is gone does not come again.
    #[test]
    fn messages() {
        let mut outgoing = Outgoing::default();
        for tag in 1..=3 {
            outgoing.append(&FrameBuf::from_frame(&[tag; 60], Offload::NONE), false).unwrap();
        }
        outgoing.messages_went(1);
        let left: Vec<u8> = outgoing.messages().map(|message| message[0]).collect();
        assert_eq!((left, outgoing.waiting()), (vec![2, 3], 120));
        outgoing.messages_went(5);
        assert!(outgoing.is_empty() && outgoing.messages().next().is_none());
    }
}
