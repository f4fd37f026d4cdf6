//! The network namespace, and when it is gone.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::options::Target;

/// How often it is looked whether it is there.
const PERIOD: Duration = Duration::from_secs(1);

/// A file that is a namespace.
#[derive(Debug)]
pub(super) struct Netns {
    path: PathBuf,
    identity: (u64, u64),
    outlived: bool,
}

impl Netns {
    /// The namespace, and what it is reached by.
    pub(super) fn open(target: &Target, outlived: bool) -> anyhow::Result<(Netns, File)> {
        let path = match target {
            Target::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Target::Path(path) => path.clone(),
            Target::Command(_) => anyhow::bail!("a command's namespaces are not made yet"),
        };
        let file = File::open(&path);
        let file = file.with_context(|| format!("couldn't open network namespace {}", path.display()))?;
        let about = file.metadata()?;
        let own = fs::metadata("/proc/self/ns/net")?;
        if (own.dev(), own.ino()) == (about.dev(), about.ino()) {
            anyhow::bail!("{} is the host's own network namespace; name another one", path.display());
        }
        let outlived = outlived && matches!(target, Target::Path(_));
        Ok((Netns { path, identity: (about.dev(), about.ino()), outlived }, file))
    }

    /// Its number.
    pub(super) const fn inode(&self) -> u64 {
        self.identity.1
    }

    /// Ends when its file is gone, or is another one's: it was unmounted, or the process ended.
    pub(super) async fn gone(&self) {
        let is_there = || fs::metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == self.identity);
        while self.outlived || is_there() {
            tokio::time::sleep(PERIOD).await;
        }
    }
}
