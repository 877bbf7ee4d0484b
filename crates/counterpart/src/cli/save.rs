//! A file that comes from a server: in place whole or not at all, and nothing of it left behind.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
};

use clap::Args;
use counterpart_journal::{rename_durably, sync_file};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{client::Client, screen::Screen, transfer::Watched};
use crate::exit::{Exit, Failure};

/// Where a command puts what it fetches.
#[derive(Args)]
pub struct Target {
    /// The file to write
    pub file: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    pub overwrite: bool,
}

impl Target {
    /// Fetches `path` from the server into the file; its length. If it cannot be completed, nothing is left of it, and
    /// what was there before is untouched.
    pub fn fetch(&self, client: &Client, path: &str, screen: &Screen) -> Result<u64, Failure> {
        refuse_existing(self)?;
        // Asked for before the file is touched: a refusal must not cost the file that is there.
        let (length, content) = client.download(path)?;
        let mut content = Watched::new(content, length, screen);
        save(&mut content, length, self)?;
        Ok(length)
    }
}

impl Target {
    /// The same for content whose end it tells itself: `check` gets each piece, and at the end an empty one.
    pub fn fetch_checked(
        &self,
        client: &Client,
        path: &str,
        check: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        refuse_existing(self)?;
        let mut content = client.download_unmeasured(path)?;
        let mut length = 0;
        put(self, &mut |path, file| {
            let failed = |error: io::Error| Failure::local_file("write", path, &error);
            let mut file = file.map_err(failed)?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let read = content.read(&mut buffer).map_err(|e| broke_off(&e.to_string()))?;
                check(&buffer[..read])?;
                if read == 0 {
                    return Ok(());
                }
                file.write_all(&buffer[..read]).map_err(failed)?;
                length += read as u64;
            }
        })?;
        Ok(length)
    }
}

/// A link that leads nowhere is there as well. A pipe loses nothing by being written to; a device may.
fn refuse_existing(args: &Target) -> Result<(), Failure> {
    let is_pipe = args.file.metadata().is_ok_and(|it| it.file_type().is_fifo());
    if args.overwrite || is_pipe || args.file.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::LocalFile,
        "FILE_EXISTS",
        format!("{} is there already", args.file.display()),
        "choose another name, or add --overwrite",
    ))
}

/// Puts the content in place whole or not at all: half a database must not be left to be taken for a whole one, and an
/// export that breaks off must not cost the one before it. So it is written beside its place, and then renamed.
fn save(content: &mut Watched<impl Read>, length: u64, args: &Target) -> Result<(), Failure> {
    put(args, &mut |path, file| write(content, length, path, file))
}

/// Writes a file of this name; the file as it was opened, or why it was not.
type Fill<'a> = dyn FnMut(&Path, io::Result<File>) -> Result<(), Failure> + 'a;

/// Has `fill` write the file, and puts it in place only if that succeeds.
fn put(args: &Target, fill: &mut Fill<'_>) -> Result<(), Failure> {
    // Through a link to what it leads to, as if that were written to.
    let place = args.file.canonicalize().or_else(|_not_there| std::path::absolute(&args.file));
    let place = place.map_err(|error| Failure::local_file("write", &args.file, &error))?;
    if place.metadata().is_ok_and(|there| !there.is_file()) {
        // A pipe or a device has no place to rename to, and must never be deleted.
        return fill(&place, File::options().write(true).open(&place));
    }
    let mut beside = place.clone();
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    beside.set_file_name(format!(".{name}.part-{}", std::process::id()));
    let unnamed = unnamed(&place);
    let made = match &unnamed {
        Some(file) => file.try_clone(),
        None => File::options().write(true).create_new(true).open(&beside),
    };
    let saved = fill(&place, made).and_then(|()| {
        refuse_existing(args)?;
        let named = unnamed.map_or(Ok(()), |file| name_it(&file, &beside));
        let whole =
            named.and_then(|()| sync_file(&beside)).and_then(|()| rename_durably(&beside, &place));
        whole.map_err(|error| Failure::local_file("write", &args.file, &error))
    });
    if saved.is_err() {
        let _not_there = std::fs::remove_file(&beside);
    }
    saved
}

/// A file without a name where `place` will be: of a command that is interrupted or killed, nothing stays behind. `None`
/// where the file system has no such thing.
fn unnamed(place: &Path) -> Option<File> {
    let mode = Mode::from_raw_mode(0o666);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(place.parent()?, flags, mode).ok().map(File::from)
}

fn name_it(file: &File, path: &Path) -> io::Result<()> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn write(
    content: &mut Watched<impl Read>,
    length: u64,
    path: &Path,
    file: io::Result<File>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::local_file("write", path, &error);
    let mut file = file.map_err(failed)?;
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
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Call {
        #[command(flatten)]
        args: Target,
    }

    fn saved(content: &[u8], length: u64, file: &Path, overwrite: bool) -> Result<(), String> {
        let mut line = vec!["export", file.to_str().unwrap()];
        line.extend(overwrite.then_some("--overwrite"));
        let args = Call::parse_from(line).args;
        let screen = Screen::of_test(true, io::sink());
        let mut content = Watched::new(content, length, &screen);
        let saved = refuse_existing(&args).and_then(|()| save(&mut content, length, &args));
        saved.map_err(|failure| failure.code)
    }

    fn names_in(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_database_that_comes_short_is_no_export_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let short = Err("EXPORT_BROKEN_OFF".to_owned());
        assert_eq!(saved(b"abc", 4, &dir.path().join("short"), false), short);
        assert_eq!(names_in(dir.path()), [""; 0]);
        assert_eq!(saved(b"abc", 3, &dir.path().join("whole"), false), Ok(()));
        assert_eq!(saved(b"", 0, &dir.path().join("whole"), true), Ok(()));
        assert_eq!(names_in(dir.path()), ["whole"]);
    }

    #[test]
    fn an_export_that_breaks_off_does_not_cost_the_file_that_it_was_to_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a"), dir.path().join("link"));
        std::fs::write(&file, "yesterday's").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(saved(b"abc", 4, path, true), Err("EXPORT_BROKEN_OFF".to_owned()));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "yesterday's");
        }
        assert_eq!(saved(b"abc", 3, &link, true), Ok(()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "abc");
        assert!(link.is_symlink());
    }

    /// `--overwrite` to a device, as root: the failed write was followed by the deletion of the device.
    #[test]
    fn what_is_no_plain_file_is_written_to_and_never_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let full = dir.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        assert_eq!(saved(b"abc", 3, &full, false), Err("FILE_EXISTS".to_owned()));
        assert_eq!(saved(b"abc", 3, &full, true), Err("LOCAL_FILE".to_owned()));
        assert!(full.exists() && Path::new("/dev/full").exists());
        assert_eq!(saved(b"abc", 3, dir.path(), true), Err("LOCAL_FILE".to_owned()));
    }

    #[test]
    fn until_it_is_whole_there_is_no_file_that_an_interrupted_command_could_leave_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("whole");
        if unnamed(&file).is_none() {
            return;
        }
        let args = Call::parse_from(["export", file.to_str().unwrap()]).args;
        let mut fill = |_: &Path, opened: io::Result<File>| {
            opened.unwrap().write_all(b"all of it").unwrap();
            assert_eq!(names_in(dir.path()), [""; 0]);
            Ok(())
        };
        put(&args, &mut fill).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"all of it");
        assert_eq!(names_in(dir.path()), ["whole"]);
    }
}
