//! Programs with a time limit, and what they said.

use std::{
    fs::File,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest that an ordinary command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit status, 128 + N for signal N.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The output of a program that ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "this should have worked:\n{self}");
        self.stdout
    }

    /// Expects the exit status `code`.
    ///
    /// # Panics
    /// When it was another one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert!(self.code == code, "expected exit status {code}:\n{self}");
        self
    }

    /// Expects exit status 1 and one sentence on standard error that contains `text`, whatever its case.
    ///
    /// # Panics
    /// When it was otherwise.
    #[track_caller]
    pub fn refused(self, text: &str) -> Output {
        assert!(self.code == 1, "expected a refusal (exit status 1) that says '{text}':\n{self}");
        self.says(text)
    }

    /// Expects `text` on standard error, whatever its case.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(
            self.stderr.to_lowercase().contains(&text.to_lowercase()),
            "expected '{text}' on standard error:\n{self}"
        );
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { command, code, stdout, stderr } = self;
        write!(f, "$ {command}\nexit status {code}\nstdout: {}\nstderr: {}", stdout.trim_end(), stderr.trim_end())
    }
}

/// Runs a program to its end, at most a minute.
///
/// # Panics
/// When it cannot be started or takes too long.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    spawn(command).wait(LIMIT)
}

/// Runs a shell script to its end, at most a minute.
///
/// # Panics
/// When it cannot be started or takes too long.
#[track_caller]
pub fn sh(script: &str) -> Output {
    run(Command::new("/bin/sh").args(["-c", script]))
}

/// Starts a program whose output is kept in files, so that its own children cannot hold anybody up.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn spawn(command: &mut Command) -> Background {
    let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start '{name}': {error}"));
    Background { command: name, child, stdout, stderr }
}

/// A program that runs beside the test. It is killed when dropped.
#[derive(Debug)]
pub struct Background {
    command: String,
    child: Child,
    stdout: File,
    stderr: File,
}

impl Background {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until now, output first, then errors.
    #[must_use]
    pub fn output(&self) -> String {
        text(&self.stdout) + &text(&self.stderr)
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Output {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.end(status);
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let status = self.child.wait().unwrap();
                panic!("this took longer than {} s:\n{}", limit.as_secs(), self.end(status));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Sends SIGTERM and waits.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn terminate(self) -> Output {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.wait(Duration::from_secs(20))
    }

    fn end(&mut self, status: ExitStatus) -> Output {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Output {
            command: std::mem::take(&mut self.command),
            code,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Everything in a file, without touching the position, which a running child shares.
fn text(file: &File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().map_or(0, |about| about.len())).unwrap_or_default()];
    let length = file.read_at(&mut bytes, 0).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
