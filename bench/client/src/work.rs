//! What a client asks for: the requests, and what their answers must say.

use std::{fmt::Write as _, sync::LazyLock};

use clap::ValueEnum;

use crate::dice::Dice;

/// Rows of the table that all figures are of.
pub const ROWS: u64 = 100_000;

/// Statements of a batch.
const BATCH: usize = 50;

/// Rows of a range that a cursor streams.
const RANGE: u64 = 10_000;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// One autocommit update of a random row.
    Update,
    /// One row by its key.
    Read,
    /// A batch of 50 updates in one transaction, as clients' `batch()` makes it.
    Batch,
    /// A batch of 50 updates that commit one by one.
    BatchAutocommit,
    /// One row with a blob, see `--bytes`.
    Blob,
    /// 10,000 rows through a cursor.
    Scan,
}

const UPDATE: &str = "update acc set bal=bal+? where id=?";

impl Work {
    /// Where it is posted, below the database's path.
    pub fn path(self) -> &'static str {
        match self {
            Work::Scan => "/v3/cursor",
            _ => "/v3/pipeline",
        }
    }

    /// What one request does, in the unit of its rate.
    pub fn amount(self) -> u64 {
        match self {
            Work::Batch | Work::BatchAutocommit => BATCH as u64,
            Work::Scan => RANGE,
            Work::Update | Work::Read | Work::Blob => 1,
        }
    }

    /// A request's body.
    pub fn body(self, dice: &mut Dice, rows: u64, bytes: usize) -> String {
        let id = dice.below(rows) + 1;
        match self {
            Work::Update => pipeline(&format!("\"execute\",\"stmt\":{}", update(id))),
            Work::Read => pipeline(&format!(
                r#""execute","stmt":{{"sql":"select bal, filler from acc where id=?","args":[{}]}}"#,
                integer(id)
            )),
            Work::Batch => pipeline(&batch(dice, rows, true)),
            Work::BatchAutocommit => pipeline(&batch(dice, rows, false)),
            Work::Blob => pipeline(&format!(
                r#""execute","stmt":{{"sql":"insert or replace into blobs values(?, ?)","args":[{},{{"type":"blob","base64":"{}"}}]}}"#,
                integer(id % 64),
                noise(dice, bytes)
            )),
            Work::Scan => {
                let from = dice.below(rows.saturating_sub(RANGE).max(1)) + 1;
                format!(
                    r#"{{"baton":null,"batch":{{"steps":[{{"stmt":{{"sql":"select id, bal, filler from acc where id>=? limit {RANGE}","args":[{}]}}}}]}}}}"#,
                    integer(from)
                )
            }
        }
    }

    /// Whether an answer says that all was done.
    pub fn is_done(self, answer: &[u8]) -> bool {
        match self {
            Work::Scan => {
                let lines = answer.iter().filter(|byte| **byte == b'\n').count() as u64;
                // An error is the last entry; looking for it everywhere would cost as much as the server's work.
                let end = &answer[answer.len().saturating_sub(1000)..];
                lines >= RANGE && !contains(end, b"\"step_error\"")
            }
            // A batch that failed names the step's error beside its results.
            Work::Batch | Work::BatchAutocommit => {
                contains(answer, b"\"type\":\"ok\"") && !contains(answer, b"\"message\"")
            }
            Work::Update | Work::Read | Work::Blob => {
                contains(answer, b"\"type\":\"ok\"") && !contains(answer, b"\"type\":\"error\"")
            }
        }
    }
}

/// An update of a row, as a statement.
pub fn update(id: u64) -> String {
    format!(r#"{{"sql":"{UPDATE}","args":[{},{}]}}"#, integer(1), integer(id))
}

fn integer(value: u64) -> String {
    format!(r#"{{"type":"integer","value":"{value}"}}"#)
}

fn pipeline(request: &str) -> String {
    format!(r#"{{"baton":null,"requests":[{{"type":{request}}},{{"type":"close"}}]}}"#)
}

fn batch(dice: &mut Dice, rows: u64, transaction: bool) -> String {
    let mut steps: Vec<String> =
        (0..BATCH).map(|_| format!(r#""stmt":{}"#, update(dice.below(rows) + 1))).collect();
    if transaction {
        steps.insert(0, r#""stmt":{"sql":"begin immediate"}"#.to_owned());
        steps.push(r#""stmt":{"sql":"commit"}"#.to_owned());
    }
    let mut text = String::from(r#""batch","batch":{"steps":["#);
    for (n, step) in steps.iter().enumerate() {
        let separator = if n == 0 { "" } else { "," };
        write!(text, "{separator}{{{step}").expect("a string takes all");
        if transaction && n > 0 {
            write!(text, r#","condition":{{"type":"ok","step":{}}}"#, n - 1)
                .expect("a string takes all");
        }
        text.push('}');
    }
    text.push_str("]}");
    text
}

/// Base64 of about `bytes` bytes that do not compress: a piece of one large noise, from a random place.
fn noise(dice: &mut Dice, bytes: usize) -> &'static str {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const POOL: usize = 8 << 20;
    static NOISE: LazyLock<String> = LazyLock::new(|| {
        let mut dice = Dice::new(0);
        (0..POOL).map(|_| char::from(DIGITS[dice.below(64) as usize])).collect()
    });
    // Four digits are three bytes; whole groups need no padding.
    let digits = (bytes / 3 * 4).min(POOL / 2);
    let from = dice.below((POOL - digits) as u64) as usize;
    &NOISE[from..from + digits]
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_json() {
        for work in Work::value_variants() {
            let body = work.body(&mut Dice::new(1), ROWS, 300);
            serde_json::from_str::<serde_json::Value>(&body)
                .unwrap_or_else(|error| panic!("{work:?}: {error} in {body}"));
        }
    }

    #[test]
    fn a_batch_is_fifty_updates_around_which_there_may_be_a_transaction() {
        for (transaction, steps) in [(false, 50), (true, 52)] {
            let text = format!("{{\"type\":{}}}", batch(&mut Dice::new(1), ROWS, transaction));
            let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(json["batch"]["steps"].as_array().map(Vec::len), Some(steps));
        }
    }

    #[test]
    fn an_answer_with_an_error_is_not_done() {
        assert!(!Work::Update.is_done(br#"{"results":[{"type":"error","error":{}}]}"#));
        assert!(Work::Update.is_done(br#"{"results":[{"type":"ok","response":{}}]}"#));
        assert!(!Work::Scan.is_done(b"{}\n"));
    }
}
