//! The kinds of statements, as far as those who schedule them must know.

/// What a statement does to transactions and to the main database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It changes nothing in the main database.
    Read,
    /// It changes, or may change, the main database: it needs the write permit.
    Write,
    /// It changes only the connection's temporary database.
    WriteTemp,
    /// BEGIN.
    Begin(BeginMode),
    /// COMMIT or END.
    Commit,
    /// ROLLBACK of the whole transaction.
    Rollback,
    /// SAVEPOINT; begins a deferred transaction if none is open.
    Savepoint,
    /// RELEASE; of the outermost savepoint that began a transaction, it commits.
    Release,
    /// ROLLBACK TO a savepoint.
    RollbackTo,
}

/// How a transaction begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeginMode {
    /// It takes the write permit at its first write, if any.
    Deferred,
    /// It takes the write permit at once.
    Immediate,
    /// As immediate: in WAL mode readers are not shut out.
    Exclusive,
    /// libSQL's `BEGIN READONLY`: deferred, and writes within it are refused.
    ReadOnly,
}

impl Class {
    /// Whether the write permit must be held before the statement runs.
    #[must_use]
    pub fn needs_permit(self) -> bool {
        matches!(
            self,
            Class::Write | Class::Begin(BeginMode::Immediate) | Class::Begin(BeginMode::Exclusive)
        )
    }

    /// Whether a transaction may end with the statement.
    #[must_use]
    pub fn may_end_transaction(self) -> bool {
        matches!(self, Class::Commit | Class::Rollback | Class::Release)
    }
}
