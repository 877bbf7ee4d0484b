//! What `bench/run` measures with, one measurement to a call: it prints one line of JSON, and decides nothing about what
//! a figure is worth.

mod clock;
mod dice;
mod empty;
mod http;
mod inside;
mod latencies;
mod load;
mod socket;
mod sqlite;
mod visible;
mod work;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "What bench/run measures with")]
enum Command {
    /// Clients over HTTP
    Load(load::LoadArgs),
    /// One WebSocket with many requests under way
    Pipelined(socket::PipelinedArgs),
    /// WebSockets that do nothing, until the input ends
    Idle(socket::IdleArgs),
    /// From a confirmed commit to its being seen on the mirror
    Visible(visible::VisibleArgs),
    /// The server's HTTP stack with an empty handler
    Empty(empty::EmptyArgs),
    /// Plain SQLite in this process
    Sqlite(sqlite::SqliteArgs),
    /// Capture and journal in this process
    Capture(inside::InsideArgs),
    /// Applying a journal in this process
    Apply(inside::InsideArgs),
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The system.
    #[error("the system refused: {0}")]
    Io(#[from] std::io::Error),
    /// Plain SQLite.
    #[error("SQLite refused: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A part of the server.
    #[error("a part of the server refused: {0}")]
    Part(String),
    /// A WebSocket.
    #[error("the WebSocket failed: {0}")]
    Socket(String),
    /// A server.
    #[error("the server refused: {0}")]
    Refused(String),
    /// A thread of this program.
    #[error("a client {0}")]
    Client(String),
}

#[allow(clippy::print_stdout, reason = "what it prints is what it is run for")]
fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Load(args) => load::run(&args),
        Command::Pipelined(args) => socket::pipelined(&args),
        Command::Idle(args) => socket::idle(&args),
        Command::Visible(args) => visible::run(&args),
        Command::Empty(args) => empty::run(&args),
        Command::Sqlite(args) => sqlite::run(&args),
        Command::Capture(args) => inside::capture(&args),
        Command::Apply(args) => inside::apply(&args),
    };
    match outcome {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("counterpart-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
