//! `vswitch-instructions`: counts the instructions of one operation of each engine and compares them with the baseline.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use vswitch_bench::cases::all;
use vswitch_bench::instructions::{compare, update};

/// Counts instructions under valgrind; fails when an operation takes more than its baseline allows.
#[derive(Parser)]
struct Args {
    /// The baseline
    #[arg(long, default_value = "bench/instructions.toml")]
    baseline: PathBuf,
    /// Write the baseline instead of comparing with it
    #[arg(long)]
    update: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Do one case's operation COUNT times (what runs under valgrind)
    Run { name: String, count: u32 },
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let program = std::env::current_exe()?;
    match args.command {
        Some(Command::Run { name, count }) => {
            let case = all().into_iter().find(|case| case.name == name).with_context(|| format!("no case {name}"))?;
            let mut step = (case.prepare)();
            (0..count).for_each(|_| step());
            Ok(())
        }
        None if args.update => update(&program, &args.baseline),
        None => compare(&program, &args.baseline),
    }
}
