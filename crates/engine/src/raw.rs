//! The one file that drives SQLite's statements through its C interface.
//!
//! rusqlite's statements borrow their connection, so they cannot live in a cache beside it; these can. What they
//! must never do is outlive the connection: `Connection` drops its cache first.

use std::{
    ffi::{CStr, c_char, c_int},
    ptr::{self, NonNull},
    slice,
};

use rusqlite::ffi;

use crate::{
    error::SqlError,
    value::{Column, Value, ValueRef},
};

/// A compiled statement.
#[derive(Debug)]
pub(crate) struct RawStatement(NonNull<ffi::sqlite3_stmt>);

/// What a step gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Row,
    Done,
}

/// A text that SQLite owns, copied; empty for a null pointer.
///
/// # Safety
/// `text` is null or a C string that lives during the call.
unsafe fn owned(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as promised by the caller.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// The connection's last error, `result` being what the failed call returned.
///
/// # Safety
/// `db` is an open connection that no other thread uses.
pub(crate) unsafe fn last_error(db: *mut ffi::sqlite3, result: c_int) -> SqlError {
    // SAFETY: as promised by the caller.
    unsafe {
        let extended = ffi::sqlite3_extended_errcode(db);
        // A misuse is not recorded on the connection; its own code says more then.
        let result = if extended & 0xff == result & 0xff { extended } else { result };
        let message = owned(ffi::sqlite3_errmsg(db)).unwrap_or_default();
        let mut error = SqlError::sqlite(result, message);
        error.offset = u32::try_from(ffi::sqlite3_error_offset(db)).ok();
        error
    }
}

impl RawStatement {
    /// Compiles the first statement of `sql`; returns it with the number of bytes it took. `None` if there is none.
    ///
    /// # Safety
    /// `db` is an open connection that no other thread uses, and outlives the statement.
    pub(crate) unsafe fn prepare(
        db: *mut ffi::sqlite3,
        sql: &str,
        keep: bool,
    ) -> Result<Option<(RawStatement, usize)>, SqlError> {
        let Ok(length) = c_int::try_from(sql.len()) else {
            return Err(SqlError::sqlite(ffi::SQLITE_TOOBIG, "statement too long".to_owned()));
        };
        let flags = if keep { ffi::SQLITE_PREPARE_PERSISTENT } else { 0 };
        let start = sql.as_ptr().cast::<c_char>();
        let (mut stmt, mut tail) = (ptr::null_mut(), ptr::null());
        // SAFETY: `start` and `length` describe `sql`; the out pointers are ours.
        unsafe {
            let result = ffi::sqlite3_prepare_v3(db, start, length, flags, &mut stmt, &mut tail);
            if result != ffi::SQLITE_OK {
                return Err(last_error(db, result));
            }
        }
        let used = (tail as usize).wrapping_sub(start as usize);
        // SQLite stops at a NUL byte and reports the tail there; what follows is not a statement.
        Ok(NonNull::new(stmt).map(|stmt| (RawStatement(stmt), used)))
    }

    fn as_ptr(&self) -> *mut ffi::sqlite3_stmt {
        self.0.as_ptr()
    }

    fn db(&self) -> *mut ffi::sqlite3 {
        // SAFETY: the statement is valid as long as `self`.
        unsafe { ffi::sqlite3_db_handle(self.as_ptr()) }
    }

    fn check(&self, result: c_int) -> Result<(), SqlError> {
        if result == ffi::SQLITE_OK {
            return Ok(());
        }
        // SAFETY: the statement's connection is open and used by this thread only.
        Err(unsafe { last_error(self.db(), result) })
    }

    pub(crate) fn is_readonly(&self) -> bool {
        // SAFETY: the statement is valid.
        unsafe { ffi::sqlite3_stmt_readonly(self.as_ptr()) != 0 }
    }

    pub(crate) fn is_explain(&self) -> bool {
        // SAFETY: the statement is valid.
        unsafe { ffi::sqlite3_stmt_isexplain(self.as_ptr()) != 0 }
    }

    pub(crate) fn parameter_count(&self) -> usize {
        // SAFETY: the statement is valid.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The name of parameter `index` (from 1) with its prefix, `None` for a bare `?`.
    pub(crate) fn parameter_name(&self, index: usize) -> Option<String> {
        // SAFETY: the statement is valid; SQLite checks the index.
        unsafe { owned(ffi::sqlite3_bind_parameter_name(self.as_ptr(), int(index))) }
    }

    /// Binds `value` to parameter `index` (from 1). SQLite copies it.
    pub(crate) fn bind(&self, index: usize, value: &Value) -> Result<(), SqlError> {
        let (stmt, index) = (self.as_ptr(), int(index));
        // SAFETY: the statement is valid and not being stepped; pointers and lengths describe live slices,
        // which SQLite copies because of SQLITE_TRANSIENT.
        let result = unsafe {
            match value {
                Value::Null => ffi::sqlite3_bind_null(stmt, index),
                Value::Integer(number) => ffi::sqlite3_bind_int64(stmt, index, *number),
                Value::Real(number) => ffi::sqlite3_bind_double(stmt, index, *number),
                Value::Text(text) => ffi::sqlite3_bind_text64(
                    stmt,
                    index,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as u8,
                ),
                Value::Blob(bytes) => {
                    let start =
                        if bytes.is_empty() { c"".as_ptr().cast() } else { bytes.as_ptr().cast() };
                    let length = bytes.len() as u64;
                    ffi::sqlite3_bind_blob64(stmt, index, start, length, ffi::SQLITE_TRANSIENT())
                }
            }
        };
        self.check(result)
    }

    pub(crate) fn step(&self) -> Result<Step, SqlError> {
        // SAFETY: the statement is valid.
        match unsafe { ffi::sqlite3_step(self.as_ptr()) } {
            ffi::SQLITE_ROW => Ok(Step::Row),
            ffi::SQLITE_DONE => Ok(Step::Done),
            result => {
                // SAFETY: the statement's connection is open and used by this thread only.
                Err(unsafe { last_error(self.db(), result) })
            }
        }
    }

    /// Ends the run and lets go of the arguments. Errors of the run were reported by `step`.
    pub(crate) fn reset(&self) {
        // SAFETY: the statement is valid.
        unsafe {
            ffi::sqlite3_reset(self.as_ptr());
            ffi::sqlite3_clear_bindings(self.as_ptr());
        }
    }

    /// Reads a statement counter and sets it to zero.
    pub(crate) fn take_status(&self, counter: c_int) -> u64 {
        // SAFETY: the statement is valid.
        let count = unsafe { ffi::sqlite3_stmt_status(self.as_ptr(), counter, 1) };
        // The counters are 32 bits wide and wrap.
        u64::from(count.cast_unsigned())
    }

    pub(crate) fn columns(&self) -> Vec<Column> {
        let stmt = self.as_ptr();
        // SAFETY: the statement is valid and the indexes are below its column count.
        unsafe {
            (0..ffi::sqlite3_column_count(stmt))
                .map(|index| Column {
                    name: owned(ffi::sqlite3_column_name(stmt, index)).unwrap_or_default(),
                    decltype: owned(ffi::sqlite3_column_decltype(stmt, index)),
                })
                .collect()
        }
    }

    /// The current row's values. They live until the next step or reset, hence the exclusive borrow.
    pub(crate) fn row<'a>(&'a mut self, values: &mut Vec<ValueRef<'a>>) {
        // SAFETY: the statement is valid and stands on a row.
        let count = unsafe { ffi::sqlite3_data_count(self.as_ptr()) };
        values.extend((0..count).map(|index| self.value(index)));
    }

    fn value(&self, index: c_int) -> ValueRef<'_> {
        let stmt = self.as_ptr();
        // SAFETY: the statement stands on a row, `index` is below its column count, and the length is asked
        // after the pointer, as SQLite wants it.
        unsafe {
            match ffi::sqlite3_column_type(stmt, index) {
                ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_column_int64(stmt, index)),
                ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_column_double(stmt, index)),
                ffi::SQLITE_TEXT => {
                    let start = ffi::sqlite3_column_text(stmt, index);
                    ValueRef::Text(String::from_utf8_lossy(self.bytes(start, index)))
                }
                ffi::SQLITE_BLOB => {
                    let start = ffi::sqlite3_column_blob(stmt, index);
                    ValueRef::Blob(self.bytes(start.cast(), index))
                }
                _ => ValueRef::Null,
            }
        }
    }

    /// # Safety
    /// `start` was just returned for column `index` of the current row.
    unsafe fn bytes(&self, start: *const u8, index: c_int) -> &[u8] {
        // SAFETY: as promised; SQLite keeps the value until the next step or reset.
        unsafe {
            let length = ffi::sqlite3_column_bytes(self.as_ptr(), index);
            match usize::try_from(length) {
                Ok(length) if length > 0 && !start.is_null() => {
                    slice::from_raw_parts(start, length)
                }
                _ => &[],
            }
        }
    }
}

impl Drop for RawStatement {
    fn drop(&mut self) {
        // SAFETY: the statement is valid and not used again.
        unsafe { ffi::sqlite3_finalize(self.as_ptr()) };
    }
}

fn int(index: usize) -> c_int {
    c_int::try_from(index).unwrap_or(c_int::MAX)
}
