//! Files and functions stay small enough to be read in one go.
//!
//! A file's unit tests do not count against it: tests should never be the reason to write fewer of them.

use crate::{Finding, source::Source};

/// Lines of a file, its `#[cfg(test)]` modules left out.
pub const LONGEST_FILE: usize = 600;

/// Lines of a function, from `fn` to its closing brace.
pub const LONGEST_FUNCTION: usize = 70;

/// Whether the file without its tests is too long.
pub fn check_file(source: &Source) -> Option<Finding> {
    let tests: usize = source.test_blocks.iter().map(|(first, last)| last + 1 - first).sum();
    let lines = source.text.lines().count() - tests;
    (lines > LONGEST_FILE).then(|| {
        let message = format!(
            "{lines} lines without its tests, where {LONGEST_FILE} is the most; split it by what it decides"
        );
        Finding::new(&source.path, message)
    })
}

/// The functions that are too long; the subject is `path::name`.
pub fn check_functions(source: &Source) -> Vec<Finding> {
    let too_long = source.functions.iter().filter(|function| function.lines > LONGEST_FUNCTION);
    let finding = |function: &crate::source::Function| {
        let message = format!(
            "{} lines, where {LONGEST_FUNCTION} is the most; give its parts names",
            function.lines
        );
        Finding::new(format!("{}::{}", source.path, function.name), message).at(function.line)
    };
    too_long.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse("sample.rs", text).expect("the sample is Rust")
    }

    #[test]
    fn a_file_may_be_as_long_as_the_limit_and_no_longer() {
        let at_limit = "// line\n".repeat(LONGEST_FILE);
        assert_eq!(check_file(&parse(&at_limit)), None);
        assert!(check_file(&parse(&format!("{at_limit}// one more\n"))).is_some());
    }

    #[test]
    fn unit_tests_do_not_count_against_a_file() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// line\n".repeat(2000));
        assert_eq!(check_file(&parse(&tests)), None);
    }

    #[test]
    fn a_long_function_is_found_by_name_even_inside_tests() {
        let long = format!("fn f() {{\n{}}}\n", "// line\n".repeat(LONGEST_FUNCTION - 1));
        let text = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let found = check_functions(&parse(&text));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].subject.as_str(), found[0].line), ("sample.rs::f", Some(3)));
    }

    #[test]
    fn a_function_at_the_limit_passes() {
        let text = format!("fn f() {{\n{}}}\n", "// line\n".repeat(LONGEST_FUNCTION - 2));
        assert_eq!(check_functions(&parse(&text)), []);
    }
}
