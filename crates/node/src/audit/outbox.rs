//! Audit entries that are not in the server's own database yet: on a mirror until it is one no more, elsewhere for a moment.
//!
//! They are in memory, and in a file of the data directory besides, one JSON object per line, so that a crash loses none of those whose
//! requests were answered. The file is never more than what is in memory; a line that is there twice is the same entry.
//!
//! - There are at most [`MOST`] entries. When more come, the oldest go, those about refused credentials first, and that is noted.
//! - No lock is held across a disk's work but the one for that.

use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use counterpart_journal as journal;

use super::{AuditEntry, SIGN_IN};

/// The file in the data directory.
const FILE: &str = "audit.waiting";

/// Entries that may wait: some 4 MB at most, usually 1.
const MOST: usize = 4096;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Outbox {
    path: PathBuf,
    waiting: Mutex<Waiting>,
    /// Held while the file is written.
    file: Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<AuditEntry>,
    /// The file is to be written anew: some of what it holds is not here any more.
    stale: bool,
}

impl Outbox {
    /// That of a data directory. What can't be read there is told in the log, and no reason not to serve.
    pub(super) fn open(data: &Path) -> Outbox {
        let path = data.join(FILE);
        let entries = load(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, file = %path.display(), "audit entries that waited can't be read");
            VecDeque::new()
        });
        // Its last line may be cut off, and nothing must hang on to that.
        let waiting = Mutex::new(Waiting { entries, stale: true });
        Outbox { path, waiting, file: Mutex::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry, in memory.
    pub(super) fn push(&self, entry: AuditEntry) {
        let mut waiting = self.lock();
        if waiting.entries.len() >= MOST {
            let gone = make_room(&mut waiting.entries);
            waiting.stale = true;
            tracing::warn!(
                gone,
                "audit entries that waited for too long are gone, the oldest of them"
            );
            let told = AuditEntry {
                entry: format!("{:016x}", crate::random::number()),
                who: "this server".to_owned(),
                from: String::new(),
                what: "AuditForgotten".to_owned(),
                about: format!("{gone} entries"),
                result: "done".to_owned(),
                ..entry.clone()
            };
            waiting.entries.push_back(told);
        }
        waiting.entries.push_back(entry);
    }

    /// Makes the file hold an entry that was added, unless it has been written already; blocks.
    pub(super) fn store(&self, entry: &AuditEntry) {
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.holds(&entry.entry) {
            return;
        }
        let is_stale = self.lock().stale;
        let stored = match is_stale {
            true => self.rewrite(),
            false => journal::append_private(&self.path, line(entry).as_bytes()),
        };
        if let Err(error) = stored {
            // The log is then the only place that is left if this process ends before the entry is written.
            tracing::warn!(%error, entry = line(entry).trim_end(), "an audit entry is on no disk yet");
        }
    }

    /// Forgets entries that are in the database; blocks.
    pub(super) fn remove(&self, written: &[AuditEntry]) {
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: HashSet<&str> = written.iter().map(|entry| entry.entry.as_str()).collect();
        let mut waiting = self.lock();
        waiting.entries.retain(|entry| !gone.contains(entry.entry.as_str()));
        waiting.stale = true;
        drop(waiting);
        if let Err(error) = self.rewrite() {
            // They would be written once more, which changes nothing.
            tracing::debug!(%error, "audit entries that were written are still in the file");
        }
    }

    /// Makes the file hold what is in memory; the caller holds the lock on the file.
    fn rewrite(&self) -> io::Result<()> {
        let text: String = self.lock().entries.iter().map(line).collect();
        if text.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else {
            journal::write_private(&self.path, text.as_bytes())?;
        }
        self.lock().stale = false;
        Ok(())
    }

    /// Whether an entry waits.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.lock().entries.iter().any(|entry| entry.entry == key)
    }

    /// The oldest entries, at most so many.
    pub(super) fn first(&self, most: usize) -> Vec<AuditEntry> {
        self.lock().entries.iter().take(most).cloned().collect()
    }

    /// All entries, the newest first.
    pub(super) fn all(&self) -> Vec<AuditEntry> {
        self.lock().entries.iter().rev().cloned().collect()
    }
}

/// Makes half of the room free; how many went.
fn make_room(entries: &mut VecDeque<AuditEntry>) -> usize {
    let before = entries.len();
    let refused = entries.iter().filter(|entry| entry.what == SIGN_IN).count();
    if refused >= before / 2 {
        entries.retain(|entry| entry.what != SIGN_IN);
    } else {
        entries.drain(..before / 2);
    }
    before - entries.len()
}

fn line(entry: &AuditEntry) -> String {
    serde_json::to_string(entry).expect("texts and numbers are JSON") + "\n"
}

fn load(path: &Path) -> io::Result<VecDeque<AuditEntry>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(error),
    };
    let (mut entries, mut known) = (VecDeque::new(), HashSet::new());
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<AuditEntry>(line) {
            Ok(entry) if known.insert(entry.entry.clone()) => entries.push_back(entry),
            Ok(_twice) => {}
            // Cut off by a crash, before its request was answered.
            Err(error) => tracing::warn!(%error, "an audit entry that waited is not whole"),
        }
    }
    entries.truncate(MOST);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use counterpart_core::ServerId;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(number: usize, what: &str) -> AuditEntry {
        AuditEntry {
            id: None,
            entry: format!("{number:016x}"),
            at: number as u64,
            server: ServerId(1),
            who: "token night".to_owned(),
            from: "127.0.0.1".to_owned(),
            what: what.to_owned(),
            about: "x\ny".to_owned(),
            result: "done".to_owned(),
        }
    }

    fn keys(outbox: &Outbox) -> Vec<u64> {
        outbox.first(usize::MAX).iter().map(|entry| entry.at).collect()
    }

    fn add(outbox: &Outbox, entry: AuditEntry) {
        outbox.push(entry.clone());
        outbox.store(&entry);
    }

    #[test]
    fn what_waits_is_there_after_a_crash_and_what_was_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path());
        for number in 0..5 {
            add(&outbox, entry(number, "Suspend"));
        }
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(keys(&Outbox::open(dir.path())), [0, 1, 2, 3, 4]);
        outbox.remove(&outbox.first(2));
        assert_eq!(keys(&Outbox::open(dir.path())), [2, 3, 4]);
        // It was written before it was stored.
        let late = entry(9, "Resume");
        outbox.store(&late);
        assert_eq!(keys(&Outbox::open(dir.path())), [2, 3, 4]);
        outbox.remove(&outbox.first(3));
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn a_line_that_a_crash_cut_off_and_one_that_is_there_twice_cost_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let text = line(&entry(1, "Suspend")) + &line(&entry(1, "Suspend")) + "{\"id\":null,\"ent";
        fs::write(dir.path().join(FILE), text).unwrap();
        let outbox = Outbox::open(dir.path());
        assert_eq!(keys(&outbox), [1]);
        // What comes next does not hang on to the line that was cut off.
        add(&outbox, entry(2, "Suspend"));
        assert_eq!(keys(&Outbox::open(dir.path())), [1, 2]);
    }

    #[test]
    fn refused_credentials_make_room_before_what_operators_did_and_that_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path());
        for number in 0..MOST {
            outbox.push(entry(number, if number % 2 == 0 { SIGN_IN } else { "Suspend" }));
        }
        add(&outbox, entry(MOST, "Promote"));
        let all = outbox.all();
        assert_eq!(all.iter().filter(|entry| entry.what == "Suspend").count(), MOST / 2);
        assert_eq!((all[0].what.as_str(), all[1].what.as_str()), ("Promote", "AuditForgotten"));
        assert_eq!(Outbox::open(dir.path()).all(), all);
        for number in 0..3 * MOST {
            outbox.push(entry(10_000 + number, "Suspend"));
        }
        assert!(outbox.all().len() <= MOST + 1);
        assert_eq!(outbox.all()[0].at, 10_000 + 3 * MOST as u64 - 1);
    }

    #[test]
    fn a_disk_that_takes_nothing_loses_no_entry_of_a_server_that_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(&dir.path().join("gone"));
        add(&outbox, entry(1, "Promote"));
        assert_eq!(keys(&outbox), [1]);
    }
}
