//! Recovery: what the files hold is verified from the first byte to the last, and a torn tail is cut.
//!
//! Nothing is guessed: the only thing that is ever thrown away is what follows the last good record of the last
//! segment, and only while no frame behind it proves that it was hardened. Everything else stops the server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{Epoch, Lsn, SessionId};

use crate::{
    disk::{DiskFile, remove_if_there},
    error::OpenError,
    reset::{Place, grow, truncate},
    scan::{Item, Remains, Scanner, remains},
    segment::{
        FRAME_LEN, HeaderError, SEGMENT_HEADER_LEN, SegmentHeader, encode_frame, first_from_name,
        is_mend_name, is_spare_name, segment_name,
    },
    table::{Segment, Table},
};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// Verified segments between two lines of progress in the log: 1 GiB of the default size.
const SEGMENTS_PER_LINE: usize = 64;

/// What [`Journal::open`](crate::Journal::open) found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The oldest record kept; one above `end` if there is none.
    pub first: Lsn,
    /// The last record: whole, verified and hardened.
    pub end: Lsn,
    /// The epoch of the last record; `None` if no record is kept.
    pub end_epoch: Option<Epoch>,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
}

/// A torn tail: the remains of a write that a crash interrupted, of which nothing was ever hardened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where the tail began.
    pub offset: u64,
    /// Its length up to the last byte that was not zero.
    pub bytes: u64,
}

/// What recovery knows so far.
struct Progress {
    next: Lsn,
    epoch: Option<Epoch>,
}

/// Where the records of a segment end, and what stands there if it is not zeros.
struct Stop {
    offset: u64,
    reason: Option<String>,
}

impl Place<'_> {
    /// Verifies all segments, cuts a torn tail, and makes sure that what is left is hardened.
    pub fn recover(
        &self,
        session: SessionId,
        must_reach: Lsn,
    ) -> Result<(Table, Recovery), OpenError> {
        self.disk.create_dir(self.dir).map_err(OpenError::io("create the directory", self.dir))?;
        self.resume_reset()?;
        let mut firsts = self.list()?;
        let mut table = Table { segments: Vec::new(), generation: 0 };
        let mut state = Progress { next: firsts.first().copied().unwrap_or(Lsn(1)), epoch: None };
        let mut stop: Option<Stop> = None;
        if let Some(&last) = firsts.last()
            && self.drop_unborn(last)?
        {
            firsts.pop();
        }
        let count = firsts.len();
        for (at, &first) in firsts.iter().enumerate() {
            self.check_follows(&table, stop.as_ref(), state.next, first)?;
            let newest = at + 1 == count;
            let (segment, stopped) = self.scan(first, session, newest, &mut state)?;
            if newest || (at + 1).is_multiple_of(SEGMENTS_PER_LINE) {
                tracing::info!(segment = %segment.path.display(), last = %segment.last, "verified {} of {count}", at + 1);
            }
            table.segments.push(segment);
            stop = Some(stopped);
        }
        let end = state.next.before();
        if end < must_reach {
            // Before anything is cut or made: whoever mends this needs the files as they are.
            return Err(OpenError::Short { dir: self.dir.to_owned(), end, must_reach });
        }
        let mut cut = None;
        match stop {
            Some(stop) => cut = self.finish_newest(table.newest(), stop)?,
            None => {
                table.segments.push(self.create_first(state.next, session, Epoch::default())?)
            }
        }
        let end = Lsn(state.next.0 - 1);
        let recovery = Recovery { first: table.first(), end, end_epoch: state.epoch, cut };
        Ok((table, recovery))
    }

    /// The first LSNs of all segments, ascending; removes spares.
    fn list(&self) -> Result<Vec<Lsn>, OpenError> {
        let names = self.disk.list(self.dir).map_err(OpenError::io("list", self.dir))?;
        let mut firsts = Vec::new();
        for name in names {
            if is_spare_name(&name) || is_mend_name(&name) {
                let path = self.dir.join(&name);
                remove_if_there(&**self.disk, &path)
                    .map_err(OpenError::io("remove the unused segment", &path))?;
            } else if let Some(first) = first_from_name(&name) {
                firsts.push(first);
            }
        }
        firsts.sort_unstable();
        Ok(firsts)
    }

    fn open(&self, first: Lsn) -> Result<(PathBuf, Arc<dyn DiskFile>, u64), OpenError> {
        let path = self.dir.join(segment_name(first));
        let file =
            self.disk.open(&path).map_err(OpenError::io("open the journal segment", &path))?;
        let length = file.length().map_err(OpenError::io("read the length of", &path))?;
        Ok((path, file, length))
    }

    fn header(
        &self,
        path: &Path,
        file: &dyn DiskFile,
    ) -> Result<Result<SegmentHeader, HeaderError>, OpenError> {
        let mut bytes = vec![0; SEGMENT_HEADER_LEN as usize];
        let read = file.read_at(0, &mut bytes).map_err(OpenError::io("read", path))?;
        Ok(SegmentHeader::decode(&bytes[..read]))
    }

    /// Removes the newest segment if a crash interrupted its creation: no header that verifies and nothing else
    /// either. Records are written only after the header is durable.
    fn drop_unborn(&self, first: Lsn) -> Result<bool, OpenError> {
        let (path, file, length) = self.open(first)?;
        if self.header(&path, &*file)? != Err(HeaderError::Invalid) {
            return Ok(false);
        }
        let body = SEGMENT_HEADER_LEN.min(length)..length;
        let found =
            remains(&*file, SessionId(0), body, first).map_err(OpenError::io("read", &path))?;
        if found != Remains::Nothing {
            return Ok(false);
        }
        tracing::warn!(segment = %path.display(), "removing a segment whose creation a crash interrupted");
        self.disk.remove(&path).map_err(OpenError::io("remove", &path))?;
        self.disk.sync_dir(self.dir).map_err(OpenError::io("sync", self.dir))?;
        Ok(true)
    }

    /// Checks that a segment beginning with `first` continues those before it.
    fn check_follows(
        &self,
        table: &Table,
        stop: Option<&Stop>,
        next: Lsn,
        first: Lsn,
    ) -> Result<(), OpenError> {
        let (Some(before), Some(stop)) = (table.segments.last(), stop) else {
            return Ok(());
        };
        if first == next {
            return Ok(());
        }
        let missing = Lsn(first.0 - 1);
        match &stop.reason {
            // The segment ends in order, so what follows was in a file of its own.
            None if first > next => Err(OpenError::Missing {
                file: self.dir.join(segment_name(next)),
                from: next,
                to: missing,
            }),
            reason => Err(OpenError::Damaged {
                file: before.path.clone(),
                offset: stop.offset,
                reason: reason.clone().unwrap_or_else(|| {
                    format!(
                        "it goes on to record {}, which the next segment begins before",
                        Lsn(next.0 - 1)
                    )
                }),
            }),
        }
    }

    /// Verifies one segment.
    fn scan(
        &self,
        first: Lsn,
        session: SessionId,
        newest: bool,
        state: &mut Progress,
    ) -> Result<(Segment, Stop), OpenError> {
        let (path, file, length) = self.open(first)?;
        let damaged = |offset, reason| OpenError::Damaged { file: path.clone(), offset, reason };
        let header = match self.header(&path, &*file)? {
            Ok(header) => header,
            Err(HeaderError::Version(found)) => {
                return Err(OpenError::Version { file: path, found });
            }
            Err(error) => return Err(damaged(0, error.to_string())),
        };
        // Older segments may be from before the session began; the newest must be this session's.
        if newest && header.session != session {
            return Err(OpenError::Session {
                file: path,
                found: header.session,
                expected: session,
            });
        }
        if header.first != first {
            let reason = format!("its header says that it begins with record {}", header.first);
            return Err(damaged(0, reason));
        }
        let mut segment = Segment::empty(self.dir, header.session, first, length);
        let range = SEGMENT_HEADER_LEN..length;
        let mut scanner = Scanner::new(&*file, header.session, range, STEP);
        let reason = loop {
            let offset = scanner.offset();
            match scanner.next().map_err(OpenError::io("read", &path))? {
                Item::Record(record) if record.lsn() == state.next => {
                    let epoch = record.header().epoch;
                    if let Some(newest) = state.epoch.filter(|&newest| newest > epoch) {
                        let reason =
                            format!("record {} is of epoch {epoch}, after {newest}", state.next);
                        return Err(damaged(offset, reason));
                    }
                    state.epoch = Some(epoch);
                    segment.note(state.next, offset);
                    segment.end = scanner.offset();
                    state.next = state.next.next();
                }
                Item::Frame(named) if named == state.next => segment.end = scanner.offset(),
                Item::Record(record) => {
                    break Some(format!(
                        "record {} stands where {} belongs",
                        record.lsn(),
                        state.next
                    ));
                }
                Item::Frame(named) => {
                    break Some(format!(
                        "record {named} is announced where {} belongs",
                        state.next
                    ));
                }
                Item::Bad(reason) => break Some(reason),
                Item::End => break None,
            }
        };
        let offset = segment.end;
        Ok((segment, Stop { offset, reason }))
    }

    /// Cuts what is torn off the newest segment, makes it as long as it should be, hardens it, and puts a frame
    /// at its end which proves that.
    fn finish_newest(&self, segment: &mut Segment, stop: Stop) -> Result<Option<Cut>, OpenError> {
        let path = segment.path.clone();
        let file =
            self.disk.open(&path).map_err(OpenError::io("open the journal segment", &path))?;
        let expected = segment.last.next();
        let rest = stop.offset..segment.allocated;
        let found = remains(&*file, segment.session, rest, expected)
            .map_err(OpenError::io("read", &path))?;
        let cut = match found {
            Remains::Nothing => None,
            Remains::Proof(at, first) => {
                let why = stop.reason.unwrap_or_else(|| "zeros stand there".to_owned());
                let reason = format!(
                    "record {expected} does not verify ({why}), though byte {at} shows that all records below \
                     {first} were hardened"
                );
                return Err(OpenError::Damaged { file: path, offset: stop.offset, reason });
            }
            Remains::Torn(bytes) => {
                tracing::info!(segment = %path.display(), offset = stop.offset, bytes, "cutting the torn tail");
                truncate(&*file, stop.offset)
                    .map_err(OpenError::io("cut the torn tail of", &path))?;
                Some(Cut { file: path.clone(), offset: stop.offset, bytes })
            }
        };
        let length = self.segment_bytes.max(segment.allocated);
        segment.allocated = grow(&*file, length).map_err(OpenError::io("allocate", &path))?;
        // After a killed process, records may have been read that only the kernel's memory holds. They must be
        // durable before a frame says so: one sync for both could keep the frame and lose a record.
        file.sync_data().map_err(OpenError::io("sync", &path))?;
        if segment.allocated >= segment.end + FRAME_LEN as u64 {
            let frame = encode_frame(segment.session, segment.end, expected);
            file.write_at(segment.end, &frame).map_err(OpenError::io("write", &path))?;
            file.sync_data().map_err(OpenError::io("sync", &path))?;
            segment.end += frame.len() as u64;
        }
        self.disk.sync_dir(self.dir).map_err(OpenError::io("sync", self.dir))?;
        Ok(cut)
    }
}
