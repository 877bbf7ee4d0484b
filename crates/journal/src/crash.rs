//! Named points at which a test lets the process die, as by `kill -9`: nothing is flushed, nothing is unwound.
//!
//! They stand where one durable step is done and the next is not, in every phase of a server's life. Without the
//! feature `crash-points`, which only tests ask for, a point is an empty function: a released binary must never have
//! them. Which point, and at which passing, is in the environment: `COUNTERPART_CRASH_AT=name:count`.

/// The environment variable that names the point.
pub const CRASH_AT: &str = "COUNTERPART_CRASH_AT";

/// Every point, each of which stands in the code once.
pub const CRASH_POINTS: &[&str] = &[
    // Checkpointing, on either server.
    "checkpoint.marked",
    "checkpoint.wal_copied",
    "checkpoint.map_saved",
    "checkpoint.before_control",
    "checkpoint.after_control",
    // The journal goes on in a new segment, begins anew, or has a segment mended.
    "journal.segment_begun",
    "journal.reset_announced",
    "journal.reset_removed",
    "journal.before_mend",
    "journal.after_mend",
    // The mirror replays.
    "replay.committed",
    "replay.created",
    // Databases come and go.
    "create.file_made",
    "create.journaled",
    "create.hardened",
    "create.entered",
    "drop.journaled",
    "drop.forgotten",
    "import.staged",
    "import.journaled",
    "import.renamed",
    // A start, and whatever else redoes the journal.
    "redo.record",
    "redo.files_durable",
    "redo.maps_saved",
    "redo.entered",
    // Seeding: the principal's side, then the mirror's.
    "seed.marked",
    "seed.frame_sent",
    "seed.all_sent",
    "seed.before_discard",
    "seed.discarded",
    "seed.catalog_taken",
    "seed.page_written",
    "seed.file_durable",
    "seed.database_done",
    "seed.whole",
    // Catching up by pages: the principal's side, then the mirror's, then the switch.
    "copy.marked",
    "copy.frame_sent",
    "copy.tail_sent",
    "copy.spooled",
    "copy.spool_durable",
    "copy.whole",
    "adopt.begun",
    "adopt.page_written",
    "adopt.files_durable",
    "adopt.catalog_taken",
    "adopt.journal_begun",
    "adopt.tail_taken",
    "adopt.before_cleaning",
    // What the control file says of the session.
    "control.before_handover",
    "control.after_handover",
    "control.before_epoch",
    "control.after_epoch",
    "control.before_seeding",
    "control.after_seeding",
    "control.before_deposed",
    "control.after_deposed",
    // Failing over and promoting.
    "failover.drained",
    "takeover.begun",
    "takeover.replayed",
    "takeover.acting",
    // A deposed principal keeps its orphans.
    "orphans.begun",
    "orphans.records_saved",
    "orphans.before_rename",
    "orphans.renamed",
    // Damage: single pages, then a whole database.
    "repair.fetched",
    "repair.written",
    "heal.begun",
    "heal.before_writing",
    "heal.page_written",
    "heal.before_control",
    "heal.opened",
];

/// Dies here, if this is the point that the environment names, and its passing has come.
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is not in the list");
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var(CRASH_AT).ok()?;
        let parsed = parse(&text);
        Some(parsed.unwrap_or_else(|| panic!("{CRASH_AT}={text} names no point and count")))
    });
    let Some((chosen, count)) = chosen else { return };
    if chosen == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        // So that whoever judges knows that it was this.
        eprintln!("dies at {name}:{count}");
        let killed =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        panic!("a process can kill itself: {killed:?}");
    }
}

/// Nothing at all.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn crash_point(_name: &str) {}

/// A name of the list and a count of at least 1.
#[cfg(any(feature = "crash-points", test))]
fn parse(text: &str) -> Option<(String, u64)> {
    let (name, count) = text.split_once(':')?;
    let count = count.parse().ok().filter(|&count| count > 0)?;
    CRASH_POINTS.contains(&name).then(|| (name.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rust_files(&path, files);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }

    #[test]
    fn each_point_stands_in_the_code_once_and_there_are_no_others() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = Vec::new();
        for entry in fs::read_dir(crates).unwrap() {
            let sources = entry.unwrap().path().join("src");
            if sources.is_dir() {
                rust_files(&sources, &mut files);
            }
        }
        let mut placed = BTreeMap::<String, u32>::new();
        for file in files.iter().filter(|file| !file.ends_with("journal/src/crash.rs")) {
            let text = fs::read_to_string(file).unwrap();
            for call in text.split("crash_point(\"").skip(1) {
                let name = call.split('"').next().expect("split gives at least one");
                *placed.entry(name.to_owned()).or_default() += 1;
            }
        }
        let listed = CRASH_POINTS.iter().map(|&name| (name.to_owned(), 1)).collect();
        assert_eq!(placed, listed);
    }

    #[test]
    fn only_a_name_of_the_list_with_a_count_chooses_a_point() {
        assert_eq!(parse("seed.whole:2"), Some(("seed.whole".to_owned(), 2)));
        for wrong in ["", "seed.whole", "seed.whole:", "seed.whole:0", "seed.whole:x", "other:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
