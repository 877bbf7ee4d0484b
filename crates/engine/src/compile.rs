//! Compiling: from SQL text to a statement whose class is known.
//!
//! It must never keep a statement whose class could change while it lies in the cache.

use rusqlite::{ffi, hooks::TransactionOperation};

use crate::{
    class::{BeginMode, Class},
    connection::Connection,
    error::{SqlError, code},
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
        args.named.iter().try_for_each(|(name, value)| self.bind_named(name, value))
    }

    fn bind_named(&self, name: &str, value: &Value) -> Result<(), SqlError> {
        let mut found = false;
        for index in 1..=self.stmt.parameter_count() {
            let Some(parameter) = self.stmt.parameter_name(index) else { continue };
            if parameter == name || parameter.get(1..) == Some(name) {
                self.stmt.bind(index, value)?;
                found = true;
            }
        }
        if found {
            return Ok(());
        }
        Err(SqlError::new(code::ARGS_INVALID, format!("the statement has no parameter {name:?}")))
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

    /// Splits the first statement off a script, as SQLite reads it; the statement is compiled for the
    /// [`classify`](Self::classify) and [`run`](Self::run) that follow. `None` when only comments are left.
    ///
    /// # Errors
    /// What is wrong with that statement.
    pub fn next_statement<'a>(
        &mut self,
        script: &'a str,
    ) -> Result<Option<(&'a str, &'a str)>, SqlError> {
        let text = lex::skip_trivia(script);
        if text.is_empty() {
            return Ok(None);
        }
        let (prepared, used) = self.compile(text)?;
        let (statement, rest) = text.split_at(used);
        self.pending = Some((statement.into(), prepared));
        Ok(Some((statement, rest)))
    }

    pub(crate) fn compile_one(&mut self, sql: &str) -> Result<Prepared, SqlError> {
        let text = lex::skip_trivia(sql);
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

    /// Compiles the first statement of `text`, which begins with it; also returns its length.
    fn compile(&mut self, text: &str) -> Result<(Prepared, usize), SqlError> {
        if text.is_empty() {
            return Err(SqlError::new(
                code::NO_STATEMENT,
                "SQL string does not contain any statement",
            ));
        }
        if text.contains('\0') {
            return Err(SqlError::new("SQLITE_ERROR", "the SQL text contains a NUL character"));
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
        let seen = self.guard.seen();
        // Pragmas act while they are compiled, so even a statement that never runs may have left something.
        self.marked |= seen.marks;
        let Some((stmt, used)) = compiled.map_err(|error| self.explain(error))? else {
            return Err(SqlError::new(
                code::NO_STATEMENT,
                "SQL string does not contain any statement",
            ));
        };
        let class = classify(&stmt, &seen, &words);
        let counts =
            matches!(words[0].as_str(), "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "WITH")
                && matches!(class, Class::Write | Class::WriteTemp);
        // A pragma acts while it is compiled; a table of the temporary database may give way to one of the
        // main database, and then the statement would write without the permit.
        let keep = seen.pragma.is_none() && !seen.writes_temp;
        let vacuum = words[0] == "VACUUM";
        Ok((Prepared { stmt, class, keep, counts, vacuum, columns: None }, used))
    }
}

/// `BEGIN READONLY` as SQLite understands it, every byte at its place. `None` for anything else.
fn without_readonly(text: &str, words: &[String; 3]) -> Option<String> {
    const WORD: &str = "READONLY";
    // SQLite itself takes `BEGIN TRANSACTION READONLY`, as a transaction of that name.
    if words[0] != "BEGIN" || words[1] != WORD {
        return None;
    }
    let at = text.to_ascii_uppercase().find(WORD)?;
    Some(format!("{}{}{}", &text[..at], " ".repeat(WORD.len()), &text[at + WORD.len()..]))
}

fn classify(stmt: &RawStatement, seen: &Seen, words: &[String; 3]) -> Class {
    if stmt.is_explain() {
        return Class::Read;
    }
    match (seen.transaction, seen.savepoint) {
        (Some(TransactionOperation::Begin), _) => return Class::Begin(begin_mode(words)),
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
        None => !stmt.is_readonly(),
    };
    match (writes, seen.writes_temp && !seen.writes_main) {
        (false, _) => Class::Read,
        (true, true) => Class::WriteTemp,
        (true, false) => Class::Write,
    }
}

fn begin_mode(words: &[String; 3]) -> BeginMode {
    match (words[1].as_str(), words[2].as_str()) {
        ("IMMEDIATE", _) => BeginMode::Immediate,
        ("EXCLUSIVE", _) => BeginMode::Exclusive,
        ("READONLY", _) | ("TRANSACTION", "READONLY") => BeginMode::ReadOnly,
        _ => BeginMode::Deferred,
    }
}
