//! The command line: which commands there are. What each takes stands in its own file.

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    cli::{self, screen::Screen},
    config,
    exit::{self, Exit, Failure},
};

/// An exact, live copy of a server's databases on a second machine, ready to take over.
#[derive(Parser)]
#[command(name = "counterpart", version, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a server: host databases for clients, and mirror them
    Serve(config::Flags),
    /// Run a principal and a mirror on this machine, with a gentle workload, to see them work
    Demo(DemoArgs),
    /// Show the settings that `serve` would use, and where each comes from
    Config(cli::config::ConfigArgs),
    /// Make, list, drop, import, export and describe databases
    #[command(subcommand)]
    Db(cli::db::DbCommand),
    /// Write all databases of a server into one file, while it serves
    Backup(cli::backup::BackupArgs),
    /// Make a data directory from a backup. Asks no server
    Restore(cli::restore::RestoreArgs),
    /// Show a server's role, state, positions and partners
    Status(cli::status::StatusArgs),
    /// List and acknowledge alarms
    #[command(subcommand)]
    Alarms(cli::alarms::AlarmsCommand),
    /// Start or stop mirroring
    #[command(subcommand)]
    Mirror(cli::mirror::MirrorCommand),
    /// Swap roles with a synchronized mirror; nothing is lost. Asked of the principal
    Failover(cli::failover::FailoverArgs),
    /// Make a disconnected mirror the principal; may lose what never reached it. Asked of the mirror
    Promote(cli::promote::PromoteArgs),
    /// Suspend mirroring; the principal goes on. Asked of the principal
    Suspend(cli::WhichPartner),
    /// Resume suspended mirroring. Asked of the principal
    Resume(cli::WhichPartner),
    /// Compare both copies, and with --deep read every page back from both disks
    Verify(cli::verify::VerifyArgs),
    /// List, show, export and delete the events that only a deposed principal had
    #[command(subcommand)]
    Orphans(cli::orphans::OrphansCommand),
    /// Make, list and revoke tokens: who may do what
    #[command(subcommand)]
    Token(cli::token::TokenCommand),
    /// Make, list and drop users, who log in with a password
    #[command(subcommand)]
    User(cli::user::UserCommand),
    /// Show who did what to a server, or was not let in
    Audit(cli::audit::AuditArgs),
    /// Log in at a server with a token or a password, so that commands show who you are there
    Login(cli::login::LoginArgs),
    /// Forget the token that is kept for a server
    Logout(cli::login::LogoutArgs),
    /// Print a completion script for a shell
    Completions(cli::completions::CompletionsArgs),
    /// Print the version
    Version(cli::version::VersionArgs),
}

/// Parses the process's arguments. Help, the version and a wrong call end here, with the exit code to end with.
pub fn parse() -> Result<Cli, ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    Cli::try_parse_from(arguments).map_err(|error| {
        if json && error.use_stderr() {
            let failure = wrong_call(&error);
            Screen::of_process(true).failure(&failure);
            return failure.exit.into();
        }
        // With the terminal gone there is nobody to tell; the exit code still does.
        let _gone = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8))
    })
}

/// clap's message as a failure, for scripts that asked for JSON.
fn wrong_call(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let what = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = what.trim_start_matches("error: ").split_whitespace().collect();
    Failure::new(Exit::Usage, "WRONG_CALL", words.join(" "), "see the same command with --help")
}

/// What `demo` takes.
#[derive(Args)]
pub struct DemoArgs {
    /// End by itself after this many seconds; without it, Ctrl-C ends it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Be the process that cleans up after a demonstration in this directory
    #[arg(long, hide = true, value_name = "DIR")]
    pub guard: Option<std::path::PathBuf>,
}

impl Command {
    /// Whether failures are to be printed as JSON too.
    pub fn wants_json(&self) -> bool {
        match self {
            Command::Serve(_) | Command::Completions(_) => false,
            Command::Demo(demo) => demo.json,
            Command::Config(config) => config.json,
            Command::Db(db) => db.connection().json,
            Command::Backup(backup) => backup.connection.json,
            Command::Restore(restore) => restore.json,
            Command::Status(status) => status.connection.json,
            Command::Alarms(alarms) => alarms.connection().json,
            Command::Mirror(mirror) => mirror.wants_json(),
            Command::Failover(failover) => failover.connection.json,
            Command::Promote(promote) => promote.connection.json,
            Command::Suspend(which) | Command::Resume(which) => which.connection.json,
            Command::Verify(verify) => verify.connection.json,
            Command::Orphans(orphans) => orphans.connection().json,
            Command::Token(token) => token.connection().json,
            Command::User(user) => user.connection().json,
            Command::Audit(audit) => audit.connection.json,
            Command::Login(login) => login.connection.json,
            Command::Logout(logout) => logout.connection.json,
            Command::Version(version) => version.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        Cli::command().debug_assert();
    }
}
