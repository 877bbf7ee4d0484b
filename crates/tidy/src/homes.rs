//! Clocks, sleeping, and what makes bytes durable each have one home.
//!
//! clippy's `disallowed_methods` finds the calls; a local `allow` silences it anywhere, and it does not know the
//! system calls of other crates. Here both are found, in macros and tests too. A test that needs to wait waits for
//! a state, with a deadline; the pause between two looks at the state is in a `clock.rs` as well.

use crate::{Finding, source::Source};

/// Where something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    /// A file named `clock.rs`, one per crate that needs a clock.
    Clock,
    /// `disk.rs`, or a file below `disk/` or beginning with `disk_`, in the journal.
    Disk,
    /// The journal: its `disk` has methods of the same names, and the rest of it calls them. That it does not
    /// call the standard library's past `disk` is clippy's to see, which knows types. The simulator's servers call the
    /// same methods, of a disk that is only simulated.
    Journal,
}

/// Consecutive tokens, their home, and how else to get there.
const RULES: &[(&[&str], Home, &str)] = &[
    (&["Instant", ":", ":", "now"], Home::Clock, CLOCK),
    (&["SystemTime", ":", ":", "now"], Home::Clock, CLOCK),
    (&["thread", ":", ":", "sleep"], Home::Clock, SLEEP),
    (&["fs", ":", ":", "rename"], Home::Disk, DISK),
    (&["sync_all", "("], Home::Journal, DISK),
    (&["sync_data", "("], Home::Journal, DISK),
    (&["fsync", "("], Home::Disk, DISK),
    (&["fdatasync", "("], Home::Disk, DISK),
    (&["fallocate", "("], Home::Disk, DISK),
    (&["posix_fallocate", "("], Home::Disk, DISK),
];

const CLOCK: &str = "time is an argument; only a file `clock.rs` reads the clock";
const SLEEP: &str = "wait for a state, with a deadline; only a file `clock.rs` pauses";
const DISK: &str = "only the journal's `disk` module syncs, renames and pre-allocates";

/// The name of the lint that guards the same calls; who silences it has to be at home.
const LINT: &str = "disallowed_methods";

/// What is done outside its home.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (pattern, home, why) in RULES {
        if is_home(&source.path, *home) {
            continue;
        }
        for line in calls(source, pattern) {
            let what = pattern.concat().replace('(', "");
            found.push(Finding::new(&source.path, format!("`{what}`: {why}")).at(line));
        }
    }
    if !is_home(&source.path, Home::Clock) && !is_home(&source.path, Home::Disk) {
        for line in source.lines_with(&[LINT]) {
            let message = format!("silences `{LINT}`, which only `clock.rs` and `disk` may do");
            found.push(Finding::new(&source.path, message).at(line));
        }
    }
    found
}

/// The lines of the pattern, definitions of a function of that name left out.
fn calls(source: &Source, pattern: &[&str]) -> Vec<usize> {
    let definitions = source.lines_with(&[&["fn"], pattern].concat());
    let mut lines = source.lines_with(pattern);
    lines.retain(|line| !definitions.contains(line));
    lines
}

fn is_home(path: &str, home: Home) -> bool {
    match home {
        Home::Clock => path.ends_with("/clock.rs"),
        Home::Disk => {
            let inside = path.strip_prefix("crates/journal/src/");
            inside.is_some_and(|rest| {
                ["disk.rs", "disk/", "disk_"].iter().any(|p| rest.starts_with(p))
            })
        }
        Home::Journal => {
            path.starts_with("crates/journal/") || path.starts_with("sim/src/process/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<Option<usize>> {
        let source = Source::parse(path, text).expect("the sample is Rust");
        check(&source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_clock_is_read_only_in_a_file_named_clock() {
        let text = "fn f() {\n    let _ = std::time::Instant::now();\n    g(SystemTime::now);\n}\n";
        assert_eq!(lines("crates/a/src/b.rs", text), [Some(2), Some(3)]);
        assert_eq!(lines("crates/a/tests/b.rs", text), [Some(2), Some(3)]);
        assert!(lines("crates/a/src/clock.rs", text).is_empty());
    }

    #[test]
    fn only_the_journals_disk_syncs_renames_and_preallocates() {
        let text = "fn f() {\n    file.sync_data()?;\n    fs::rename(a, b)?;\n    rustix::fs::fallocate(f, m, 0, n)?;\n}\n";
        assert_eq!(lines("crates/engine/src/disk.rs", text).len(), 3);
        assert!(lines("crates/journal/src/disk.rs", text).is_empty());
        assert!(lines("crates/journal/src/disk/segment.rs", text).is_empty());
        assert_eq!(lines("crates/journal/src/diskette.rs", text).len(), 2);
    }

    #[test]
    fn nobody_sleeps_elsewhere_not_even_inside_a_macro() {
        let text = "fn f() {\n    m! {\n        thread::sleep(d)\n    }\n}\n";
        assert_eq!(lines("crates/a/tests/b.rs", text), [Some(3)]);
        assert!(lines("crates/a/tests/support/clock.rs", text).is_empty());
    }

    #[test]
    fn silencing_the_lint_away_from_home_is_found() {
        let text = "#![allow(clippy::disallowed_methods)]\n";
        assert_eq!(lines("crates/a/src/b.rs", text), [Some(1)]);
        assert!(lines("crates/journal/src/disk.rs", text).is_empty());
    }

    #[test]
    fn defining_or_mentioning_such_a_name_is_nothing() {
        let text = "/// Calls `sync_data()`.\nfn fsync() {}\n#[serde(rename = \"x\")]\nstruct S { fsync: bool }\n";
        assert!(lines("crates/a/src/b.rs", text).is_empty());
    }
}
