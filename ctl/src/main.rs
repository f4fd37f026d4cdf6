//! `vswitchd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Both must run before anything starts a thread.
    match args.next() {
        Some(first) if first == "agent" => vswitch_ctl::agent::main(args),
        Some(first) if first == "sandbox-init" => vswitch_ctl::sandbox::init_main(args),
        _ => ExitCode::FAILURE,
    }
}
