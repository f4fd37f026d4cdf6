//! `vswitchctl`: see the library.

fn main() -> std::process::ExitCode {
    vswitch_cli::main()
}
