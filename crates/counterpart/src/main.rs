//! The `counterpart` binary: it parses its arguments, hands over to one command, and turns the outcome into an exit
//! code. It decides nothing else.

mod addressed;
mod args;
mod cli;
mod clock;
mod config;
mod demo;
mod exit;
mod forward;
mod serve;
mod tell;
mod tls;
mod wiring;

use std::process::ExitCode;

use args::{Cli, Command};
use cli::screen::Screen;
use exit::Failure;

fn main() -> ExitCode {
    let Cli { command } = match args::parse() {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    let mut screen = Screen::of_process(command.wants_json());
    match run(command, &mut screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.failure(&failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        Command::Serve(flags) => serve::run(config::load(&flags)?.settings()?),
        Command::Demo(demo) => demo::run(&demo, screen),
        Command::Config(config) => cli::config::run(&config, screen),
        Command::Db(db) => cli::db::run(db, screen),
        Command::Backup(backup) => cli::backup::run(&backup, screen),
        Command::Restore(restore) => cli::restore::run(&restore, screen),
        Command::Status(status) => cli::status::run(&status, screen),
        Command::Alarms(alarms) => cli::alarms::run(alarms, screen),
        Command::Mirror(mirror) => cli::mirror::run(mirror, screen),
        Command::Failover(failover) => cli::failover::run(&failover, screen),
        Command::Promote(promote) => cli::promote::run(&promote, screen),
        Command::Suspend(which) => cli::suspend::run(&which, screen),
        Command::Token(command) => cli::token::run(command, screen),
        Command::User(command) => cli::user::run(command, screen),
        Command::Audit(args) => cli::audit::run(&args, screen),
        Command::Login(args) => cli::login::login(&args, screen),
        Command::Logout(args) => cli::login::logout(&args, screen),
        Command::Resume(which) => cli::resume::run(&which, screen),
        Command::Verify(verify) => cli::verify::run(&verify, screen),
        Command::Orphans(orphans) => cli::orphans::run(orphans, screen),
        Command::Completions(completions) => cli::completions::run(&completions, screen),
        Command::Version(version) => cli::version::run(&version, screen),
    }
}
