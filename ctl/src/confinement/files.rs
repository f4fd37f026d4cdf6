//! Files, and signals to others, by landlock. Read first: landlock(7) and the kernel's `Documentation/userspace-api/landlock.rst`.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, Scope, make_bitflags,
};

use super::{ConfinementError, Places};

/// The newest ABI whose restrictions are asked for; an older kernel takes those that it knows.
const NEWEST: ABI = ABI::V9;

/// Read wherever vswitchd runs: the host's processes and routes; the control group's limits, by which the number of
/// workers is chosen; and the program itself, for the backtrace of a panic.
const EVERYWHERE: [&str; 4] = ["/proc", "/sys/fs/cgroup", "/proc/self/exe", "/dev/null"];

/// Restricts the calling thread to `places`. Answers the kernel's ABI; `None` is a kernel without landlock.
pub(super) fn restrict(places: &Places) -> Result<Option<u32>, ConfinementError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    for path in &places.own {
        ruleset = allow(ruleset, path, own())?;
    }
    for path in &places.sockets {
        ruleset = allow(ruleset, path, AccessFs::RemoveFile.into())?;
    }
    for path in EVERYWHERE.iter().map(Path::new).chain(places.read.iter().map(AsRef::as_ref)) {
        // What is not there is not read; whoever asks for it later does without, as before.
        if path.exists() {
            let files = if path.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
            ruleset = allow(ruleset, path, files)?;
        }
    }
    match ruleset.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Ok(Some(kernel_abi.unwrap_or(effective_abi as i32).unsigned_abs()))
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => {
            tracing::warn!("this kernel has no landlock: vswitchd's files are restricted by their modes alone");
            Ok(None)
        }
    }
}

/// What is done in folders of our own. Nothing there is executed, and nothing but files and folders made.
fn own() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
    })
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, ConfinementError> {
    let open = PathFd::new(path).map_err(|source| ConfinementError::Place { path: path.to_owned(), source })?;
    Ok(ruleset.add_rule(PathBeneath::new(open, access))?)
}
