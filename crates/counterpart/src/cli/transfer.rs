//! Bytes on their way, with a progress bar where somebody watches.

use std::{
    io::{self, Read},
    path::Path,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::screen::Screen;
use crate::exit::{Exit, Failure};

/// A reader that counts what passes, and shows it.
pub struct Watched<R> {
    inner: R,
    /// Bytes that have passed.
    pub passed: u64,
    bar: ProgressBar,
}

impl<R> Watched<R> {
    /// Watches `inner`, of which `length` bytes are expected.
    pub fn new(inner: R, length: u64, screen: &Screen) -> Watched<R> {
        Watched { inner, passed: 0, bar: bar(length, screen) }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.passed += read as u64;
        self.bar.set_position(self.passed);
        Ok(read)
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The length of a file that is to be read more than once, or sent with its length; a pipe or a device is none.
pub fn length_of(path: &Path) -> Result<u64, Failure> {
    let found = std::fs::metadata(path).map_err(|e| Failure::local_file("read", path, &e))?;
    if found.is_file() {
        return Ok(found.len());
    }
    Err(Failure::new(
        Exit::LocalFile,
        "LOCAL_FILE",
        format!("{} is a directory, a pipe or a device", path.display()),
        "give a file; what comes through a pipe has to be put into one first",
    ))
}

/// A bar over `length` bytes on standard error; hidden unless somebody watches.
pub fn bar(length: u64, screen: &Screen) -> ProgressBar {
    if !screen.interactive {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    ProgressBar::new(length).with_style(style)
}
