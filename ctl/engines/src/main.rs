//! The program that container engines call for their networks, by the name that it is called by: `netavark`,
//! `rootlessport`, `slirp4netns`, `pasta`, `vswitch` as a CNI plug-in, and `vswitch-docker`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    vswitch_engines::run(&name)
}
