//! `counterpart completions`: a script that lets a shell complete commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::screen::Screen;
use crate::{args::Cli, exit::Failure};

/// What it takes.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs, screen: &mut Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "counterpart", &mut script);
    screen.raw(&String::from_utf8_lossy(&script))
}
