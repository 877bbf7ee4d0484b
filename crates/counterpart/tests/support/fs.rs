//! A small file system of its own, which can be filled up and whose power can be cut.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

/// Exit code of the script where the machine can't do it.
const NOT_POSSIBLE: i32 = 75;

/// A mounted file system; unmounted with this value.
pub struct SmallFs {
    dir: TempDir,
}

impl SmallFs {
    /// Makes one of so many MiB. `None`, with a printed reason, where that needs rights that the test has not got.
    pub fn make(mib: u32) -> Option<SmallFs> {
        let dir = tempfile::Builder::new().prefix("counterpart-fs-").tempdir().unwrap();
        let fs = SmallFs { dir };
        match fs.run("make", &[&mib.to_string()]) {
            Some(0) => Some(fs),
            Some(NOT_POSSIBLE) => {
                eprintln!("skipped: mounting a file system needs root, loop devices and mkfs.ext4");
                std::mem::forget(fs);
                None
            }
            other => panic!("fs.sh make ended with {other:?}"),
        }
    }

    fn run(&self, command: &str, more: &[&str]) -> Option<i32> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fs.sh");
        let mut run = Command::new(script);
        run.arg(command).arg(self.dir.path()).args(more).status().unwrap().code()
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// The power goes: what was not made durable is lost.
    pub fn cut_power(&self) {
        assert_eq!(self.run("cut", &[]), Some(0), "the power can be cut");
    }

    /// The kernel finds an error on the disk, and lets nobody write any more; what was written before stays.
    pub fn make_read_only(&self) {
        assert_eq!(self.run("readonly", &[]), Some(0), "the file system can be made read-only");
    }

    /// The power is back. Nobody may have files open any more.
    pub fn remount(&self) {
        assert_eq!(self.run("remount", &[]), Some(0), "the file system can be mounted again");
    }

    /// Fills it up but for about `spare` KiB; removing the file frees the space.
    pub fn fill(&self, spare: u64) -> PathBuf {
        let ballast = self.path().join("ballast");
        drop(std::fs::File::create(&ballast).unwrap());
        let mut free = free_kib(&self.path());
        let mut length = 0;
        while free > spare {
            length += (free - spare).min(16 << 10) << 10;
            if allocate(&ballast, length).is_err() {
                break;
            }
            free = free_kib(&self.path());
        }
        ballast
    }
}

/// Allocates without writing.
fn allocate(path: &std::path::Path, length: u64) -> std::io::Result<()> {
    let status =
        Command::new("fallocate").args(["-l", &length.to_string()]).arg(path).output()?.status;
    if status.success() { Ok(()) } else { Err(std::io::Error::other("fallocate failed")) }
}

fn free_kib(path: &std::path::Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "-k"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().trim().parse().unwrap()
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        if self.run("drop", &[]) != Some(0) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}
