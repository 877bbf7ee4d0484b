//! Journal segments that follow a backup: together they are a backup of a later position.
//!
//! What is sent is the backup as it is, up to its end, then the segments' records as its tail goes on, then a new end. All of it
//! is verified before the first byte leaves: segments that do not follow, or are of another history, are refused by name.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
};

use counterpart_core::{
    Epoch, EpochHistory, Lsn,
    copy::{CopyDecoder, End, Item, Order},
    frame,
    record::Record,
};
use counterpart_journal::{SegmentFileError, read_segment_file};

use super::{
    super::super::{transfer::length_of, view},
    Side,
};
use crate::exit::{Exit, Failure};

/// Bytes of records in one frame, about; a frame takes eight times as many, and a record may be larger.
const PER_FRAME: usize = 1 << 20;

/// How segments begin.
const SEGMENT_MAGIC: &[u8; 8] = b"CPJOURN1";

/// How SQLite's files begin.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// A backup, or a plain SQLite file, with the segments that follow it.
pub struct Given {
    /// The file.
    pub file: PathBuf,
    /// Bytes to send in all.
    pub length: u64,
    /// What is sent of the file itself.
    head: u64,
    segments: Vec<PathBuf>,
    /// The position that the file reaches; segments go on behind it.
    reached: Lsn,
    end: Option<End>,
}

/// Puts segments behind the backup that is named before them, and looks whether they follow it.
pub fn arrange(files: &[PathBuf]) -> Result<Vec<Given>, Failure> {
    let mut all: Vec<Given> = Vec::new();
    for file in files {
        length_of(file)?;
        if !begins_with(file, SEGMENT_MAGIC)? {
            all.push(Given::of(file)?);
        } else if let Some(last) = all.last_mut() {
            last.segments.push(file.clone());
        } else {
            let what = format!(
                "{} is a journal segment, and no backup is named before it",
                file.display()
            );
            return Err(refused(what, "name the backup that it follows first"));
        }
    }
    all.iter_mut().filter(|given| !given.segments.is_empty()).try_for_each(Given::follow)?;
    Ok(all)
}

/// A plain SQLite file is a start for the database that it is called like. Called otherwise, it would be sent, and everything
/// after it once more.
pub fn check_names(files: &[PathBuf], principal: &Side) -> Result<(), Failure> {
    let mut known: Option<Vec<String>> = None;
    for file in files {
        if !begins_with(file, SQLITE_MAGIC)? {
            continue;
        }
        let names = match &mut known {
            Some(names) => names,
            None => known.insert(databases(principal)?),
        };
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !names.iter().any(|name| name == stem) {
            return Err(Failure::new(
                Exit::Usage,
                "INVALID_DATABASE_NAME",
                format!("{} is not called like a database of the principal", file.display()),
                format!(
                    "call it NAME.db, with the name of the database that it is a copy of: {}",
                    names.join(", ")
                ),
            ));
        }
    }
    Ok(())
}

fn databases(principal: &Side) -> Result<Vec<String>, Failure> {
    let list = principal.client.get("/api/v1/databases")?;
    let all = list["databases"].as_array().into_iter().flatten();
    Ok(all.filter_map(|one| view::text(one, "/name").map(str::to_owned)).collect())
}

fn refused(what: String, remedy: &str) -> Failure {
    Failure::new(Exit::Usage, "SEGMENT_DOES_NOT_FOLLOW", what, remedy)
}

fn begins_with(file: &Path, magic: &[u8]) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::local_file("read", file, &error);
    let mut start = Vec::new();
    let first = |opened: File| opened.take(magic.len() as u64).read_to_end(&mut start);
    File::open(file).and_then(first).map_err(failed)?;
    Ok(start == magic)
}

fn unreadable(error: &SegmentFileError) -> Failure {
    let remedy = "copy the segment again, or leave it and those after it out";
    Failure::new(Exit::LocalFile, "SEGMENT_DAMAGED", error.to_string(), remedy)
}

impl Given {
    fn of(file: &Path) -> Result<Given, Failure> {
        let length = length_of(file)?;
        let (segments, reached) = (Vec::new(), Lsn::ZERO);
        Ok(Given { file: file.to_owned(), length, head: length, segments, reached, end: None })
    }

    /// Finds where the backup ends, and whether the segments go on from there.
    fn follow(&mut self) -> Result<(), Failure> {
        let (history, end, at) = read_backup(&self.file)?;
        (self.reached, self.head, self.length) = (end.end, at, at);
        let (mut reached, mut records) = (end.end, end.records);
        let mut epoch = history.epoch_at(reached).unwrap_or_default();
        // Shells sort by name, which is by position; whoever names them otherwise means the same.
        self.segments.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
        for path in &self.segments {
            let all = read_segment_file(path).map_err(|error| unreadable(&error))?;
            check_overlap(path, &all, &history, end.end)?;
            let new = beyond(all, reached);
            check_follows(path, &new, reached, &mut epoch)?;
            reached = new.last().map_or(reached, Record::lsn);
            records += new.len() as u64;
            self.length += frames(new).len() as u64;
        }
        let end = End { end: reached, records, ..end };
        self.length += end_frame(end).len() as u64;
        self.end = Some(end);
        Ok(())
    }

    /// All bytes to send.
    pub fn open(&self) -> Result<Box<dyn Read + '_>, Failure> {
        let file =
            File::open(&self.file).map_err(|e| Failure::local_file("read", &self.file, &e))?;
        let end = self.end.map(end_frame).unwrap_or_default();
        let tail = Tail {
            segments: self.segments.iter(),
            reached: self.reached,
            piece: Cursor::default(),
        };
        Ok(Box::new(file.take(self.head).chain(tail).chain(Cursor::new(end))))
    }
}

/// The history of a backup, its end, and the byte at which that stands.
fn read_backup(file: &Path) -> Result<(EpochHistory, End, u64), Failure> {
    let failed = |error: io::Error| Failure::local_file("read", file, &error);
    let damaged = |why: &dyn std::fmt::Display| {
        let what = format!("{} can't be used with segments: {why}", file.display());
        Failure::new(
            Exit::LocalFile,
            "BACKUP_DAMAGED",
            what,
            "name a backup that `counterpart backup` has made",
        )
    };
    let mut opened = File::open(file).map_err(failed)?;
    let (mut decoder, mut order) = (CopyDecoder::new(), Order::new());
    let mut piece = vec![0; PER_FRAME];
    let mut found = None;
    loop {
        let at = decoder.taken();
        if let Some(item) = decoder.next_item().map_err(|e| damaged(&e))? {
            order.take(&item).map_err(|e| damaged(&e))?;
            if let Item::End(end) = item {
                found = Some((end, at));
            }
            continue;
        }
        match opened.read(&mut piece).map_err(failed)? {
            0 => break,
            read => decoder.buffer().extend_from_slice(&piece[..read]),
        }
    }
    order.finish().map_err(|e| damaged(&e))?;
    let (end, at) = found.expect("a copy that is whole has an end");
    let head = order.head().expect("a whole copy has a head");
    Ok((head.history.clone(), end, at))
}

/// What both have must be the same: (epoch, LSN) names one event.
fn check_overlap(
    path: &Path,
    all: &[Record],
    history: &EpochHistory,
    end: Lsn,
) -> Result<(), Failure> {
    let differs = |record: &&Record| {
        history.epoch_at(record.lsn()).is_some_and(|epoch| epoch != record.header().epoch)
    };
    match all.iter().take_while(|record| record.lsn() <= end).find(differs) {
        None => Ok(()),
        Some(record) => Err(refused(
            format!(
                "{} is of another history: its record {} is not the backup's",
                path.display(),
                record.lsn()
            ),
            "take segments of the server that the backup was made from",
        )),
    }
}

/// The records of a segment that are not there yet.
fn beyond(mut all: Vec<Record>, reached: Lsn) -> Vec<Record> {
    all.retain(|record| record.lsn() > reached);
    all
}

fn check_follows(
    path: &Path,
    new: &[Record],
    reached: Lsn,
    epoch: &mut Epoch,
) -> Result<(), Failure> {
    let Some(first) = new.first() else { return Ok(()) };
    if first.lsn() != reached.next() {
        let what = format!(
            "{} begins with record {}, and {} comes next",
            path.display(),
            first.lsn(),
            reached.next()
        );
        return Err(refused(what, "name the segments between, too"));
    }
    for record in new {
        if record.header().epoch < *epoch {
            let what = format!(
                "{} is of another history: its epoch {} is older than {epoch}",
                path.display(),
                record.header().epoch
            );
            return Err(refused(what, "take segments of the server that the backup was made from"));
        }
        *epoch = record.header().epoch;
    }
    Ok(())
}

fn frame_of(item: &Item) -> Vec<u8> {
    let (kind, payload) = item.encode();
    let mut bytes = frame::header(kind, &[&payload]).to_vec();
    bytes.extend_from_slice(&payload);
    bytes
}

fn end_frame(end: End) -> Vec<u8> {
    frame_of(&Item::End(end))
}

/// Records as frames of a tail.
fn frames(records: Vec<Record>) -> Vec<u8> {
    let (mut bytes, mut some, mut size) = (Vec::new(), Vec::new(), 0);
    for record in records {
        let length = record.bytes().len();
        if size + length > PER_FRAME && !some.is_empty() {
            bytes.extend(frame_of(&Item::Tail(std::mem::take(&mut some))));
            size = 0;
        }
        size += length;
        some.push(record);
    }
    if !some.is_empty() {
        bytes.extend(frame_of(&Item::Tail(some)));
    }
    bytes
}

/// The segments' records, one segment in memory at a time.
struct Tail<'a> {
    segments: std::slice::Iter<'a, PathBuf>,
    reached: Lsn,
    piece: Cursor<Vec<u8>>,
}

impl Read for Tail<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 if !buffer.is_empty() => {}
                read => return Ok(read),
            }
            let Some(path) = self.segments.next() else { return Ok(0) };
            let new = beyond(read_segment_file(path).map_err(io::Error::other)?, self.reached);
            self.reached = new.last().map_or(self.reached, Record::lsn);
            self.piece = Cursor::new(frames(new));
        }
    }
}
