//! The core stays pure: no socket, disk, clock, thread, process or environment.
//!
//! Cargo sees which crates the core depends on (see `arrows`); the standard library it cannot withhold.

use crate::{Finding, source::Source};

/// The folder that must stay pure. Its unit tests may read files (transcripts, say).
const CORE: &str = "crates/core/src/";

/// Modules of `std` that reach outside the program.
const OUTSIDE: [&str; 6] = ["fs", "net", "thread", "process", "env", "os"];

/// Types of `std::time` that read a clock. `Duration` is a number and welcome.
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];

/// What reaches outside, in a file of the core.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some(inside) = source.path.strip_prefix(CORE) else { return Vec::new() };
    if inside.split(['/', '.']).any(|part| part == "tests") {
        return Vec::new();
    }
    let mut lines: Vec<(usize, String)> = Vec::new();
    for module in OUTSIDE {
        for line in source.lines_with(&["std", ":", ":", module]) {
            lines.push((line, format!("std::{module}")));
        }
        for line in grouped(source, module) {
            lines.push((line, format!("std::{module}")));
        }
    }
    for clock in CLOCKS {
        for line in source.lines_with(&["time", ":", ":", clock]) {
            lines.push((line, format!("std::time::{clock}")));
        }
    }
    lines.sort();
    lines.dedup();
    let outside_tests = lines.into_iter().filter(|(line, _)| !source.is_test_line(*line));
    let finding = |(line, what): (usize, String)| {
        let message =
            format!("`{what}` in the pure core; let the driver do it and hand in the result");
        Finding::new(&source.path, message).at(line)
    };
    outside_tests.map(finding).collect()
}

/// Lines of `module` directly inside `std::{…}`.
fn grouped(source: &Source, module: &str) -> Vec<usize> {
    let tokens = &source.tokens;
    let mut lines = Vec::new();
    for start in 0..tokens.len().saturating_sub(4) {
        let open = ["std", ":", ":", "{"];
        if !tokens[start..start + 4].iter().zip(open).all(|(token, text)| token.text == text) {
            continue;
        }
        let mut depth = 1;
        for pair in tokens[start + 3..].windows(2) {
            let (before, token) = (&pair[0].text, &pair[1]);
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                text if depth == 1 && text == module && (before == "{" || before == ",") => {
                    lines.push(token.line);
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<Option<usize>> {
        let source = Source::parse(path, text).expect("the sample is Rust");
        check(&source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn reaching_outside_is_found_in_the_core_alone() {
        let text = "use std::fs;\nuse std::{\n    fmt,\n    net::SocketAddr,\n};\nfn f(now: std::time::Instant, own: Instant) {}\n";
        assert_eq!(lines("crates/core/src/a.rs", text), [Some(1), Some(4), Some(6)]);
        assert!(lines("crates/node/src/a.rs", text).is_empty());
    }

    #[test]
    fn tests_of_the_core_may_read_files_and_durations_are_numbers() {
        let text = "use std::time::Duration;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert!(lines("crates/core/src/a.rs", text).is_empty());
        assert!(lines("crates/core/src/a/tests.rs", "use std::fs;\n").is_empty());
    }

    #[test]
    fn a_name_deeper_in_a_group_is_another_thing() {
        assert!(lines("crates/core/src/a.rs", "use std::{collections::{fs}, fmt};\n").is_empty());
    }
}
