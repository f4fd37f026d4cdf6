//! `completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl completions bash > ~/.local/share/bash-completion/completions/vswitchctl
  vswitchctl completions zsh > ~/.zfunc/_vswitchctl
  vswitchctl completions fish > ~/.config/fish/completions/vswitchctl.fish";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "vswitchctl", &mut script);
        Ok(output::bytes(&script)?)
    }
}
