//! The host's resolv.conf, copied into the state directory whenever it changes: vswitchd, which needs it, could only be let
//! read it with everything else that is in its folder. Read first: inotify(7).

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
};

use crate::private;

/// Name of the copy.
pub(crate) const NAME: &str = "resolv.conf";

/// The host's file.
const ORIGINAL: &str = "/etc/resolv.conf";

/// Longest text that is copied; resolvers read less.
const LONGEST: u64 = 64 << 10;

/// Between two looks at a file that changes all the time, or that cannot be watched.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(2));

/// A file and its copy.
#[derive(Debug)]
pub(crate) struct Mirror {
    original: PathBuf,
    copy: PathBuf,
    /// What the copy says, once it was made.
    last: Option<Option<String>>,
}

impl Mirror {
    /// Of the host's file, in the state directory, as it is now.
    pub(crate) fn make(state_dir: &Path) -> Mirror {
        let mut mirror = Mirror { original: ORIGINAL.into(), copy: state_dir.join(NAME), last: None };
        mirror.update();
        mirror
    }

    /// Keeps the copy as the original is, on a thread that ends with the process.
    pub(crate) fn follow(self) -> io::Result<()> {
        thread::Builder::new().name("resolv.conf".to_owned()).spawn(move || self.keep()).map(drop)
    }

    fn keep(mut self) {
        loop {
            let watch = self.watch();
            // Whatever happened before the watch began is seen now, and the rest by the watch.
            self.update();
            let changed = watch.and_then(|watch| Ok(poll(&mut [PollFd::new(&watch, PollFlags::IN)], None)?));
            thread::sleep(if changed.is_ok() { PAUSES.0 } else { PAUSES.1 });
        }
    }

    /// Becomes readable when the file, the link that it may be, or what either's folder holds changes.
    fn watch(&self) -> io::Result<OwnedFd> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE;
        let target = self.original.canonicalize().ok();
        let folders = [Some(self.original.as_path()), target.as_deref()].map(|file| file.and_then(Path::parent));
        for place in folders.into_iter().chain([target.as_deref()]).flatten() {
            inotify::add_watch(&watch, place, changes)?;
        }
        Ok(watch)
    }

    fn update(&mut self) {
        let text = read(&self.original).ok();
        if self.last.as_ref() == Some(&text) {
            return;
        }
        match write(&self.copy, text.as_deref()) {
            Ok(()) => self.last = Some(text),
            Err(error) => tracing::warn!("cannot copy {} for vswitchd: {error}", self.original.display()),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Puts a new file in the place of the copy; without text there is none.
fn write(copy: &Path, text: Option<&str>) -> io::Result<()> {
    let Some(text) = text else { return private::remove(copy) };
    let fresh = copy.with_extension("conf.new");
    private::create(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(&fresh, copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes in place, replacements, links that are turned elsewhere, the end and a new beginning of the file are all seen.
    #[test]
    fn follows_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (original, copy) = (dir.path().join("etc/resolv.conf"), dir.path().join("copy"));
        for folder in ["etc", "run"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Mirror { original: original.clone(), copy: copy.clone(), last: None }.follow().unwrap();
        let says = |wanted: Option<&str>| {
            for _ in 0..5000 {
                if fs::read_to_string(&copy).ok().as_deref() == wanted {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
            panic!("{:?} instead of {wanted:?}", fs::read_to_string(&copy));
        };
        says(None);
        fs::write(&original, "one").unwrap();
        says(Some("one"));
        fs::write(&original, "two").unwrap();
        says(Some("two"));
        let target = dir.path().join("run/resolv.conf");
        fs::write(&target, "three").unwrap();
        std::os::unix::fs::symlink("../run/resolv.conf", dir.path().join("etc/new")).unwrap();
        fs::rename(dir.path().join("etc/new"), &original).unwrap();
        says(Some("three"));
        fs::write(&target, "four").unwrap();
        says(Some("four"));
        fs::write(dir.path().join("run/new"), "five").unwrap();
        fs::rename(dir.path().join("run/new"), &target).unwrap();
        says(Some("five"));
        fs::remove_file(&original).unwrap();
        says(None);
    }
}
