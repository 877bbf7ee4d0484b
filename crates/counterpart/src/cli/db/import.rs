//! `counterpart db import`: a SQLite file becomes a database of the server.

use std::{
    fs::File,
    io::{Read, Seek},
    path::{Path, PathBuf},
};

use clap::Args;
use counterpart_core::DatabaseName;

use super::super::{
    Connection, human,
    screen::Screen,
    transfer::{Watched, length_of},
    view,
};
use crate::exit::{Exit, Failure};

/// What it takes.
#[derive(Args)]
pub struct ImportArgs {
    /// The SQLite file. No other program may be writing to it
    pub file: PathBuf,
    /// Name of the database; without it, the file's name without its extension
    #[arg(long)]
    pub name: Option<DatabaseName>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Sends the file; returns once the database can be used.
pub fn run(args: &ImportArgs, screen: &mut Screen) -> Result<(), Failure> {
    let name = super::name_for(args.name.as_ref(), &args.file)?;
    let failed = |error: std::io::Error| Failure::local_file("read", &args.file, &error);
    let length = length_of(&args.file)?;
    let mut file = File::open(&args.file).map_err(failed)?;
    check_header(&mut file, &args.file)?;
    // SQLite keeps them beside the file itself, not beside a link to it.
    check_companions(&args.file.canonicalize().map_err(failed)?)?;
    let mut content = Watched::new(file, length, screen);
    let path = format!("{}/content", super::path_of(&name));
    let made = args.connection.client()?.put(&path, length, &mut content)?;
    let size = human::bytes(view::number(&made, "/size_bytes").unwrap_or(length));
    drop(content);
    screen.line(format!("database {name} is there ({size})"))?;
    screen.value(&made)
}

/// Spares the way to the server for what it would refuse anyway. An empty file is SQLite's empty database.
fn check_header(file: &mut File, path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::local_file("read", path, &error);
    let mut start = Vec::new();
    file.take(16).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if start.is_empty() || start == b"SQLite format 3\0" {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "IMPORT_INVALID",
        format!("{} is not a SQLite file", path.display()),
        "give a plain SQLite database file; encrypted files and SQL dumps are not",
    ))
}

/// A write-ahead log or a rollback journal beside the file holds transactions, or the way back from half of one,
/// that the file alone lacks: importing it alone would lose them silently.
fn check_companions(path: &Path) -> Result<(), Failure> {
    for suffix in ["-wal", "-journal"] {
        let mut companion = path.as_os_str().to_owned();
        companion.push(suffix);
        let companion = PathBuf::from(companion);
        if holds_something(&companion) {
            return Err(Failure::new(
                Exit::Refused,
                "IMPORT_FILE_IN_USE",
                format!("{} holds transactions that {} lacks", companion.display(), path.display()),
                "close the application that uses the file; if it crashed, open and close the file once with \
                 the sqlite3 shell",
            ));
        }
    }
    Ok(())
}

/// A journal that SQLite has done with may stay, with zeros for its beginning (`journal_mode=PERSIST`).
fn holds_something(companion: &Path) -> bool {
    let Ok(file) = File::open(companion) else {
        // Not there; or not readable, and then its length decides.
        return companion.metadata().is_ok_and(|metadata| metadata.len() > 0);
    };
    let mut first = [0];
    match file.take(1).read(&mut first) {
        Ok(read) => read > 0 && first != [0],
        Err(_unreadable) => true,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Call {
        #[command(flatten)]
        args: ImportArgs,
    }

    #[test]
    fn a_file_with_unmerged_transactions_beside_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        std::fs::write(&path, b"SQLite format 3\0rest").unwrap();
        std::fs::write(dir.path().join("a.db-wal"), b"").unwrap();
        assert_eq!(check_companions(&path), Ok(()));
        std::fs::write(dir.path().join("a.db-wal"), b"frames").unwrap();
        assert_eq!(check_companions(&path).unwrap_err().code, "IMPORT_FILE_IN_USE");
    }

    #[test]
    fn a_journal_that_sqlite_has_done_with_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        std::fs::write(&path, b"SQLite format 3\0rest").unwrap();
        std::fs::write(dir.path().join("a.db-journal"), [0; 512]).unwrap();
        assert_eq!(check_companions(&path), Ok(()));
        std::fs::write(dir.path().join("a.db-journal"), b"\xd9\xd5\x05\xf9").unwrap();
        assert_eq!(check_companions(&path).unwrap_err().code, "IMPORT_FILE_IN_USE");
    }

    #[test]
    fn unmerged_transactions_are_seen_through_a_link_too() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a.db"), dir.path().join("link.db"));
        std::fs::write(&path, b"SQLite format 3\0rest").unwrap();
        std::fs::write(dir.path().join("a.db-wal"), b"frames").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let line = ["import", link.to_str().unwrap(), "--server", "http://127.0.0.1:1"];
        let args = Call::parse_from(line).args;
        let failure = run(&args, &mut Screen::nowhere()).unwrap_err();
        assert_eq!(failure.code, "IMPORT_FILE_IN_USE", "{failure}");
    }

    #[test]
    fn what_is_no_sqlite_file_is_refused_before_it_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let cases: [(&[u8], bool); 4] = [
            (b"", true),
            (b"SQLite format 3\0rest", true),
            (b"PK\x03\x04", false),
            (b"SQLite format 3", false),
        ];
        for (content, good) in cases {
            std::fs::write(&path, content).unwrap();
            let mut file = File::open(&path).unwrap();
            assert_eq!(check_header(&mut file, &path).is_ok(), good, "{content:?}");
            assert_eq!(file.stream_position().unwrap(), 0);
        }
    }
}
