//! A journal whose segment holds any bytes: it opens or is refused by name, and what it kept it keeps.
//!
//! The real recovery runs on a disk in memory. It must never be given the machine's disk: a target leaves nothing
//! behind.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use counterpart_core::{Epoch, Lsn, ServerId, SessionId, record::Record};
use counterpart_journal::{
    Config, Disk, DiskFile, Journal,
    segment::{
        FRAME_LEN, SEGMENT_HEADER_LEN, SegmentHeader, decode_frame, encode_frame, segment_name,
    },
};

use super::resealed_records;

const SESSION: SessionId = SessionId(1);
const LARGEST: usize = 64 << 10;

#[derive(Default)]
struct Memory(Mutex<HashMap<PathBuf, Arc<File>>>);

#[derive(Default)]
struct File(Mutex<Vec<u8>>);

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Memory {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(File::default());
        self.0.lock().unwrap().insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let files = self.0.lock().unwrap();
        files.get(path).map(|file| Arc::clone(file) as Arc<dyn DiskFile>).ok_or_else(missing)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or_else(missing)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn exchange(&self, _one: &Path, _other: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().remove(path).map(drop).ok_or_else(missing)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock().unwrap();
        let names = files.keys().filter_map(|path| path.strip_prefix(dir).ok());
        Ok(names.map(|name| name.display().to_string()).collect())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

impl DiskFile for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut content, offset) = (self.0.lock().unwrap(), offset as usize);
        let length = content.len().max(offset + bytes.len());
        content.resize(length, 0);
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let content = self.0.lock().unwrap();
        let from = content.get(offset as usize..).unwrap_or_default();
        let length = from.len().min(bytes.len());
        bytes[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn preallocate(&self, length: u64, _: &dyn Fn()) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let length = content.len().max(length as usize);
        content.resize(length, 0);
        Ok(())
    }
}

/// The header and the frame are tried by themselves, then a journal whose one segment begins well and goes on with the
/// bytes given; then with the same bytes as records in their order.
pub fn segment(data: &[u8]) {
    let data = &data[..data.len().min(LARGEST)];
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
    let frame = data.get(..FRAME_LEN).and_then(|bytes| decode_frame(SESSION, 4096, bytes));
    if let Some(first) = frame {
        assert_eq!(encode_frame(SESSION, 4096, first), data[..FRAME_LEN]);
    }
    open_twice(data);
    open_twice(&in_order(resealed_records(data)));
}

/// The records with the LSNs that a journal would have given them.
fn in_order(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    let mut lsn = 1u64;
    while let Ok(length) = Record::peek_length(&bytes[at..]) {
        if length > bytes.len() - at {
            break;
        }
        bytes[at + 16..at + 24].copy_from_slice(&lsn.to_le_bytes());
        bytes[at + 24..at + 32].copy_from_slice(&0u64.to_le_bytes());
        at += length;
        lsn += 1;
    }
    resealed_records(&bytes)
}

/// What one start accepts, the next one finds as it was.
fn open_twice(body: &[u8]) {
    let memory = Arc::new(Memory::default());
    let dir = Path::new("/j");
    let header = SegmentHeader { session: SESSION, epoch: epoch(), first: Lsn(1) };
    let mut content = header.encode();
    content.resize(SEGMENT_HEADER_LEN as usize, 0);
    content.extend_from_slice(&encode_frame(SESSION, SEGMENT_HEADER_LEN, Lsn(1)));
    content.extend_from_slice(body);
    let file = memory.create(&dir.join(segment_name(Lsn(1)))).expect("memory takes it");
    file.write_at(0, &content).expect("memory takes it");
    let config = Config { segment_bytes: 256 << 10, ..Config::default() };
    let open = || {
        let disk: Arc<dyn Disk> = memory.clone();
        Journal::open(disk, dir, config.clone(), SESSION, Box::new(|_| {}))
    };
    let (end, records) = match open() {
        Err(refused) => return assert!(!refused.to_string().is_empty()),
        Ok((journal, recovery)) => (recovery.end, all(&journal)),
    };
    assert_eq!(records.len() as u64, end.0, "every record up to the end can be read");
    let (journal, again) = open().unwrap_or_else(|e| panic!("opened once and then refused: {e}"));
    assert_eq!((again.end, all(&journal)), (end, records), "a second start finds the same");
}

fn all(journal: &Journal) -> Vec<Bytes> {
    let records = journal.records_after(Lsn::ZERO);
    records.map(|record| record.expect("it was verified").bytes().clone()).collect()
}

fn epoch() -> Epoch {
    Epoch { server: ServerId(1), term: 1, start: 1 }
}
