//! Frames of pcap and pcapng files, as they come in. Read first: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
//!
//! A file is pushed in pieces of any size; whole frames come out. What is not whole yet is kept, and no longer than one block may be.

/// What reads a file.
#[derive(Debug, Default)]
pub struct FrameReader {
    waiting: Vec<u8>,
    /// Bytes of it that are read.
    taken: usize,
    /// Where the first waiting byte lies in the file.
    at: u64,
    format: Option<Format>,
}

/// A frame as it lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFrame {
    /// Nanoseconds since 1970; `None` where the file has no times.
    pub nanos: Option<u64>,
    /// Its bytes, from the Ethernet header on.
    pub frame: Vec<u8>,
    /// It was longer: only the beginning was written.
    pub cut: bool,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It begins like neither.
    #[error("this is no pcap or pcapng file")]
    NoPcap,
    /// A length in it cannot be.
    #[error("the file is damaged at byte {0}")]
    Damaged(u64),
    /// It ends within something.
    #[error("the file ends at byte {0}, in the middle of something")]
    Ends(u64),
    /// Its frames are of another kind.
    #[error("the file's frames are not of Ethernet (link type {0})")]
    LinkType(u32),
}

#[derive(Debug)]
enum Format {
    Pcap { little: bool, nanos: bool },
    Pcapng { little: bool, interfaces: Vec<Clock> },
}

/// How an interface counts time: so many units a second, and seconds that are to be added.
#[derive(Debug, Clone, Copy)]
struct Clock {
    units: u64,
    offset: i64,
}

const ETHERNET: u32 = 1;
/// Longest block, or record, that is believed.
const LONGEST: usize = 16 << 20;
/// Interfaces of one section that are believed.
const MOST_INTERFACES: usize = 1 << 16;
const PCAP_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Blocks of pcapng.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
/// Options of an interface.
const RESOLUTION: u16 = 9;
const OFFSET: u16 = 14;
const A_SECOND: u64 = 1_000_000_000;

impl FrameReader {
    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.waiting.drain(..self.taken);
            self.at += self.taken as u64;
            self.taken = 0;
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// The next frame that is there.
    ///
    /// # Errors
    /// When the file is none, or damaged.
    pub fn next_frame(&mut self) -> Result<Option<FileFrame>, FileError> {
        loop {
            let rest = Bytes { bytes: &self.waiting[self.taken..], at: self.at + self.taken as u64 };
            let step = match &mut self.format {
                None => begin(&rest)?.map(|(format, length)| {
                    self.format = Some(format);
                    (length, None)
                }),
                Some(Format::Pcap { little, nanos }) => record(&rest, *little, *nanos)?,
                Some(Format::Pcapng { little, interfaces }) => block(&rest, little, interfaces)?,
            };
            let Some((length, frame)) = step else { return Ok(None) };
            self.taken += length;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// Says whether the file may end here.
    ///
    /// # Errors
    /// When it ends in the middle of something, or before it has begun.
    pub fn finish(&self) -> Result<(), FileError> {
        match (&self.format, self.waiting.len() - self.taken) {
            (None, 0) => Err(FileError::NoPcap),
            (_, 0) => Ok(()),
            (None, length) if length < 4 => Err(FileError::NoPcap),
            (_, length) => Err(FileError::Ends(self.at + (self.taken + length) as u64)),
        }
    }
}

/// What lies behind something in a file.
struct Bytes<'f> {
    bytes: &'f [u8],
    at: u64,
}

/// Bytes that something took, and the frame that it was, if it was one. Nothing before it is there as a whole.
type Step = Option<(usize, Option<FileFrame>)>;

impl Bytes<'_> {
    const fn damaged(&self) -> FileError {
        FileError::Damaged(self.at)
    }

    fn word(&self, at: usize, little: bool) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(if little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    }

    fn half(&self, at: usize, little: bool) -> Option<u16> {
        let bytes = self.bytes.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    }

    fn length(&self, at: usize, little: bool) -> Result<Option<usize>, FileError> {
        let Some(word) = self.word(at, little) else { return Ok(None) };
        let length = usize::try_from(word).ok().filter(|length| *length <= LONGEST);
        length.map(Some).ok_or(self.damaged())
    }
}

fn begin(rest: &Bytes<'_>) -> Result<Option<(Format, usize)>, FileError> {
    let Some(magic) = rest.bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let (little, nanos) = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] => (true, false),
        [0x4d, 0x3c, 0xb2, 0xa1] => (true, true),
        [0xa1, 0xb2, 0xc3, 0xd4] => (false, false),
        [0xa1, 0xb2, 0x3c, 0x4d] => (false, true),
        // Its blocks say the rest.
        [0x0a, 0x0d, 0x0d, 0x0a] => return Ok(Some((Format::Pcapng { little: true, interfaces: Vec::new() }, 0))),
        _ => return Err(FileError::NoPcap),
    };
    let Some(link_type) = rest.word(20, little) else { return Ok(None) };
    match link_type & 0x0fff_ffff {
        ETHERNET => Ok(Some((Format::Pcap { little, nanos }, PCAP_HEADER))),
        other => Err(FileError::LinkType(other)),
    }
}

fn record(rest: &Bytes<'_>, little: bool, nanos: bool) -> Result<Step, FileError> {
    let (Some(seconds), Some(fraction)) = (rest.word(0, little), rest.word(4, little)) else { return Ok(None) };
    let (Some(captured), Some(original)) = (rest.length(8, little)?, rest.word(12, little)) else { return Ok(None) };
    let Some(frame) = rest.bytes.get(RECORD_HEADER..RECORD_HEADER + captured) else { return Ok(None) };
    let fraction = u64::from(fraction) * if nanos { 1 } else { 1000 };
    let frame = FileFrame {
        nanos: Some(u64::from(seconds) * A_SECOND + fraction),
        frame: frame.to_vec(),
        cut: is_cut(captured, original),
    };
    Ok(Some((RECORD_HEADER + captured, Some(frame))))
}

fn block(rest: &Bytes<'_>, little: &mut bool, interfaces: &mut Vec<Clock>) -> Result<Step, FileError> {
    let Some(kind) = rest.word(0, *little) else { return Ok(None) };
    if kind == SECTION {
        // What follows is in the byte order of this word.
        let Some(order) = rest.word(8, true) else { return Ok(None) };
        *little = match order {
            0x1a2b_3c4d => true,
            0x4d3c_2b1a => false,
            _ => return Err(rest.damaged()),
        };
        interfaces.clear();
    }
    let little = *little;
    let Some(length) = rest.length(4, little)? else { return Ok(None) };
    if length < 12 || !length.is_multiple_of(4) {
        return Err(rest.damaged());
    }
    let Some(bytes) = rest.bytes.get(..length) else { return Ok(None) };
    // Without the length at its end.
    let block = Bytes { bytes: &bytes[..length - 4], at: rest.at };
    let frame = match kind {
        INTERFACE => {
            if interfaces.len() >= MOST_INTERFACES {
                return Err(rest.damaged());
            }
            interfaces.push(interface(&block, little)?);
            None
        }
        ENHANCED => Some(enhanced(&block, little, interfaces)?),
        SIMPLE => {
            let original = block.word(8, little).ok_or(rest.damaged())?;
            let room = &block.bytes[12..];
            let captured = usize::try_from(original).map_or(room.len(), |length| length.min(room.len()));
            Some(FileFrame { nanos: None, frame: room[..captured].to_vec(), cut: is_cut(captured, original) })
        }
        _ => None,
    };
    Ok(Some((length, frame)))
}

fn interface(block: &Bytes<'_>, little: bool) -> Result<Clock, FileError> {
    let link_type = u32::from(block.half(8, little).ok_or(block.damaged())?);
    if link_type != ETHERNET {
        return Err(FileError::LinkType(link_type));
    }
    let mut clock = Clock { units: 1_000_000, offset: 0 };
    let mut at = 16;
    while let (Some(option), Some(length)) = (block.half(at, little), block.half(at + 2, little)) {
        let length = usize::from(length);
        let value = block.bytes.get(at + 4..at + 4 + length).ok_or(block.damaged())?;
        match (option, value) {
            (RESOLUTION, [resolution]) => {
                let (base, power): (u64, _) =
                    if resolution & 0x80 == 0 { (10, *resolution) } else { (2, resolution & 0x7f) };
                clock.units = base.checked_pow(power.into()).ok_or(block.damaged())?;
            }
            (OFFSET, _) if length == 8 => {
                let bytes = value.first_chunk::<8>().ok_or(block.damaged())?;
                clock.offset = if little { i64::from_le_bytes(*bytes) } else { i64::from_be_bytes(*bytes) };
            }
            (0, _) => break,
            _ => {}
        }
        at += 4 + length.next_multiple_of(4);
    }
    Ok(clock)
}

fn enhanced(block: &Bytes<'_>, little: bool, interfaces: &[Clock]) -> Result<FileFrame, FileError> {
    let word = |at| block.word(at, little).ok_or(block.damaged());
    let clock = usize::try_from(word(8)?).ok().and_then(|index| interfaces.get(index)).ok_or(block.damaged())?;
    let time = u64::from(word(12)?) << 32 | u64::from(word(16)?);
    let captured = block.length(20, little)?.ok_or(block.damaged())?;
    let frame = block.bytes.get(28..28 + captured).ok_or(block.damaged())?;
    Ok(FileFrame { nanos: Some(clock.nanos(time)), frame: frame.to_vec(), cut: is_cut(captured, word(24)?) })
}

fn is_cut(captured: usize, original: u32) -> bool {
    usize::try_from(original).is_ok_and(|original| original > captured)
}

impl Clock {
    fn nanos(self, time: u64) -> u64 {
        let nanos = u128::from(time) * u128::from(A_SECOND) / u128::from(self.units);
        let offset = i128::from(self.offset) * i128::from(A_SECOND);
        let sum = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(offset);
        u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(frames: &[(&[u8], u32, u32)]) -> Vec<u8> {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for (frame, seconds, micros) in frames {
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            file.extend([&seconds.to_le_bytes()[..], &micros.to_le_bytes(), &length, &length, frame].concat());
        }
        file
    }

    /// With an interface whose times are in 2^-10 seconds, ten seconds late.
    fn new(frame: &[u8], time: u64) -> Vec<u8> {
        let mut file = vec![0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0];
        file.extend([0xff; 8]);
        file.extend([0, 0, 0, 28]);
        file.extend([0, 0, 0, 1, 0, 0, 0, 44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0x8a, 0, 0, 0]);
        file.extend([0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 44]);
        let length = u32::try_from(frame.len()).unwrap();
        let total = (32 + length.next_multiple_of(4)).to_be_bytes();
        let original = (length + 1).to_be_bytes();
        file.extend([&[0, 0, 0, 6][..], &total, &[0; 4], &time.to_be_bytes()].concat());
        file.extend([&length.to_be_bytes()[..], &original, frame].concat());
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(total);
        file
    }

    fn all(file: &[u8], piece: usize) -> Result<Vec<FileFrame>, FileError> {
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        for piece in file.chunks(piece) {
            reader.push(piece);
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        reader.finish()?;
        Ok(frames)
    }

    /// Both formats are read in whatever pieces they come, with their times.
    #[test]
    fn files() {
        let two = old(&[(b"one", 7, 500), (b"three", 8, 0)]);
        for piece in [1, 5, 4096] {
            let frames = all(&two, piece).unwrap();
            assert_eq!(frames[0], FileFrame { nanos: Some(7_000_500_000), frame: b"one".to_vec(), cut: false });
            assert_eq!((frames.len(), &frames[1].frame[..]), (2, &b"three"[..]));
            let frames = all(&new(b"hello", 1536), piece).unwrap();
            assert_eq!(frames, [FileFrame { nanos: Some(11_500_000_000), frame: b"hello".to_vec(), cut: true }]);
        }
        assert_eq!(all(&old(&[]), 7), Ok(Vec::new()));
    }

    /// What is no file, damaged, of another kind or not whole is said, with its place, and never a panic.
    #[test]
    fn faults() {
        assert_eq!(all(b"GIF89a", 3), Err(FileError::NoPcap));
        assert_eq!((all(b"", 1), all(b"\xd4", 1)), (Err(FileError::NoPcap), Err(FileError::NoPcap)));
        let mut other = old(&[(b"one", 0, 0)]);
        other[20] = 113;
        assert_eq!(all(&other, 9), Err(FileError::LinkType(113)));
        let mut long = old(&[(b"one", 0, 0)]);
        long[35] = 0xff;
        assert_eq!(all(&long, 9), Err(FileError::Damaged(24)));
        for file in [old(&[(b"one", 1, 2), (b"three", 3, 4)]), new(b"hello", 9)] {
            for length in 1..file.len() {
                let read = all(&file[..length], 11);
                assert!(
                    read.is_err()
                        || file[0] == 0xd4 && [24, 43].contains(&length)
                        || file[0] == 0x0a && [28, 72].contains(&length),
                    "{length}: {read:?}"
                );
            }
            for (at, byte) in [(4, 0xff), (8, 1), (20, 0xff), (40, 7), (60, 0xff), (75, 0)] {
                let mut damaged = file.clone();
                if let Some(place) = damaged.get_mut(at) {
                    *place = byte;
                }
                let _ = all(&damaged, 13);
            }
        }
    }
}
