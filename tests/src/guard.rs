//! A test runs itself once more inside namespaces of its own.

use std::{
    env,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// Where a guarded test finds the built programs.
pub const BIN: &str = "/mnt/programs";

/// Set inside, to the name of the test.
const INSIDE: &str = "VSWITCH_TEST_GUARDED";

/// Set by whoever has built the programs already.
const BUILT: &str = "VSWITCH_TEST_BUILT";

/// Longest that one test may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs `body` in new network, mount and pid namespaces that end with it. Called by an ordinary user, it also enters a
/// user namespace in which that user is itself, and then gives up all capabilities.
///
/// The test function must do nothing else, since its own copy inside does the work: it is found by the closure's path.
///
/// # Panics
/// When the test inside fails, with everything that it printed.
pub fn guard<F: FnOnce()>(body: F) {
    guard_for(LIMIT, body);
}

/// As [`guard`], for one of the few tests that take longer.
///
/// # Panics
/// As there.
pub fn guard_for<F: FnOnce()>(limit: Duration, body: F) {
    let name = test_name::<F>();
    if env::var(INSIDE).is_ok_and(|inside| inside == name) {
        body();
        return;
    }
    build_programs();
    let log = tempfile::tempfile().unwrap();
    let mut command = command(&name);
    command.env(INSIDE, &name).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    // What cargo tells a test is not for the programs that it starts.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO")) {
        command.env_remove(name);
    }
    let mut child = command.spawn().expect("setpriv and unshare come with every Debian; install util-linux");
    let deadline = Instant::now() + limit;
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    let said = text(&log);
    match ended {
        None => panic!("{name} took longer than {} s\n{said}", limit.as_secs()),
        Some(status) if !status.success() => panic!("{name} failed\n{said}"),
        // A name that matches nothing would pass without having run.
        Some(_) => assert!(said.contains("1 passed"), "{name} did not run\n{said}"),
    }
}

/// Whether this is the copy of a test inside its guard.
#[must_use]
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Whether this test runs as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn command(name: &str) -> Command {
    let program = env::current_exe().unwrap();
    let folder = programs();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare"]);
    if !is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "/bin/sh", "-c"]);
    command.args([include_str!("guard.sh"), "guard"]).arg(&folder);
    command.arg(program.strip_prefix(&folder).unwrap()).arg(name);
    command
}

/// `suite::module::function` of the closure's own path `crate::module::function::{{closure}}`.
fn test_name<F>() -> String {
    let path = std::any::type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_, rest)| rest);
    path.trim_end_matches("::{{closure}}").to_owned()
}

/// The folder that holds `vswitchd` and, in `deps`, the test programs.
fn programs() -> PathBuf {
    let program = env::current_exe().unwrap();
    program.ancestors().nth(2).map(Path::to_owned).unwrap()
}

/// Builds the workspace's programs, which cargo does not do for another package's tests.
///
/// # Panics
/// When they do not build.
pub fn build_programs() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        if env::var_os(BUILT).is_some() {
            return;
        }
        let folder = programs();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--workspace", "--bins", "--target-dir"]).arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            command.arg("--release");
        }
        let status = command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status();
        assert!(status.is_ok_and(|status| status.success()), "the programs under test do not build");
    });
}

fn text(file: &File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    let length = file.read_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
