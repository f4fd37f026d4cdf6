//! The lines of an output's file: when something was written, by which stream, and what.
//!
//! As Kubernetes' container runtimes write them: `TIME STREAM TAG TEXT`, where the tag is `F` for a text that a line feed
//! followed and `P` for one that had none yet. Lines of any other kind were written by earlier versions; they are text.

use serde::{Deserialize, Serialize};

use crate::clock::{Moment, parse_until};

/// By which way something came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or a terminal.
    Output,
    /// Standard error.
    Errors,
}

impl Stream {
    const fn word(self) -> &'static str {
        match self {
            Stream::Output => "stdout",
            Stream::Errors => "stderr",
        }
    }
}

/// Something that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, if that is known.
    pub moment: Option<Moment>,
    /// Where.
    pub stream: Stream,
    /// What; with a line feed at its end if there was one.
    pub text: Vec<u8>,
}

/// Bytes of a line without its text, and some.
const OVERHEAD: usize = 64;

/// The longest text of one line.
const LONGEST: usize = 16 << 10;

/// The lines for what was written now; none is longer than a file of `most` bytes.
pub(crate) fn encode(stream: Stream, now: Moment, written: &[u8], most: u64) -> Vec<u8> {
    let longest = usize::try_from(most).unwrap_or(LONGEST).saturating_sub(OVERHEAD).clamp(1, LONGEST);
    let mut lines = Vec::with_capacity(written.len() + OVERHEAD);
    for line in written.split_inclusive(|byte| *byte == b'\n') {
        for part in line.chunks(longest) {
            let (tag, text) = part.strip_suffix(b"\n").map_or(('P', part), |text| ('F', text));
            lines.extend_from_slice(format!("{now} {} {tag} ", stream.word()).as_bytes());
            lines.extend_from_slice(text);
            lines.push(b'\n');
        }
    }
    lines
}

/// Takes lines apart, whatever the pieces in which they come.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// The records that are whole now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Record> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        whole.split_inclusive(|byte| *byte == b'\n').map(decode).collect()
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> Option<Record> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| decode(&rest))
    }
}

fn decode(line: &[u8]) -> Record {
    parse(line).unwrap_or_else(|| Record { moment: None, stream: Stream::Output, text: line.to_vec() })
}

fn parse(line: &[u8]) -> Option<Record> {
    let text = line.strip_suffix(b"\n")?;
    let fields: Vec<&[u8]> = text.splitn(4, |byte| *byte == b' ').collect();
    let [moment, stream, tag, text] = fields[..] else { return None };
    let moment = std::str::from_utf8(moment).ok().filter(|time| time.len() == TIME_LENGTH && time.ends_with('Z'))?;
    let moment = parse_until(moment, Moment::from_unix_seconds(0))?;
    let stream = [Stream::Output, Stream::Errors].into_iter().find(|known| known.word().as_bytes() == stream)?;
    let mut text = text.to_vec();
    match tag {
        b"F" => text.push(b'\n'),
        b"P" => {}
        _ => return None,
    }
    Some(Record { moment: Some(moment), stream, text })
}

/// `2023-11-14T22:13:20.000000000Z`.
const TIME_LENGTH: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written comes back, whole, by its streams and in its pieces, wherever it is cut; old lines are text.
    #[test]
    fn round_trips() {
        let now = Moment::from_unix_seconds(1_700_000_000);
        let written: [(Stream, &[u8]); 4] = [
            (Stream::Output, b"one\ntwo"),
            (Stream::Errors, b"oh F no\n"),
            (Stream::Output, b" three \xff\0\r\n\n"),
            (Stream::Output, &[b'x'; 5000]),
        ];
        let mut lines = Vec::new();
        for (stream, bytes) in written {
            lines.extend(encode(stream, now, bytes, 1024));
        }
        assert!(lines.split(|byte| *byte == b'\n').all(|line| line.len() <= 1024));
        for cut in [1, 7, 1000, lines.len()] {
            let mut decoder = Decoder::default();
            let records: Vec<Record> = lines.chunks(cut).flat_map(|piece| decoder.take(piece)).collect();
            assert_eq!(decoder.finish(), None);
            for stream in [Stream::Output, Stream::Errors] {
                let all = |text: Vec<&[u8]>| text.concat();
                let told = all(records.iter().filter(|one| one.stream == stream).map(|one| &one.text[..]).collect());
                assert_eq!(told, all(written.iter().filter(|one| one.0 == stream).map(|one| one.1).collect()), "{cut}");
            }
            assert!(records.iter().all(|record| record.moment == Some(now)));
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.take(b"plain text F x\nand")[0].text, b"plain text F x\n");
        assert_eq!(decoder.finish().unwrap().text, b"and");
    }
}
