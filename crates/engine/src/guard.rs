//! What clients may not do, and what a statement will do: both learned while SQLite compiles it.
//!
//! SQLite asks the authorizer about every action of a statement, so nothing can hide in a view, a trigger or a
//! comment. It must never deny without leaving a sentence: SQLite's own "not authorized" helps nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

use crate::error::SqlError;

/// Pragmas that take an argument without leaving anything behind on the connection.
const PASSING_PRAGMAS: &[&str] = &[
    "application_id",
    "data_version",
    "foreign_key_check",
    "foreign_key_list",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "journal_mode",
    "locking_mode",
    "optimize",
    "quick_check",
    "schema_version",
    "shrink_memory",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Pragmas that write the database when they have an argument.
const WRITING_PRAGMAS: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "default_cache_size",
    "encoding",
    "schema_version",
    "user_version",
];

/// Pragmas whose argument is refused unless it says what is so anyway: with it they only ask, though SQLite counts
/// that as writing.
const ASKING_PRAGMAS: &[&str] = &["journal_mode", "locking_mode"];

/// What the authorizer saw of one statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// It changes something in the main database.
    pub(crate) writes_main: bool,
    /// It changes something in the temporary database.
    pub(crate) writes_temp: bool,
    /// It leaves something behind that SQLite scopes to the connection.
    pub(crate) marks: bool,
    /// It is a pragma: whether it has an argument, and whether it writes the database.
    pub(crate) pragma: Option<Pragma>,
    /// It is BEGIN, COMMIT or ROLLBACK.
    pub(crate) transaction: Option<TransactionOperation>,
    /// It is SAVEPOINT, RELEASE or ROLLBACK TO.
    pub(crate) savepoint: Option<TransactionOperation>,
}

/// What is known of a pragma.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pragma {
    pub(crate) has_argument: bool,
    pub(crate) only_asks: bool,
    pub(crate) writes: bool,
}

/// The guard's memory between SQLite's questions and the connection's answers.
#[derive(Debug, Default)]
pub(crate) struct GuardState {
    seen: Seen,
    refusal: Option<String>,
    /// VACUUM attaches a database of its own while it runs and copies everything through it.
    vacuuming: bool,
}

/// A guard shared by a connection and its authorizer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard(Arc<Mutex<GuardState>>);

impl Guard {
    fn lock(&self) -> MutexGuard<'_, GuardState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Installs the guard on a connection of clients.
    pub(crate) fn install(&self, db: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        let guard = self.clone();
        db.authorizer(Some(move |context: AuthContext<'_>| guard.lock().judge(&context)))
    }

    /// Forgets what was seen; call before a statement is compiled or run.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.seen = Seen::default();
        state.refusal = None;
    }

    /// What was seen since the last reset.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// SQLite's error, or the guard's sentence if the guard caused it.
    pub(crate) fn explain(&self, error: SqlError) -> SqlError {
        match self.lock().refusal.take() {
            Some(sentence) => SqlError::refused(sentence),
            // The module is not there for clients, so SQLite fails before it asks the guard.
            None if error.message.ends_with(": sqlite_dbpage") => SqlError::refused(DBPAGE),
            None => error,
        }
    }

    /// Lets VACUUM do its own work.
    pub(crate) fn set_vacuuming(&self, vacuuming: bool) {
        self.lock().vacuuming = vacuuming;
    }
}

impl GuardState {
    fn judge(&mut self, context: &AuthContext<'_>) -> Authorization {
        if self.vacuuming {
            return self.judge_vacuum(context);
        }
        self.note(context);
        match refusal(&context.action) {
            None => Authorization::Allow,
            Some(sentence) => {
                self.refusal = Some(sentence);
                Authorization::Deny
            }
        }
    }

    fn judge_vacuum(&mut self, context: &AuthContext<'_>) -> Authorization {
        match context.action {
            AuthAction::Attach { filename } if !filename.is_empty() => {
                self.refusal = Some(VACUUM_INTO.to_owned());
                Authorization::Deny
            }
            _ => Authorization::Allow,
        }
    }

    fn note(&mut self, context: &AuthContext<'_>) {
        let seen = &mut self.seen;
        let temp = context.database_name == Some("temp");
        match context.action {
            AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::DropTempIndex { .. }
            | AuthAction::DropTempTable { .. }
            | AuthAction::DropTempTrigger { .. }
            | AuthAction::DropTempView { .. } => {
                seen.writes_temp = true;
                seen.marks = true;
            }
            AuthAction::Insert { .. }
            | AuthAction::Delete { .. }
            | AuthAction::Update { .. }
            | AuthAction::CreateVtable { .. }
            | AuthAction::DropVtable { .. } => {
                seen.writes_main |= !temp;
                seen.writes_temp |= temp;
                seen.marks |= temp;
            }
            AuthAction::Pragma { pragma_name, pragma_value } => {
                let name = pragma_name.to_ascii_lowercase();
                let name = name.as_str();
                let has_argument = pragma_value.is_some();
                let writes = matches!(name, "incremental_vacuum" | "optimize")
                    || (has_argument && WRITING_PRAGMAS.contains(&name));
                seen.marks |= has_argument && (temp || !PASSING_PRAGMAS.contains(&name));
                let only_asks = ASKING_PRAGMAS.contains(&name);
                seen.pragma = Some(Pragma { has_argument, only_asks, writes });
            }
            AuthAction::Transaction { operation } => seen.transaction = Some(operation),
            AuthAction::Savepoint { operation, .. } => seen.savepoint = Some(operation),
            _ => {}
        }
    }
}

/// Why `VACUUM INTO` is refused.
pub(crate) const VACUUM_INTO: &str = "VACUUM INTO is refused: it would write a file on the server; use `counterpart db export` instead.";

/// Why raw page access is refused.
const DBPAGE: &str =
    "sqlite_dbpage is refused: raw pages are what mirroring itself writes; use SQL on the tables.";

/// Why the table of `PRAGMA optimize` is refused.
const OPTIMIZE: &str = "pragma_optimize is refused: a SELECT that writes would bypass the journal; use PRAGMA optimize instead.";

/// The sentence with which an action is refused, `None` if it is allowed.
fn refusal(action: &AuthAction<'_>) -> Option<String> {
    Some(match *action {
        AuthAction::Attach { .. } => {
            "ATTACH is refused: each database is served and mirrored on its own; \
             open the other database by its own address."
                .to_owned()
        }
        AuthAction::Detach { .. } => {
            "DETACH is refused: this server attaches no databases for clients.".to_owned()
        }
        AuthAction::Function { function_name } => {
            function_refusal(&function_name.to_ascii_lowercase())?.to_owned()
        }
        // The one pragma that acts although it is read as a table.
        AuthAction::Read { table_name, .. }
            if table_name.eq_ignore_ascii_case("pragma_optimize") =>
        {
            OPTIMIZE.to_owned()
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            pragma_refusal(&pragma_name.to_ascii_lowercase(), pragma_value)?
        }
        _ => return None,
    })
}

/// Why a function is refused, if it is.
fn function_refusal(name: &str) -> Option<&'static str> {
    Some(match name {
        "load_extension" => {
            "load_extension() is refused: an extension would run inside the server and would be missing \
             on the mirror."
        }
        // It takes and gives raw addresses, and SQLite lets it where they are arguments of a statement.
        "fts3_tokenizer" => {
            "fts3_tokenizer() is refused: it reads and sets addresses in the server's memory; name a \
             tokenizer where the table is created instead."
        }
        // FTS3's; it merges the index in the middle of a statement that reads.
        "optimize" => {
            "optimize() is refused: a SELECT that writes would bypass the journal; use \
             INSERT INTO t(t) VALUES('optimize') instead, t being the table."
        }
        _ => return None,
    })
}

fn pragma_refusal(name: &str, value: Option<&str>) -> Option<String> {
    let why = match (name, value) {
        ("wal_checkpoint", _) => {
            "the server checkpoints by itself, and only what is durable on it and its mirrors"
        }
        (_, None) => return None,
        ("journal_mode", Some(mode)) if mode.eq_ignore_ascii_case("wal") => return None,
        ("journal_mode", _) => "mirroring reads every commit from the WAL, so the mode stays WAL",
        ("synchronous", _) => "commits are made durable by the server's journal, not by SQLite",
        ("wal_autocheckpoint", _) => {
            "the server checkpoints by itself, and only what is durable on it and its mirrors"
        }
        ("locking_mode", Some(mode)) if mode.eq_ignore_ascii_case("normal") => return None,
        ("locking_mode", _) => "the server itself must be able to read the database at any time",
        ("mmap_size", _) => "a disk error in mapped memory would end the server",
        ("temp_store_directory" | "data_store_directory", _) => {
            "it would change where the whole server keeps its files"
        }
        ("soft_heap_limit" | "hard_heap_limit", _) => {
            "it would limit the memory of the whole server"
        }
        _ => return None,
    };
    Some(format!("PRAGMA {name} is refused: {why}."))
}
