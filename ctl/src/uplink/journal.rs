//! Flows on disk, so that connections outlive vswitchd.
//!
//! A text file: a header, then one JSON record a line. It is written whole beside the old one and put in its place, so
//! that a crash of vswitchd leaves either. Whatever is wrong with it when it is read is a warning, never an obstacle: the
//! connections in it are lost then, which is what a restart without it would do.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::table::{FlowRecord, Leg};

use crate::clock::Moment;
use crate::ids::Id;
use crate::private;

/// Name of the file in the state directory.
pub const FILE: &str = "flows.jsonl";

/// Version of the format.
const VERSION: u32 = 1;

/// Largest file that is read. A million flows take less.
const MAX_BYTES: u64 = 1 << 30;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    vswitch_flows: u32,
    saved: Moment,
    /// Which network each index was, for indices are given anew at each start.
    networks: BTreeMap<u32, Id>,
}

/// What a file held.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    /// Flows of networks that are still there, whose time is not up, with today's indices.
    pub records: Vec<FlowRecord>,
    /// Lines that made no sense.
    pub skipped: usize,
}

/// Why a file was not read at all.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what it should be.
    #[error("it is no journal of flows, or one of another version")]
    Foreign,
}

/// Writes the flows, in place of those that were there.
///
/// # Errors
/// When the file system refuses; the old file stays.
pub fn save(
    state_dir: &Path,
    now: Moment,
    networks: &BTreeMap<NetworkIndex, Id>,
    records: &[FlowRecord],
) -> io::Result<()> {
    let (path, fresh) = (state_dir.join(FILE), state_dir.join(format!("{FILE}.new")));
    let networks = networks.iter().map(|(index, id)| (number(*index), id.clone())).collect();
    let file = private::create(&fresh)?;
    let mut out = BufWriter::new(file);
    serde_json::to_writer(&mut out, &Header { vswitch_flows: VERSION, saved: now, networks })?;
    for record in records {
        out.write_all(b"\n")?;
        serde_json::to_writer(&mut out, record)?;
    }
    out.write_all(b"\n")?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    std::fs::rename(fresh, path)
}

/// Reads the flows of a former run; nothing when there is no file.
///
/// # Errors
/// When the file cannot be read, or its header makes no sense.
pub fn load(state_dir: &Path, now: Moment, networks: &BTreeMap<Id, NetworkIndex>) -> Result<Loaded, JournalError> {
    let path = state_dir.join(FILE);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
        Err(error) => return Err(error.into()),
        Ok(about) if !about.is_file() || about.len() > MAX_BYTES => return Err(JournalError::Foreign),
        Ok(_) => {}
    }
    parse(&String::from_utf8_lossy(&std::fs::read(&path)?), now, networks)
}

fn parse(text: &str, now: Moment, networks: &BTreeMap<Id, NetworkIndex>) -> Result<Loaded, JournalError> {
    let mut lines = text.lines();
    let header: Header = lines.next().and_then(|line| serde_json::from_str(line).ok()).ok_or(JournalError::Foreign)?;
    if header.vswitch_flows != VERSION {
        return Err(JournalError::Foreign);
    }
    let elapsed = u32::try_from(now.seconds_since(header.saved)).unwrap_or(u32::MAX);
    let today = |index: NetworkIndex| networks.get(header.networks.get(&number(index))?).copied();
    let leg = |leg: Leg| match leg {
        Leg::Uplink | Leg::Further(_) => Some(leg),
        Leg::Inside(index) => today(index).map(Leg::Inside),
        Leg::UplinkOf(index) => today(index).map(Leg::UplinkOf),
    };
    let mut loaded = Loaded::default();
    for line in lines {
        let Ok(mut record) = serde_json::from_str::<FlowRecord>(line) else {
            loaded.skipped += 1;
            continue;
        };
        let [Some(there), Some(back)] = record.egress.map(leg) else { continue };
        record.egress = [there, back];
        record.timeout.0 = record.timeout.0.saturating_sub(elapsed);
        if record.timeout.0 > 0 {
            loaded.records.push(record);
        }
    }
    Ok(loaded)
}

/// What tells whether it is worth writing again: which flows there are and how far they are, not how busy.
#[must_use]
pub fn fingerprint(records: &[FlowRecord]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    // The order of a listing means nothing, so the sum of the parts is taken.
    let of = |record: &FlowRecord| {
        let mut hasher = DefaultHasher::new();
        record.original.hash(&mut hasher);
        record.reply.hash(&mut hasher);
        (record.state.map(vswitch_switch::nat::table::tcp::TcpState::name), record.replied, record.assured)
            .hash(&mut hasher);
        hasher.finish()
    };
    records.iter().map(of).fold(u64::try_from(records.len()).unwrap_or(0), u64::wrapping_add)
}

fn number(index: NetworkIndex) -> u32 {
    u32::try_from(index.index()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: u32 = 3;

    fn record(timeout: u32) -> FlowRecord {
        let tuple = |source: &str, destination: &str, sport: u16, dport: u16| {
            serde_json::json!({"protocol": 17, "source": source, "destination": destination,
                               "source_port": sport, "destination_port": dport})
        };
        let json = serde_json::json!({
            "original": tuple("10.1.0.2", "198.51.100.9", 4000, 53), "reply": tuple("198.51.100.9", "203.0.113.1", 53, 4000),
            "kind": "masquerade", "timeout": timeout, "age": 1, "replied": true, "assured": false,
            "egress": ["uplink", {"inside": INSIDE}], "traffic": [{"packets": 1, "bytes": 60}, {"packets": 1, "bytes": 60}],
        });
        serde_json::from_value(json).unwrap()
    }

    fn index(number: u16) -> NetworkIndex {
        NetworkIndex::new(number)
    }

    /// What is saved is loaded: with today's indices, without the time that has passed, and without what is over.
    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let id = Id::random(&mut rand::rng());
        let saved = Moment::from_unix_seconds(1000);
        let old = BTreeMap::from([(index(3), id.clone())]);
        save(dir.path(), saved, &old, &[record(100), record(5)]).unwrap();
        let loaded = load(dir.path(), Moment::from_unix_seconds(1010), &BTreeMap::from([(id, index(7))])).unwrap();
        let mut expected = record(90);
        expected.egress[1] = Leg::Inside(index(7));
        assert_eq!(loaded, Loaded { records: vec![expected], skipped: 0 });
        let elsewhere = load(dir.path(), saved, &BTreeMap::new()).unwrap();
        assert_eq!((elsewhere.records.len(), elsewhere.skipped), (0, 0));
    }

    /// No file is no flows; a damaged line is skipped; a file of something else is refused; nothing panics.
    #[test]
    fn damage() {
        let dir = tempfile::tempdir().unwrap();
        let (now, none) = (Moment::from_unix_seconds(1000), BTreeMap::new());
        assert_eq!(load(dir.path(), now, &none).unwrap(), Loaded::default());
        for garbage in
            [&b""[..], b"\n", b"x", b"{}", b"\xff\xfe\x00", b"{\"vswitch_flows\":9,\"saved\":0,\"networks\":{}}"]
        {
            std::fs::write(dir.path().join(FILE), garbage).unwrap();
            assert!(load(dir.path(), now, &none).is_err());
        }
        let id = Id::random(&mut rand::rng());
        let networks = BTreeMap::from([(index(3), id.clone())]);
        save(dir.path(), now, &networks, &[record(100), record(200)]).unwrap();
        let mut bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        bytes.truncate(bytes.len() - 40);
        std::fs::write(dir.path().join(FILE), bytes).unwrap();
        let loaded = load(dir.path(), now, &BTreeMap::from([(id, index(3))])).unwrap();
        assert_eq!((loaded.records.len(), loaded.skipped), (1, 1));
    }

    /// Traffic alone changes no fingerprint, a new flow and a first answer do.
    #[test]
    fn fingerprints() {
        let base = fingerprint(&[record(100)]);
        let mut busy = record(50);
        busy.traffic[0].packets = 1000;
        assert_eq!(fingerprint(&[busy]), base);
        let mut unreplied = record(100);
        unreplied.replied = false;
        assert_ne!(fingerprint(&[unreplied.clone()]), base);
        assert_ne!(fingerprint(&[record(100), unreplied]), base);
    }
}
