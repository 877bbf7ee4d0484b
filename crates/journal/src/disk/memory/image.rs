//! Images of a simulated disk: what an operator's snapshot or backup of a whole machine puts back.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use super::{Directory, Inode, MemoryDisk, Names};

/// What a disk held at a moment.
#[derive(Clone)]
pub struct Image {
    directories: BTreeMap<PathBuf, Names>,
    files: HashMap<u64, Vec<u8>>,
}

impl MemoryDisk {
    /// What a crash at this moment is sure to leave: all that was synced, and nothing else.
    #[must_use]
    pub fn image(&self) -> Image {
        let state = self.state();
        let names =
            |(path, directory): (&PathBuf, &Directory)| (path.clone(), directory.durable.clone());
        let content = |(&number, inode): (&u64, &Inode)| (number, inode.durable.clone());
        Image {
            directories: state.directories.iter().map(names).collect(),
            files: state.inodes.iter().map(content).collect(),
        }
    }

    /// Makes the disk what it was, as a restart finds it: files that were open before are not any more.
    pub fn put_back(&self, image: &Image) {
        let mut state = self.state();
        let names = |(path, names): (&PathBuf, &Names)| {
            let directory =
                Directory { durable: names.clone(), current: names.clone(), pending: Vec::new() };
            (path.clone(), directory)
        };
        let content = |(&number, bytes): (&u64, &Vec<u8>)| {
            let inode =
                Inode { durable: bytes.clone(), current: bytes.clone(), pending: Vec::new() };
            (number, inode)
        };
        state.directories = image.directories.iter().map(names).collect();
        state.inodes = image.files.iter().map(content).collect();
        state.restart(&mut || true);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, read_whole};

    #[test]
    fn an_image_holds_what_was_synced_and_puts_just_that_back() {
        let disk = MemoryDisk::new(1 << 20);
        let (home, path) = (Path::new("/d"), Path::new("/d/file"));
        disk.create_dir(home).unwrap();
        let file = disk.create(path).unwrap();
        file.write_at(0, b"old").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(home).unwrap();
        file.write_at(0, b"new").unwrap();
        let image = disk.image();
        file.sync_data().unwrap();
        disk.create(Path::new("/d/other")).unwrap();
        disk.put_back(&image);
        assert_eq!(read_whole(&disk, path).unwrap(), b"old");
        assert_eq!(disk.list(home).unwrap(), ["file"]);
        assert!(file.write_at(0, b"x").is_err(), "a handle from before still works");
    }
}
