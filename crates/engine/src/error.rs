//! The error that a client sees: a stable code, a sentence and, for syntax errors, a place.
//!
//! It must never carry a numeric SQLite code alone: clients match on names.

use rusqlite::ffi;

use crate::codes;

/// Codes that are not SQLite's. The first three are those of libSQL's server.
pub mod code {
    /// The text holds no statement.
    pub const NO_STATEMENT: &str = "SQL_NO_STATEMENT";
    /// The text holds more than one statement.
    pub const MANY_STATEMENTS: &str = "SQL_MANY_STATEMENTS";
    /// Arguments do not fit the parameters.
    pub const ARGS_INVALID: &str = "ARGS_INVALID";
    /// The statement is not allowed on this server.
    pub const REFUSED: &str = "SQL_REFUSED";
    /// The statement ran longer than it may.
    pub const TIMEOUT: &str = "SQL_TIMEOUT";
    /// A page of the database is damaged and could not be repaired.
    pub const DATA_DAMAGED: &str = "DATA_DAMAGED";
    /// The result is larger than it may be.
    pub const RESPONSE_TOO_LARGE: &str = "RESPONSE_TOO_LARGE";
}

/// All that SQLite says when two databases of one connection have different text encodings. Compared as a whole: other
/// messages quote what the client wrote, and that may be these words.
const OTHER_ENCODING: &str = "attached databases must use the same text encoding as main database";

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct SqlError {
    /// SQLite's extended code by name, such as `SQLITE_CONSTRAINT_UNIQUE`, or one of [`code`].
    pub code: String,
    /// What is wrong, in words.
    pub message: String,
    /// Byte offset in the statement's text that the error is about, if it is about one.
    pub offset: Option<u32>,
}

impl SqlError {
    /// An error with a code of ours or of SQLite's.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> SqlError {
        SqlError { code: code.to_owned(), message: message.into(), offset: None }
    }

    pub(crate) fn refused(sentence: impl Into<String>) -> SqlError {
        SqlError::new(code::REFUSED, sentence)
    }

    /// Whether it says that the database's own bytes are not what they should be.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.code == code::DATA_DAMAGED
            || self.code == "SQLITE_NOTADB"
            || self.code.starts_with("SQLITE_CORRUPT")
    }

    /// Whether it says that two databases of one connection have different text encodings, which SQLite does not have.
    #[must_use]
    pub fn is_other_encoding(&self) -> bool {
        self.code == "SQLITE_ERROR" && self.message == OTHER_ENCODING
    }

    /// Whether it says that somebody stopped the statement.
    #[must_use]
    pub fn is_interrupt(&self) -> bool {
        self.code == "SQLITE_INTERRUPT"
    }

    /// The result has more bytes than one may have.
    #[must_use]
    pub fn response_too_large(limit: u64) -> SqlError {
        SqlError::new(
            code::RESPONSE_TOO_LARGE,
            format!(
                "The result is larger than the {limit} bytes that one result may have; \
                 ask for fewer rows, or use a cursor."
            ),
        )
    }

    pub(crate) fn timeout() -> SqlError {
        SqlError::new(
            code::TIMEOUT,
            "The statement ran longer than the server's time limit and was stopped.",
        )
    }

    pub(crate) fn full(sentence: String) -> SqlError {
        SqlError::new("SQLITE_FULL", sentence)
    }

    pub(crate) fn read_only(sentence: &str) -> SqlError {
        SqlError::new("SQLITE_READONLY", sentence)
    }

    /// An error of SQLite's with result code `result` and its message.
    pub(crate) fn sqlite(result: i32, message: String) -> SqlError {
        if result == ffi::SQLITE_IOERR_DATA {
            let sentence = "A page of this database is damaged on this server, and no partner could \
                            bring a good copy of it; nothing wrong was read.";
            return SqlError::new(code::DATA_DAMAGED, sentence);
        }
        let message = match result & 0xff {
            ffi::SQLITE_TOOBIG => {
                format!("{message}: a value or a statement may have at most 1,000,000,000 bytes")
            }
            _ => message,
        };
        SqlError::new(codes::name(result), message)
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> SqlError {
        match error {
            rusqlite::Error::SqliteFailure(cause, message) => {
                SqlError::sqlite(cause.extended_code, message.unwrap_or_else(|| cause.to_string()))
            }
            other => SqlError::new("SQLITE_ERROR", other.to_string()),
        }
    }
}
