//! Where the demo's vswitchd comes from.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::output;

const NAME: &str = "vswitchd";

/// Find vswitchd: beside this program, else in `$PATH`. Under `cargo run`, which builds this program alone, have cargo
/// bring it up to date first.
pub(crate) fn vswitchd() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("this program's own path is not known (is /proc mounted?)")?;
    let directory = own.parent().context("this program is in no directory")?;
    if let (Some(cargo), Some(profile)) = (env::var_os("CARGO"), profile(directory)) {
        build(&cargo, &profile)?;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let places = [directory.to_path_buf()].into_iter().chain(env::split_paths(&path));
    places.map(|place| place.join(NAME)).find(|candidate| candidate.is_file()).with_context(|| {
        format!("{NAME} is neither in {} nor in $PATH; build it with 'cargo build --release'", directory.display())
    })
}

/// The cargo profile whose output directory this is, if it is one.
fn profile(directory: &Path) -> Option<String> {
    let cargos = directory.join(".fingerprint").is_dir() && directory.join("deps").is_dir();
    let name = directory.file_name()?.to_str().filter(|_| cargos)?;
    Some(if name == "debug" { "dev" } else { name }.to_owned())
}

fn build(cargo: &OsString, profile: &str) -> anyhow::Result<()> {
    // `cargo run` leaves its own crate's directory here; the workspace of it has both programs.
    let Some(manifest) = env::var_os("CARGO_MANIFEST_DIR").map(|directory| Path::new(&directory).join("Cargo.toml"))
    else {
        return Ok(());
    };
    output::note(&format!("building {NAME} ({profile}), which 'cargo run' has not done:"));
    let status = Command::new(cargo)
        .args(["build", "--workspace", "--bin", NAME, "--profile", profile, "--manifest-path"])
        .arg(manifest)
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("{NAME} was not built ({status}); see cargo's words above");
    }
    Ok(())
}
