//! What a new agent needs to find the containers of one that was killed.
//!
//! A killed agent takes its interfaces along (or rather its descriptors of their namespace), but not its containers. The
//! next agent enters their user namespace, knows their network namespaces as sandboxes again, and waits for attachments.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::pidfd;

/// A process that may have survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Survivor {
    /// Its id.
    pub(crate) id: String,
    /// Its number on the host.
    pub(crate) pid: u32,
    /// When it started.
    pub(crate) started: u64,
    /// It is the first process of a container.
    pub(crate) init: bool,
    /// The sandbox of that container.
    pub(crate) sandbox: Option<String>,
}

/// The file with the survivors.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
}

impl Record {
    /// That of a state directory.
    pub(crate) fn of(state_dir: &Path) -> Record {
        Record { path: state_dir.join("agent.json") }
    }

    /// Those that live still.
    pub(crate) fn survivors(&self) -> Vec<Survivor> {
        let recorded = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut recorded: Vec<Survivor> = recorded.unwrap_or_default();
        recorded.retain(|survivor| pidfd::started(survivor.pid).is_ok_and(|started| started == survivor.started));
        recorded
    }

    /// Replaces the file; without processes there is none.
    pub(crate) fn write(&self, survivors: &[Survivor]) -> io::Result<()> {
        if survivors.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let new = self.path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec(survivors)?)?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the very process that was recorded counts as a survivor, and a damaged file names none.
    #[test]
    fn knows_the_living() {
        let directory = tempfile::tempdir().unwrap();
        let record = Record::of(directory.path());
        assert!(record.survivors().is_empty());
        let pid = std::process::id();
        let own = Survivor {
            id: "c1".to_owned(),
            pid,
            started: pidfd::started(pid).unwrap(),
            init: true,
            sandbox: Some("s1".to_owned()),
        };
        let reused = Survivor { started: own.started + 1, ..own.clone() };
        record.write(&[own.clone(), reused]).unwrap();
        assert_eq!(record.survivors(), [own]);
        fs::write(directory.path().join("agent.json"), "{").unwrap();
        assert!(record.survivors().is_empty());
        record.write(&[]).unwrap();
        record.write(&[]).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }
}
