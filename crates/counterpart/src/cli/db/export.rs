//! `counterpart db export`: a plain SQLite file from a consistent snapshot.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use counterpart_core::DatabaseName;
use serde_json::json;

use super::{
    super::{Connection, human, screen::Screen},
    transfer::Watched,
};
use crate::exit::{Exit, Failure};

/// What it takes.
#[derive(Args)]
pub struct ExportArgs {
    /// The file to write
    pub file: PathBuf,
    /// Name of the database; without it, the file's name without its extension
    #[arg(long)]
    pub name: Option<DatabaseName>,
    /// Overwrite a file that is there
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Writes the file. If it cannot be completed, it is deleted.
pub fn run(args: &ExportArgs, screen: &mut Screen) -> Result<(), Failure> {
    let name = super::name_for(args.name.as_ref(), &args.file)?;
    let client = args.connection.client()?;
    if args.file.exists() && !args.overwrite {
        return Err(Failure::new(
            Exit::LocalFile,
            "FILE_EXISTS",
            format!("{} is there already", args.file.display()),
            "choose another name, or add --overwrite",
        ));
    }
    // Asked for before the file is touched: a refusal must not cost the file that is there.
    let (length, content) = client.download(&format!("{}/content", super::path_of(&name)))?;
    let mut content = Watched::new(content, length, screen);
    let written = write(&mut content, length, &args.file);
    drop(content);
    if let Err(failure) = written {
        // Half a database must not be left to be taken for a whole one.
        let _not_there = std::fs::remove_file(&args.file);
        return Err(failure);
    }
    screen.line(format!(
        "{} holds database {name} ({})",
        args.file.display(),
        human::bytes(length)
    ))?;
    screen.value(&json!({ "name": name, "file": args.file, "bytes": length }))
}

fn write(content: &mut Watched<impl Read>, length: u64, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::local_file("write", path, &error);
    let mut file = File::create(path).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match content.read(&mut buffer) {
            Ok(0) if content.passed == length => return Ok(()),
            Ok(0) => return Err(broke_off(&format!("{} of {length} bytes came", content.passed))),
            Ok(read) => file.write_all(&buffer[..read]).map_err(failed)?,
            Err(error) => return Err(broke_off(&error.to_string())),
        }
    }
}

fn broke_off(why: &str) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "EXPORT_BROKEN_OFF",
        format!("the export broke off: {why}"),
        "run the command again; the server's log says more",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8], length: u64) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let screen = Screen::of_test(true, io::sink());
        let mut content = Watched::new(content, length, &screen);
        write(&mut content, length, &dir.path().join("a")).map_err(|failure| failure.code)
    }

    #[test]
    fn a_database_that_comes_short_is_no_export() {
        assert_eq!(written(b"abc", 3), Ok(()));
        assert_eq!(written(b"", 0), Ok(()));
        assert_eq!(written(b"abc", 4), Err("EXPORT_BROKEN_OFF".to_owned()));
    }
}
