//! Frames of pcap and pcapng files, as tcpdump and Wireshark write them. Read first: draft-ietf-opsawg-pcap and -pcapng.

use std::fmt;

/// Why there is no such frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PcapError {
    /// It begins like neither.
    NoPcap,
    /// It ends within something.
    Damaged(usize),
    /// Its frames are of another kind.
    LinkType(u32),
    /// There are too few.
    TooFew(usize),
    /// Only its beginning was written.
    Cut,
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PcapError::NoPcap => write!(f, "this is no pcap or pcapng file"),
            PcapError::Damaged(at) => write!(f, "the file is damaged at byte {at}"),
            PcapError::LinkType(kind) => write!(f, "the file's frames are not of Ethernet (link type {kind})"),
            PcapError::TooFew(count) => write!(f, "the file has {count} frames; there is no such one"),
            PcapError::Cut => write!(f, "only the first bytes of this frame are in the file"),
        }
    }
}

const ETHERNET: u32 = 1;
/// Blocks of pcapng.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;

/// The frame with this number, counted from one.
pub(crate) fn frame(file: &[u8], number: usize) -> Result<&[u8], PcapError> {
    let mut frames = 0;
    let mut found = None;
    each(file, |captured, original| {
        frames += 1;
        if frames == number {
            found = Some(if captured.len() == original { Ok(captured) } else { Err(PcapError::Cut) });
        }
    })?;
    found.unwrap_or(Err(PcapError::TooFew(frames)))
}

fn each<'f>(file: &'f [u8], take: impl FnMut(&'f [u8], usize)) -> Result<(), PcapError> {
    match file.first_chunk::<4>().ok_or(PcapError::NoPcap)? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => pcap(&Reader { file, little: true }, take),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => pcap(&Reader { file, little: false }, take),
        [0x0a, 0x0d, 0x0d, 0x0a] => pcapng(file, take),
        _ => Err(PcapError::NoPcap),
    }
}

struct Reader<'f> {
    file: &'f [u8],
    little: bool,
}

impl<'f> Reader<'f> {
    fn word(&self, at: usize) -> Result<u32, PcapError> {
        let bytes = self.file.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(PcapError::Damaged(at))?;
        Ok(if self.little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    }

    fn length(&self, at: usize) -> Result<usize, PcapError> {
        usize::try_from(self.word(at)?).map_err(|_| PcapError::Damaged(at))
    }

    fn bytes(&self, at: usize, length: usize) -> Result<&'f [u8], PcapError> {
        at.checked_add(length).and_then(|end| self.file.get(at..end)).ok_or(PcapError::Damaged(at))
    }
}

fn pcap<'f>(reader: &Reader<'f>, mut take: impl FnMut(&'f [u8], usize)) -> Result<(), PcapError> {
    let link_type = reader.word(20)? & 0x0fff_ffff;
    if link_type != ETHERNET {
        return Err(PcapError::LinkType(link_type));
    }
    let mut at = 24;
    while at < reader.file.len() {
        let captured = reader.length(at + 8)?;
        take(reader.bytes(at + 16, captured)?, reader.length(at + 12)?);
        at += 16 + captured;
    }
    Ok(())
}

fn pcapng<'f>(file: &'f [u8], mut take: impl FnMut(&'f [u8], usize)) -> Result<(), PcapError> {
    let mut reader = Reader { file, little: true };
    let mut at = 0;
    while at < file.len() {
        if reader.word(at)? == SECTION {
            reader.little = reader.bytes(at + 8, 4)? == [0x4d, 0x3c, 0x2b, 0x1a];
        }
        let (kind, length) = (reader.word(at)?, reader.length(at + 4)?);
        if length < 12 || !length.is_multiple_of(4) {
            return Err(PcapError::Damaged(at));
        }
        reader.bytes(at, length)?;
        match kind {
            INTERFACE => {
                let link_type = reader.word(at + 8)? & if reader.little { 0xffff } else { 0xffff_0000 };
                let link_type = if reader.little { link_type } else { link_type >> 16 };
                if link_type != ETHERNET {
                    return Err(PcapError::LinkType(link_type));
                }
            }
            ENHANCED => take(reader.bytes(at + 28, reader.length(at + 20)?)?, reader.length(at + 24)?),
            SIMPLE => {
                let original = reader.length(at + 8)?;
                take(reader.bytes(at + 12, original.min(length - 16))?, original);
            }
            _ => {}
        }
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(frames: &[&[u8]]) -> Vec<u8> {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            file.extend([&[0; 8][..], &length, &length, frame].concat());
        }
        file
    }

    fn new(frame: &[u8]) -> Vec<u8> {
        let mut file = vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
        file.extend([0xff; 8]);
        file.extend([28, 0, 0, 0]);
        file.extend([1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0]);
        let length = u32::try_from(frame.len()).unwrap();
        let total = (32 + length.next_multiple_of(4)).to_le_bytes();
        file.extend(
            [&[6, 0, 0, 0][..], &total, &[0; 12], &length.to_le_bytes(), &length.to_le_bytes(), frame].concat(),
        );
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(total);
        file
    }

    /// Both formats are read, and what is none of them, damaged, or not there is said.
    #[test]
    fn files() {
        assert_eq!(frame(&old(&[b"one", b"three"]), 2), Ok(&b"three"[..]));
        assert_eq!(frame(&old(&[b"one"]), 2), Err(PcapError::TooFew(1)));
        assert_eq!(frame(&new(b"hello"), 1), Ok(&b"hello"[..]));
        assert_eq!(frame(b"GIF89a", 1), Err(PcapError::NoPcap));
        assert_eq!(frame(b"", 1), Err(PcapError::NoPcap));
        let mut other = old(&[b"one"]);
        other[20] = 113;
        assert_eq!(frame(&other, 1), Err(PcapError::LinkType(113)));
        for file in [old(&[b"one", b"three"]), new(b"hello")] {
            for length in 4..file.len() {
                // Never a panic, and never a frame that is not whole.
                assert!(frame(&file[..length], 2).is_err());
            }
        }
    }
}
