//! How much of the disk volumes and containers take. Folders are entered by descriptors and links never followed, so that nobody
//! who changes them meanwhile leads the agent elsewhere.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

/// Bytes of all files in this folder and below it, each once however many names it has. What cannot be read is not counted.
pub(super) fn below(folder: &Path) -> u64 {
    let mut count = Count { bytes: 0, several: BTreeSet::new(), left: MOST };
    if let Ok(folder) = openat(CWD, folder, FLAGS, Mode::empty()) {
        count.add(&folder, DEEPEST);
    }
    count.bytes
}

struct Count {
    bytes: u64,
    /// Device and inode of those with more than one name.
    several: BTreeSet<(u64, u64)>,
    /// Entries that may yet be looked at.
    left: u64,
}

impl Count {
    fn add(&mut self, folder: &OwnedFd, deeper: u32) {
        let Ok(entries) = Dir::read_from(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            let Ok(about) = statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = FileType::from_raw_mode(about.st_mode);
            if kind != FileType::Directory {
                let first = about.st_nlink < 2 || self.several.insert((about.st_dev, about.st_ino));
                self.bytes += if first { u64::try_from(about.st_size).unwrap_or_default() } else { 0 };
            } else if let (Some(deeper), Ok(next)) =
                (deeper.checked_sub(1), openat(folder.as_fd(), name, FLAGS, Mode::empty()))
            {
                self.add(&next, deeper);
            }
        }
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Each folder on the way is a descriptor.
const DEEPEST: u32 = 64;

/// Some seconds' worth: whoever asks waits.
const MOST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Files count once, whatever their names and wherever they are; what a link leads to does not.
    #[test]
    fn counts() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("big"), vec![0; 5000]).unwrap();
        fs::write(inside.join("one"), vec![0; 100]).unwrap();
        fs::write(inside.join("a/b/two"), vec![0; 20]).unwrap();
        fs::hard_link(inside.join("one"), inside.join("a/again")).unwrap();
        assert_eq!(below(&inside), 120);
        std::os::unix::fs::symlink(&outside, inside.join("l")).unwrap();
        assert_eq!(below(&inside), 120 + u64::try_from(outside.as_os_str().len()).unwrap());
        assert_eq!(below(&inside.join("l")), 0);
        assert_eq!(below(&dir.path().join("nowhere")), 0);
    }
}
