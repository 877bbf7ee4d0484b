//! Compiling: from SQL text to a statement whose class is known.
//!
//! It must never keep a statement whose class could change while it lies in the cache.

use std::collections::HashMap;

use rusqlite::{ffi, hooks::TransactionOperation};

use crate::{
    class::{BeginMode, Class},
    connection::Connection,
    error::{SqlError, code},
    glance::Pace,
    guard::{self, Seen},
    lex,
    raw::RawStatement,
    value::{Args, Column, Value},
};

/// A compiled statement and what is known of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) stmt: RawStatement,
    pub(crate) class: Class,
    /// Whether it may be run again from the cache.
    pub(crate) keep: bool,
    /// It is an INSERT, UPDATE or DELETE, so it sets `changes()`.
    pub(crate) counts: bool,
    /// It is a VACUUM.
    pub(crate) vacuum: bool,
    /// How long it has taken so far.
    pub(crate) pace: Pace,
    columns: Option<Vec<Column>>,
}

/// What a statement takes and gives, without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The parameters in order; the name with its prefix, `None` for a bare `?`.
    pub params: Vec<Option<String>>,
    /// The columns of its result.
    pub columns: Vec<Column>,
    /// Whether it is an EXPLAIN.
    pub is_explain: bool,
    /// Whether it leaves the main database as it is.
    pub is_readonly: bool,
}

/// A text of many statements.
///
/// SQLite copies a text that it is given without a NUL at its end. For each statement it would copy all the rest.
#[derive(Clone, Debug)]
pub struct Script {
    /// The text and one NUL.
    terminated: String,
}

impl Script {
    /// A script of this text.
    ///
    /// # Errors
    /// If the text has a NUL character, where SQLite would end it.
    pub fn new(text: &str) -> Result<Script, SqlError> {
        check_nul(text)?;
        Ok(Script { terminated: format!("{text}\0") })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.terminated[..self.terminated.len() - 1]
    }
}

fn check_nul(text: &str) -> Result<(), SqlError> {
    if text.contains('\0') {
        return Err(SqlError::new("SQLITE_ERROR", "the SQL text contains a NUL character"));
    }
    Ok(())
}

impl Prepared {
    /// The columns of the result, asked of SQLite only after the statement was compiled (again).
    pub(crate) fn columns(&mut self) -> &[Column] {
        if self.stmt.take_status(ffi::SQLITE_STMTSTATUS_REPREPARE) > 0 {
            self.columns = None;
        }
        self.columns.get_or_insert_with(|| self.stmt.columns())
    }

    pub(crate) fn bind(&self, args: &Args) -> Result<(), SqlError> {
        let count = self.stmt.parameter_count();
        if args.positional.len() > count {
            return Err(SqlError::new(
                code::ARGS_INVALID,
                format!("{} arguments were given for {count} parameters", args.positional.len()),
            ));
        }
        for (index, value) in (1..).zip(&args.positional) {
            self.stmt.bind(index, value)?;
        }
        let mut bound = vec![true; args.positional.len()];
        bound.resize(count, false);
        if !args.named.is_empty() {
            self.bind_named(&args.named, &mut bound)?;
        }
        // SQLite would take NULL, and a client that forgot a value would overwrite one. Plans need no values.
        let missing = bound.iter().position(|bound| !bound);
        let Some(missing) = missing.filter(|_| !self.stmt.is_explain()) else { return Ok(()) };
        let shown = self.stmt.parameter_name(missing + 1);
        let shown = shown.unwrap_or_else(|| (missing + 1).to_string());
        let what = format!("no value was given for parameter {shown} of {count}");
        Err(SqlError::new(code::ARGS_INVALID, what))
    }

    fn bind_named(&self, named: &[(String, Value)], bound: &mut [bool]) -> Result<(), SqlError> {
        // Clients may name thousands: one look at each parameter, not one for each argument.
        let mut indexes: HashMap<String, Vec<usize>> = HashMap::new();
        for index in 1..=self.stmt.parameter_count() {
            let Some(parameter) = self.stmt.parameter_name(index) else { continue };
            if let Some(bare) = parameter.get(1..) {
                indexes.entry(bare.to_owned()).or_default().push(index);
            }
            indexes.entry(parameter).or_default().push(index);
        }
        for (name, value) in named {
            let Some(found) = indexes.get(name) else {
                let what = format!("the statement has no parameter {name:?}");
                return Err(SqlError::new(code::ARGS_INVALID, what));
            };
            for index in found {
                self.stmt.bind(*index, value)?;
                bound[index - 1] = true;
            }
        }
        Ok(())
    }
}

impl Connection {
    /// What `sql`, exactly one statement, takes and gives.
    ///
    /// # Errors
    /// What is wrong with the statement, as for [`classify`](Self::classify).
    pub fn describe(&mut self, sql: &str) -> Result<Description, SqlError> {
        let mut prepared = self.compile_one(sql)?;
        let params = (1..=prepared.stmt.parameter_count())
            .map(|i| prepared.stmt.parameter_name(i))
            .collect();
        Ok(Description {
            params,
            columns: prepared.columns().to_vec(),
            is_explain: prepared.stmt.is_explain(),
            is_readonly: !prepared.class.needs_permit(),
        })
    }

    /// The statement of a script that begins at byte `at` or after it, as SQLite reads it, and where it ends; it is
    /// compiled for the [`classify`](Self::classify) and [`run`](Self::run) that follow. `None` when only comments
    /// are left.
    ///
    /// # Errors
    /// What is wrong with that statement.
    ///
    /// # Panics
    /// If `at` is neither 0 nor where a statement of this script ends.
    pub fn next_statement<'a>(
        &mut self,
        script: &'a Script,
        at: usize,
    ) -> Result<Option<(&'a str, usize)>, SqlError> {
        let left = lex::skip_trivia(&script.as_str()[at..]).len();
        if left == 0 {
            return Ok(None);
        }
        let begin = script.as_str().len() - left;
        // With its NUL, so that SQLite does not copy all that is left.
        let (prepared, used) = self.compile(&script.terminated[begin..])?;
        let statement = &script.terminated[begin..begin + used];
        self.pending = Some((statement.into(), prepared));
        Ok(Some((statement, begin + used)))
    }

    pub(crate) fn compile_one(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        let text = lex::skip_trivia(sql);
        check_nul(text)?;
        let skipped = sql.len() - text.len();
        let (prepared, used) = self.compile(text).map_err(|mut error| {
            error.offset = error.offset.map(|at| at + u32::try_from(skipped).unwrap_or(0));
            error
        })?;
        if lex::skip_trivia(&text[used..]).is_empty() {
            Ok(prepared)
        } else {
            Err(SqlError::new(
                code::MANY_STATEMENTS,
                "SQL string contains more than one statement; use a sequence or a batch",
            ))
        }
    }

    /// Compiles the first statement of `text`, which begins with it and has no NUL but perhaps at its end; also
    /// returns the statement's length.
    fn compile(&mut self, text: &str) -> Result<(Prepared, usize), SqlError> {
        if text.is_empty() {
            return Err(SqlError::new(
                code::NO_STATEMENT,
                "SQL string does not contain any statement",
            ));
        }
        let words: [String; 3] = lex::first_words(text);
        if words[0] == "VACUUM" && words.iter().any(|word| word == "INTO") {
            return Err(SqlError::refused(guard::VACUUM_INTO));
        }
        self.guard.reset();
        let replaced = without_readonly(text, &words);
        let sql = replaced.as_deref().unwrap_or(text);
        // SAFETY: the connection is open, this thread has it, and it outlives the statement: the fields that
        // hold statements are dropped first.
        let compiled = unsafe { RawStatement::prepare(self.handle(), sql, true) };
        let mut seen = self.guard.seen();
        // Pragmas act while they are compiled, so even a statement that never runs may have left something.
        self.marked |= seen.marks;
        let Some((stmt, used)) = compiled.map_err(|error| self.explain(error))? else {
            return Err(SqlError::new(
                code::NO_STATEMENT,
                "SQL string does not contain any statement",
            ));
        };
        // What connects to a virtual table for the first time asks a pragma of its own while it is compiled: FTS3
        // wants the size of pages.
        let without_pragma = seen.pragma.is_none();
        seen.pragma = seen.pragma.filter(|_| words[0] == "PRAGMA");
        let class = classify(&stmt, &seen, &words);
        let counts =
            matches!(words[0].as_str(), "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "WITH")
                && matches!(class, Class::Write | Class::WriteTemp);
        // A pragma acts while it is compiled; a table of the temporary database may give way to one of the
        // main database, and then the statement would write without the permit. A change of the schema may
        // compile to nothing, and SQLite does not always notice when that is no longer right.
        let keep = without_pragma && !seen.writes_temp && !changes_schema(&words);
        let vacuum = words[0] == "VACUUM";
        Ok((
            Prepared { stmt, class, keep, counts, vacuum, pace: Pace::default(), columns: None },
            used,
        ))
    }
}

/// `BEGIN READONLY` as SQLite understands it, every byte at its place. `None` for anything else.
fn without_readonly(text: &str, words: &[String; 3]) -> Option<String> {
    const WORD: &str = "READONLY";
    // SQLite itself takes `BEGIN TRANSACTION READONLY`, as a transaction of that name.
    if words[0] != "BEGIN" || words[1] != WORD {
        return None;
    }
    // A comment between the two may have the word, too.
    let at = text.len() - lex::skip_trivia(&text["BEGIN".len()..]).len();
    Some(format!("{}{}{}", &text[..at], " ".repeat(WORD.len()), &text[at + WORD.len()..]))
}

fn classify(stmt: &RawStatement, seen: &Seen, words: &[String; 3]) -> Class {
    if stmt.is_explain() {
        return Class::Read;
    }
    match (seen.transaction, seen.savepoint) {
        (Some(TransactionOperation::Begin), _) => {
            let mode = begin_mode(words);
            // SQLite knows better than any reading of its text whether it locks at once.
            let immediate = mode == BeginMode::Deferred && !stmt.is_readonly();
            return Class::Begin(if immediate { BeginMode::Immediate } else { mode });
        }
        (Some(TransactionOperation::Rollback), _) => return Class::Rollback,
        (Some(_), _) => return Class::Commit,
        (None, Some(TransactionOperation::Begin)) => return Class::Savepoint,
        (None, Some(TransactionOperation::Release)) => return Class::Release,
        (None, Some(_)) => return Class::RollbackTo,
        (None, None) => {}
    }
    let writes = match seen.pragma {
        Some(pragma) if pragma.only_asks => false,
        Some(pragma) => pragma.writes || (pragma.has_argument && !stmt.is_readonly()),
        // `DROP TRIGGER IF EXISTS` counts as reading while the trigger is not there, and it may be there at any
        // moment: SQLite compiles the statement anew when it runs.
        None => !stmt.is_readonly() || changes_schema(words),
    };
    match (writes, seen.writes_temp && !seen.writes_main) {
        (false, _) => Class::Read,
        (true, true) => Class::WriteTemp,
        (true, false) => Class::Write,
    }
}

/// Whether a statement changes the schema, or what is kept about it, by its first word.
fn changes_schema(words: &[String; 3]) -> bool {
    const WORDS: [&str; 6] = ["ALTER", "ANALYZE", "CREATE", "DROP", "REINDEX", "VACUUM"];
    WORDS.contains(&words[0].as_str())
}

fn begin_mode(words: &[String; 3]) -> BeginMode {
    match (words[1].as_str(), words[2].as_str()) {
        ("IMMEDIATE", _) => BeginMode::Immediate,
        ("EXCLUSIVE", _) => BeginMode::Exclusive,
        ("READONLY", _) | ("TRANSACTION", "READONLY") => BeginMode::ReadOnly,
        _ => BeginMode::Deferred,
    }
}
