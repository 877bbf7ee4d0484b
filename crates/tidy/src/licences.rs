//! Every package that is built in, or used to build and test, has a permissive licence.
//!
//! A small reader of SPDX expressions: `OR` needs one allowed side, `AND` both, `A WITH B` is one licence. `/` is
//! how older packages write `OR`. An unreadable expression is a finding, never a pass.

use crate::Finding;

/// Licences that ask for no more than their text and the authors' names.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The packages in the answer of `cargo metadata` whose licence is not allowed. The subject is the package's name.
pub fn check(metadata: &serde_json::Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().expect("cargo metadata lists its packages");
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let problem = match package["license"].as_str() {
            None => "states no licence".to_owned(),
            Some(expression) => match permissive(expression) {
                Ok(true) => continue,
                Ok(false) => format!("its licence `{expression}` is not among the permissive ones"),
                Err(error) => error.to_string(),
            },
        };
        found.push(Finding::new(name, problem));
    }
    found
}

/// A licence expression that does not follow the grammar.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("its licence `{expression}` cannot be read")]
pub struct ExpressionError {
    expression: String,
}

/// Whether somebody may choose only allowed licences under this expression.
///
/// # Errors
/// When the expression does not follow the grammar.
pub fn permissive(expression: &str) -> Result<bool, ExpressionError> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    match any_of(&mut rest) {
        Some(answer) if rest.is_empty() => Ok(answer),
        _ => Err(ExpressionError { expression: expression.to_owned() }),
    }
}

/// `all-of { OR all-of }`; `None` when it is not one.
fn any_of(rest: &mut &[&str]) -> Option<bool> {
    let mut answer = all_of(rest)?;
    while take(rest, "OR") {
        answer |= all_of(rest)?;
    }
    Some(answer)
}

/// `one { AND one }`
fn all_of(rest: &mut &[&str]) -> Option<bool> {
    let mut answer = one(rest)?;
    while take(rest, "AND") {
        answer &= one(rest)?;
    }
    Some(answer)
}

/// `( any-of )`, or a licence with or without an exception.
fn one(rest: &mut &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let answer = any_of(rest)?;
        return take(rest, ")").then_some(answer);
    }
    let name = word(rest)?;
    if !take(rest, "WITH") {
        return Some(ALLOWED.contains(&name));
    }
    let exception = word(rest)?;
    Some(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()))
}

fn word<'a>(rest: &mut &[&'a str]) -> Option<&'a str> {
    let (first, after) = rest.split_first()?;
    if ["(", ")", "AND", "OR", "WITH"].contains(first) {
        return None;
    }
    *rest = after;
    Some(first)
}

fn take(rest: &mut &[&str], token: &str) -> bool {
    let found = rest.first() == Some(&token);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_choice_is_enough_and_all_parts_are_needed() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only/MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND LGPL-2.1-or-later", false),
            // AND binds tighter.
            ("MIT OR Apache-2.0 AND GPL-3.0-only", true),
            ("GPL-3.0-only AND MIT OR Zlib", true),
        ] {
            assert_eq!(permissive(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert_eq!(permissive("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"), Ok(true));
        assert_eq!(permissive("GPL-2.0 WITH Classpath-exception-2.0"), Ok(false));
    }

    #[test]
    fn what_cannot_be_read_does_not_pass() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "AND MIT", "MIT WITH"] {
            assert!(permissive(expression).is_err(), "{expression:?}");
        }
    }

    #[test]
    fn a_package_without_a_licence_is_found() {
        let json =
            r#"{"packages": [{"name": "a", "license": null}, {"name": "b", "license": "MIT"}]}"#;
        let found = check(&serde_json::from_str(json).expect("the sample is JSON"));
        assert_eq!(found, [Finding::new("a", "states no licence")]);
    }
}
