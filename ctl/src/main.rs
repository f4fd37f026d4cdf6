//! `vswitchd`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use vswitch_ctl::args::{Args, Environment};
use vswitch_switch::sys::memory::RingsApart;

#[global_allocator]
static MEMORY: RingsApart = RingsApart::new();

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Both must run before anything starts a thread.
    match args.next() {
        Some(first) if first == "agent" => return vswitch_ctl::agent::main(args),
        Some(first) if first == "sandbox-init" => return vswitch_ctl::sandbox::init_main(args),
        _ => {}
    }
    let options = match Args::parse().resolve(&Environment::of_process()) {
        Ok(options) => options,
        Err(error) => return fail(&error, 2),
    };
    let log = vswitch_ctl::log::begin(options.log);
    let ended = vswitch_ctl::daemon::run(&options, &log);
    log.flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "vswitchd: {error}");
    ExitCode::from(code)
}
