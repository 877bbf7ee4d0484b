//! What a test does to the files of a stopped server, as a disk or an operator would.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::server::Server;

/// The file of database `main`.
pub fn main_file(server: &Server) -> PathBuf {
    server.data().join("1.db")
}

/// Flips a bit of the byte at `at`; called once more, it flips it back.
pub fn flip(path: &Path, at: u64, bit: u32) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

/// Flips a bit in the middle of a page of 4,096 bytes. Page 1 is number 1.
pub fn flip_page(path: &Path, page: u64) {
    flip(path, (page - 1) * 4096 + 2000, 4);
}

/// A database's file as it once was, with its own map: each page is what its map says, and the whole is not what the
/// journal says any more.
pub struct Image {
    path: PathBuf,
    file: Vec<u8>,
    map: Vec<u8>,
}

impl Image {
    /// As `main` of a stopped server is now.
    pub fn of(server: &Server) -> Image {
        let path = main_file(server);
        let file = std::fs::read(&path).unwrap();
        let map = std::fs::read(path.with_extension("map")).unwrap();
        Image { path, file, map }
    }

    /// Puts it in the place of what the server has now; it must be stopped.
    pub fn put_back(&self) {
        std::fs::write(&self.path, &self.file).unwrap();
        std::fs::write(self.path.with_extension("map"), &self.map).unwrap();
    }
}
